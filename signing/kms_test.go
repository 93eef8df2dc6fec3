package signing_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"

	"github.com/rampart-flags/rampart/signing"
)

// TestMain makes the test binary a KMS plugin as well: run under the name
// "sigstore-kms-filekms", it signs with the plain key file that the key's URI names.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "sigstore-kms-filekms" {
		if err := filekms(); err != nil {
			_ = handler.WriteErrorResponse(os.Stdout, err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type fileKMS struct{ signature.SignerVerifier }

func (fileKMS) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errors.ErrUnsupported
}
func (fileKMS) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errors.ErrUnsupported
}
func (fileKMS) SupportedAlgorithms() []string { return nil }
func (fileKMS) DefaultAlgorithm() string      { return "" }

func filekms() error {
	args, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(strings.TrimPrefix(args.InitOptions.KeyResourceID, "filekms://"))
	if err != nil {
		return err
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(pem, nil)
	if err != nil {
		return err
	}
	sv, err := signature.LoadSignerVerifier(key, crypto.SHA256)
	if err != nil {
		return err
	}
	_, err = handler.Dispatch(os.Stdout, os.Stdin, args, fileKMS{sv})
	return err
}

func TestKMS(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "sigstore-kms-filekms")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	priv, pub, err := signing.GenerateKey(signing.ECDSAP256, nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := cryptoutils.UnmarshalPEMToPrivateKey(priv, func(bool) ([]byte, error) { return []byte{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	plain, err := cryptoutils.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(path, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	signer, err := signing.LoadKMS(context.Background(), "filekms://"+path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(signer.Public().PEM(), pub) {
		t.Error("the KMS key's public half differs")
	}
	if r := verify(message, sign(t, signer, message), identity("kms", signer)); len(r.Valid) != 1 {
		t.Errorf("Verify = %+v", r)
	}

	for _, uri := range []string{"", "cosign.key", "://x", "../evil://x", "nosuch://key", "a b://x"} {
		if _, err := signing.LoadKMS(context.Background(), uri); !errors.Is(err, signing.ErrKey) {
			t.Errorf("LoadKMS(%q): %v", uri, err)
		}
	}
	if _, err := signing.LoadKMS(context.Background(), "filekms:///nosuch"); err == nil || !strings.Contains(fmt.Sprint(err), "filekms") {
		t.Errorf("a key that is not there: %v", err)
	}
}
