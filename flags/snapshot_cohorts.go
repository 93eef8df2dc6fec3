package flags

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
)

// linearMembers is the length up to which a list is searched from one end to
// the other; a longer one carries a hash table.
const linearMembers = 8

// cohortList is a list of members as it lies in the arena:
//
//	uvarint plain, uvarint hashed   how many there are
//	hashed x 32 bytes               digests, sorted
//	[slots x u32]                   when plain > linearMembers: open addressing, offset in what follows + 1
//	plain x text
type cohortList struct {
	plain, hashed int
	digests       string
	table         string
	texts         string
}

func (s *Snapshot) cohorts(r *row) cohortList {
	raw := s.at(r.rules)
	if r.bits&rowSalted != 0 {
		raw = raw[textSize(len(text(raw))):]
	}
	var c cohortList
	var n, m int
	if raw[0] < 0x80 && raw[1] < 0x80 {
		c.plain, c.hashed, n = int(raw[0]), int(raw[1]), 2
	} else {
		c.plain, n = uvarint(raw)
		c.hashed, m = uvarint(raw[n:])
		n += m
	}
	c.digests = raw[n : n+c.hashed*sha256.Size]
	n += len(c.digests)
	if c.plain > linearMembers {
		c.table = raw[n : n+4*tableSize(c.plain)]
		n += len(c.table)
	}
	c.texts = raw[n:]
	return c
}

func tableSize(members int) int { return members + members/2 }

func (c cohortList) hasPlain(key string) bool {
	if c.table == "" {
		rest := c.texts
		for range c.plain {
			m := text(rest)
			if m == key {
				return true
			}
			rest = rest[textSize(len(m)):]
		}
		return false
	}
	n := uint64(len(c.table) / 4)
	for i, _ := bits.Mul64(hashString(key), n); ; i++ {
		if i == n {
			i = 0
		}
		off := u32(c.table, int(4*i))
		if off == 0 {
			return false
		}
		if text(c.texts[off-1:]) == key {
			return true
		}
	}
}

// hasHashed reports whether the digest of the key, sum, is a member, or whether
// the key itself is spelled like a hashed member that is one.
func (c cohortList) hasHashed(key string, sum *[sha256.Size]byte) bool {
	if c.hasDigest(sum) {
		return true
	}
	if !isHashedMember(key) {
		return false
	}
	literal := unhex(key[len(hashedPrefix):])
	return c.hasDigest(&literal)
}

func (c cohortList) hasDigest(sum *[sha256.Size]byte) bool {
	lo, hi := 0, c.hashed
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		d := c.digests[mid*sha256.Size : (mid+1)*sha256.Size]
		switch {
		case d == string(sum[:]):
			return true
		case d < string(sum[:]):
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return false
}

func (c cohortList) members() []string {
	out := make([]string, 0, c.plain+c.hashed)
	rest := c.texts
	for range c.plain {
		m := text(rest)
		out = append(out, m)
		rest = rest[textSize(len(m)):]
	}
	for i := range c.hashed {
		out = append(out, hashedMember(c.digests[i*sha256.Size:(i+1)*sha256.Size]))
	}
	return out
}

func hashedMember(digest string) string {
	b := make([]byte, 0, len(hashedPrefix)+2*sha256.Size)
	b = append(b, hashedPrefix...)
	for i := range len(digest) {
		b = append(b, hexDigits[digest[i]>>4], hexDigits[digest[i]&15])
	}
	return string(b)
}

func textSize(n int) int {
	size := 1
	for m := n; m >= 0x80; m >>= 7 {
		size++
	}
	return size + n
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendCohorts appends a list in the form that cohortList describes.
func appendCohorts(b []byte, members []string) []byte {
	plain := 0
	var digests [][sha256.Size]byte
	for _, m := range members {
		if isHashedMember(m) {
			digests = append(digests, unhex(m[len(hashedPrefix):]))
		} else {
			plain++
		}
	}
	b = binary.AppendUvarint(b, uint64(plain))
	b = binary.AppendUvarint(b, uint64(len(digests)))
	slices.SortFunc(digests, func(x, y [sha256.Size]byte) int { return bytes.Compare(x[:], y[:]) })
	for i := range digests {
		b = append(b, digests[i][:]...)
	}
	table := len(b)
	if plain > linearMembers {
		b = append(b, make([]byte, 4*tableSize(plain))...)
	}
	texts := len(b)
	for _, m := range members {
		if isHashedMember(m) {
			continue
		}
		if plain > linearMembers {
			putMember(b[table:texts], m, uint32(len(b)-texts))
		}
		b = appendText(b, m)
	}
	return b
}

func putMember(table []byte, m string, off uint32) {
	n := uint64(len(table) / 4)
	for i, _ := bits.Mul64(hashString(m), n); ; i++ {
		if i == n {
			i = 0
		}
		if place := table[4*i : 4*i+4]; binary.LittleEndian.Uint32(place) == 0 {
			binary.LittleEndian.PutUint32(place, off+1)
			return
		}
	}
}
