package signing_test

import (
	"context"
	"errors"
	"testing"

	"github.com/rampart-flags/rampart/signing"
)

func TestSignAndVerify(t *testing.T) {
	for _, kind := range []signing.Kind{signing.ECDSAP256, signing.Ed25519} {
		t.Run(string(kind), func(t *testing.T) {
			signer, id := newSigner(t, "alice", kind)
			msg := []byte(`{"version":"flags-v1"}`)
			bundle := sign(t, signer, msg)
			r := signing.Verify(signing.NewArtifact(msg), named(bundle), []signing.Identity{id}, signing.Options{})
			if len(r.Valid) != 1 || r.Valid[0].Signer != "alice" || r.Valid[0].KeyID != signer.Public().ID() {
				t.Fatalf("Verify = %+v", r)
			}
			r = signing.Verify(signing.NewArtifact(append(msg, ' ')), named(bundle), []signing.Identity{id}, signing.Options{})
			if len(r.Valid) != 0 || !errors.Is(r.Rejected[0].Reason, signing.ErrOtherBytes) {
				t.Fatalf("over other bytes: %+v", r)
			}
		})
	}
}

func newSigner(t testing.TB, name string, kind signing.Kind) (*signing.Signer, signing.Identity) {
	t.Helper()
	priv, pub, err := signing.GenerateKey(kind, []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := signing.LoadSigner(priv, func() ([]byte, error) { return []byte("pw"), nil })
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.ParsePublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return s, signing.Identity{Name: name, Keys: []signing.PublicKey{key}}
}

func sign(t testing.TB, s *signing.Signer, msg []byte) []byte {
	t.Helper()
	b, err := s.Sign(context.Background(), msg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func named(bundles ...[]byte) []signing.NamedBundle {
	var out []signing.NamedBundle
	for _, b := range bundles {
		out = append(out, signing.NamedBundle{Path: "flags.json.sigstore.json", Data: b})
	}
	return out
}
