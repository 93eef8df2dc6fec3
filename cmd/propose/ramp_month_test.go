package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/redisstore"
)

// weather is what one night's evidence is like, and what it may be worth.
type weather struct {
	name          string
	slo, coverage string // bodies without the date; "" is no file, "raw …" the whole file
	age           time.Duration
	green, red    bool
}

var weathers = []weather{
	{name: "fine", slo: goodSLO, coverage: goodCoverage, green: true},
	{name: "fine", slo: goodSLO, coverage: goodCoverage, green: true},
	{name: "fine", slo: goodSLO, coverage: goodCoverage, green: true},
	{name: "fine", slo: goodSLO, coverage: goodCoverage, green: true},
	{name: "fine", slo: goodSLO, coverage: goodCoverage, green: true},
	{name: "an alert", slo: `"anchor_p95_ms":21,"divergence":0,"alerts":[{"severity":"critical","name":"A"}]`, coverage: goodCoverage, red: true},
	{name: "divergence, and little else", slo: `"divergence":2`, coverage: "raw {", red: true},
	{name: "an alert beside nonsense", slo: `"anchor_p95_ms":"x","alerts":[{},{"severity":"critical","name":"A"}],"samples":-1`, coverage: "", red: true},
	{name: "slow, yet every check is called fine", slo: `"anchor_p95_ms":500,"divergence":0,"alerts":[],"status":1`, coverage: goodCoverage, red: true},
	{name: "low coverage", slo: goodSLO, coverage: lowCoverage},
	{name: "no coverage", slo: goodSLO, coverage: ""},
	{name: "no SLO", slo: "", coverage: goodCoverage},
	{name: "torn", slo: `raw {"generated_at":"2026`, coverage: goodCoverage},
	{name: "undated", slo: "raw {" + goodSLO + "}", coverage: goodCoverage},
	{name: "stale", slo: goodSLO, coverage: goodCoverage, age: 3 * time.Hour},
	{name: "stale and bad", slo: `"anchor_p95_ms":500,"divergence":3,"alerts":[]`, coverage: goodCoverage, age: 3 * time.Hour},
	{name: "from the future", slo: goodSLO, coverage: goodCoverage, age: -time.Hour},
	{name: "twice the same field", slo: `raw {"generated_at":"NOW","divergence":0,"divergence":0,"anchor_p95_ms":1,"alerts":[]}`, coverage: goodCoverage},
}

// month is a bot, its reviewers and a reconciler over thirty nights.
type month struct {
	*proposer
	rng   *rand.Rand
	rec   *reconciler.Reconciler
	store *redisstore.Store
	alice string // a maintainer's key
	seen  string // main's head after the last merge that was checked
	moves int
	downs int
}

const monthSpec = `{
  "version": "flags-v1",
  "environment": "prod",
  "features": {
    "receipts": { "pct": 20, "cohorts": ["A"], "ramp": {}, "tenants": { "acme": { "pct": 50 }, "globex": {} } },
    "attest": { "pct": 60, "ramp": { "bake": "30h", "cooldown": "20h" } },
    "rows": { "pct": 40, "ramp": { "steps": [10, 20, 30, 40, 50], "greens": 2, "max_evidence_age": "2h" } }
  }
}
`

