package keyless_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/signing/keyless"
	"github.com/rampart-flags/rampart/signing/keyless/keylesstest"
)

const workflow = "https://github.com/acme/flags/.github/workflows/ramp.yml@refs/heads/main"

var message = []byte(`{"version":"flags-v1"}` + "\n")

func verifier(t testing.TB, root []byte) *keyless.Verifier {
	t.Helper()
	v, err := keyless.New(root)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCheck(t *testing.T) {
	a := keylesstest.New(t)
	v, digest := verifier(t, a.TrustedRoot()), sha256.Sum256(message)
	private := verifier(t, a.PrivateRoot())
	stranger := keylesstest.New(t)

	for name, with := range map[string]keylesstest.With{
		"rekor v1":               keylesstest.RekorV1,
		"rekor v1 and timestamp": keylesstest.RekorV1 | keylesstest.Timestamp,
		"rekor v2 and timestamp": keylesstest.RekorV2 | keylesstest.Timestamp,
		"timestamp":              keylesstest.Timestamp,
		"all":                    keylesstest.RekorV1 | keylesstest.RekorV2 | keylesstest.Timestamp,
	} {
		t.Run(name, func(t *testing.T) {
			b := a.Bundle(message, keylesstest.GitHubIssuer, workflow, with)
			if err := v.Check(b, digest, keylesstest.GitHubIssuer, workflow); err != nil {
				t.Error(err)
			}
			for what, err := range map[string]error{
				"another issuer":     v.Check(b, digest, "https://gitlab.com", workflow),
				"another subject":    v.Check(b, digest, keylesstest.GitHubIssuer, workflow+"2"),
				"a part of it":       v.Check(b, digest, keylesstest.GitHubIssuer, workflow[:len(workflow)-1]),
				"no subject":         v.Check(b, digest, keylesstest.GitHubIssuer, ""),
				"no issuer":          v.Check(b, digest, "", workflow),
				"other bytes":        v.Check(b, sha256.Sum256(nil), keylesstest.GitHubIssuer, workflow),
				"a stranger's root":  verifier(t, stranger.TrustedRoot()).Check(b, digest, keylesstest.GitHubIssuer, workflow),
				"a stranger's words": v.Check(stranger.Bundle(message, keylesstest.GitHubIssuer, workflow, with), digest, keylesstest.GitHubIssuer, workflow),
			} {
				if err == nil {
					t.Errorf("%s: accepted", what)
				}
			}
		})
	}
	t.Run("no observer", func(t *testing.T) {
		for name, with := range map[string]keylesstest.With{"bare certificate": 0, "rekor v2 says no time": keylesstest.RekorV2} {
			if err := v.Check(a.Bundle(message, keylesstest.GitHubIssuer, workflow, with), digest, keylesstest.GitHubIssuer, workflow); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
	})
	t.Run("a private root without logs", func(t *testing.T) {
		if err := private.Check(a.Bundle(message, keylesstest.GitHubIssuer, workflow, keylesstest.Timestamp), digest, keylesstest.GitHubIssuer, workflow); err != nil {
			t.Error(err)
		}
		// An entry of a log that the root does not name proves nothing.
		if err := private.Check(a.Bundle(message, keylesstest.GitHubIssuer, workflow, keylesstest.RekorV1), digest, keylesstest.GitHubIssuer, workflow); err == nil {
			t.Error("accepted an entry of an unknown log")
		}
	})
	t.Run("long after the certificate has run out", func(t *testing.T) {
		now := a.Now
		a.Now = now.Add(-100 * 24 * time.Hour)
		b := a.Bundle(message, keylesstest.GitHubIssuer, workflow, keylesstest.RekorV1|keylesstest.Timestamp)
		a.Now = now
		if err := v.Check(b, digest, keylesstest.GitHubIssuer, workflow); err != nil {
			t.Error(err)
		}
	})
}

// Through signing.Verify: who is asked for by the certificate's words is then proven
// with exactly those words.
func TestWithSigning(t *testing.T) {
	a := keylesstest.New(t)
	opt := signing.Options{Keyless: verifier(t, a.TrustedRoot()).Check}
	bot := func(subject, pattern string) signing.Identity {
		id := signing.Identity{Name: "ramp-bot", Keyless: &signing.Keyless{Issuer: keylesstest.GitHubIssuer, Subject: subject}}
		if pattern != "" {
			re, err := signing.NewPattern(pattern)
			if err != nil {
				t.Fatal(err)
			}
			id.Keyless.Pattern = re
		}
		return id
	}
	const repo = `https://github\.com/acme/flags/`
	evil := "https://github.com/evil/x/.github/workflows/y.yml?x=" + workflow
	for _, tc := range []struct {
		name, issuer, subject string
		id                    signing.Identity
		opt                   signing.Options
		want                  error
	}{
		{"exact", keylesstest.GitHubIssuer, workflow, bot(workflow, ""), opt, nil},
		{"pattern", keylesstest.GitHubIssuer, workflow, bot("", repo+".*"), opt, nil},
		{"a person", "https://github.com/login/oauth", "alice@example.com", signing.Identity{Name: "ramp-bot", Keyless: &signing.Keyless{Issuer: "https://github.com/login/oauth", Subject: "alice@example.com"}}, opt, nil},
		{"other branch", keylesstest.GitHubIssuer, strings.Replace(workflow, "main", "evil", 1), bot(workflow, ""), opt, signing.ErrUnknownSigner},
		{"other issuer", "https://evil.example", workflow, bot(workflow, ""), opt, signing.ErrUnknownSigner},
		{"pattern in the middle", keylesstest.GitHubIssuer, evil, bot("", repo+`\.github/workflows/ramp\.yml@refs/heads/main`), opt, signing.ErrUnknownSigner},
		{"pattern with alternatives", keylesstest.GitHubIssuer, evil, bot("", "nothing|"+repo+`.*`), opt, signing.ErrUnknownSigner},
		{"no trusted root", keylesstest.GitHubIssuer, workflow, bot(workflow, ""), signing.Options{}, signing.ErrNoKeyless},
		{"another's trusted root", keylesstest.GitHubIssuer, workflow, bot(workflow, ""), signing.Options{Keyless: verifier(t, keylesstest.New(t).TrustedRoot()).Check}, signing.ErrBadSignature},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := a.Bundle(message, tc.issuer, tc.subject, keylesstest.RekorV1)
			r := signing.Verify(signing.NewArtifact(message), []signing.NamedBundle{{Path: "b", Data: b}}, []signing.Identity{tc.id}, tc.opt)
			if tc.want == nil {
				if len(r.Valid) != 1 || r.Valid[0].Signer != "ramp-bot" || r.Valid[0].KeyID != "keyless:"+tc.subject {
					t.Fatalf("Verify = %+v", r)
				}
				return
			}
			if len(r.Valid) != 0 || !errors.Is(r.Rejected[0].Reason, tc.want) {
				t.Fatalf("Verify = %+v, want %v", r, tc.want)
			}
		})
	}
}

