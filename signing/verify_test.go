package signing_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/rampart-flags/rampart/signing"
)

var message = []byte(`{"version":"flags-v1","features":{"receipts":{"pct":0,"cohorts":["A"]}}}` + "\n")

func TestSignAndVerify(t *testing.T) {
	signers := map[string]*signing.Signer{}
	for _, kind := range []signing.Kind{signing.ECDSAP256, signing.Ed25519} {
		signers[string(kind)] = newSigner(t, kind)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		t.Fatal(err)
	}
	signers["rsa"] = loadPlain(t, rsaKey)
	for name, signer := range signers {
		t.Run(name, func(t *testing.T) {
			if string(signer.Public().Kind()) != name {
				t.Errorf("Kind = %q", signer.Public().Kind())
			}
			bundle := sign(t, signer, message)
			alice := identity("alice", signer)
			r := verify(message, bundle, alice)
			if len(r.Valid) != 1 || r.Valid[0] != (signing.Signature{Signer: "alice", Path: "b0", KeyID: signer.Public().ID()}) {
				t.Fatalf("Verify = %+v", r)
			}
			for i := range message {
				changed := bytes.Clone(message)
				changed[i] ^= 1
				wantRejected(t, verify(changed, bundle, alice), signing.ErrOtherBytes)
			}
			wantRejected(t, verify(message, bundle, identity("bob", newSigner(t, signing.ECDSAP256))), signing.ErrUnknownSigner)
		})
	}
}

