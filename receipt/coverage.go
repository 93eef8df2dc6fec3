package receipt

import (
	"cmp"
	"slices"
	"time"
)

// Expected is a generation that must have left a complete record.
type Expected struct {
	Generation uint64
	Commit     string
	Version    string
	Digest     string
	// Entries are the features and tenants that it changed.
	Entries []Entry
}

// Entry names a feature and a tenant.
type Entry struct{ Feature, Tenant string }

// Complete says which parts of a generation's record are there.
type Complete struct {
	Generation uint64   `json:"generation"`
	Commit     string   `json:"commit,omitempty"`
	Version    string   `json:"version,omitempty"`
	Receipt    bool     `json:"receipt"`   // an outcome was recorded
	Inclusion  bool     `json:"inclusion"` // the log's checkpoint commits to it
	Anchored   []string `json:"anchored,omitempty"`
	Missing    []string `json:"missing,omitempty"` // notaries that have not confirmed it
	Lineage    bool     `json:"lineage"`           // it names the proposal that it came from, or is an earlier spec come back
}

// OK reports whether nothing is missing.
func (c Complete) OK() bool { return c.Receipt && c.Inclusion && c.Lineage && len(c.Missing) == 0 }

// Share is a part of the whole, as percentages are computed from.
type Share struct {
	Complete int     `json:"complete"`
	All      int     `json:"samples"`
	Pct      float64 `json:"pct"`
}

func (s *Share) add(ok bool) {
	s.All++
	if ok {
		s.Complete++
	}
	s.Pct = 100 * float64(s.Complete) / float64(s.All)
}

// Coverage says how complete the record is. Its JSON has the shape that ramps read as coverage evidence.
type Coverage struct {
	GeneratedAt time.Time         `json:"generated_at"`
	Tenants     map[string]*Share `json:"tenants"`
	Features    map[string]*Share `json:"features"`
	Overall     Share             `json:"overall"`
	Generations []Complete        `json:"generations"`
}

// Cover checks each expected generation against the records of one or several ledgers. logged is the number of receipts that
// each ledger's checkpoint commits to; notaries must each have confirmed all of it.
func Cover(now time.Time, want []Expected, notaries []string, ledgers ...Source) (Coverage, error) {
	found := map[uint64]*Complete{}
	seen := map[string]bool{} // digests that were live before
	for _, src := range ledgers {
		confirmed := map[string]uint64{}
		type hit struct {
			gen uint64
			seq uint64
		}
		var hits []hit
		err := src.Scan(func(rec Record) error {
			if rec.Purged() {
				return nil
			}
			r, err := rec.Decode()
			if err != nil {
				return err
			}
			if a := r.Anchored; a != nil {
				confirmed[a.Notary] = max(confirmed[a.Notary], a.Size)
			}
			if r.Phase != Outcome || (r.Kind != Generation && r.Kind != Rollback) || r.Generation == 0 || !live(r.Result) {
				return nil
			}
			c := found[r.Generation]
			if c == nil {
				c = &Complete{}
				found[r.Generation] = c
			}
			c.Receipt = true
			c.Inclusion = c.Inclusion || rec.Seq < src.Logged
			c.Lineage = c.Lineage || r.ParentID != "" || (r.Kind == Rollback && seen[r.Digest])
			seen[r.Digest] = true
			hits = append(hits, hit{r.Generation, rec.Seq})
			return nil
		})
		if err != nil {
			return Coverage{}, err
		}
		for _, h := range hits {
			for _, n := range notaries {
				if c := found[h.gen]; confirmed[n] > h.seq && !slices.Contains(c.Anchored, n) {
					c.Anchored = append(c.Anchored, n)
				}
			}
		}
	}
	cov := Coverage{GeneratedAt: now.UTC(), Tenants: map[string]*Share{}, Features: map[string]*Share{}}
	for _, w := range want {
		c := Complete{}
		if f := found[w.Generation]; f != nil {
			c = *f
		}
		c.Generation, c.Commit, c.Version = w.Generation, w.Commit, w.Version
		for _, n := range notaries {
			if !slices.Contains(c.Anchored, n) {
				c.Missing = append(c.Missing, n)
			}
		}
		cov.Generations = append(cov.Generations, c)
		cov.Overall.add(c.OK())
		for _, e := range w.Entries {
			share(cov.Tenants, e.Tenant).add(c.OK())
			share(cov.Features, e.Feature).add(c.OK())
		}
	}
	slices.SortFunc(cov.Generations, func(a, b Complete) int { return cmp.Compare(a.Generation, b.Generation) })
	if cov.Overall.All == 0 {
		cov.Overall.Pct = 100 // nothing is owed
	}
	return cov, nil
}

// Source is a ledger to read and how much of it the log's checkpoint commits to.
type Source struct {
	Scan   func(fn func(Record) error) error
	Logged uint64
}

func live(result string) bool {
	return result == "applied" || result == "superseded" || result == "pending"
}

func share(m map[string]*Share, name string) *Share {
	s := m[name]
	if s == nil {
		s = &Share{}
		m[name] = s
	}
	return s
}

// OpenSource reads a ledger's folder without opening it for writing.
func OpenSource(dir string) (Source, error) {
	s := Source{Scan: func(fn func(Record) error) error { return scan(journalDir(dir), 0, fn) }}
	cp, err := newestCheckpoint(dir)
	if err != nil {
		return s, err
	}
	s.Logged = cp.Size
	return s, nil
}

// ScanFrom calls fn for each record of a ledger's folder from number from on, also while it is being written.
func ScanFrom(dir string, from uint64, fn func(Record) error) error {
	return scan(journalDir(dir), from, fn)
}