func newMonth(t *testing.T, seed uint64) *month {
	m := &month{proposer: newProposer(t), rng: rand.New(rand.NewPCG(seed, 30))}
	m.now = time.Date(2026, 10, 1, 4, 7, 0, 0, time.UTC)
	m.repo.Now = m.now.Add(-24 * time.Hour)
	m.alice = filepath.Join(t.TempDir(), "alice.key")
	m.must("keygen", "--out", strings.TrimSuffix(m.alice, ".key"))
	pub := func(key string) string { return read(t, strings.TrimSuffix(key, ".key")+".pub") }
	policy := fmt.Sprintf(`{"version":1,"environment":"prod","signers":{"alice":{"key":%q},"bot":{"key":%q}},
		"roles":{"maintainer":{"signers":["alice"],"may":["*"]},"ramp":{"signers":["bot"],"may":["ramp.up","ramp.down"],"max_step":10}},
		"rollback":{"max_generations":1000,"max_age":"8760h"}}`, pub(m.alice), pub(m.key))
	trust := filepath.Join(t.TempDir(), "trust.json")
	if err := os.WriteFile(trust, []byte(policy), 0o644); err != nil {
		t.Fatal(err)
	}
	m.repo.Write("specs/flags.json", monthSpec)
	m.must("sign", "--key", m.alice)
	m.repo.Commit("a month begins")
	m.repo.ForcePush()

	redis := flagtest.Redis(t)
	ctx := t.Context()
	var err error
	if m.store, err = redisstore.Open(ctx, redisstore.Options{URL: redis.URL(), Namespace: "flags:v1:"}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	repo, err := gitrepo.Open(ctx, gitrepo.Options{URL: m.repo.URL(), Branch: "main", Dir: filepath.Join(dir, "repo")})
	if err != nil {
		t.Fatal(err)
	}
	m.rec, err = reconciler.Open(reconciler.Config{Repo: repo, Store: m.store, Dir: dir, Branch: "main", Trust: trust, Name: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.rec.Close(); _ = repo.Close(); _ = m.store.Close() })
	m.reconcile("the beginning")
	return m
}

// reconcile lets the reconciler look, and wants everything that is on main live.
func (m *month) reconcile(after string) {
	m.t.Helper()
	res, err := m.rec.Pass(m.t.Context())
	if err != nil || !res.HeadLive || res.Refused {
		status, _ := json.MarshalIndent(res.Status, "", " ")
		m.t.Fatalf("%s: the reconciler does not apply main: %v\n%s", after, err, status)
	}
	spec := m.main()
	for key, entry := range spec.Entries() {
		got, err := m.store.Read(m.t.Context(), []flags.Key{key})
		if err != nil || string(got[0]) != string(entry.AppendJSON(nil)) {
			m.t.Fatalf("%s: %s is %s in Redis, and %s on main (%v)", after, key, got[0], entry.AppendJSON(nil), err)
		}
	}
	m.seen = m.forge.sha("main")
}

// main is the spec that is live.
func (m *month) main() *flags.Spec {
	m.t.Helper()
	spec, err := flags.Decode("main", []byte(m.repo.GitOrigin("show", "main:specs/flags.json")+"\n"))
	if err != nil {
		m.t.Fatal(err)
	}
	return spec
}

func (m *month) pcts() map[flags.Key]flags.Pct {
	out := map[flags.Key]flags.Pct{}
	for k, e := range m.main().Entries() {
		out[k] = e.Pct
	}
	return out
}

// evidence writes a night's files, and leaves out those that there are none of.
func (m *month) evidence(w weather) (args []string) {
	dir := m.t.TempDir()
	stamp := m.now.Add(-5*time.Minute - w.age).Format(time.RFC3339)
	for _, f := range []struct{ flag, body string }{{"--slo", w.slo}, {"--coverage", w.coverage}} {
		path := filepath.Join(dir, f.flag[2:])
		body, raw := strings.CutPrefix(f.body, "raw ")
		if !raw {
			body = fmt.Sprintf(`{"generated_at":%q,%s}`, stamp, body)
		}
		if f.body != "" {
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(body, "NOW", stamp)), 0o644); err != nil {
				m.t.Fatal(err)
			}
		}
		args = append(args, f.flag, path)
	}
	return args
}

// bot makes one run, and sometimes dies in the middle of it and is started again.
func (m *month) bot(w weather) {
	m.t.Helper()
	args := append([]string{
		"ramp", "--pr", "--branch", "main", "--auto-merge", "down", "--forge", "gitea", "--repository", m.forge.address(), "--key", m.key, "--now", m.now.Format(time.RFC3339), "--json",
	}, m.evidence(w)...)
	if m.rng.IntN(4) == 0 {
		m.crash(1+m.rng.IntN(40), args)
	}
	m.must(args...)
}

// crash runs the command as a process of its own that is killed at its n-th call of git.
func (m *month) crash(n int, args []string) {
	m.t.Helper()
	crashAtGit(m.t, n, append(args, "--path", filepath.Join(m.repo.Dir, "specs/flags.json")), "RAMPART_FORGE_TOKEN="+forgeToken)
}

