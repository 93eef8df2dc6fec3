package signing

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"regexp"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// Keyless is an identity that an OpenID issuer vouches for and that a Fulcio
// certificate carries. The issuer is always exact. The subject is exact too, unless
// Pattern is set.
type Keyless struct {
	Issuer  string // as in "https://token.actions.githubusercontent.com"
	Subject string // the certificate's subject alternative name: a URL or an email address
	Pattern *regexp.Regexp
}

// NewPattern compiles a regular expression for subjects. It must match the whole
// subject: the anchors are put around it here, since forgetting them lets
// "https://evil.example/?https://github.com/acme/…" through.
func NewPattern(expr string) (*regexp.Regexp, error) {
	if expr == "" {
		return nil, fmt.Errorf("an empty pattern matches nobody: leave it out")
	}
	if len(expr) > 1024 {
		return nil, fmt.Errorf("the pattern has %d bytes, at most 1024 are allowed", len(expr))
	}
	if _, err := regexp.Compile(expr); err != nil { // alone first: "a)|(b" must not become valid by being wrapped
		return nil, err
	}
	return regexp.Compile(`^(?:` + expr + `)$`)
}

func (k Keyless) matches(issuer, subject string) bool {
	if issuer == "" || subject == "" || k.Issuer != issuer {
		return false
	}
	if k.Pattern != nil {
		return k.Pattern.MatchString(subject)
	}
	return k.Subject == subject
}

func verifyKeyless(a Artifact, b bundle, data []byte, who []Identity, opt Options) (Signature, error) {
	issuer, subjects, err := claims(b.leaf)
	if err != nil {
		return Signature{}, fmt.Errorf("%w: its certificate: %w", ErrMalformed, err)
	}
	for _, id := range who {
		for _, subject := range subjects {
			if id.Keyless == nil || !id.Keyless.matches(issuer, subject) {
				continue
			}
			if opt.Keyless == nil {
				return Signature{}, fmt.Errorf("%w: signed by %.200q: give --trusted-root", ErrNoKeyless, subject)
			}
			// The certificate's own words were enough to pick whom to ask for. The
			// proof is asked for with exactly these words, never with a pattern.
			if err := opt.Keyless(data, a.sha256, issuer, subject); err != nil {
				return Signature{}, fmt.Errorf("%w: %.200q: %w", ErrBadSignature, subject, err)
			}
			return Signature{Signer: id.Name, KeyID: "keyless:" + subject}, nil
		}
	}
	return Signature{}, fmt.Errorf("%w: keyless identity %.300q of issuer %.200q is none of the known ones", ErrUnknownSigner, subjects, issuer)
}

// Fulcio's certificate extensions for the issuer:
// https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
var (
	oidIssuerV1 = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1} // raw text
	oidIssuerV2 = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8} // DER UTF8String
)

// claims reads, from a certificate that nobody has checked yet, whom it says it was
// issued by and to.
func claims(der []byte) (issuer string, subjects []string, err error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return "", nil, err
	}
	for _, ext := range cert.Extensions {
		switch {
		case ext.Id.Equal(oidIssuerV2):
			var s string
			if rest, err := asn1.Unmarshal(ext.Value, &s); err != nil || len(rest) != 0 {
				return "", nil, fmt.Errorf("its issuer extension is malformed")
			}
			issuer = s
		case ext.Id.Equal(oidIssuerV1) && issuer == "":
			issuer = string(ext.Value)
		}
	}
	return issuer, cryptoutils.GetSubjectAlternateNames(cert), nil
}
