package flags

import (
	"crypto/sha256"
	"hash/maphash"
	"iter"
	"math/bits"
	"unsafe"
)

// Snapshot is a set of entries compiled for deciding. It is immutable, safe for
// concurrent use, and holds no pointer per entry, so that a garbage collection
// passes over it in no time however many entries there are.
//
// Entries are rows of fixed size. All else lies in an arena, written once and
// addressed by 32-bit offsets, each encoding stored once however often it
// occurs:
//
//	text   uvarint length, bytes
//	rules  [text salt] [cohort list, see appendCohorts], as the row's bits say
//
// An offset below len(base) lies in base, any other in tail: base is shared
// with the snapshot that this one was updated from.
type Snapshot struct {
	base, tail string

	features []featureSlot // by feature number; a removed feature keeps its row
	order    []uint32      // the numbers of those that have entries, by name
	names    []nameSlot    // open addressing over names
	rows     []row         // open addressing over (feature, tenant): tenants' own entries
	used     int           // rows that are not empty, deleted ones included
	live     int           // entries, tenants' and features' own together
}

// row is one entry: a tenant's own in Snapshot.rows, a feature's own in its
// featureSlot.
type row struct {
	tag     uint32 // part of the hash, so that a probe reads the arena only where a match is all but certain
	feature uint32 // number of the feature
	name    uint32 // text: the tenant
	version uint32 // text
	rules   uint32 // what bits say
	bits    uint32 // percentage and the flags below; 0 is an empty place
}

type featureSlot struct {
	name    uint32 // text
	tenants uint32 // how many tenants have an entry of their own
	own     row    // the feature's own entry, bits 0 if it has none
}

type nameSlot struct{ tag, id uint32 } // id is the feature's number + 1, 0 is an empty place

const (
	rowPct     = 1<<17 - 1
	rowUsed    = 1 << 17
	rowDeleted = 1 << 18 // neither used nor empty: a search goes on behind it
	rowEnabled = 1 << 19
	rowSalted  = 1 << 20
	rowCohorts = 1 << 21
)

// seed keys every hash table of the process: nobody outside can choose names
// that collide.
var seed = maphash.MakeSeed()

// Decide is [Decide] over the tenant's entry, else the feature's own.
func (s *Snapshot) Decide(feature, tenant, user string) Decision {
	id, ok := s.featureID(feature)
	if !ok {
		return Decision{Reason: ReasonNoConfig}
	}
	f := &s.features[id]
	r, of := &f.own, DefaultTenant
	if f.tenants > 0 {
		if i := s.find(id, tenant, maphash.String(seed, tenant)); i >= 0 {
			r, of = &s.rows[i], tenant
		}
	}
	var sum [sha256.Size]byte
	return s.decide(r, of, keyOf(tenant, user), &sum, false)
}

// decide applies the rules to one row. When hashed is false, sum is scratch
// space, filled with the hash of the key if a rule needs it.
func (s *Snapshot) decide(r *row, tenant, key string, sum *[sha256.Size]byte, hashed bool) Decision {
	bits := r.bits
	if bits == 0 {
		return Decision{Reason: ReasonNoConfig}
	}
	d := Decision{Version: s.text(r.version), Tenant: tenant}
	if bits&rowEnabled == 0 {
		d.Reason = ReasonDisabled
		return d
	}
	if bits&rowCohorts != 0 {
		c := s.cohorts(r)
		in := c.plain > 0 && c.hasPlain(key)
		if !in && c.hashed > 0 {
			if !hashed {
				*sum, hashed = sumKey(key), true
			}
			in = c.hasHashed(key, sum)
		}
		if in {
			d.On, d.Reason = true, ReasonCohort
			return d
		}
	}
	pct := Pct(bits & rowPct)
	if pct >= Full {
		d.On, d.Reason = true, ReasonFull
		return d
	}
	d.Reason = ReasonHash
	if bits&rowSalted != 0 {
		d.Bucket = saltedBucket(s.text(r.rules), key)
	} else {
		if !hashed {
			*sum = sumKey(key)
		}
		d.Bucket = plainBucket(sum)
	}
	d.On = d.Bucket < pct
	return d
}

// Entry returns what decides for a tenant: its own entry, or the feature's. Its
// Cohorts may stand in another order than they were given in. The second
// result is the tenant it belongs to, empty when there is no entry.
func (s *Snapshot) Entry(feature, tenant string) (Entry, string) {
	id, ok := s.featureID(feature)
	if !ok {
		return Entry{}, ""
	}
	if i := s.find(id, tenant, maphash.String(seed, tenant)); i >= 0 {
		return s.entry(&s.rows[i]), tenant
	}
	if own := &s.features[id].own; own.bits != 0 {
		return s.entry(own), DefaultTenant
	}
	return Entry{}, ""
}

// Len is the number of entries.
func (s *Snapshot) Len() int { return s.live }

// Size is the memory held, in bytes.
func (s *Snapshot) Size() int {
	return len(s.base) + len(s.tail) + cap(s.rows)*int(unsafe.Sizeof(row{})) +
		cap(s.features)*int(unsafe.Sizeof(featureSlot{})) + 8*cap(s.names) + 4*cap(s.order)
}

// Features yields the names of all features that have an entry, in order.
func (s *Snapshot) Features() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, id := range s.order {
			if !yield(s.text(s.features[id].name)) {
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
			if f.own.bits != 0 && !yield(Key{s.text(f.name), DefaultTenant}, s.entry(&f.own)) {
				return
			}
		}
		for i := range s.rows {
			r := &s.rows[i]
			if r.bits&rowUsed != 0 && !yield(Key{s.text(s.features[r.feature].name), s.text(r.name)}, s.entry(r)) {
				return
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
	h := maphash.String(seed, name)
	for i, _ := bits.Mul64(h, n); ; i++ {
		if i == n {
			i = 0
		}
		p := s.names[i]
		if p.id == 0 {
			return 0, false
		}
		if p.tag == uint32(h) && s.text(s.features[p.id-1].name) == name {
			return p.id - 1, true
		}
	}
}

// find returns where the tenant's own entry stands in rows, or -1.
func (s *Snapshot) find(id uint32, tenant string, tenantHash uint64) int {
	n := uint64(len(s.rows))
	if n == 0 {
		return -1
	}
	h := pairHash(id, tenantHash)
	for i, _ := bits.Mul64(h, n); ; i++ {
		if i == n {
			i = 0
		}
		r := &s.rows[i]
		if r.bits == 0 {
			return -1
		}
		if r.tag == uint32(h) && r.feature == id && r.bits&rowUsed != 0 && s.text(r.name) == tenant {
			return int(i)
		}
	}
}

// pairHash spreads one tenant's features over the table. Its high bits choose
// the place, the low ones are the tag.
func pairHash(id uint32, tenantHash uint64) uint64 {
	hi, lo := bits.Mul64(tenantHash^uint64(id+1)*0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	return hi ^ lo
}

func (s *Snapshot) at(off uint32) string {
	if int(off) < len(s.base) {
		return s.base[off:]
	}
	return s.tail[int(off)-len(s.base):]
}

func (s *Snapshot) text(off uint32) string { return text(s.at(off)) }

// text reads a text. Nearly all are shorter than 128 bytes and have their
// length in one byte.
func text(s string) string {
	if n := int(s[0]); n < 0x80 {
		return s[1 : 1+n]
	}
	n, size := uvarint(s)
	return s[size : size+n]
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
