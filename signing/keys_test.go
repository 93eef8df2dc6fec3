package signing_test

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/rampart-flags/rampart/signing"
)

func password(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

func TestKeyFiles(t *testing.T) {
	for kind, pw := range map[signing.Kind]string{"": "", signing.Ed25519: "correct horse"} {
		t.Run(fmt.Sprintf("%s %q", kind, pw), func(t *testing.T) {
			priv, pub, err := signing.GenerateKey(kind, []byte(pw))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(priv, []byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")) {
				t.Errorf("private key begins %.50q", priv)
			}
			signer, err := signing.LoadSigner(priv, password(pw))
			if err != nil {
				t.Fatal(err)
			}
			key, err := signing.ParsePublicKey(pub)
			if err != nil {
				t.Fatal(err)
			}
			if want := cmp.Or(kind, signing.ECDSAP256); key.Kind() != want {
				t.Errorf("Kind = %s, want %s", key.Kind(), want)
			}
			if !key.Equal(signer.Public()) || key.ID() != signer.Public().ID() || !bytes.Equal(key.PEM(), pub) {
				t.Errorf("the halves differ: %s and %s", key.ID(), signer.Public().ID())
			}
			if _, err := signing.LoadSigner(priv, password("wrong")); !errors.Is(err, signing.ErrPassword) {
				t.Errorf("a wrong password: %v", err)
			}
			if _, err := signing.LoadSigner(priv, nil); !errors.Is(err, signing.ErrPassword) {
				t.Errorf("no password: %v", err)
			}
		})
	}
	if _, _, err := signing.GenerateKey("rot13", nil); !errors.Is(err, signing.ErrKey) {
		t.Errorf("an unknown kind: %v", err)
	}
}

func TestPasswordIsAskedOnlyWhenNeeded(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := cryptoutils.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() ([]byte, error) { t.Error("asked for a password"); return nil, nil }
	if _, err := signing.LoadSigner(plain, ask); err != nil {
		t.Error(err)
	}
	priv, _, err := signing.GenerateKey(signing.ECDSAP256, nil)
	if err != nil {
		t.Fatal(err)
	}
	interrupted := errors.New("interrupted")
	if _, err := signing.LoadSigner(priv, func() ([]byte, error) { return nil, interrupted }); !errors.Is(err, interrupted) {
		t.Errorf("password func failed: %v", err)
	}
}

func TestKeysOfOtherKinds(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	priv, err := cryptoutils.MarshalPrivateKeyToPEM(p384)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signing.LoadSigner(priv, nil); !errors.Is(err, signing.ErrKey) {
		t.Errorf("LoadSigner of P-384: %v", err)
	}
	// Of the right shape, though nobody has its private half.
	modulus := func(bits uint) *rsa.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
	}
	for name, key := range map[string]any{"P-384": p384.Public(), "RSA 2048": modulus(2048), "RSA 16384": modulus(16384)} {
		pub, err := cryptoutils.MarshalPublicKeyToPEM(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signing.ParsePublicKey(pub); !errors.Is(err, signing.ErrKey) {
			t.Errorf("ParsePublicKey of %s: %v", name, err)
		}
	}
}

func TestParsePublicKeyRefuses(t *testing.T) {
	priv, pub, err := signing.GenerateKey(signing.ECDSAP256, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		pem  []byte
		says string
	}{
		"nothing":         {nil, "no PEM"},
		"text":            {[]byte("ssh-ed25519 AAAA"), "no PEM"},
		"a private key":   {priv, "private key"},
		"two keys":        {append(bytes.Clone(pub), pub...), "more follows"},
		"text behind":     {append(bytes.Clone(pub), "x"...), "more follows"},
		"a certificate":   {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}), ""},
		"rubbish in PEM":  {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1, 2, 3}}), ""},
		"more than 64 kB": {bytes.Repeat([]byte{' '}, 65<<10), "too many"},
	} {
		_, err := signing.ParsePublicKey(tc.pem)
		if !errors.Is(err, signing.ErrKey) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && bytes.Contains([]byte(err.Error()), priv[60:100]) {
			t.Errorf("%s: the error holds key material", name)
		}
	}
	if _, err := signing.LoadSigner(pub, nil); !errors.Is(err, signing.ErrKey) {
		t.Errorf("LoadSigner of a public key: %v", err)
	}
}

// Whatever prints a signer, the private key is not in it.
func TestSignerDoesNotPrintItsKey(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := loadPlain(t, key)
	secret, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%v %+v %#v", signer, signer, *signer)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "signer", signer)
	enc, err := json.Marshal(map[string]any{"signer": signer})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(enc)
	for _, form := range []string{new(big.Int).SetBytes(secret).String(), hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret), fmt.Sprint(secret)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the private key is in %s", out.String())
		}
	}
}