// Each bundle that does not count says why.
func TestRejected(t *testing.T) {
	alice, mallory := newSigner(t, signing.ECDSAP256), newSigner(t, signing.ECDSAP256)
	good := string(sign(t, alice, message))
	evil := string(sign(t, mallory, message))
	hint := func(s *signing.Signer) string { return between(string(sign(t, s, message)), `"hint":"`, `"`) }
	for _, tc := range []struct {
		name   string
		bundle string
		want   error
		says   string
	}{
		{"empty", "", signing.ErrMalformed, ""},
		{"not JSON", "hello", signing.ErrMalformed, ""},
		{"an array", "[]", signing.ErrMalformed, ""},
		{"an empty object", "{}", signing.ErrMalformed, "media type"},
		{"too large", good + strings.Repeat(" ", signing.MaxBundle), signing.ErrTooLarge, "1048576"},
		{"legacy", `{"base64Signature":"MEUCIQ=="}`, signing.ErrLegacyBundle, "cosign bundle create"},
		{"legacy with log entry", `{"base64Signature":"MEUCIQ==","cert":"x","rekorBundle":{}}`, signing.ErrLegacyBundle, "cosign bundle create"},
		{"unknown field", replace(t, good, `{"mediaType"`, `{"note":1,"mediaType"`), signing.ErrMalformed, "note"},
		{"field twice", replace(t, good, `{"mediaType"`, `{"mediaType":"a","mediaType"`), signing.ErrMalformed, "mediaType"},
		{"other media type", replace(t, good, "v0.3", "v0.9"), signing.ErrMalformed, "v0.9"},
		{"no signature", replace(t, good, between(good, `"signature":"`, `"`), ""), signing.ErrMalformed, "no signature"},
		{"no key", replace(t, good, `"publicKey":{"hint":"`+hint(alice)+`"}`, ""), signing.ErrMalformed, "neither key nor certificate"},
		{"other digest", replace(t, good, between(good, `"digest":"`, `"`), base64.StdEncoding.EncodeToString(make([]byte, 32))), signing.ErrOtherBytes, "sha256:0000"},
		{"short digest", replace(t, good, between(good, `"digest":"`, `"`), "AAAA"), signing.ErrOtherBytes, ""},
		{"another's signature under alice's hint", replace(t, evil, hint(mallory), hint(alice)), signing.ErrBadSignature, ""},
		{"unknown signer", evil, signing.ErrUnknownSigner, hint(mallory)},
		{"alice's under an unknown hint", replace(t, good, hint(alice), hint(mallory)), signing.ErrUnknownSigner, ""},
		{"another's without a hint", replace(t, evil, hint(mallory), ""), signing.ErrUnknownSigner, "names no key"},
		{"a certificate that is none", replace(t, good, `"publicKey":{"hint":"`+hint(alice)+`"}`, `"certificate":{"rawBytes":"AAAA"}`), signing.ErrMalformed, "certificate"},
		{"an empty certificate", replace(t, good, `"publicKey":{"hint":"`+hint(alice)+`"}`, `"certificate":{}`), signing.ErrMalformed, "certificate"},
		{"trailing data", good + "{}", signing.ErrMalformed, ""},
		{"deep nesting", strings.Repeat(`{"verificationMaterial":`, 10000), signing.ErrMalformed, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := wantRejected(t, verify(message, []byte(tc.bundle), identity("alice", alice)), tc.want)
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v\ndoes not say %q", err, tc.says)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestHintIsOptional(t *testing.T) {
	alice, bob := newSigner(t, signing.Ed25519), newSigner(t, signing.ECDSAP256)
	bundle := string(sign(t, bob, message))
	bundle = replace(t, bundle, between(bundle, `"hint":"`, `"`), "")
	r := verify(message, []byte(bundle), identity("alice", alice), identity("bob", bob))
	if len(r.Valid) != 1 || r.Valid[0].Signer != "bob" {
		t.Fatalf("Verify = %+v", r)
	}
}

// cosign signs Ed25519 with the pre-hashed form when it uploads to a log, and leaves
// the digest out when it does not.
func TestEd25519Leniency(t *testing.T) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := loadPlain(t, priv)
	if !pub.Equal(priv.Public()) {
		t.Fatal("key pair")
	}
	pure := string(sign(t, signer, message))
	digest := sha512.Sum512(message)
	ph, err := priv.Sign(nil, digest[:], &ed25519.Options{Hash: crypto.SHA512})
	if err != nil {
		t.Fatal(err)
	}
	withPh := replace(t, pure, between(pure, `"signature":"`, `"`), base64.StdEncoding.EncodeToString(ph))
	noDigest := replace(t, pure, between(pure, `"messageDigest":{`, `}`), "")
	for name, b := range map[string]string{"ph": withPh, "no digest": noDigest} {
		if r := verify(message, []byte(b), identity("alice", signer)); len(r.Valid) != 1 {
			t.Errorf("%s: %+v", name, r)
		}
		other := append(bytes.Clone(message), ' ')
		if r := verify(other, []byte(b), identity("alice", signer)); len(r.Valid) != 0 {
			t.Errorf("%s over other bytes: %+v", name, r)
		}
	}
}

// Every bundle is in exactly one list, and two keys of one identity are one name.
func TestSeveralBundles(t *testing.T) {
	a1, a2, b := newSigner(t, signing.ECDSAP256), newSigner(t, signing.Ed25519), newSigner(t, signing.ECDSAP256)
	alice, bob := identity("alice", a1, a2), identity("bob", b)
	stale := sign(t, b, []byte("old"))
	r := signing.Verify(signing.NewArtifact(message),
		named(sign(t, a1, message), stale, sign(t, a2, message), sign(t, a1, message), sign(t, b, message)),
		[]signing.Identity{alice, bob}, signing.Options{})
	if got := fmt.Sprint(r.Signers()); got != "[alice bob]" {
		t.Errorf("Signers = %s", got)
	}
	if len(r.Valid) != 4 || len(r.Rejected) != 1 || r.Rejected[0].Path != "b1" || !errors.Is(r.Rejected[0].Reason, signing.ErrOtherBytes) {
		t.Errorf("Verify = %+v", r)
	}
}

func TestTooManyBundles(t *testing.T) {
	alice := newSigner(t, signing.ECDSAP256)
	var many [][]byte
	for range signing.MaxBundles {
		many = append(many, []byte("{}"))
	}
	r := signing.Verify(signing.NewArtifact(message), named(append(many, sign(t, alice, message))...),
		[]signing.Identity{identity("alice", alice)}, signing.Options{})
	if len(r.Valid) != 0 || !errors.Is(r.Rejected[signing.MaxBundles].Reason, signing.ErrTooMany) {
		t.Errorf("Verify = %+v", r.Valid)
	}
}

// What could not be read is rejected with the reader's reason, whatever Data holds,
// and hides nothing beside it.
func TestUnreadBundle(t *testing.T) {
	alice := newSigner(t, signing.ECDSAP256)
	bundle := sign(t, alice, message)
	why := errors.New("it is a symbolic link")
	r := signing.Verify(signing.NewArtifact(message),
		[]signing.NamedBundle{{Path: "unread", Data: bundle, Err: why}, {Path: "good", Data: bundle}},
		[]signing.Identity{identity("alice", alice)}, signing.Options{})
	if len(r.Valid) != 1 || r.Valid[0].Path != "good" {
		t.Errorf("Valid = %+v, want the good one", r.Valid)
	}
	if len(r.Rejected) != 1 || !errors.Is(r.Rejected[0].Reason, signing.ErrUnread) || !errors.Is(r.Rejected[0].Reason, why) {
		t.Errorf("Rejected = %+v, want the reader's reason", r.Rejected)
	}
}

func TestZeroKeyVerifiesNothing(t *testing.T) {
	bundle := sign(t, newSigner(t, signing.ECDSAP256), message)
	b := replace(t, string(bundle), between(string(bundle), `"hint":"`, `"`), "")
	if r := verify(message, []byte(b), signing.Identity{Name: "zero", Keys: make([]signing.PublicKey, 3)}); len(r.Valid) != 0 {
		t.Errorf("Verify = %+v", r)
	}
}

func newSigner(t testing.TB, kind signing.Kind) *signing.Signer {
	t.Helper()
	// The encrypted form costs a tenth of a second a key: TestKeyFiles has it.
	var priv crypto.PrivateKey
	var err error
	if kind == signing.Ed25519 {
		_, priv, err = ed25519.GenerateKey(rand.Reader)
	} else {
		priv, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return loadPlain(t, priv)
}

func loadPlain(t testing.TB, priv crypto.PrivateKey) *signing.Signer {
	t.Helper()
	pem, err := cryptoutils.MarshalPrivateKeyToPEM(priv)
	if err != nil {
		t.Fatal(err)
	}
	s, err := signing.LoadSigner(pem, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func identity(name string, signers ...*signing.Signer) signing.Identity {
	id := signing.Identity{Name: name}
	for _, s := range signers {
		id.Keys = append(id.Keys, s.Public())
	}
	return id
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
	for i, b := range bundles {
		out = append(out, signing.NamedBundle{Path: fmt.Sprintf("b%d", i), Data: b})
	}
	return out
}

func verify(msg, bundle []byte, who ...signing.Identity) signing.Result {
	return signing.Verify(signing.NewArtifact(msg), named(bundle), who, signing.Options{})
}

func wantRejected(t *testing.T, r signing.Result, want error) error {
	t.Helper()
	if len(r.Valid) != 0 || len(r.Rejected) != 1 || !errors.Is(r.Rejected[0].Reason, want) {
		t.Fatalf("Verify = %+v, want %q", r, want)
	}
	return r.Rejected[0].Reason
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

// replace replaces old, which must be there, so that no case tests an unchanged bundle.
func replace(t testing.TB, s, old, with string) string {
	t.Helper()
	if old == "" || !strings.Contains(s, old) {
		t.Fatalf("%q is not in %s", old, s)
	}
	return strings.Replace(s, old, with, 1)
}
