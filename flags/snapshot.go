package flags

import (
	"crypto/sha256"
	"iter"
	"math/bits"
	"unsafe"
)

// Snapshot is a set of entries compiled for deciding. It is immutable, safe for
// concurrent use, and holds no pointer per entry, so that a garbage collection
// passes over it in no time however many entries there are.
//
// An entry is a row of fixed size. A tenant's rows lie together, in a small
// hash table of their own, so that the decisions of one request touch little
// memory. All else lies in an arena, written once and addressed by 32-bit
// offsets, each encoding stored once however often it occurs:
//
//	text   uvarint length, bytes
//	rules  [text salt] [cohort list, see appendCohorts], as the row's bits say
//
// An offset below len(base) lies in base, any other in tail: base is shared
// with the snapshot that this one was updated from.
type Snapshot struct {
	base, tail string

	features []featureSlot // by feature number; a removed feature keeps its place
	order    []uint32      // the numbers of those that have entries, by name
	names    []nameSlot    // hash table of those
	tenants  []tenantSlot  // hash table of the tenants that have entries of their own
	known    int           // tenants in it
	rows     []row         // the tenants' rows, place by place as their slots say
	live     int           // entries, tenants' and features' own together
}

// row is one entry.
type row struct {
	feature uint32 // its number
	version uint32 // text
	rules   uint32 // what bits say
	bits    uint32 // percentage and the flags below; 0 is an empty place
}

const (
	rowPct     = 1<<17 - 1
	rowUsed    = 1 << 17
	rowDeleted = 1 << 18 // neither used nor empty: a search goes on behind it
	rowEnabled = 1 << 19
	rowSalted  = 1 << 20
	rowCohorts = 1 << 21
)

type featureSlot struct {
	own     row    // the feature's own entry, bits 0 if it has none
	name    uint32 // text
	tenants uint32 // how many tenants have an entry of their own
}

// The tag of a slot is part of the hash of its name: a search reads the arena
// only where a match is all but certain.
type (
	nameSlot   struct{ tag, id uint32 }                // id is the feature's number + 1; 0 is an empty place
	tenantSlot struct{ tag, name, start, size uint32 } // rows[start:start+size] are its own; size 0 is an empty place
)

// Decide is [Decide] over the tenant's entry, else the feature's own.
func (s *Snapshot) Decide(feature, tenant, user string) Decision {
	id, ok := s.featureID(feature)
	if !ok {
		return Decision{Reason: ReasonNoConfig}
	}
	r, of := &s.features[id].own, DefaultTenant
	if s.features[id].tenants > 0 {
		if i := s.find(s.tenantRows(tenant), id); i >= 0 {
			r, of = &s.rows[i], tenant
		}
	}
	var sum [sha256.Size]byte
	how, bucket := s.judge(r, keyOf(tenant, user), &sum, false)
	if how == noConfig {
		return Decision{Reason: ReasonNoConfig}
	}
	return Decision{On: how >= hashOn, Reason: reasons[how], Version: s.text(r.version), Tenant: of, Bucket: bucket}
}

// Enabled is Decide(feature, tenant, user).On, a little faster.
func (s *Snapshot) Enabled(feature, tenant, user string) bool {
	id, ok := s.featureID(feature)
	if !ok {
		return false
	}
	r := &s.features[id].own
	if s.features[id].tenants > 0 {
		if i := s.find(s.tenantRows(tenant), id); i >= 0 {
			r = &s.rows[i]
		}
	}
	var sum [sha256.Size]byte
	how, _ := s.judge(r, keyOf(tenant, user), &sum, false)
	return how >= hashOn
}

// outcome is a decision without its texts.
type outcome uint8

const (
	noConfig outcome = iota
	disabled
	hashOff
	hashOn // this one and those below are on
	member
	full
)

var reasons = [...]Reason{
	noConfig: ReasonNoConfig, disabled: ReasonDisabled, hashOff: ReasonHash,
	hashOn: ReasonHash, member: ReasonCohort, full: ReasonFull,
}

// judge applies the rules to one row. When hashed is false, sum is scratch
// space, filled with the hash of the key if a rule needs it.
func (s *Snapshot) judge(r *row, key string, sum *[sha256.Size]byte, hashed bool) (outcome, Pct) {
	bits := r.bits
	switch {
	case bits == 0:
		return noConfig, 0
	case bits&rowEnabled == 0:
		return disabled, 0
	}
	if bits&rowCohorts != 0 {
		c := s.cohorts(r)
		if c.plain > 0 && c.hasPlain(key) {
			return member, 0
		}
		if c.hashed > 0 {
			if !hashed {
				*sum, hashed = sumKey(key), true
			}
			if c.hasHashed(key, sum) {
				return member, 0
			}
		}
	}
	pct := Pct(bits & rowPct)
	if pct >= Full {
		return full, 0
	}
	var bucket Pct
	if bits&rowSalted != 0 {
		bucket = saltedBucket(s.text(r.rules), key)
	} else {
		if !hashed {
			*sum = sumKey(key)
		}
		bucket = plainBucket(sum)
	}
	if bucket < pct {
		return hashOn, bucket
	}
	return hashOff, bucket
}

