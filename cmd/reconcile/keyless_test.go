package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/signing/keyless/keylesstest"
)

const rampWorkflow = "https://github.com/acme/flags/.github/workflows/ramp.yml@refs/heads/main"

// A workflow that signs without a key may ramp, within its bounds; another workflow of the same forge may not, and without a
// trusted root nobody's certificate counts.
func TestKeylessSigner(t *testing.T) {
	w := newLedgerWorld(t)
	sigstore := keylesstest.New(t)
	root := filepath.Join(w.dir, "trusted_root.json")
	policy := flagtest.Trust(t, fmt.Sprintf(`{"version":1,"environment":"prod",
		"signers":{"alice":{"key":%q},"ramp-bot":{"issuer":%q,"subject":%q}},
		"roles":{"maintainer":{"signers":["alice"],"may":["*"]},"ramp":{"signers":["ramp-bot"],"may":["ramp.up","ramp.down"],"max_step":10}}}`,
		w.alice.PublicPEM, keylesstest.GitHubIssuer, rampWorkflow))
	for path, data := range map[string][]byte{root: sigstore.TrustedRoot(), filepath.Join(w.dir, "trust.json"): []byte(policy)} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	once := func(code int, more ...string) string {
		t.Helper()
		got, out, errs := w.run(append(append([]string{"once"}, w.flags...), more...)...)
		if got != code {
			t.Fatalf("exit %d, want %d\n%s\n%s", got, code, out, errs)
		}
		return out + errs
	}
	land := func(spec, subject string, with keylesstest.With) {
		t.Helper()
		w.repo.Write("specs/flags.json", spec)
		w.repo.Write("specs/flags.json.sigstore.json", string(sigstore.Bundle([]byte(spec), keylesstest.GitHubIssuer, subject, with)))
		w.repo.Commit("ramp")
		w.repo.Push()
	}
	w.land(specOf("flags-v1", "10", ""), "begin")
	once(0, "--trusted-root", root)
	land(specOf("flags-v1+ramp.1", "20", ""), rampWorkflow, keylesstest.RekorV1)
	if out := once(4); !strings.Contains(out, "Signer") && !strings.Contains(out, "Signature") {
		t.Errorf("without a trusted root: %s", out)
	}
	if out := once(0, "--trusted-root", root); !strings.Contains(out, "signed by ramp-bot") {
		t.Errorf("with one: %s", out)
	}
	land(specOf("flags-v1+ramp.2", "30", ""), strings.Replace(rampWorkflow, "ramp.yml", "test.yml", 1), keylesstest.RekorV1)
	if out := once(4, "--trusted-root", root); !strings.Contains(out, "SignerUnknown") {
		t.Errorf("another workflow: %s", out)
	}
	land(specOf("flags-v1+ramp.3", "60", ""), rampWorkflow, keylesstest.RekorV2|keylesstest.Timestamp)
	if out := once(4, "--trusted-root", root); !strings.Contains(out, "may step 10 at most") {
		t.Errorf("a leap: %s", out)
	}
	land(specOf("flags-v1+ramp.4", "30", ""), rampWorkflow, keylesstest.RekorV2|keylesstest.Timestamp)
	once(0, "--trusted-root", root)
}
