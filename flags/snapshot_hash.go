package flags

import (
	"hash/maphash"
	"math/bits"
)

// The hash tables of a snapshot are keyed by two random numbers, drawn once a
// process: nobody outside can choose names that collide.
var (
	seed = maphash.MakeSeed()
	keyA = maphash.String(seed, "a") | 1
	keyB = maphash.String(seed, "b") | 1
)

// hashString hashes names, most of them shorter than 17 bytes, which take two
// multiplications. It is never stored: another process has other keys.
func hashString(s string) uint64 {
	n := len(s)
	var a, b uint64
	switch {
	case n > 16:
		return maphash.String(seed, s)
	case n >= 8:
		a, b = u64(s, 0), u64(s, n-8)
	case n >= 4:
		a, b = uint64(u32(s, 0)), uint64(u32(s, n-4))
	case n > 0:
		a = uint64(s[0])<<16 | uint64(s[n/2])<<8 | uint64(s[n-1])
	}
	hi, lo := bits.Mul64(a^keyA, b^keyB^uint64(n))
	hi, lo = bits.Mul64(hi^keyB, lo^keyA)
	return hi ^ lo
}

func u32(s string, i int) uint32 {
	s = s[i : i+4]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func u64(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}