// Entry returns what decides for a tenant: its own entry, or the feature's. Its
// Cohorts may stand in another order than they were given in. The second
// result is the tenant it belongs to, empty when there is no entry.
func (s *Snapshot) Entry(feature, tenant string) (Entry, string) {
	id, ok := s.featureID(feature)
	if !ok {
		return Entry{}, ""
	}
	if i := s.find(s.tenantRows(tenant), id); i >= 0 {
		return s.entry(&s.rows[i]), tenant
	}
	if own := &s.features[id].own; own.bits != 0 {
		return s.entry(own), DefaultTenant
	}
	return Entry{}, ""
}

// Len is the number of entries.
func (s *Snapshot) Len() int { return s.live }

// Size is the memory held, in bytes, what is shared with other snapshots
// included.
func (s *Snapshot) Size() int {
	return len(s.base) + len(s.tail) + cap(s.rows)*int(unsafe.Sizeof(row{})) +
		cap(s.features)*int(unsafe.Sizeof(featureSlot{})) + cap(s.tenants)*int(unsafe.Sizeof(tenantSlot{})) +
		cap(s.names)*int(unsafe.Sizeof(nameSlot{})) + cap(s.order)*4
}

// Features yields the names of all features that have an entry, in order.
func (s *Snapshot) Features() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, id := range s.order {
			if !yield(s.name(id)) {
				return
			}
		}
	}
}

// Entries yields every entry, in no particular order.
func (s *Snapshot) Entries() iter.Seq2[Key, Entry] {
	return func(yield func(Key, Entry) bool) {
		for _, id := range s.order {
			f := &s.features[id]
			if f.own.bits != 0 && !yield(Key{s.name(id), DefaultTenant}, s.entry(&f.own)) {
				return
			}
		}
		for _, t := range s.tenants {
			for i := range t.size {
				r := &s.rows[t.start+i]
				if r.bits&rowUsed != 0 && !yield(Key{s.name(r.feature), s.text(t.name)}, s.entry(r)) {
					return
				}
			}
		}
	}
}

func (s *Snapshot) entry(r *row) Entry {
	e := Entry{Version: s.text(r.version), Enabled: r.bits&rowEnabled != 0, Pct: Pct(r.bits & rowPct)}
	if r.bits&rowSalted != 0 {
		e.Salt = s.text(r.rules)
	}
	if r.bits&rowCohorts != 0 {
		e.Cohorts = s.cohorts(r).members()
	}
	return e
}

func (s *Snapshot) featureID(name string) (uint32, bool) {
	n := uint64(len(s.names))
	if n == 0 {
		return 0, false
	}
	h := hashString(name)
	for i, _ := bits.Mul64(h, n); ; i++ {
		if i == n {
			i = 0
		}
		p := s.names[i]
		if p.id == 0 {
			return 0, false
		}
		if p.tag == uint32(h) && equalText(s.at(s.features[p.id-1].name), name) {
			return p.id - 1, true
		}
	}
}

// tenantRows returns the slot of a tenant, the zero slot if it has none.
func (s *Snapshot) tenantRows(tenant string) tenantSlot {
	if i := s.tenantIndex(tenant); i >= 0 {
		return s.tenants[i]
	}
	return tenantSlot{}
}

func (s *Snapshot) tenantIndex(tenant string) int {
	n := uint64(len(s.tenants))
	if n == 0 {
		return -1
	}
	h := hashString(tenant)
	for i, _ := bits.Mul64(h, n); ; i++ {
		if i == n {
			i = 0
		}
		t := &s.tenants[i]
		if t.size == 0 {
			return -1
		}
		if t.tag == uint32(h) && equalText(s.at(t.name), tenant) {
			return int(i)
		}
	}
}

// find returns where a feature's row stands among a tenant's, or -1.
func (s *Snapshot) find(t tenantSlot, id uint32) int {
	i := rowPlace(id, t.size)
	for range t.size {
		r := &s.rows[t.start+i]
		if r.feature == id && r.bits&rowUsed != 0 {
			return int(t.start + i)
		}
		if r.bits == 0 {
			return -1
		}
		if i++; i == t.size {
			i = 0
		}
	}
	return -1
}

// rowPlace is the place, of size, where the search for a feature begins.
func rowPlace(id, size uint32) uint32 {
	return uint32(uint64(id*0x9E3779B1) * uint64(size) >> 32)
}

func (s *Snapshot) at(off uint32) string {
	if int(off) < len(s.base) {
		return s.base[off:]
	}
	return s.tail[int(off)-len(s.base):]
}

func (s *Snapshot) text(off uint32) string { return text(s.at(off)) }

func (s *Snapshot) name(id uint32) string { return s.text(s.features[id].name) }

// text reads a text. Nearly all are shorter than 128 bytes and have their
// length in one byte.
func text(s string) string {
	if n := int(s[0]); n < 0x80 {
		return s[1 : 1+n]
	}
	n, size := uvarint(s)
	return s[size : size+n]
}

// equalText is text(s) == want, without a call for the usual lengths.
func equalText(s, want string) bool {
	n := len(want)
	if n < 8 || n > 16 {
		return text(s) == want
	}
	return int(s[0]) == n && u64(s, 1) == u64(want, 0) && u64(s, n-7) == u64(want, n-8)
}

func uvarint(s string) (n, size int) {
	for shift := 0; ; shift += 7 {
		b := s[size]
		size++
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n, size
		}
	}
}