// people do what people do between two nights.
func (m *month) people() string {
	m.t.Helper()
	m.repo.Now = m.now.Add(time.Duration(1+m.rng.IntN(12)) * time.Hour)
	switch m.rng.IntN(6) {
	case 0, 1, 2: // somebody reviews what is open
		open := m.forge.open()
		if len(open) == 0 {
			return "nothing to review"
		}
		m.forge.mu.Lock()
		defer m.forge.mu.Unlock()
		p := m.forge.pulls[open[0]-1]
		m.moves++
		m.forge.mergeWithGit(p)
		m.repo.GitOrigin("update-ref", "-d", "refs/heads/"+p.head)
		return "merged " + p.title
	case 3: // somebody changes something else, by hand
		m.pull()
		m.must("set", "receipts", "--add-cohort", fmt.Sprintf("user-%d", m.rng.IntN(1e6)), "--key", m.alice)
		m.repo.Commit("a cohort")
		m.repo.Push()
		return "a cohort by hand"
	case 4: // somebody takes back the last thing that went live, if that lowers
		m.pull()
		last := m.repo.Git("log", "-1", "--format=%H %P", "main")
		hashes := strings.Fields(last)
		if len(hashes) < 3 || !m.lowersByRevert(hashes[0], hashes[1]) {
			return "nothing to take back"
		}
		m.repo.Revert(hashes[0])
		m.repo.Push()
		m.reconcile("the revert")
		m.repo.Now = m.repo.Now.Add(time.Minute)
		m.must("ramp", "--resume", "receipts", "--resume", "attest", "--resume", "rows", "--feature", "receipts", "--feature", "attest", "--feature", "rows",
			"--now", m.repo.Now.Format(time.RFC3339), "--key", m.alice, "--push", "--branch", "main")
		return "reverted, and resumed"
	}
	return "nobody was there"
}

// pull brings the person's clone to main.
func (m *month) pull() {
	m.repo.Git("checkout", "-q", "-f", "main")
	m.repo.Git("fetch", "-q", "origin", "main")
	m.repo.Git("reset", "-q", "--hard", "FETCH_HEAD")
}

func (m *month) lowersByRevert(commit, parent string) bool {
	specAt := func(rev string) *flags.Spec {
		spec, err := flags.Decode(rev, []byte(m.repo.Git("show", rev+":specs/flags.json")+"\n"))
		if err != nil {
			m.t.Fatal(err)
		}
		return spec
	}
	changes := flags.Diff(specAt(commit), specAt(parent))
	return len(changes) > 0 && !slices.ContainsFunc(changes, func(c flags.Change) bool { return c.Kind != flags.RampDown })
}

// Thirty nights of lost, stale, future and contradictory evidence, clocks that jump, people who merge,
// change and take back, and crashes at every step: no up without good evidence, no down missed, every
// step follows from its evidence, and the reconciler applies all of it under a policy that lets the bot
// move percentages and nothing else.
func TestThirtyNights(t *testing.T) {
	seeds := []uint64{1}
	if many := os.Getenv("RAMPART_NIGHTS_SEEDS"); many != "" {
		seeds = nil
		for s := range strings.SplitSeq(many, ",") {
			var n uint64
			if _, err := fmt.Sscan(s, &n); err != nil {
				t.Fatal(err)
			}
			seeds = append(seeds, n)
		}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { thirtyNights(t, seed) })
	}
}

