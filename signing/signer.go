package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// Signer makes bundles. The private key is held in a closure only, so that no
// format verb, log line or JSON encoder can print it.
type Signer struct {
	public PublicKey
	sign   func(ctx context.Context, message []byte) ([]byte, error)
}

// LoadSigner reads a private key from PEM: cosign's encrypted form (either
// header), PKCS #8 (encrypted or plain), SEC 1 or PKCS #1. password is called, once,
// only when the key is encrypted; a nil password func with such a key is
// [ErrPassword], and so is a password that does not open it. Keys of other kinds
// than [ParsePublicKey] accepts are [ErrKey]. No error holds any of the key.
func LoadSigner(pemBytes []byte, password func() ([]byte, error)) (*Signer, error) {
	if len(pemBytes) > maxPEM {
		return nil, fmt.Errorf("reading the private key: %w: %d bytes are too many", ErrKey, len(pemBytes))
	}
	block, _ := pem.Decode(pemBytes)
	if block == nil {
		return nil, fmt.Errorf("reading the private key: %w: no PEM block", ErrKey)
	}
	if strings.Contains(block.Type, "PUBLIC") {
		return nil, fmt.Errorf("reading the private key: %w: this is a public key", ErrKey)
	}
	encrypted := strings.Contains(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != ""
	var secret []byte
	if encrypted {
		if password == nil {
			return nil, fmt.Errorf("reading the private key: %w: it is encrypted and no password was given", ErrPassword)
		}
		var err error
		if secret, err = password(); err != nil {
			return nil, fmt.Errorf("asking for the private key's password: %w", err)
		}
	}
	priv, err := cryptoutils.UnmarshalPEMToPrivateKey(pem.EncodeToMemory(block), func(bool) ([]byte, error) {
		return append([]byte{}, secret...), nil
	})
	switch {
	case err != nil && encrypted:
		return nil, fmt.Errorf("opening the private key: %w", ErrPassword)
	case err != nil:
		return nil, fmt.Errorf("reading the private key: %w: %w", ErrKey, err)
	}
	s, err := newSigner(priv)
	if err != nil {
		return nil, fmt.Errorf("reading the private key: %w", err)
	}
	return s, nil
}

func newSigner(priv crypto.PrivateKey) (*Signer, error) {
	cs, ok := priv.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: %T", ErrKey, priv)
	}
	public, err := newPublicKey(cs.Public())
	if err != nil {
		return nil, err
	}
	if ed, ok := priv.(ed25519.PrivateKey); ok {
		// Directly, because the library copies the whole message first.
		return &Signer{public: public, sign: func(_ context.Context, message []byte) ([]byte, error) {
			return ed25519.Sign(ed, message), nil
		}}, nil
	}
	sv, err := signature.LoadSigner(priv, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return &Signer{public: public, sign: func(_ context.Context, message []byte) ([]byte, error) {
		return sv.SignMessage(bytes.NewReader(message))
	}}, nil
}

// LoadKMS opens a key that never leaves its key-management service, through
// sigstore's plugins: a program "sigstore-kms-<scheme>" on PATH for uri
// "<scheme>://…". The uri therefore chooses a program to run: it must come from the
// person at the keyboard (a flag, an environment variable), never from a repository.
func LoadKMS(ctx context.Context, uri string) (*Signer, error) {
	scheme, _, ok := strings.Cut(uri, "://")
	if !ok || scheme == "" || strings.ContainsAny(scheme, `/\ `) {
		return nil, fmt.Errorf("opening the KMS key: %w: want scheme://name, as in awskms:///alias/flags", ErrKey)
	}
	sv, err := kms.Get(ctx, uri, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("opening the KMS key %s://: %w: %w (is sigstore-kms-%s on PATH?)", scheme, ErrKey, err, scheme)
	}
	key, err := sv.PublicKey(options.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("asking the KMS %s:// for its public key: %w", scheme, err)
	}
	public, err := newPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("opening the KMS key %s://: %w", scheme, err)
	}
	return &Signer{public: public, sign: func(ctx context.Context, message []byte) ([]byte, error) {
		return sv.SignMessage(bytes.NewReader(message), options.WithContext(ctx))
	}}, nil
}

// Public is the key that checks what the signer makes.
func (s *Signer) Public() PublicKey { return s.public }

// Sign makes a bundle over message: one line of JSON and a line end. Before it
// returns, the signature has been checked with the public key, so that a broken key
// service cannot land a bundle that nobody accepts.
func (s *Signer) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sig, err := s.sign(ctx, message)
	if err != nil {
		return nil, fmt.Errorf("signing with key %s: %w", s.public.ID(), err)
	}
	a := NewArtifact(message)
	if err := s.public.verify(a, sig); err != nil {
		return nil, fmt.Errorf("checking the new signature with key %s: %w", s.public.ID(), err)
	}
	return encodeBundle(a, s.public, sig)
}
