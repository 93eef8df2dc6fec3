package signing_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"

	"github.com/rampart-flags/rampart/signing"
)

func password(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

func TestKeyFiles(t *testing.T) {
	for _, kind := range []signing.Kind{"", signing.ECDSAP256, signing.Ed25519} {
		for _, pw := range []string{"", "correct horse"} {
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
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]interface{}{"P-384": p384, "RSA 2048": small} {
		priv, err := cryptoutils.MarshalPrivateKeyToPEM(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signing.LoadSigner(priv, nil); !errors.Is(err, signing.ErrKey) {
			t.Errorf("LoadSigner of %s: %v", name, err)
		}
	}
	for name, key := range map[string]interface{}{"P-384": p384.Public(), "RSA 2048": small.Public()} {
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
	d := key.D.String()
	var out strings.Builder
	fmt.Fprintf(&out, "%v %+v %#v", signer, signer, *signer)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "signer", signer)
	enc, err := json.Marshal(signer)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(enc)
	if strings.Contains(out.String(), d) || strings.Contains(out.String(), key.D.Text(16)) {
		t.Errorf("the private key is in %s", out.String())
	}
}