func thirtyNights(t *testing.T, seed uint64) {
	m := newMonth(t, seed)
	for n := range 30 {
		jump := 24 * time.Hour
		switch m.rng.IntN(8) {
		case 0:
			jump = 3 * time.Hour // a second run in one night
		case 1:
			jump = 70 * time.Hour // a weekend without a machine
		}
		m.now = m.now.Add(jump)
		w := weathers[m.rng.IntN(len(weathers))]
		before, stepped := m.pcts(), m.steppedAt()
		m.bot(w)
		what := fmt.Sprintf("night %d (%s)", n, w.name)
		after := m.pcts()
		if m.forge.sha("main") != m.seen {
			m.downs++
			m.explained(what)
			m.reconcile(what)
		}
		for _, key := range slices.SortedFunc(maps.Keys(before), func(a, b flags.Key) int { return strings.Compare(a.String(), b.String()) }) {
			m.lawful(what, w, key, before[key], after[key], stepped[key])
		}
		m.proposals(what, w)
		done := m.people()
		if m.forge.sha("main") != m.seen {
			m.explained(what + ", " + done)
			m.reconcile(what + ", " + done)
		}
		// A clock that goes back for a while gives no second step.
		if m.rng.IntN(6) == 0 {
			kept, was := m.now, m.pcts()
			m.now = m.now.Add(-90 * time.Minute)
			m.bot(weathers[0])
			if got := m.pcts(); !maps.Equal(got, was) {
				t.Fatalf("%s: main moved from %v to %v while the clock was back", what, was, got)
			}
			m.now = kept
		}
	}
	if seed == 1 && (m.moves < 3 || m.downs < 3) {
		t.Errorf("only %d proposals were merged and %d lowerings went in: that was no month", m.moves, m.downs)
	}
}

// steppedAt is when each entry's percentage last changed on main.
func (m *month) steppedAt() map[flags.Key]time.Time {
	c, err := checkoutOf(filepath.Join(m.repo.Dir, "specs/flags.json"))
	if err != nil {
		m.t.Fatal(err)
	}
	m.repo.Git("fetch", "-q", "origin", "main")
	log, err := c.logAt(m.t.Context(), "FETCH_HEAD")
	if err != nil {
		m.t.Fatal(err)
	}
	out := map[flags.Key]time.Time{}
	for k := range m.main().Entries() {
		out[k] = log.History(k).SteppedAt
	}
	return out
}

// lawful holds what one run did to main against that night's evidence.
func (m *month) lawful(what string, w weather, key flags.Key, before, after flags.Pct, stepped time.Time) {
	m.t.Helper()
	if after > before {
		m.t.Fatalf("%s: %s rose from %s to %s without a review", what, key, before, after)
	}
	if after < before && !w.red {
		m.t.Fatalf("%s: %s fell from %s to %s for no reason", what, key, before, after)
	}
	measured := m.now.Add(-5*time.Minute - w.age)
	if w.red && after == before && before > 0 && measured.After(stepped) && !follows(m.main(), key) {
		m.t.Fatalf("%s: %s stays at %s, and a lowering was missed\n%s%s", what, key, before, &m.out, &m.talk)
	}
	if after < before-10_000 {
		m.t.Fatalf("%s: %s fell from %s to %s, more than a step", what, key, before, after)
	}
}

func follows(spec *flags.Spec, key flags.Key) bool {
	own := spec.Feature(key.Feature).Tenant(key.Tenant)
	return own != nil && own.Pct == nil
}

// proposals are rises by one step, and open on good evidence only.
func (m *month) proposals(what string, w weather) {
	m.t.Helper()
	open := m.forge.open()
	if len(open) > 0 && !w.green && !w.red {
		m.t.Fatalf("%s: pull requests %v are open\n%s%s", what, open, &m.out, &m.talk)
	}
	if len(open) > 1 {
		m.t.Fatalf("%s: several pull requests are open: %v", what, open)
	}
	for _, n := range open {
		head := m.forge.pulls[n-1].head
		next, err := flags.Decode(head, []byte(m.repo.GitOrigin("show", head+":specs/flags.json")+"\n"))
		if err != nil {
			m.t.Fatal(err)
		}
		for _, c := range flags.Diff(m.main(), next) {
			if c.Kind != flags.RampUp || c.After.Pct > c.Before.Pct+10_000 || !w.green {
				m.t.Fatalf("%s: it proposes %s", what, c)
			}
		}
	}
}

// explained holds every commit of the bot's that is new on main against its own evidence.
func (m *month) explained(what string) {
	m.t.Helper()
	m.repo.Git("fetch", "-q", "origin", "main")
	for _, line := range strings.Split(m.repo.Git("log", "--format=%H %s", "FETCH_HEAD", "^"+m.seen), "\n") {
		hash, subject, _ := strings.Cut(line, " ")
		if strings.HasPrefix(subject, "ramp:") {
			if err := m.run("explain-ramp", hash); err != nil {
				m.t.Fatalf("%s: %s: %v\n%s%s", what, line, err, &m.out, &m.talk)
			}
		}
	}
}
