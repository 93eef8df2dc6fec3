package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	commonv1 "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// Artifact is a signed file's content, hashed once however many bundles are
// checked against it.
type Artifact struct {
	message []byte
	sha256  [sha256.Size]byte
	sha512  func() [sha512.Size]byte // computed at first use: only Ed25519ph needs it
}

// NewArtifact hashes message. It keeps the slice, which must not change afterwards.
func NewArtifact(message []byte) Artifact {
	return Artifact{
		message: message,
		sha256:  sha256.Sum256(message),
		sha512:  sync.OnceValue(func() [sha512.Size]byte { return sha512.Sum512(message) }),
	}
}

// SHA256 is the digest of the content.
func (a Artifact) SHA256() [sha256.Size]byte { return a.sha256 }

// Digest is the digest of the content as "sha256:<hex>".
func (a Artifact) Digest() string { return "sha256:" + hex.EncodeToString(a.sha256[:]) }

// Identity is someone whose signatures are looked for: one name with any number of
// keys, or a keyless identity, or both. Two keys of one identity are one signer.
type Identity struct {
	Name    string
	Keys    []PublicKey
	Keyless *Keyless
}

// NamedBundle is a bundle with the place it was found at, which is only repeated in
// the result. Err says why Data could not be had, if it could not: such a bundle is
// rejected with it.
type NamedBundle struct {
	Path string
	Data []byte
	Err  error
}

// Options says what else than keys [Verify] can check.
type Options struct {
	// Keyless checks a keyless bundle against a trusted root: that its certificate
	// was issued by issuer to exactly subject, that it was valid when the signature
	// was made, and that the signature covers the digest. It returns nil only if all
	// of that holds. Package signing/keyless makes one. Nil: keyless bundles are
	// rejected with [ErrNoKeyless].
	Keyless func(bundle []byte, digest [sha256.Size]byte, issuer, subject string) error
}

// Signature is one valid signature.
type Signature struct {
	Signer string // the identity's name
	Path   string // the bundle's
	KeyID  string // the key's [PublicKey.ID], or "keyless:<subject>"
}

// Rejected is one bundle that did not count.
type Rejected struct {
	Path   string
	Reason error // wraps one of the package's sentinels
}

// Result is what [Verify] found; both lists are in the order of the bundles given.
type Result struct {
	Valid    []Signature
	Rejected []Rejected
}

// Signers lists the names of who signed, each once, in the order first seen.
func (r Result) Signers() []string {
	var names []string
	seen := map[string]bool{}
	for _, s := range r.Valid {
		if !seen[s.Signer] {
			seen[s.Signer] = true
			names = append(names, s.Signer)
		}
	}
	return names
}

// Verify says who of who signed a, by the bundles given. A bundle counts for at
// most one identity, the first in who that it verifies for. Each bundle is either
// in Valid or in Rejected. Nothing in a bundle is believed: its digest and its hint
// only help to say what is wrong with it.
func Verify(a Artifact, bundles []NamedBundle, who []Identity, opt Options) Result {
	var r Result
	for i, nb := range bundles {
		s, err := Signature{}, fmt.Errorf("%w: at most %d beside one file", ErrTooMany, MaxBundles)
		switch {
		case i >= MaxBundles:
		case nb.Err != nil:
			err = fmt.Errorf("%w: %w", ErrUnread, nb.Err)
		default:
			s, err = verifyOne(a, nb.Data, who, opt)
		}
		if err != nil {
			r.Rejected = append(r.Rejected, Rejected{Path: nb.Path, Reason: err})
			continue
		}
		s.Path = nb.Path
		r.Valid = append(r.Valid, s)
	}
	return r
}

func verifyOne(a Artifact, data []byte, who []Identity, opt Options) (Signature, error) {
	b, err := parseBundle(data)
	if err != nil {
		return Signature{}, err
	}
	if b.algorithm == commonv1.HashAlgorithm_SHA2_256 && !bytes.Equal(b.digest, a.sha256[:]) {
		return Signature{}, fmt.Errorf("%w: it covers sha256:%.64x, the file is %s", ErrOtherBytes, b.digest, a.Digest())
	}
	if b.keyless {
		return verifyKeyless(a, b, data, who, opt)
	}
	return verifyKey(a, b, who)
}

func verifyKey(a Artifact, b bundle, who []Identity) (Signature, error) {
	tried := 0
	for _, id := range who {
		for _, key := range id.Keys {
			// Without a hint every key is tried; with one, only the key it names.
			if b.hint != "" && b.hint != key.hint() {
				continue
			}
			tried++
			if key.verify(a, b.sig) == nil {
				return Signature{Signer: id.Name, KeyID: key.ID()}, nil
			}
		}
	}
	switch {
	case tried == 0 && b.hint == "":
		return Signature{}, fmt.Errorf("%w: no keys are known", ErrUnknownSigner)
	case tried == 0:
		return Signature{}, fmt.Errorf("%w: key hint %.64q is none of the known keys'", ErrUnknownSigner, b.hint)
	case b.hint == "":
		return Signature{}, fmt.Errorf("%w: it names no key, and none of the known ones made it", ErrUnknownSigner)
	}
	return Signature{}, fmt.Errorf("%w: the file was changed after it was signed, or the signature was", ErrBadSignature)
}

// verify checks sig over a with the key. Ed25519 is checked as pure, then as
// Ed25519ph, which cosign makes when it uploads to a log.
func (k PublicKey) verify(a Artifact, sig []byte) error {
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		if ed25519.Verify(key, a.message, sig) {
			return nil
		}
		digest := a.sha512()
		return ed25519.VerifyWithOptions(key, digest[:], sig, &ed25519.Options{Hash: crypto.SHA512})
	case *ecdsa.PublicKey, *rsa.PublicKey:
		v, err := signature.LoadVerifier(key, crypto.SHA256)
		if err != nil {
			return err
		}
		return v.VerifySignature(bytes.NewReader(sig), nil, options.WithDigest(a.sha256[:]))
	}
	return errors.New("no key")
}
