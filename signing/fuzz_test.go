package signing_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rampart-flags/rampart/signing"
)

// Whatever the bytes of a bundle: it is valid or rejected with a reason, and valid
// only for the message that alice signed.
func FuzzVerify(f *testing.F) {
	paths, err := filepath.Glob("testdata/cosign-3.1.3/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	alice := newSigner(f, signing.ECDSAP256)
	good := sign(f, alice, message)
	f.Add(good)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":"MAA="}},"messageSignature":{"signature":"AA=="}}`))
	who := []signing.Identity{identity("alice", alice)}
	other := signing.NewArtifact([]byte("other bytes"))
	f.Fuzz(func(t *testing.T, bundle []byte) {
		r := signing.Verify(signing.NewArtifact(message), named(bundle), who, signing.Options{})
		if len(r.Valid)+len(r.Rejected) != 1 {
			t.Fatalf("%d valid and %d rejected", len(r.Valid), len(r.Rejected))
		}
		if len(r.Rejected) == 1 && r.Rejected[0].Reason == nil {
			t.Fatal("rejected without a reason")
		}
		if r := signing.Verify(other, named(bundle), who, signing.Options{}); len(r.Valid) != 0 {
			t.Fatal("valid for bytes that nobody signed")
		}
	})
}

// A public key that parses is written back as one that is equal.
func FuzzParsePublicKey(f *testing.F) {
	for _, name := range []string{"p256.pub", "ed25519.pub", "rsa3072.pub"} {
		b, err := os.ReadFile(filepath.Join("testdata", "cosign-3.1.3", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, pem []byte) {
		key, err := signing.ParsePublicKey(pem)
		if err != nil {
			if key.ID() != "" || key.Kind() != "" || key.PEM() != nil {
				t.Fatal("a key came with an error")
			}
			return
		}
		again, err := signing.ParsePublicKey(key.PEM())
		if err != nil || !again.Equal(key) || again.ID() != key.ID() {
			t.Fatalf("read again: %v", err)
		}
	})
}
