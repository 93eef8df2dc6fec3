package signing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	bundlev1 "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

const (
	// MaxBundle is the size, in bytes, above which a bundle is not read.
	MaxBundle = 1 << 20
	// MaxBundles is how many bundles [Verify] looks at beside one file.
	MaxBundles = 64

	mediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// mediaTypes are the spellings of bundle versions 0.1 to 0.3. The message signature,
// all that is used here, is the same in each.
var mediaTypes = []string{
	mediaType,
	"application/vnd.dev.sigstore.bundle+json;version=0.3",
	"application/vnd.dev.sigstore.bundle+json;version=0.2",
	"application/vnd.dev.sigstore.bundle+json;version=0.1",
}

// bundle is what a message-signature bundle says. Nothing in it is proven yet.
type bundle struct {
	sig       []byte
	algorithm commonv1.HashAlgorithm // of digest
	digest    []byte                 // of the artifact; nil when the bundle gives none
	hint      string                 // of the key; "" when there is none
	keyless   bool                   // made with a certificate, not with a key
	leaf      []byte                 // that certificate, DER
}

// parseBundle reads a bundle strictly: unknown and repeated fields are errors.
func parseBundle(data []byte) (bundle, error) {
	if len(data) > MaxBundle {
		return bundle{}, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLarge, len(data), MaxBundle)
	}
	var pb bundlev1.Bundle
	if err := protojson.Unmarshal(data, &pb); err != nil {
		if isLegacy(data) {
			return bundle{}, fmt.Errorf("%w (base64Signature): convert it with \"cosign bundle create --artifact FILE --bundle OLD --key cosign.pub --ignore-tlog --out FILE.sigstore.json\", or sign again with \"--new-bundle-format\"", ErrLegacyBundle)
		}
		return bundle{}, fmt.Errorf("%w: %s", ErrMalformed, malformed(data, err))
	}
	if !slices.Contains(mediaTypes, pb.GetMediaType()) {
		return bundle{}, fmt.Errorf("%w: media type %.80q is not known, want %s", ErrMalformed, pb.GetMediaType(), mediaType)
	}
	if pb.GetDsseEnvelope() != nil {
		return bundle{}, fmt.Errorf("%w: sign the file itself with \"cosign sign-blob\"", ErrDSSE)
	}
	ms := pb.GetMessageSignature()
	if len(ms.GetSignature()) == 0 {
		return bundle{}, fmt.Errorf("%w: it holds no signature", ErrMalformed)
	}
	b := bundle{sig: ms.GetSignature()}
	if d := ms.GetMessageDigest(); d != nil {
		b.algorithm, b.digest = d.GetAlgorithm(), d.GetDigest()
	}
	material := pb.GetVerificationMaterial()
	switch {
	case material.GetPublicKey() != nil:
		b.hint = material.GetPublicKey().GetHint()
	case material.GetCertificate() != nil:
		b.keyless, b.leaf = true, material.GetCertificate().GetRawBytes()
	case len(material.GetX509CertificateChain().GetCertificates()) > 0:
		b.keyless, b.leaf = true, material.GetX509CertificateChain().GetCertificates()[0].GetRawBytes()
	default:
		return bundle{}, fmt.Errorf("%w: it names neither key nor certificate", ErrMalformed)
	}
	return b, nil
}

var (
	unknownField  = regexp.MustCompile(`unknown field "([^"]{1,80})"`)
	repeatedField = regexp.MustCompile(`duplicate (?:field|map key) "([^"]{1,80})"`)
)

// malformed says what is wrong with data in words of our own: protojson's name its types, and differ
// from build to build.
func malformed(data []byte, err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	switch m := unknownField.FindStringSubmatch(text); {
	case len(bytes.TrimSpace(data)) == 0:
		return "the file is empty"
	case !json.Valid(data):
		return "it is not JSON"
	case m != nil:
		return fmt.Sprintf("it has the unknown field %q", m[1])
	}
	if m := repeatedField.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("it has the field %q twice", m[1])
	}
	return "its JSON is no bundle's"
}

// isLegacy says whether data is what cosign wrote before bundles were standardised.
func isLegacy(data []byte) bool {
	var legacy struct {
		Signature *string `json:"base64Signature"`
	}
	return json.Unmarshal(data, &legacy) == nil && legacy.Signature != nil
}

// encodeBundle writes a bundle v0.3 as one line of JSON and a line end.
func encodeBundle(a Artifact, key PublicKey, sig []byte) ([]byte, error) {
	wire, err := protojson.Marshal(&bundlev1.Bundle{
		MediaType: mediaType,
		VerificationMaterial: &bundlev1.VerificationMaterial{
			Content: &bundlev1.VerificationMaterial_PublicKey{
				PublicKey: &commonv1.PublicKeyIdentifier{Hint: key.hint()},
			},
		},
		Content: &bundlev1.Bundle_MessageSignature{
			MessageSignature: &commonv1.MessageSignature{
				MessageDigest: &commonv1.HashOutput{Algorithm: commonv1.HashAlgorithm_SHA2_256, Digest: a.sha256[:]},
				Signature:     sig,
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the bundle: %w", err)
	}
	// protojson varies its white space on purpose; the same signature should give
	// the same file.
	var out bytes.Buffer
	if err := json.Compact(&out, wire); err != nil {
		return nil, fmt.Errorf("encoding the bundle: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