func TestPublicGood(t *testing.T) {
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join("testdata", "public-good", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	v, digest := verifier(t, read("trusted_root.json")), sha256.Sum256(read("a.txt"))
	const issuer, who = "https://github.com/login/oauth", "a@tny.town"
	if err := v.Check(read("a.txt.sigstore.json"), digest, issuer, who); err != nil {
		t.Error(err)
	}
	if err := v.Check(read("a.txt.sigstore.json"), digest, issuer, "b@tny.town"); err == nil {
		t.Error("accepted for another person")
	}
	if err := v.Check(read("a.txt.sigstore.json"), sha256.Sum256([]byte("other")), issuer, who); err == nil {
		t.Error("accepted for other bytes")
	}
	// An attestation about the file is not a signature on it, however good it is.
	if err := v.Check(read("npm-provenance.sigstore.json"), digest, keylesstest.GitHubIssuer, workflow); err == nil || !strings.Contains(err.Error(), "no message signature") {
		t.Errorf("an attestation: %v", err)
	}
}

func TestTrustedRootThatProvesNothing(t *testing.T) {
	for name, doc := range map[string]string{
		"empty":      "",
		"other type": `{"mediaType":"text/plain"}`,
		"nobody":     `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`,
	} {
		if _, err := keyless.New([]byte(doc)); !errors.Is(err, keyless.ErrTrustedRoot) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Stock cosign accepts what the test authority makes, so it is a fair stand-in.
func TestCosignAgrees(t *testing.T) {
	program := os.Getenv("COSIGN")
	if program == "" {
		var err error
		if program, err = exec.LookPath("cosign"); err != nil {
			t.Skip("no cosign on the PATH and none in $COSIGN")
		}
	}
	a, dir := keylesstest.New(t), t.TempDir()
	at := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file, root := at("flags.json", message), at("root.json", a.TrustedRoot())
	for name, with := range map[string]keylesstest.With{"v1": keylesstest.RekorV1, "v2": keylesstest.RekorV2 | keylesstest.Timestamp} {
		bundle := at(name, a.Bundle(message, keylesstest.GitHubIssuer, workflow, with))
		cmd := exec.Command(program, "verify-blob", "--bundle", bundle, "--trusted-root", root, "--certificate-identity", workflow, "--certificate-oidc-issuer", keylesstest.GitHubIssuer, file)
		cmd.Env = []string{"HOME=" + dir}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func TestSign(t *testing.T) {
	a := keylesstest.New(t)
	config, root := a.Services(), a.TrustedRoot()
	token := func(context.Context) (string, error) { return a.Token(keylesstest.GitHubIssuer, workflow), nil }
	b, err := keyless.Sign(context.Background(), message, keyless.SignOptions{Token: token, SigningConfig: config, TrustedRoot: root})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(b, []byte("\n")) != 1 || !bytes.HasSuffix(b, []byte("\n")) {
		t.Errorf("not one line: %q", b)
	}
	if err := verifier(t, root).Check(b, sha256.Sum256(message), keylesstest.GitHubIssuer, workflow); err != nil {
		t.Error(err)
	}

	denied := errors.New("denied")
	for name, opt := range map[string]keyless.SignOptions{
		"no token":             {SigningConfig: config, Token: func(context.Context) (string, error) { return "", denied }},
		"no way to get one":    {SigningConfig: config},
		"a broken token":       {SigningConfig: config, Token: func(context.Context) (string, error) { return "x", nil }},
		"no observer":          {SigningConfig: without(t, config, "tsaUrls", "rekorTlogUrls"), Token: token},
		"no authority":         {SigningConfig: without(t, config, "caUrls"), Token: token},
		"another's root":       {SigningConfig: config, Token: token, TrustedRoot: keylesstest.New(t).TrustedRoot()},
		"an unreadable root":   {SigningConfig: config, Token: token, TrustedRoot: []byte("{")},
		"an unreadable config": {SigningConfig: []byte("{"), Token: token},
	} {
		if _, err := keyless.Sign(context.Background(), message, opt); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

func without(t *testing.T, doc []byte, fields ...string) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(doc, &m); err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		delete(m, f)
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGitHubToken(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" || r.URL.Query().Get("audience") != "sigstore" || r.URL.Query().Get("api-version") != "2.0" {
			http.Error(w, "secret words of the server", http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(`{"count":1,"value":"the.jwt"}`))
	}))
	defer srv.Close()
	env := map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": srv.URL + "/?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret"}
	getenv := func(k string) string { return env[k] }
	if got, err := keyless.GitHubToken(getenv)(context.Background()); err != nil || got != "the.jwt" {
		t.Errorf("GitHubToken = %q, %v", got, err)
	}
	env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"] = "wrong"
	if _, err := keyless.GitHubToken(getenv)(context.Background()); err == nil || strings.Contains(err.Error(), "wrong") {
		t.Errorf("with a wrong bearer: %v", err)
	}
	delete(env, "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if _, err := keyless.GitHubToken(getenv)(context.Background()); !errors.Is(err, keyless.ErrNoToken) {
		t.Errorf("outside of a job: %v", err)
	}
}

// Nothing that a stranger writes into a bundle verifies or crashes.
func FuzzCheck(f *testing.F) {
	a := keylesstest.New(f)
	v, digest := verifier(f, a.TrustedRoot()), sha256.Sum256(message)
	for _, with := range []keylesstest.With{keylesstest.Timestamp, keylesstest.RekorV1, keylesstest.RekorV2 | keylesstest.Timestamp} {
		f.Add(a.Bundle(message, keylesstest.GitHubIssuer, workflow, with))
	}
	real, err := os.ReadFile("testdata/public-good/a.txt.sigstore.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(real)
	f.Fuzz(func(t *testing.T, b []byte) {
		err := v.Check(b, digest, keylesstest.GitHubIssuer, "https://github.com/acme/flags/.github/workflows/other.yml@refs/heads/main")
		if err == nil {
			t.Fatal("accepted for somebody who signed nothing")
		}
		if strings.Contains(err.Error(), "panicked") {
			t.Fatal(err)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	a := keylesstest.New(b)
	v, digest := verifier(b, a.TrustedRoot()), sha256.Sum256(message)
	bundle := a.Bundle(message, keylesstest.GitHubIssuer, workflow, keylesstest.RekorV1)
	for b.Loop() {
		if err := v.Check(bundle, digest, keylesstest.GitHubIssuer, workflow); err != nil {
			b.Fatal(err)
		}
	}
}
