package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// Kind is an algorithm for keys.
type Kind string

const (
	// ECDSAP256 is ECDSA on P-256 over SHA-256: what cosign makes, and the default.
	ECDSAP256 Kind = "ecdsa-p256"
	// Ed25519 is pure Ed25519 (RFC 8032). Stock cosign needs "import-key-pair" for it.
	Ed25519 Kind = "ed25519"
	// RSA is PKCS #1 v1.5 over SHA-256 with at least 3072 bits. It is read, never made.
	RSA Kind = "rsa"
)

const (
	minRSABits = 3072
	maxRSABits = 8192     // above it, one verification costs milliseconds
	maxPEM     = 64 << 10 // no key of the kinds above comes near it
)

// GenerateKey makes a key pair. The private half is PEM in cosign's own encrypted
// format ("ENCRYPTED SIGSTORE PRIVATE KEY": scrypt and NaCl secretbox), the public
// half is PKIX PEM. An empty kind means [ECDSAP256]. A nil or empty password
// encrypts with the empty password, as cosign does, so that cosign can load the file.
func GenerateKey(kind Kind, password []byte) (privPEM, pubPEM []byte, err error) {
	var priv crypto.Signer
	switch kind {
	case ECDSAP256, "":
		priv, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case Ed25519:
		_, priv, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, nil, fmt.Errorf("making a key: %w: kind %q is neither %s nor %s", ErrKey, kind, ECDSAP256, Ed25519)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	// cryptoutils takes a nil password to mean "do not encrypt", and cosign then
	// refuses the file: hand it an empty one instead.
	der, err := cryptoutils.MarshalPrivateKeyToEncryptedDER(priv, func(bool) ([]byte, error) {
		return append([]byte{}, password...), nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("encrypting the private key: %w", err)
	}
	pubPEM, err = cryptoutils.MarshalPublicKeyToPEM(priv.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the public key: %w", err)
	}
	return cryptoutils.PEMEncode(cryptoutils.EncryptedSigstorePrivateKeyPEMType, der), pubPEM, nil
}

// PublicKey is a key that [Verify] can check signatures with. Only
// [ParsePublicKey] and a [Signer] make one; the zero value verifies nothing.
type PublicKey struct {
	key  crypto.PublicKey // *ecdsa.PublicKey on P-256, ed25519.PublicKey or *rsa.PublicKey
	der  []byte           // PKIX
	hash [sha256.Size]byte
}

// ParsePublicKey reads one PEM block, "PUBLIC KEY" (PKIX) or "RSA PUBLIC KEY".
// It accepts ECDSA P-256, Ed25519 and RSA of 3072 bits and more; anything else,
// also a second block or text after the block, is [ErrKey].
func ParsePublicKey(pemBytes []byte) (PublicKey, error) {
	if len(pemBytes) > maxPEM {
		return PublicKey{}, fmt.Errorf("reading a public key: %w: %d bytes are too many", ErrKey, len(pemBytes))
	}
	block, rest := pem.Decode(pemBytes)
	switch {
	case block == nil:
		return PublicKey{}, fmt.Errorf("reading a public key: %w: no PEM block", ErrKey)
	case len(bytes.TrimSpace(rest)) != 0:
		return PublicKey{}, fmt.Errorf("reading a public key: %w: one PEM block is expected, and more follows it", ErrKey)
	case bytes.Contains([]byte(block.Type), []byte("PRIVATE")):
		return PublicKey{}, fmt.Errorf("reading a public key: %w: this is a private key: give the .pub file", ErrKey)
	}
	key, err := cryptoutils.UnmarshalPEMToPublicKey(pemBytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("reading a public key: %w: %w", ErrKey, err)
	}
	pub, err := newPublicKey(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("reading a public key: %w", err)
	}
	return pub, nil
}

func newPublicKey(key crypto.PublicKey) (PublicKey, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return PublicKey{}, fmt.Errorf("%w: ECDSA on %s: only P-256 is supported, because cosign checks no other", ErrKey, k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return PublicKey{}, fmt.Errorf("%w: RSA of %d bits: %d to %d are supported", ErrKey, bits, minRSABits, maxRSABits)
		}
	default:
		return PublicKey{}, fmt.Errorf("%w: %T: only ECDSA P-256, Ed25519 and RSA are supported", ErrKey, key)
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return PublicKey{key: key, der: der, hash: sha256.Sum256(der)}, nil
}

// ID names the key: "sha256:" and the hex SHA-256 of its PKIX DER, which is what
// "openssl pkey -pubin -outform DER | sha256sum" prints. The zero key's ID is "".
func (k PublicKey) ID() string {
	if k.key == nil {
		return ""
	}
	return "sha256:" + hex.EncodeToString(k.hash[:])
}

// Kind says which algorithm the key is of.
func (k PublicKey) Kind() Kind {
	switch k.key.(type) {
	case *ecdsa.PublicKey:
		return ECDSAP256
	case ed25519.PublicKey:
		return Ed25519
	case *rsa.PublicKey:
		return RSA
	}
	return ""
}

// PEM encodes the key as PKIX PEM, the form [ParsePublicKey] and cosign read.
func (k PublicKey) PEM() []byte {
	if k.key == nil {
		return nil
	}
	return cryptoutils.PEMEncode(cryptoutils.PublicKeyPEMType, k.der)
}

// Equal says whether both are the same key.
func (k PublicKey) Equal(other PublicKey) bool {
	return k.key != nil && other.key != nil && bytes.Equal(k.der, other.der)
}

// hint is what cosign and sigstore-go write beside a signature made with a key. It
// is not authenticated: it picks the candidate and proves nothing.
func (k PublicKey) hint() string { return base64.StdEncoding.EncodeToString(k.hash[:]) }
