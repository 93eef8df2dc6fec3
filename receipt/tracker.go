package receipt

import (
	"bytes"
	"maps"
	"slices"
)

// Tracker follows one ledger and says how complete its record is, for each new record once: [Cover] reads all of it each time.
// It knows the generations that left at least one receipt in this ledger; one that left none is for Cover to find, which is
// told of all that were accepted. Its methods are for one goroutine.
type Tracker struct {
	dir  string
	next uint64 // the first record that was not read
	open map[uint64]*tracked
	// done counts, by tenant, changes whose record is complete, and folded the generations they were in.
	done   map[string]int
	folded map[uint64]bool
	seen   map[string]bool // digests that were live before

	covered   uint64            // by the newest checkpoint, when last looked at
	confirmed map[string]uint64 // then
}

// tracked is a generation whose record was not complete when last looked at.
type tracked struct {
	entries map[Entry]bool
	outcome bool
	seq     uint64 // of the first outcome
	lineage bool
}

// NewTracker follows the ledger in dir, from its beginning.
func NewTracker(dir string) *Tracker {
	return &Tracker{dir: dir, open: map[uint64]*tracked{}, done: map[string]int{}, folded: map[uint64]bool{}, seen: map[string]bool{}}
}

// Current reports whether Tenants would answer as it did last: the ledger has size records, all of them under a checkpoint, and
// the confirmations are the same. It reads nothing.
func (t *Tracker) Current(size uint64, confirmed map[string]uint64) bool {
	return t.confirmed != nil && t.next == size && t.covered >= size && maps.Equal(t.confirmed, confirmed)
}

// Tenants reads what is new and returns each tenant's share. confirmed is how many receipts each notary's newest confirmation
// covers, for every notary that must confirm.
func (t *Tracker) Tenants(confirmed map[string]uint64) (map[string]Share, error) {
	cp, err := newestCheckpoint(t.dir)
	if err != nil {
		return nil, err
	}
	err = scan(journalDir(t.dir), t.next, func(rec Record) error {
		t.next = rec.Seq + 1
		return t.add(rec)
	})
	if err != nil {
		return nil, err
	}
	t.covered, t.confirmed = cp.Size, maps.Clone(confirmed)
	covered := cp.Size
	for _, size := range confirmed {
		covered = min(covered, size)
	}
	all := map[string]Share{}
	for tenant, n := range t.done {
		all[tenant] = Share{Complete: n, All: n, Pct: 100}
	}
	for number, g := range t.open {
		complete := g.outcome && g.lineage && g.seq < covered
		for e := range g.entries {
			s := all[e.Tenant]
			s.add(complete)
			all[e.Tenant] = s
			if complete {
				t.done[e.Tenant]++
			}
		}
		if complete {
			t.folded[number] = true
			delete(t.open, number)
		}
	}
	return all, nil
}

var trackedKinds = [][]byte{[]byte(`"kind":"generation"`), []byte(`"kind":"rollback"`)}

func (t *Tracker) add(rec Record) error {
	if !slices.ContainsFunc(trackedKinds, func(k []byte) bool { return bytes.Contains(rec.Body, k) }) {
		return nil
	}
	r, err := rec.Decode()
	if err != nil || r.Generation == 0 || t.folded[r.Generation] || (r.Kind != Generation && r.Kind != Rollback) {
		return err
	}
	g := t.open[r.Generation]
	if g == nil {
		g = &tracked{entries: map[Entry]bool{}}
		t.open[r.Generation] = g
	}
	for _, c := range r.Changes {
		if c.Feature != "" {
			g.entries[Entry{c.Feature, tenantOf(c)}] = true
		}
	}
	switch {
	case r.Phase != Outcome:
	case r.Result == "failed": // it was not accepted after all
		delete(t.open, r.Generation)
	case live(r.Result):
		if !g.outcome {
			g.outcome, g.seq = true, rec.Seq
		}
		g.lineage = g.lineage || r.ParentID != "" || (r.Kind == Rollback && t.seen[r.Digest])
		t.seen[r.Digest] = true
	}
	return nil
}

// tenantOf is whose entry a change is about.
func tenantOf(c Change) string {
	if c.Tenant == "" {
		return "__default__"
	}
	return c.Tenant
}
