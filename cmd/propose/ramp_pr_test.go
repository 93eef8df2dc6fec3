package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// proposer is a bot with a clone of its own and a forge.
type proposer struct {
	t     *testing.T
	repo  *flagtest.GitRepo
	forge *fakeGitea
	key   string
	now   time.Time
	out   bytes.Buffer // stdout of the last run
	talk  bytes.Buffer
}

const proposerSpec = `{
  "version": "flags-v1",
  "environment": "prod",
  "features": {
    "receipts": { "pct": 10, "cohorts": ["A"], "ramp": { "gates": [60] }, "tenants": { "acme": {}, "globex": {} } },
    "attest": { "pct": 50, "ramp": {} }
  }
}
`

func newProposer(t *testing.T) *proposer {
	repo := flagtest.Repo(t)
	repo.Setenv()
	t.Setenv("COSIGN_PASSWORD", "sesame")
	p := &proposer{t: t, repo: repo, forge: startGitea(t, repo), now: time.Date(2026, 11, 23, 4, 7, 0, 0, time.UTC)}
	p.key = filepath.Join(t.TempDir(), "bot.key")
	repo.Write("specs/flags.json", proposerSpec)
	p.must("keygen", "--out", strings.TrimSuffix(p.key, ".key"))
	p.must("sign", "--key", p.key)
	repo.Commit("start")
	repo.Push()
	return p
}

func (p *proposer) run(args ...string) error {
	p.out.Reset()
	p.talk.Reset()
	env := map[string]string{"RAMPART_FORGE_TOKEN": forgeToken, "COSIGN_PASSWORD": "sesame"}
	return run(p.t.Context(), cli.Env{
		Args: append(args, "--path", filepath.Join(p.repo.Dir, "specs/flags.json")), Stdin: strings.NewReader(""), Stdout: &p.out, Stderr: &p.talk,
		Getenv: func(name string) string { return env[name] },
	})
}

func (p *proposer) must(args ...string) {
	p.t.Helper()
	if err := p.run(args...); err != nil {
		p.t.Fatalf("propose %s: %v\n%s%s", strings.Join(args, " "), err, &p.out, &p.talk)
	}
}

// night is the next run of the bot, on evidence of its own.
func (p *proposer) night(slo, coverage string, args ...string) {
	p.t.Helper()
	p.now = p.now.Add(24 * time.Hour)
	dir := p.t.TempDir()
	stamp := p.now.Add(-7 * time.Minute).Format(time.RFC3339)
	for name, body := range map[string]string{"slo": slo, "coverage": coverage} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fmt.Sprintf(`{"generated_at":%q,%s}`, stamp, body)), 0o644); err != nil {
			p.t.Fatal(err)
		}
	}
	p.must(append([]string{
		"ramp", "--pr", "--branch", "main", "--forge", "gitea", "--repository", p.forge.address(), "--key", p.key, "--now", p.now.Format(time.RFC3339),
		"--slo", filepath.Join(dir, "slo"), "--coverage", filepath.Join(dir, "coverage"),
	}, args...)...)
}

const (
	goodSLO      = `"anchor_p95_ms":21,"divergence":0,"alerts":[]`
	redReceipts  = `"anchor_p95_ms":21,"divergence":0,"alerts":[{"severity":"critical","name":"AnchorLate","feature":"attest"}]`
	goodCoverage = `"tenants":{"__default__":97.2,"acme":99,"globex":98}`
	lowCoverage  = `"tenants":{"__default__":80,"acme":80,"globex":80}`
)

// live is the percentage on main.
func (p *proposer) live(feature string) string {
	src := p.repo.GitOrigin("show", "main:specs/flags.json")
	_, rest, _ := strings.Cut(src, `"`+feature+`": { "pct": `)
	n, _, _ := strings.Cut(rest, ",")
	return n
}

func (p *proposer) onBranch(branch, want string) {
	p.t.Helper()
	if src := p.repo.GitOrigin("show", branch+":specs/flags.json"); !strings.Contains(src, want) {
		p.t.Errorf("%s does not say %s:\n%s", branch, want, src)
	}
}

func (p *proposer) wantOpen(numbers ...int) {
	p.t.Helper()
	if got := p.forge.open(); !slices.Equal(got, numbers) {
		p.t.Fatalf("open pull requests %v, want %v\n%s%s", got, numbers, &p.out, &p.talk)
	}
}

