package receipt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// What is followed record by record is what is found by reading everything.
func TestTrackerAgreesWithCover(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir)
	tracker := NewTracker(dir)
	rng := rand.New(rand.NewPCG(1, 2))
	var want []Expected
	for gen := uint64(1); gen <= 60; gen++ {
		e, rs := randomGeneration(rng, gen)
		if _, err := l.Append(context.Background(), rs...); err != nil {
			t.Fatal(err)
		}
		want = append(want, e)
		if gen%13 == 0 || gen == 60 {
			agree(t, l, tracker, want, l.Size()-rng.Uint64N(5))
		}
	}
	agree(t, l, tracker, want, l.Size())
	closeTest(t, l)
}

// agree holds the tracker against Cover, with a notary that confirmed so many receipts.
func agree(t *testing.T, l *Ledger, tracker *Tracker, want []Expected, confirmed uint64) {
	t.Helper()
	dir := l.opt.Dir
	eventually(t, "the checkpoint", func() bool { cp, err := newestCheckpoint(dir); return err == nil && cp.Size == l.Size() })
	by := map[string]uint64{"n1": confirmed}
	if tracker.Current(l.Size(), by) {
		t.Errorf("nothing new is said to be there, of %d records with %d confirmed", l.Size(), confirmed)
	}
	got, err := tracker.Tenants(by)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		size, confirmed uint64
		want            bool
	}{{l.Size(), confirmed, true}, {l.Size() + 1, confirmed, false}, {l.Size(), confirmed + 1, false}} {
		if is := tracker.Current(c.size, map[string]uint64{"n1": c.confirmed}); is != c.want {
			t.Errorf("after %d records with %d confirmed, %d with %d are nothing new: %v", l.Size(), confirmed, c.size, c.confirmed, is)
		}
	}
	src, err := OpenSource(dir)
	if err != nil {
		t.Fatal(err)
	}
	src.Logged = min(src.Logged, confirmed) // what a notary has not confirmed counts as if the log had not taken it
	cov, err := Cover(time.Now(), want, nil, src)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(cov.Tenants) {
		t.Fatalf("tenants %v, want %v", got, cov.Tenants)
	}
	for name, s := range cov.Tenants {
		if got[name] != *s {
			t.Errorf("tenant %s: %+v, want %+v", name, got[name], *s)
		}
	}
}

func randomGeneration(rng *rand.Rand, gen uint64) (Expected, []*Receipt) {
	r := Receipt{Kind: Generation, Environment: "prod", Generation: gen, Digest: fmt.Sprintf("sha256:%064x", gen)}
	if rng.IntN(6) == 0 && gen > 5 {
		r.Kind, r.Digest = Rollback, fmt.Sprintf("sha256:%064x", gen-rng.Uint64N(4)-1)
	}
	if rng.IntN(4) > 0 {
		r.ParentID = "01a20000-0000-7000-8000-000000000001"
	}
	e := Expected{Generation: gen}
	seen := map[Entry]bool{}
	for i := range 1 + rng.IntN(3) {
		c := Change{Kind: "ramp.up", Feature: fmt.Sprintf("f%d", rng.IntN(3))}
		if i > 0 {
			c.Tenant = fmt.Sprintf("t%d", rng.IntN(4))
		}
		r.Changes = append(r.Changes, c)
		if entry := (Entry{c.Feature, tenantOf(c)}); !seen[entry] {
			seen[entry] = true
			e.Entries = append(e.Entries, entry)
		}
	}
	intent, outcome := r, r
	intent.Phase, outcome.Phase, outcome.Result = Intent, Outcome, "applied"
	switch rng.IntN(8) {
	case 0: // cut off
		return e, []*Receipt{&intent}
	case 1: // accepted, and written later
		first := outcome
		first.Result = "pending"
		return e, []*Receipt{&intent, &first, &outcome}
	}
	return e, []*Receipt{&intent, &outcome}
}
