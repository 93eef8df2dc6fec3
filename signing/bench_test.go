package signing_test

import (
	"crypto/sha256"
	"testing"

	"github.com/rampart-flags/rampart/signing"
)

// A 20 MB file with three bundles beside it is hashed once: the second figure is
// what hashing alone takes.
func BenchmarkVerify20MB(b *testing.B) {
	big := make([]byte, 20<<20)
	alice, bob, carol := newSigner(b, signing.ECDSAP256), newSigner(b, signing.ECDSAP256), newSigner(b, signing.ECDSAP256)
	who := []signing.Identity{identity("alice", alice), identity("bob", bob), identity("carol", carol)}
	bundles := named(sign(b, alice, big), sign(b, bob, big), sign(b, carol, big))
	b.Run("three bundles", func(b *testing.B) {
		for b.Loop() {
			if r := signing.Verify(signing.NewArtifact(big), bundles, who, signing.Options{}); len(r.Valid) != 3 {
				b.Fatal(r)
			}
		}
	})
	b.Run("sha256 alone", func(b *testing.B) {
		for b.Loop() {
			sha256.Sum256(big)
		}
	})
}

func BenchmarkVerify20KB(b *testing.B) {
	msg := make([]byte, 20<<10)
	alice := newSigner(b, signing.ECDSAP256)
	who := []signing.Identity{identity("alice", alice)}
	bundles := named(sign(b, alice, msg))
	for b.Loop() {
		if r := signing.Verify(signing.NewArtifact(msg), bundles, who, signing.Options{}); len(r.Valid) != 1 {
			b.Fatal(r)
		}
	}
}