func TestOnePullRequestKeptUpToDate(t *testing.T) {
	p := newProposer(t)
	p.night(goodSLO, goodCoverage)
	p.wantOpen(1)
	pr := p.forge.pulls[0]
	if pr.title != "prod: ramp: 2 steps in attest, receipts" || pr.head != "rampart/ramp-prod" || !slices.Equal(pr.labels, []string{"rampart"}) {
		t.Errorf("the pull request is %+v", pr)
	}
	for _, want := range []string{
		"| ▲ | `receipts` |", "10 → 20 | green | coverage of __default__", "10 % of users turned on", "as a tenant turned on: acme",
	} {
		if !strings.Contains(pr.body, strings.ReplaceAll(want, "coverage of __default__", "coverage 97.2 \\>= 95")) {
			t.Errorf("the body lacks %q:\n%s", want, pr.body)
		}
	}
	if p.live("receipts") != "10" {
		t.Errorf("main moved to %s before anybody merged", p.live("receipts"))
	}
	first := p.forge.sha("rampart/ramp-prod")

	// The next night it is the same step on newer evidence, in the same place.
	p.night(goodSLO, goodCoverage)
	p.wantOpen(1)
	if p.forge.sha("rampart/ramp-prod") == first || pr.edits == 0 {
		t.Error("the pull request was not brought up to date")
	}
	p.onBranch("rampart/ramp-prod", `"pct": 20,`)
	p.must("explain-ramp", p.forge.sha("rampart/ramp-prod"))

	// What no longer holds is closed, with the reason, and its branch goes.
	p.night(goodSLO, lowCoverage)
	p.wantOpen()
	if c := p.forge.comments[1]; len(c) != 1 || !strings.Contains(c[0], "`receipts` stays at 10 (amber): coverage 80 \\< 95") {
		t.Errorf("comments %q", c)
	}
	if p.forge.sha("rampart/ramp-prod") != "" || p.live("receipts") != "10" {
		t.Error("the branch is still there, or main moved")
	}

	// Merged by a person, it is live from then on, and the next step builds upon it.
	p.night(goodSLO, goodCoverage)
	p.wantOpen(2)
	p.repo.Now = p.now.Add(time.Hour)
	p.forge.mergeWithGit(p.forge.pulls[1])
	p.night(goodSLO, goodCoverage)
	p.wantOpen(3)
	p.onBranch("rampart/ramp-prod", `"pct": 30,`)
	if p.live("receipts") != "20" {
		t.Errorf("main is at %s", p.live("receipts"))
	}
}

func TestDownsGoStraightInAndUpsWait(t *testing.T) {
	p := newProposer(t)
	p.night(goodSLO, goodCoverage, "--auto-merge", "down")
	p.wantOpen(1)
	p.night(redReceipts, goodCoverage, "--auto-merge", "down")
	if p.live("attest") != "40" || p.live("receipts") != "10" {
		t.Fatalf("main has attest at %s and receipts at %s\n%s%s", p.live("attest"), p.live("receipts"), &p.out, &p.talk)
	}
	// The up of the other feature is in review, on top of what went in.
	p.wantOpen(1)
	p.onBranch("rampart/ramp-prod", `"receipts": { "pct": 20,`)
	p.onBranch("rampart/ramp-prod", `"attest": { "pct": 40,`)
	if p.forge.sha("rampart/ramp-prod-down") != "" {
		t.Error("the branch of the lowering is left over")
	}
	if out := p.out.String(); strings.Count(out, "receipts 10 -> 20") != 1 || strings.Count(out, "attest 50 -> 40") != 1 {
		t.Errorf("it says\n%s", out)
	}
	p.repo.Git("fetch", "-q", "origin", "main")
	p.must("explain-ramp", "FETCH_HEAD")

	// A forge that wants a review first has it open beside the other.
	p.forge.blocked = true
	p.night(redReceipts, goodCoverage, "--auto-merge", "down")
	p.wantOpen(1, 3)
	if !strings.Contains(p.talk.String(), "not merged, and left open") || p.live("attest") != "40" {
		t.Errorf("main has attest at %s; it says\n%s", p.live("attest"), &p.talk)
	}
}

func TestAGateIsForAPerson(t *testing.T) {
	p := newProposer(t)
	p.night(goodSLO, goodCoverage, "--auto-merge", "always", "--feature", "attest")
	if p.live("attest") != "60" {
		t.Fatalf("attest has no gate and is at %s\n%s", p.live("attest"), &p.talk)
	}
	p.must("set", "receipts", "--pct", "50", "--key", p.key)
	p.repo.Git("fetch", "-q", "origin", "main")
	p.repo.Git("checkout", "-q", "--", ".")
	p.repo.Git("merge", "-q", "--ff-only", "FETCH_HEAD")
	p.must("set", "receipts", "--pct", "50", "--key", p.key)
	p.repo.Now = p.now.Add(time.Hour)
	p.repo.Commit("to the gate")
	p.repo.Push()
	p.night(goodSLO, goodCoverage, "--auto-merge", "always", "--feature", "receipts")
	p.wantOpen(2)
	if pr := p.forge.pulls[1]; !slices.Contains(pr.labels, "needs-approval") || !strings.Contains(pr.body, "waits for a person's approval") || p.live("receipts") != "50" {
		t.Errorf("main is at %s, the pull request %+v", p.live("receipts"), pr)
	}
}

// Work that a person put on the bot's branch is neither overwritten nor closed away, and does not stop
// the bot.
func TestAPersonsWorkOnTheBotsBranch(t *testing.T) {
	p := newProposer(t)
	p.night(goodSLO, goodCoverage)
	p.repo.Git("fetch", "-q", "origin", "rampart/ramp-prod")
	p.repo.Git("checkout", "-q", "-b", "mine", "FETCH_HEAD")
	mine := p.repo.CommitFile("notes", "think about it", "a person's note")
	p.repo.Git("push", "-q", "origin", "mine:rampart/ramp-prod")
	p.repo.Checkout("main")
	p.night(redReceipts, goodCoverage)
	p.wantOpen(1, 2)
	if p.forge.sha("rampart/ramp-prod") != mine || p.forge.pulls[1].head != "rampart/ramp-prod-2" {
		t.Errorf("the person's branch is at %s, and the bot's is %s", p.forge.sha("rampart/ramp-prod"), p.forge.pulls[1].head)
	}
	if !strings.Contains(p.talk.String(), "holds work of Ada Author") {
		t.Errorf("it says\n%s", &p.talk)
	}
	p.night(goodSLO, lowCoverage)
	p.wantOpen(1)
	if p.forge.sha("rampart/ramp-prod") != mine {
		t.Error("the person's branch is gone")
	}
}
