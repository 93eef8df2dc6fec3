package redisstore

import "fmt"

// Attested is what the reconciler signs to vouch for this meta: three facts, one a
// line, so that a reader who has its public key can tell that this spec was accepted
// in this environment as this generation, and that nobody put an older one back.
//
//	rampart-attestation/v1
//	environment prod
//	generation 57
//	digest sha256:9f86d081…
//
// The signature itself, in [Meta.Attestation], is a sigstore bundle over these bytes,
// as package signing makes and checks them and stock cosign does.
func (m Meta) Attested() []byte {
	return fmt.Appendf(nil, "rampart-attestation/v1\nenvironment %s\ngeneration %d\ndigest %s\n",
		m.Environment, m.Generation, m.Digest)
}
