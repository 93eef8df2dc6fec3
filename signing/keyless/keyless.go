// Package keyless checks and makes keyless signatures: those with a certificate from
// Fulcio, which says that an OpenID issuer vouched for whoever signed. It is the only
// package that links sigstore-go, so that whoever imports the client does not.
//
// Checking needs no network. It needs a trusted root, a file that names the
// certificate authorities, logs and timestamp authorities to believe
// ("cosign trusted-root create --with-default-services --out trusted_root.json"):
//
//	v, err := keyless.New(trustedRoot)
//	result := signing.Verify(artifact, bundles, identities, signing.Options{Keyless: v.Check})
package keyless

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// ErrTrustedRoot: the trusted root cannot be read, or nothing could be checked with it.
var ErrTrustedRoot = errors.New("unusable trusted root")

// Verifier checks keyless bundles against one trusted root. It is safe for use by
// several goroutines.
type Verifier struct {
	logged, stamped *verify.Verifier
}

// New reads a trusted root, a JSON document of media type
// "application/vnd.dev.sigstore.trustedroot+json;version=0.1". One that names no
// certificate authority, or neither log nor timestamp authority, is
// [ErrTrustedRoot]: it could not verify anything.
func New(trustedRoot []byte) (*Verifier, error) {
	tr, err := root.NewTrustedRootFromJSON(trustedRoot)
	if err != nil {
		return nil, fmt.Errorf("reading the trusted root: %w: %w", ErrTrustedRoot, err)
	}
	logs, stamps := len(tr.RekorLogs()) > 0, len(tr.TimestampingAuthorities()) > 0
	switch {
	case len(tr.FulcioCertificateAuthorities()) == 0:
		return nil, fmt.Errorf("reading the trusted root: %w: it names no certificate authority", ErrTrustedRoot)
	case !logs && !stamps:
		return nil, fmt.Errorf("reading the trusted root: %w: it names neither log nor timestamp authority", ErrTrustedRoot)
	}
	// A certificate lives ten minutes. When the signature was made must be known from
	// an observer: a timestamp authority, or the log. Rekor v2 says no time itself, so
	// its entries come with a timestamp; asking for "an observer" covers both.
	common := []verify.VerifierOption{verify.WithObserverTimestamps(1)}
	if len(tr.CTLogs()) > 0 {
		common = append(common, verify.WithSignedCertificateTimestamps(1))
	}
	var v Verifier
	if v.stamped, err = verify.NewVerifier(tr, common...); err != nil {
		return nil, fmt.Errorf("reading the trusted root: %w: %w", ErrTrustedRoot, err)
	}
	if v.logged, err = verify.NewVerifier(tr, append(common, verify.WithTransparencyLog(1))...); err != nil {
		return nil, fmt.Errorf("reading the trusted root: %w: %w", ErrTrustedRoot, err)
	}
	return &v, nil
}

// Check returns nil if and only if bundle holds a message signature over the digest
// by a certificate that the trusted root's authority issued to exactly subject for
// exactly issuer, that was valid when an observer saw the signature, and that stands
// in a certificate log if the root names any. If the bundle has log entries, one must
// verify; without, a timestamp must.
func (v *Verifier) Check(data []byte, digest [sha256.Size]byte, issuer, subject string) (err error) {
	// The bytes come from strangers and the libraries below are large: a crash in
	// them must not be a crash of the reconciler.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("checking a keyless bundle: the library panicked: %v", r)
		}
	}()
	if issuer == "" || subject == "" {
		return errors.New("checking a keyless bundle: issuer and subject must be given")
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return fmt.Errorf("reading a keyless bundle: %w", err)
	}
	if b.GetMessageSignature() == nil {
		return errors.New("checking a keyless bundle: it holds no message signature")
	}
	who, err := verify.NewShortCertificateIdentity(issuer, "", subject, "")
	if err != nil {
		return fmt.Errorf("checking a keyless bundle: %w", err)
	}
	verifier := v.stamped
	if len(b.GetVerificationMaterial().GetTlogEntries()) > 0 {
		verifier = v.logged
	}
	_, err = verifier.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest("sha256", digest[:]), verify.WithCertificateIdentity(who)))
	if err != nil {
		return fmt.Errorf("checking a keyless bundle: %w", err)
	}
	return nil
}
