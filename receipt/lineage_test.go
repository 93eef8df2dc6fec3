package receipt

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// records turns receipts into a ledger's records, as a scan function.
func records(t *testing.T, rs []Receipt) func(fn func(Record) error) error {
	t.Helper()
	var all []Record
	for i, r := range rs {
		body, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Record{Seq: uint64(i), Salt: []byte{1}, Body: body})
	}
	return func(fn func(Record) error) error {
		for _, r := range all {
			if err := fn(r); err != nil {
				return err
			}
		}
		return nil
	}
}

// A thousand chains, interleaved, with retries after crashes, outcomes that never came, reverts, and parents that nobody
// recorded: each is rebuilt exactly.
func TestLineageOfAThousandInterleavedChains(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	type truth struct {
		id, proposalOp, op, commit string
		attempts                   int
		finished                   bool
		repair                     string // an operation in the same chain whose parent is op
		lost                       string // a parent that is nowhere
	}
	queues := make([][]Receipt, 1000)
	truths := make([]truth, 1000)
	hexOf := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "0123456789abcdef"[rng.IntN(16)]
		}
		return string(b)
	}
	for i := range truths {
		tr := truth{id: hexOf(32), proposalOp: "p-" + hexOf(12), op: "o-" + hexOf(12), commit: hexOf(40), attempts: 1 + rng.IntN(3), finished: rng.IntN(10) > 0}
		var q []Receipt
		for range tr.attempts {
			q = append(q, Receipt{OpID: tr.op, ParentID: tr.proposalOp, ChainID: tr.id, Kind: Generation, Phase: Intent, Commit: tr.commit})
		}
		if tr.finished {
			q = append(q, Receipt{OpID: tr.op, ParentID: tr.proposalOp, ChainID: tr.id, Kind: Generation, Phase: Outcome, Commit: tr.commit, Result: "applied"})
		}
		if rng.IntN(3) == 0 {
			tr.repair = "r-" + hexOf(12)
			q = append(q, Receipt{OpID: tr.repair, ParentID: tr.op, ChainID: tr.id, Kind: Repair, Phase: Outcome, Result: "repaired"})
		}
		if rng.IntN(5) == 0 {
			tr.lost = "x-" + hexOf(12)
			q = append(q, Receipt{OpID: "l-" + hexOf(12), ParentID: tr.lost, ChainID: tr.id, Kind: Override, Phase: Outcome, Result: "applied"})
		}
		truths[i], queues[i] = tr, q
	}
	var all []Receipt
	for len(queues) > 0 { // interleave, each chain's order kept
		i := rng.IntN(len(queues))
		all = append(all, queues[i][0])
		if queues[i] = queues[i][1:]; len(queues[i]) == 0 {
			queues[i] = queues[len(queues)-1]
			queues = queues[:len(queues)-1]
		}
	}
	scan := records(t, all)
	for i, tr := range truths {
		if i%40 != 0 { // some by each key; the whole corpus is read each time
			continue
		}
		for _, key := range []string{tr.id, tr.op, tr.proposalOp, tr.commit, tr.commit[:12]} {
			chains, err := Lineage(key, scan)
			if err != nil {
				t.Fatal(err)
			}
			if len(chains) != 1 || chains[0].ID != tr.id {
				t.Fatalf("%s: %d chains, want %s alone", key, len(chains), tr.id)
			}
			checkChain(t, chains[0], tr.proposalOp, tr.op, tr.commit, tr.attempts, tr.finished, tr.repair, tr.lost)
		}
	}
	if chains, err := Lineage("ffffffffffffffffffffffffffffffff", scan); err != nil || len(chains) != 0 {
		t.Fatalf("a chain that is not there: %v, %v", chains, err)
	}
}

func checkChain(t *testing.T, c Chain, proposalOp, op, commit string, attempts int, finished bool, repair, lost string) {
	t.Helper()
	if c.Steps[0].OpID != proposalOp || c.Steps[0].Kind != proposal || c.Steps[0].Commit != commit {
		t.Fatalf("first step %+v, want the proposal %s", c.Steps[0], proposalOp)
	}
	s := c.Steps[1]
	if s.OpID != op || s.Attempts != attempts || s.Unfinished() == finished || s.ParentID != proposalOp {
		t.Fatalf("second step %+v, want %s with %d attempts, finished %v", s, op, attempts, finished)
	}
	if repair != "" && !slices.ContainsFunc(c.Steps, func(s Step) bool { return s.OpID == repair && s.ParentID == op }) {
		t.Fatalf("no repair %s in %+v", repair, c.Steps)
	}
	var want []string
	if lost != "" {
		want = []string{lost}
	}
	if !slices.Equal(c.Missing, want) {
		t.Fatalf("missing %v, want %v", c.Missing, want)
	}
	if c.Complete() != (finished && lost == "") {
		t.Fatalf("complete %v with %+v", c.Complete(), c)
	}
}

