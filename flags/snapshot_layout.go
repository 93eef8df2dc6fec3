package flags

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"
)

// placesFor leaves four places in ten of a hash table empty: a search that
// finds nothing, the most common one, then looks at three or four neighbours.
func placesFor(n int) int { return n + n*2/3 }

// layAll puts the rows of all tenants where they belong, none being there.
func (b *builder) layAll() {
	total := 0
	for i := range b.tenants {
		t := &b.tenants[i]
		t.slot.start, t.slot.size = uint32(total), uint32(placesFor(t.len()))
		total += int(t.slot.size)
	}
	b.out.rows = make([]row, total)
	b.out.tenants = make([]tenantSlot, placesFor(len(b.tenants))+1)
	for i := range b.tenants {
		t := &b.tenants[i]
		b.put(t.slot, t.first)
		for _, r := range t.more {
			b.put(t.slot, r)
		}
		b.putTenant(t.slot, t.name)
	}
}

// layChanged puts the changed rows into a copy of those of from.
func (b *builder) layChanged(from *Snapshot) {
	if len(b.tenants) == 0 {
		return
	}
	b.out.rows = slices.Clone(from.rows)
	owned := false // whether out.tenants is still that of from
	own := func() {
		if !owned {
			b.out.tenants, owned = slices.Clone(from.tenants), true
		}
	}
	for _, t := range b.tenants {
		known := t.slot.size > 0
		rows := append([]row{t.first}, t.more...)
		if !known && !slices.ContainsFunc(rows, func(r row) bool { return r.bits&rowUsed != 0 }) {
			continue
		}
		for i, r := range rows {
			if !b.put(t.slot, r) {
				t.slot = b.move(t.slot, len(rows)-i)
				b.put(t.slot, r)
			}
		}
		if !known {
			own()
			b.putTenant(t.slot, t.name)
		} else if i := b.out.tenantIndex(t.name); b.out.tenants[i] != t.slot {
			own()
			b.out.tenants[i].start, b.out.tenants[i].size = t.slot.start, t.slot.size
		}
	}
}

// put replaces, removes or adds one row. It reports false, having done nothing,
// when there is no place for one more.
func (b *builder) put(t tenantSlot, r row) bool {
	out := b.out
	removes := r.bits == rowDeleted
	if i := out.find(t, r.feature); i >= 0 {
		out.rows[i] = r
		if removes {
			out.features[r.feature].tenants--
			out.live--
		}
		return true
	}
	if removes {
		return true
	}
	if !b.insert(t, r) {
		return false
	}
	out.features[r.feature].tenants++
	out.live++
	return true
}

func (b *builder) insert(t tenantSlot, r row) bool {
	i := rowPlace(r.feature, t.size)
	for range t.size {
		if p := &b.out.rows[t.start+i]; p.bits&rowUsed == 0 {
			*p = r
			return true
		}
		if i++; i == t.size {
			i = 0
		}
	}
	return false
}

// move gives a tenant new places at the end, with room for more rows.
func (b *builder) move(t tenantSlot, more int) tenantSlot {
	old := slices.Clone(b.out.rows[t.start : t.start+t.size])
	old = slices.DeleteFunc(old, func(r row) bool { return r.bits&rowUsed == 0 })
	t.start, t.size = uint32(len(b.out.rows)), uint32(placesFor(len(old)+more))
	b.out.rows = append(b.out.rows, make([]row, t.size)...)
	for _, r := range old {
		b.insert(t, r)
	}
	return t
}

func (b *builder) putTenant(t tenantSlot, name string) {
	out := b.out
	if (out.known+1)*10 > len(out.tenants)*7 {
		old := out.tenants
		out.tenants, out.known = make([]tenantSlot, placesFor(out.known*5/4+8)), 0
		for _, o := range old {
			if o.size > 0 {
				b.putTenant(o, out.text(o.name))
			}
		}
	}
	n := uint64(len(out.tenants))
	h := hashString(name)
	t.tag = uint32(h)
	i, _ := bits.Mul64(h, n)
	for ; out.tenants[i%n].size > 0; i++ {
	}
	out.tenants[i%n] = t
	out.known++
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
	slices.SortFunc(order, func(x, y uint32) int { return strings.Compare(out.name(x), out.name(y)) })
	out.order = order
	out.names = make([]nameSlot, 2*len(order))
	n := uint64(len(out.names))
	for _, id := range order {
		h := hashString(out.name(id))
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
	hash       uint64
	start, end uint32
}

// add looks for arena[start:] among what was added before. It returns where
// that stands, or false after having added it.
func (t *interner) add(arena []byte, start int) (int, bool) {
	if t.n*10 >= len(t.places)*7 {
		t.grow()
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
			t.places[i] = internPlace{h, uint32(start), uint32(len(arena))}
			t.n++
			return 0, false
		}
		if p.hash == h && string(arena[p.start:p.end]) == string(want) {
			return int(p.start), true
		}
	}
}

func (t *interner) grow() {
	old := t.places
	t.places = make([]internPlace, max(64, 2*len(old)))
	n := uint64(len(t.places))
	for _, p := range old {
		if p.end == 0 {
			continue
		}
		i, _ := bits.Mul64(p.hash, n)
		for ; t.places[i%n].end != 0; i++ {
		}
		t.places[i%n] = p
	}
}
