package flags

import (
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"math"
	"math/bits"
	"slices"
	"strings"
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
	b.out.rows = make([]row, placesFor(len(b.added)))
	return b.finish(nil), nil
}

// Update makes a snapshot that differs from s in the given entries; nil deletes
// one. It shares most of its memory with s and takes time for what it is given,
// besides a copy of the rows, so that a small change to many entries is cheap.
// s stays as it is. It returns ErrSnapshotSize or a snapshot.
func (s *Snapshot) Update(changes iter.Seq2[Key, *Entry]) (*Snapshot, error) {
	b := newBuilder(s)
	var deleted []Key
	for k, e := range changes {
		if e == nil {
			deleted = append(deleted, k)
		} else if err := b.add(k, e); err != nil {
			return nil, err
		}
	}
	b.out.tail = string(b.arena)
	b.copyRows(s)
	out := b.finish(deleted)
	if len(out.tail) > len(out.base)/4+minTail {
		return CompileEntries(out.Entries())
	}
	return out, nil
}

// minTail is how much of an arena may lie beside the base before everything is
// written anew, besides a quarter of the base itself.
const minTail = 64 << 10

// builder fills one snapshot.
type builder struct {
	out         *Snapshot
	arena       []byte // what follows the base of out
	seen        interner
	ids         map[string]uint32 // features met so far
	added       []row             // tenants' rows, not in the table yet
	lastCohorts []string          // what the last rules were made from
	lastSalt    string
	lastRules   uint32
}

func newBuilder(from *Snapshot) *builder {
	out := *from
	out.features = slices.Clone(from.features)
	return &builder{out: &out, arena: []byte(from.tail), ids: map[string]uint32{}}
}

// add writes an entry's texts and rules, and its row unless that has to wait
// for the table.
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
	if k.Tenant == DefaultTenant {
		b.setOwn(id, r)
	} else {
		r.name = b.text(k.Tenant)
		r.tag = uint32(pairHash(id, maphash.String(seed, k.Tenant)))
		b.added = append(b.added, r)
	}
	if len(b.out.base)+len(b.arena) > math.MaxUint32 {
		return fmt.Errorf("compiling %s:%s: %w", k.Feature, k.Tenant, ErrSnapshotSize)
	}
	return nil
}

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

func (b *builder) setOwn(id uint32, r row) {
	own := &b.out.features[id].own
	b.out.live += int(r.bits&rowUsed/rowUsed) - int(own.bits&rowUsed/rowUsed)
	*own = r
}

// placesFor leaves four places in ten empty: a search that finds nothing, the
// most common one, then looks at three or four neighbours.
func placesFor(n int) int {
	if n == 0 {
		return 0
	}
	return n + n*2/3 + 1
}

// copyRows gives the new snapshot its own table, with room for what was added.
func (b *builder) copyRows(from *Snapshot) {
	more := len(b.added)
	if (from.used+more)*10 <= len(from.rows)*7 {
		b.out.rows = slices.Clone(from.rows)
		return
	}
	b.out.rows = make([]row, placesFor(from.live+more+more/4))
	b.out.used = 0
	for i := range from.rows {
		if r := from.rows[i]; r.bits&rowUsed != 0 {
			b.insert(r, b.out.text(r.name))
		}
	}
}

// finish puts the tenants' rows into the table, takes the deleted ones out, and
// orders the features. The arena is complete by now.
func (b *builder) finish(deleted []Key) *Snapshot {
	for _, r := range b.added {
		tenant := b.out.text(r.name)
		if i := b.out.find(r.feature, tenant, maphash.String(seed, tenant)); i >= 0 {
			b.out.rows[i] = r
			continue
		}
		b.insert(r, tenant)
		b.out.features[r.feature].tenants++
		b.out.live++
	}
	for _, k := range deleted {
		b.remove(k)
	}
	b.orderFeatures()
	return b.out
}

func (b *builder) insert(r row, tenant string) {
	n := uint64(len(b.out.rows))
	for i, _ := bits.Mul64(pairHash(r.feature, maphash.String(seed, tenant)), n); ; i++ {
		if i == n {
			i = 0
		}
		if b.out.rows[i].bits == 0 {
			b.out.rows[i] = r
			b.out.used++
			return
		}
	}
}

func (b *builder) remove(k Key) {
	id, ok := b.ids[k.Feature]
	if !ok {
		if id, ok = b.out.featureID(k.Feature); !ok {
			return
		}
	}
	if k.Tenant == DefaultTenant {
		b.setOwn(id, row{})
		return
	}
	if i := b.out.find(id, k.Tenant, maphash.String(seed, k.Tenant)); i >= 0 {
		b.out.rows[i] = row{bits: rowDeleted}
		b.out.features[id].tenants--
		b.out.live--
	}
}

// orderFeatures lists and indexes the features that have entries, unless they
// are the same as before.
func (b *builder) orderFeatures() {
	out := b.out
	var order []uint32
	for id := range out.features {
		if out.features[id].used() {
			order = append(order, uint32(id))
		}
	}
	gone := func(id uint32) bool { return !out.features[id].used() }
	if len(order) == len(out.order) && !slices.ContainsFunc(out.order, gone) {
		return
	}
	slices.SortFunc(order, func(x, y uint32) int {
		return strings.Compare(out.text(out.features[x].name), out.text(out.features[y].name))
	})
	out.order = order
	out.names = make([]nameSlot, placesFor(len(order)))
	n := uint64(len(out.names))
	for _, id := range order {
		h := maphash.String(seed, out.text(out.features[id].name))
		i, _ := bits.Mul64(h, n)
		for ; out.names[i%n].id != 0; i++ {
		}
		out.names[i%n] = nameSlot{tag: uint32(h), id: id + 1}
	}
}

func (f *featureSlot) used() bool { return f.tenants > 0 || f.own.bits != 0 }

// interner finds equal encodings that were appended to one arena.
type interner struct {
	places []internPlace
	n      int
}

type internPlace struct {
	tag        uint32
	start, end uint32
}

// add looks for arena[start:] among what was added before. It returns where
// that stands, or false after having added it.
func (t *interner) add(arena []byte, start int) (int, bool) {
	if t.n*10 >= len(t.places)*7 {
		t.grow(arena)
	}
	want := arena[start:]
	h := maphash.Bytes(seed, want)
	n := uint64(len(t.places))
	for i, _ := bits.Mul64(h, n); ; i++ {
		if i == n {
			i = 0
		}
		p := t.places[i]
		if p.end == 0 {
			t.places[i] = internPlace{uint32(h), uint32(start), uint32(len(arena))}
			t.n++
			return 0, false
		}
		if p.tag == uint32(h) && string(arena[p.start:p.end]) == string(want) {
			return int(p.start), true
		}
	}
}

func (t *interner) grow(arena []byte) {
	old := t.places
	t.places = make([]internPlace, max(64, 2*len(old)))
	n := uint64(len(t.places))
	for _, p := range old {
		if p.end == 0 {
			continue
		}
		i, _ := bits.Mul64(maphash.Bytes(seed, arena[p.start:p.end]), n)
		for ; t.places[i%n].end != 0; i++ {
		}
		t.places[i%n] = p
	}
}
