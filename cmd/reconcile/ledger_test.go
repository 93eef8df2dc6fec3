package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/signing"
)

// ledgerWorld is a repository, a Redis and a state folder that commands run on.
type ledgerWorld struct {
	t     *testing.T
	repo  *flagtest.GitRepo
	alice *flagtest.Key
	flags []string
	dir   string
}

func newLedgerWorld(t *testing.T) *ledgerWorld {
	t.Helper()
	flagtest.Need(t, "git", "redis-server")
	w := &ledgerWorld{t: t, repo: flagtest.Repo(t), alice: flagtest.NewKey(t, "alice"), dir: t.TempDir()}
	w.repo.Setenv()
	trust := filepath.Join(w.dir, "trust.json")
	policy := flagtest.Trust(t, `{"version":1,"environment":"prod","roles":{"maintainer":{"signers":["alice"],"may":["*"]}}}`, w.alice)
	if err := os.WriteFile(trust, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	w.flags = []string{"--repo", w.repo.URL(), "--trust", trust, "--redis", flagtest.Redis(t).URL(), "--state-dir", w.state()}
	return w
}

func (w *ledgerWorld) state() string { return filepath.Join(w.dir, "state") }

// land commits a spec, signed by alice, with the given commit message.
func (w *ledgerWorld) land(spec, message string) string {
	w.t.Helper()
	w.repo.Write("specs/flags.json", spec)
	w.repo.Write("specs/flags.json.sigstore.json", string(w.alice.Bundle([]byte(spec))))
	w.repo.Commit(message)
	return w.repo.Push()
}

// run runs a command and returns its exit code and what it printed.
func (w *ledgerWorld) run(args ...string) (int, string, string) {
	w.t.Helper()
	var out, errs bytes.Buffer
	env := cli.Env{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(name string) string {
		if name == "HOME" {
			return w.dir
		}
		return ""
	}}
	err := run(context.Background(), env)
	code := cli.Code(err)
	if err != nil {
		code = cli.Report(&errs, "reconcile", err)
	}
	return code, out.String(), errs.String()
}

func (w *ledgerWorld) must(code int, args ...string) string {
	w.t.Helper()
	got, out, errs := w.run(args...)
	if got != code {
		w.t.Fatalf("reconcile %s: exit %d, want %d\n%s\n%s", strings.Join(args, " "), got, code, out, errs)
	}
	return out
}

func specOf(version, pct, cohorts string) string {
	return fmt.Sprintf(`{"version":%q,"environment":"prod","features":{"receipts":{"pct":%s,"cohorts":[%s]}}}`+"\n", version, pct, cohorts)
}

const chain = "0af7651916cd43dd8448eb211c80319c"

func TestReceiptsOfWhatHappened(t *testing.T) {
	w := newLedgerWorld(t)
	trailers := "\n\nOp-Id: 01a20000-0000-7000-8000-00000000000%d\nOp-Chain-Id: " + chain + "\n"
	w.land(specOf("flags-v1", "10", `"user-9"`), fmt.Sprintf("begin"+trailers, 1))
	once := func(code int) { t.Helper(); w.must(code, append([]string{"once", "--name", "test"}, w.flags...)...) }
	once(0)
	w.land(specOf("flags-v1+ramp.1", "20", ""), fmt.Sprintf("up"+trailers, 2))
	once(0)
	// Another hand: the content changes and the signature does not.
	w.repo.Write("specs/flags.json", specOf("flags-v1+ramp.2", "99", ""))
	w.repo.Commit("forged")
	forged := w.repo.Push()
	once(4)
	once(4) // what was refused is not refused again

	state := []string{"--state-dir", w.state()}
	list := w.must(0, append([]string{"receipts", "list", "--json"}, state...)...)
	var kinds []string
	for line := range strings.Lines(list) {
		var r struct{ Format, Kind, Phase, Op_chain_id, Reason string }
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Format != "receipt/v1" {
			t.Fatalf("%s: %v", line, err)
		}
		if strings.Count(line, `"format":`) != 1 {
			t.Errorf("a strict reader refuses a line that says its format twice: %s", line)
		}
		kinds = append(kinds, r.Kind+"/"+r.Phase+r.Reason)
	}
	want := "generation/intent generation/outcome generation/intent generation/outcome refusal/outcomeSignatureStale"
	got := strings.Join(kinds, " ")
	got = strings.ReplaceAll(got, "intentAccepted", "intent")
	got = strings.ReplaceAll(got, "outcomeAccepted", "outcome")
	if got != want {
		t.Errorf("receipts %s, want %s", got, want)
	}

	if out := w.must(0, append([]string{"receipts", "verify"}, state...)...); !strings.Contains(out, "ok  rampart/test: 5 receipts, 5 in the log") {
		t.Errorf("verify: %s", out)
	}
	if out := w.must(0, append([]string{"lineage", chain, "--json"}, state...)...); strings.Count(out, `"kind":"proposal"`) != 2 || !strings.Contains(out, `"complete":true`) {
		t.Errorf("lineage: %s", out)
	}
	if out := w.must(0, append([]string{"lineage", forged[:12]}, state...)...); !strings.Contains(out, "SignatureStale") {
		t.Errorf("lineage of the forged commit: %s", out)
	}
	if out := w.must(4, append([]string{"coverage", "--notary", "outside"}, state...)...); !strings.Contains(out, "no notary outside") {
		t.Errorf("coverage with a notary that has confirmed nothing: %s", out)
	}
	if out := w.must(0, append([]string{"coverage"}, state...)...); !strings.Contains(out, "2 of 2 generations complete, 100 %") {
		t.Errorf("coverage: %s", out)
	}
	w.proofs(state)
	w.tampered(state)
}

// proofs makes a proof, checks it, and sees an edited one refused.
func (w *ledgerWorld) proofs(state []string) {
	w.t.Helper()
	key, err := os.ReadFile(filepath.Join(w.state(), "ledger", "key.pub"))
	if err != nil {
		w.t.Fatal(err)
	}
	proof := w.must(0, append([]string{"receipts", "prove", "3"}, state...)...)
	path := filepath.Join(w.dir, "proof.json")
	if err := os.WriteFile(path, []byte(proof), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.must(0, "receipts", "prove", "--check", path, "--key", strings.TrimSpace(string(key)))
	if err := os.WriteFile(path, []byte(strings.Replace(proof, `"seq":3`, `"seq":2`, 1)), 0o600); err != nil {
		w.t.Fatal(err)
	}
	w.must(4, "receipts", "prove", "--check", path, "--key", strings.TrimSpace(string(key)))
	w.must(2, "receipts", "prove", "--check", path)
}

// tampered changes one receipt on disk: verify names it.
func (w *ledgerWorld) tampered(state []string) {
	w.t.Helper()
	path := filepath.Join(w.state(), "ledger", "journal", "00000000000000000000.receipts")
	src, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(src, []byte(`"alice"`), []byte(`"mally"`), 1), 0o600); err != nil {
		w.t.Fatal(err)
	}
	if out := w.must(4, append([]string{"receipts", "verify"}, state...)...); !strings.Contains(out, "edited: record 0") {
		w.t.Errorf("verify of an edited ledger: %s", out)
	}
}

func TestBackfillAfterALedgerWasLost(t *testing.T) {
	w := newLedgerWorld(t)
	w.land(specOf("flags-v1", "10", ""), "begin")
	w.must(0, append([]string{"once", "--ledger", "off"}, w.flags...)...)
	state := []string{"--state-dir", w.state()}
	w.must(1, append([]string{"receipts", "list"}, state...)...)
	if out := w.must(0, append([]string{"receipts", "backfill"}, state...)...); out != "1 receipts made\n" {
		t.Errorf("backfill: %s", out)
	}
	if out := w.must(0, append([]string{"receipts", "backfill"}, state...)...); out != "0 receipts made\n" {
		t.Errorf("again: %s", out)
	}
	if out := w.must(0, append([]string{"receipts", "list", "--json"}, state...)...); !strings.Contains(out, `"backfilled":true`) {
		t.Errorf("list: %s", out)
	}
}

// What is gathered about a person is complete, and openssl checks the manifest.
func TestDSAR(t *testing.T) {
	flagtest.Need(t, "openssl")
	w := newLedgerWorld(t)
	w.land(specOf("flags-v1", "0", `"user-9"`), "begin")
	w.must(0, append([]string{"once"}, w.flags...)...)
	w.land(specOf("flags-v2", "0", `"user-99"`), "another user")
	w.must(0, append([]string{"once"}, w.flags...)...)
	key := filepath.Join(w.dir, "alice.pem")
	if err := os.WriteFile(key, []byte(w.alice.PrivatePEM()), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(w.dir, "answer")
	w.must(2, append([]string{"dsar", "user-9", "--out", out}, w.flags...)...)
	w.must(0, append([]string{"dsar", "user-9", "--key", key, "--out", out}, w.flags...)...)
	read := func(name string) string {
		t.Helper()
		src, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(src)
	}
	if s := read("cohorts.json"); s != "[]\n" {
		t.Errorf("user-9 stands in no cohort now: %s", s)
	}
	if s := read("history.json"); !strings.Contains(s, `"from_generation": 1`) || !strings.Contains(s, `"to_generation": 2`) {
		t.Errorf("history: %s", s)
	}
	if s := read("receipts.jsonl"); !strings.Contains(s, "user-9") {
		t.Errorf("receipts that name the subject: %s", s)
	}
	if s := read("decisions.json"); !strings.Contains(s, `"reason": "pct-hash"`) {
		t.Errorf("decisions: %s", s)
	}
	var bundle struct {
		MessageSignature struct{ Signature string } `json:"messageSignature"`
	}
	if err := json.Unmarshal([]byte(read("manifest.json.sigstore.json")), &bundle); err != nil {
		t.Fatal(err)
	}
	sig, err := base64.StdEncoding.DecodeString(bundle.MessageSignature.Signature)
	if err != nil {
		t.Fatal(err)
	}
	pub := filepath.Join(w.dir, "alice.pub")
	for path, data := range map[string][]byte{pub: []byte(w.alice.PublicPEM), filepath.Join(w.dir, "sig"): sig} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := exec.CommandContext(t.Context(), "openssl", "dgst", "-sha256", "-verify", pub, "-signature", filepath.Join(w.dir, "sig"), filepath.Join(out, "manifest.json"))
	if said, err := check.CombinedOutput(); err != nil {
		t.Errorf("openssl: %v\n%s", err, said)
	}
	stockCosign(t, out, pub)
}

// stockCosign has cosign check the manifest where there is one, and holds the bundle to the form of the one in
// testdata/dsar-cosign, which cosign was seen to accept.
func stockCosign(t *testing.T, dir, pub string) {
	t.Helper()
	manifest, bundle := filepath.Join(dir, "manifest.json"), filepath.Join(dir, "manifest.json.sigstore.json")
	if path, err := exec.LookPath("cosign"); err == nil {
		cmd := exec.CommandContext(t.Context(), path, "verify-blob", "--key", pub, "--bundle", bundle, "--insecure-ignore-tlog", manifest)
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("cosign: %v\n%s", err, said)
		}
	}
	fixture := filepath.Join("testdata", "dsar-cosign")
	form := func(path string) string {
		t.Helper()
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return shape(t, src)
	}
	if is, want := form(bundle), form(filepath.Join(fixture, "manifest.json.sigstore.json")); is != want {
		t.Errorf("the bundle has the form %s, cosign was seen to accept %s", is, want)
	}
	if is, want := form(manifest), form(filepath.Join(fixture, "manifest.json")); is != want {
		t.Errorf("the manifest has the form %s, cosign was seen to accept %s", is, want)
	}
}

// shape is a document without its values: names, and of lists the first element.
func shape(t *testing.T, src []byte) string {
	t.Helper()
	var doc any
	if err := json.Unmarshal(src, &doc); err != nil {
		t.Fatal(err)
	}
	var of func(v any) any
	of = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				v[name] = of(inner)
			}
			return v
		case []any:
			if len(v) == 0 {
				return v
			}
			return []any{of(v[0])}
		}
		return fmt.Sprintf("%T", v)
	}
	out, err := json.Marshal(of(doc))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// The manifest that cosign accepted is accepted here, by the same bytes.
func TestDSARFixtureVerifies(t *testing.T) {
	read := func(name string) []byte {
		t.Helper()
		src, err := os.ReadFile(filepath.Join("testdata", "dsar-cosign", name))
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	key, err := signing.ParsePublicKey(read("key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	who := []signing.Identity{{Name: "operator", Keys: []signing.PublicKey{key}}}
	bundles := []signing.NamedBundle{{Path: "manifest.json.sigstore.json", Data: read("manifest.json.sigstore.json")}}
	if r := signing.Verify(signing.NewArtifact(read("manifest.json")), bundles, who, signing.Options{}); len(r.Signers()) != 1 {
		t.Errorf("signers %v, rejected %v", r.Signers(), r.Rejected)
	}
	if r := signing.Verify(signing.NewArtifact(append(read("manifest.json"), ' ')), bundles, who, signing.Options{}); len(r.Signers()) != 0 {
		t.Error("an edited manifest verifies")
	}
}
