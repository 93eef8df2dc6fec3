package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/redisstore"
)

// Under a policy that asks for evidence, a rise goes live when the evidence that it carries is signed by
// whoever may, and not otherwise; a lowering needs none.
func TestRampUnderAPolicyThatAsksForEvidence(t *testing.T) {
	p := newProposer(t)
	collector := filepath.Join(t.TempDir(), "collector.key")
	p.must("keygen", "--out", strings.TrimSuffix(collector, ".key"))
	alice := filepath.Join(t.TempDir(), "alice.key")
	p.must("keygen", "--out", strings.TrimSuffix(alice, ".key"))
	pub := func(key string) string { return read(t, strings.TrimSuffix(key, ".key")+".pub") }
	trust := filepath.Join(t.TempDir(), "trust.json")
	policy := fmt.Sprintf(`{"version":1,"environment":"prod",
		"signers":{"alice":{"key":%q},"bot":{"key":%q},"collector":{"key":%q}},
		"roles":{"maintainer":{"signers":["alice"],"may":["*"]},
			"ramp":{"signers":["bot"],"may":["ramp.up","ramp.down"],"evidence":"required"},
			"evidence":{"signers":["collector"],"may":["evidence"]}}}`, pub(alice), pub(p.key), pub(collector))
	if err := os.WriteFile(trust, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	p.repo.Write("specs/flags.json", `{"version":"flags-v1","environment":"prod","features":{"receipts":{"pct":10,"ramp":{}}}}`)
	p.must("sign", "--key", alice)
	p.repo.Commit("start")
	p.repo.Push()

	store, err := redisstore.Open(t.Context(), redisstore.Options{URL: flagtest.Redis(t).URL(), Namespace: "flags:v1:"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	dir := t.TempDir()
	repo, err := gitrepo.Open(t.Context(), gitrepo.Options{URL: p.repo.URL(), Branch: "main", Dir: filepath.Join(dir, "repo")})
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	rec, err := reconciler.Open(reconciler.Config{Repo: repo, Store: store, Dir: dir, Branch: "main", Trust: trust, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	live := func(want bool, why string) {
		t.Helper()
		res, err := rec.Pass(t.Context())
		if err != nil || res.HeadLive != want {
			t.Fatalf("%s: live %v, want %v (%v)\n%+v", why, res.HeadLive, want, err, res.Status.Refused)
		}
	}
	live(true, "the start")
	night := func(slo string, args ...string) {
		t.Helper()
		p.now = p.now.Add(24 * time.Hour)
		files := t.TempDir()
		stamp := p.now.Add(-time.Minute).Format(time.RFC3339)
		for name, body := range map[string]string{"slo": slo, "coverage": goodCoverage} {
			if err := os.WriteFile(filepath.Join(files, name), fmt.Appendf(nil, `{"generated_at":%q,%s}`, stamp, body), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p.must(append([]string{"ramp", "--push", "--branch", "main", "--key", p.key, "--now", p.now.Format(time.RFC3339),
			"--slo", filepath.Join(files, "slo"), "--coverage", filepath.Join(files, "coverage")}, args...)...)
	}
	p.now = time.Now().UTC().Add(-96 * time.Hour).Truncate(time.Second)
	night(goodSLO, "--evidence-key", collector)
	live(true, "a rise with evidence that the collector signed")
	night(`"divergence":3,"alerts":[],"anchor_p95_ms":1`)
	live(true, "a lowering without a signature on its evidence")
	night(goodSLO, "--sign-evidence")
	live(false, "a rise with evidence that only the bot signed")
}
