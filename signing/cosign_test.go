package signing_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/signing"
)

// What stock cosign wrote (testdata/cosign-3.1.3/README.md says how).
func TestCosignFixtures(t *testing.T) {
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join("testdata", "cosign-3.1.3", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	msg := read("flags.json")
	for _, tc := range []struct {
		key, bundle string
		want        error
	}{
		{"p256.pub", "p256.sigstore.json", nil},
		{"p256.pub", "p256.converted.json", nil},
		{"ed25519.pub", "ed25519.sigstore.json", nil},
		{"rsa3072.pub", "rsa3072.sigstore.json", nil},
		{"p256.pub", "p256.legacy.json", signing.ErrLegacyBundle},
		{"p256.pub", "p256.dsse.json", signing.ErrDSSE},
		{"ed25519.pub", "p256.sigstore.json", signing.ErrUnknownSigner},
	} {
		t.Run(tc.bundle, func(t *testing.T) {
			key, err := signing.ParsePublicKey(read(tc.key))
			if err != nil {
				t.Fatal(err)
			}
			who := signing.Identity{Name: "alice", Keys: []signing.PublicKey{key}}
			r := verify(msg, read(tc.bundle), who)
			if tc.want != nil {
				wantRejected(t, r, tc.want)
				return
			}
			if len(r.Valid) != 1 {
				t.Fatalf("Verify = %+v", r)
			}
			if r := verify(append(bytes.Clone(msg), ' '), read(tc.bundle), who); len(r.Valid) != 0 {
				t.Fatalf("over other bytes: %+v", r)
			}
		})
	}
}

// cosign runs the stock program, from $COSIGN or the PATH, with an empty home.
func cosign(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	program := os.Getenv("COSIGN")
	if program == "" {
		// CI has no cosign and the fixtures above stand in for it, so this is a
		// plain skip and not flagtest.Need, which would fail there.
		if _, err := exec.LookPath("cosign"); err != nil {
			t.Skip("no cosign on the PATH and none in $COSIGN: only its fixtures are checked")
		}
		program = "cosign"
	} else {
		flagtest.Need(t, program)
	}
	dir := t.TempDir()
	return func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = dir
		cmd.Env = []string{"HOME=" + dir, "COSIGN_PASSWORD=pw", "PATH=" + os.Getenv("PATH")}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

func TestCosignChecksOurs(t *testing.T) {
	run := cosign(t)
	priv, pub, err := signing.GenerateKey(signing.ECDSAP256, []byte("pw"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signing.LoadSigner(priv, password("pw"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	at := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file, key := at("flags.json", message), at("cosign.pub", pub)
	bundle := at("flags.json.sigstore.json", sign(t, signer, message))
	if out, err := run("verify-blob", "--key", key, "--bundle", bundle, "--insecure-ignore-tlog", file); err != nil {
		t.Errorf("cosign refuses our bundle: %v\n%s", err, out)
	}
	at("flags.json", append(bytes.Clone(message), ' '))
	if out, err := run("verify-blob", "--key", key, "--bundle", bundle, "--insecure-ignore-tlog", file); err == nil {
		t.Errorf("cosign accepts our bundle over other bytes\n%s", out)
	}
	// The private key file, too, is cosign's own.
	if out, err := run("sign-blob", "--key", at("cosign.key", priv), "--tlog-upload=false", "--use-signing-config=false",
		"--bundle", filepath.Join(dir, "theirs.json"), at("flags.json", message)); err != nil {
		t.Fatalf("cosign cannot use our key: %v\n%s", err, out)
	}
	theirs, err := os.ReadFile(filepath.Join(dir, "theirs.json"))
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(message, theirs, identity("alice", signer)); len(r.Valid) != 1 {
		t.Errorf("we refuse cosign's bundle: %+v", r)
	}
}

func TestWeUseCosignsKey(t *testing.T) {
	run := cosign(t)
	dir := t.TempDir()
	if out, err := run("generate-key-pair", "--output-key-prefix", filepath.Join(dir, "k")); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	priv, err := os.ReadFile(filepath.Join(dir, "k.key"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := signing.LoadSigner(priv, password("pw"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signing.LoadSigner(priv, password("not it")); !errors.Is(err, signing.ErrPassword) {
		t.Errorf("a wrong password: %v", err)
	}
	file, bundle := filepath.Join(dir, "f"), filepath.Join(dir, "b")
	if err := errors.Join(os.WriteFile(file, message, 0o600), os.WriteFile(bundle, sign(t, signer, message), 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := run("verify-blob", "--key", filepath.Join(dir, "k.pub"), "--bundle", bundle, "--insecure-ignore-tlog", file); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// The conversion that our error message for an older bundle advises.
	old, converted := filepath.Join(dir, "old"), filepath.Join(dir, "converted")
	if out, err := run("sign-blob", "--key", filepath.Join(dir, "k.key"), "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false", "--bundle", old, file); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := run("bundle", "create", "--artifact", file, "--bundle", old, "--key", filepath.Join(dir, "k.pub"), "--ignore-tlog", "--out", converted); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(converted)
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(message, data, identity("alice", signer)); len(r.Valid) != 1 {
		t.Errorf("Verify = %+v", r)
	}
}
