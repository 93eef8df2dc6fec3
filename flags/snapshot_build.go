package flags

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
)

// ErrSnapshotSize is returned when entries do not fit a snapshot, whose arena
// is addressed by 32 bits.
var ErrSnapshotSize = errors.New("entries take more than 4 GiB")

// Compile makes a snapshot of all entries of a spec. It returns ErrSnapshotSize
// or a snapshot.
func Compile(s *Spec) (*Snapshot, error) { return CompileEntries(s.Entries()) }

// CompileEntries makes a snapshot of entries from elsewhere, in any order; the
// last one of a key counts. It keeps nothing that it is given, but a Cohorts
// slice may not be changed while it runs. It returns ErrSnapshotSize or a
// snapshot.
func CompileEntries(entries iter.Seq2[Key, Entry]) (*Snapshot, error) {
	b := newBuilder(&Snapshot{})
	for k, e := range entries {
		if err := b.add(k, &e); err != nil {
			return nil, err
		}
	}
	b.out.base = string(b.arena)
	b.layAll()
	b.orderFeatures()
	return b.out, nil
}

// Update makes a snapshot that differs from s in the given entries; nil deletes
// one. It shares most of its memory with s and takes time for what it is given,
// besides a copy of the rows, so that a small change to many entries is cheap.
// s stays as it is. It returns ErrSnapshotSize or a snapshot.
func (s *Snapshot) Update(changes iter.Seq2[Key, *Entry]) (*Snapshot, error) {
	b := newBuilder(s)
	for k, e := range changes {
		if e == nil {
			b.remove(k)
		} else if err := b.add(k, e); err != nil {
			return nil, err
		}
	}
	b.out.tail = string(b.arena)
	b.layChanged(s)
	b.orderFeatures()
	out := b.out
	if len(out.tail) > len(out.base)/4+minTail || len(out.rows) > 4*out.live+minTail || out.known > 2*out.live+minTail {
		return CompileEntries(out.Entries())
	}
	return out, nil
}

// minTail is how much may be left behind by updates, besides a part of what is
// in use, before everything is written anew.
const minTail = 64 << 10

// builder fills one snapshot.
type builder struct {
	out     *Snapshot
	arena   []byte // what follows the base of out
	seen    interner
	ids     map[string]uint32 // features met so far
	tenants []newTenant
	numbers map[string]int // tenants met so far

	lastCohorts []string // what the last rules were made from
	lastSalt    string
	lastRules   uint32
}

// newTenant is what a builder has to do for one tenant.
type newTenant struct {
	slot  tenantSlot // as it is in the snapshot, or size 0
	name  string
	first row // what is to be written, or rowDeleted for what is to be removed
	more  []row
}

func (t *newTenant) len() int { return 1 + len(t.more) }

func newBuilder(from *Snapshot) *builder {
	out := *from
	out.features = slices.Clone(from.features)
	return &builder{out: &out, arena: []byte(from.tail), ids: map[string]uint32{}, numbers: map[string]int{}}
}

// add writes an entry's texts and rules, and notes its row.
func (b *builder) add(k Key, e *Entry) error {
	id := b.feature(k.Feature)
	r := row{feature: id, version: b.text(e.Version), rules: b.rules(e), bits: rowUsed | uint32(max(0, min(e.Pct, Full)))}
	if e.Enabled {
		r.bits |= rowEnabled
	}
	if e.Salt != "" {
		r.bits |= rowSalted
	}
	if len(e.Cohorts) > 0 {
		r.bits |= rowCohorts
	}
	b.note(k.Tenant, r)
	if len(b.out.base)+len(b.arena) > math.MaxUint32 {
		return fmt.Errorf("compiling %s: %w", k, ErrSnapshotSize)
	}
	return nil
}

func (b *builder) remove(k Key) {
	id, ok := b.ids[k.Feature]
	if !ok {
		id, ok = b.out.featureID(k.Feature)
	}
	if ok {
		b.note(k.Tenant, row{feature: id, bits: rowDeleted})
	}
}

// feature returns the number of a feature, a new one if it has none.
func (b *builder) feature(name string) uint32 {
	id, ok := b.ids[name]
	if ok {
		return id
	}
	if id, ok = b.out.featureID(name); !ok {
		id = uint32(len(b.out.features))
		b.out.features = append(b.out.features, featureSlot{name: b.text(name)})
	}
	b.ids[name] = id
	return id
}

func (b *builder) note(tenant string, r row) {
	if tenant == DefaultTenant {
		b.setOwn(r)
		return
	}
	if n, ok := b.numbers[tenant]; ok {
		b.tenants[n].more = append(b.tenants[n].more, r)
		return
	}
	t := newTenant{name: tenant, slot: b.out.tenantRows(tenant), first: r}
	if t.slot.size == 0 {
		if r.bits == rowDeleted {
			return // there is nothing to delete
		}
		t.slot.name = uint32(len(b.out.base) + len(b.arena))
		b.arena = appendText(b.arena, tenant)
	}
	b.numbers[tenant] = len(b.tenants)
	b.tenants = append(b.tenants, t)
}

func (b *builder) setOwn(r row) {
	own := &b.out.features[r.feature].own
	b.out.live += int(r.bits&rowUsed/rowUsed) - int(own.bits&rowUsed/rowUsed)
	*own = r
	if r.bits == rowDeleted {
		*own = row{}
	}
}

func (b *builder) text(s string) uint32 {
	start := len(b.arena)
	b.arena = appendText(b.arena, s)
	return b.intern(start)
}

func (b *builder) rules(e *Entry) uint32 {
	if e.Salt == "" && len(e.Cohorts) == 0 {
		return 0
	}
	// Tenants that inherit share the slice itself: no need to look at it again.
	if e.Salt == b.lastSalt && len(e.Cohorts) == len(b.lastCohorts) && (len(e.Cohorts) == 0 || &e.Cohorts[0] == &b.lastCohorts[0]) {
		return b.lastRules
	}
	start := len(b.arena)
	if e.Salt != "" {
		b.arena = appendText(b.arena, e.Salt)
	}
	if len(e.Cohorts) > 0 {
		b.arena = appendCohorts(b.arena, e.Cohorts)
	}
	b.lastSalt, b.lastCohorts, b.lastRules = e.Salt, e.Cohorts, b.intern(start)
	return b.lastRules
}

// intern looks for what was just appended at start; if it stands in the arena
// already, it is taken off again.
func (b *builder) intern(start int) uint32 {
	if found, ok := b.seen.add(b.arena, start); ok {
		b.arena = b.arena[:start]
		start = found
	}
	return uint32(len(b.out.base) + start)
}