func TestCoverage(t *testing.T) {
	rs := []Receipt{
		{OpID: "a", ParentID: "p", Kind: Generation, Phase: Intent, Generation: 1, Digest: "d1"},
		{OpID: "a", ParentID: "p", Kind: Generation, Phase: Outcome, Generation: 1, Digest: "d1", Result: "applied"},
		{Kind: Anchor, Phase: Outcome, Anchored: &Anchored{Notary: "n1", Size: 2}},
		{OpID: "b", ParentID: "q", Kind: Generation, Phase: Outcome, Generation: 2, Digest: "d2", Result: "applied"},
		{OpID: "c", Kind: Rollback, Phase: Outcome, Generation: 3, Digest: "d1", Result: "applied"},
		{Kind: Anchor, Phase: Outcome, Anchored: &Anchored{Notary: "n1", Size: 5}},
		{OpID: "d", Kind: Generation, Phase: Outcome, Generation: 4, Digest: "d4", Result: "applied"},
		{OpID: "e", ParentID: "q", Kind: Generation, Phase: Outcome, Generation: 5, Digest: "d5", Result: "failed"},
	}
	var want []Expected
	for g := range 5 {
		want = append(want, Expected{Generation: uint64(g + 1), Entries: []Entry{{"receipts", "acme"}}})
	}
	cov, err := Cover(time.Unix(0, 0), want, []string{"n1"}, Source{Scan: records(t, rs), Logged: 7})
	if err != nil {
		t.Fatal(err)
	}
	for i, ok := range []bool{true, true, true, false, false} {
		if cov.Generations[i].OK() != ok {
			t.Errorf("generation %d: %+v, want complete %v", i+1, cov.Generations[i], ok)
		}
	}
	if s := cov.Tenants["acme"]; s == nil || s.Pct != 60 || s.All != 5 {
		t.Errorf("acme: %+v", s)
	}
	cov, err = Cover(time.Unix(0, 0), want[:1], []string{"n1", "n2"}, Source{Scan: records(t, rs), Logged: 1})
	if err != nil {
		t.Fatal(err)
	}
	if g := cov.Generations[0]; g.Inclusion || !slices.Equal(g.Missing, []string{"n2"}) {
		t.Errorf("%+v, want no inclusion, and n2 missing", g)
	}
}

// After a purge the log verifies, old bodies are gone, held and young ones are there.
func TestPurgeLeavesAVerifiableLog(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l, err := Open(context.Background(), Options{Dir: dir, Origin: "prod/test", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	long := make([]Change, 400) // fills segments quickly
	for i := range long {
		long[i] = Change{Kind: "ramp.up", Feature: fmt.Sprintf("feature-with-a-long-name-%d", i), From: "1", To: "2"}
	}
	for i := range 400 {
		now = now.Add(time.Hour)
		env := "prod"
		if i == 7 {
			env = "held"
		}
		if _, err := l.Append(context.Background(), &Receipt{Kind: Generation, Phase: Outcome, Environment: env, Changes: long}); err != nil {
			t.Fatal(err)
		}
	}
	opt := PurgeOptions{Before: time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC), Hold: func(r Receipt) bool { return r.Environment == "held" }, DryRun: true}
	dry, err := l.Purge(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if dry.Bodies == 0 || dry.Held != 1 {
		t.Fatalf("dry run: %+v", dry)
	}
	if rep := verifyTest(t, dir); rep.Purged != 0 {
		t.Fatalf("a dry run purged: %+v", rep)
	}
	opt.DryRun = false
	done, err := l.Purge(context.Background(), opt)
	if err != nil || done != dry {
		t.Fatalf("purged %+v, the dry run said %+v, err %v", done, dry, err)
	}
	closeTest(t, l)
	rep := verifyTest(t, dir)
	if !rep.OK() || rep.Purged != uint64(done.Bodies) || rep.Records != 401 {
		t.Fatalf("after the purge: %+v", rep)
	}
	kept := 0
	err = scan(journalDir(dir), 0, func(r Record) error {
		if r.Purged() {
			return nil
		}
		rec, err := r.Decode()
		if err != nil {
			return err
		}
		if rec.Time.Before(opt.Before) && rec.Environment != "held" {
			t.Errorf("receipt %d of %s is still there", r.Seq, rec.Time)
		}
		kept++
		return nil
	})
	if err != nil || kept+done.Bodies != 401 {
		t.Fatalf("%d kept, %d purged, err %v", kept, done.Bodies, err)
	}
	if names, err := os.ReadDir(filepath.Join(dir, "journal")); err != nil || len(names) < 2 {
		t.Fatalf("%d segments, %v: the test must span several", len(names), err)
	}
}
