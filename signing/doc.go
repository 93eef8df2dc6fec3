// Package signing answers one question: who signed these bytes?
//
// A signature is a sigstore bundle v0.3 that lies beside the file it covers. It is
// the same file that "cosign sign-blob --bundle" writes and "cosign verify-blob
// --bundle" reads. Keys are stored as cosign stores them.
//
// The package knows nothing of git, of flags or of policy. It says which of the
// given identities made a valid signature over one artifact, and, for every bundle
// that did not count, why. Whether those signers may make a change is for package
// trust to say.
//
//	signer, err := signing.LoadSigner(pem, askPassword)
//	bundle, err := signer.Sign(ctx, message)
//
//	result := signing.Verify(signing.NewArtifact(message), bundles, identities, signing.Options{})
//	for _, s := range result.Valid { fmt.Println(s.Signer) }
package signing
