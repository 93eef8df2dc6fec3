package flags

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Version is a spec's or an entry's version, taken apart. Versions name; they
// do not order. N is 0 for a base that was never ramped.
type Version struct {
	Base string
	N    int
}

// ErrVersion is what [ParseVersion] wraps.
var ErrVersion = errors.New(`want <base> or <base>+ramp.<n>, such as "flags-v1" or "flags-v1+ramp.7"`)

const (
	rampMark   = "+ramp"
	maxVersion = 8192 // bytes: an older controller added +ramp every night
	maxRampN   = 999_999_999
)

// ParseVersion reads "flags-v1", "flags-v1+ramp.7" and the older form in which
// every step added one more "+ramp": there N is the count. The error wraps
// [ErrVersion] and says what is wrong.
func ParseVersion(s string) (Version, error) {
	bad := func(why string) (Version, error) {
		return Version{}, fmt.Errorf("version %.80q: %s: %w", s, why, ErrVersion)
	}
	if len(s) > maxVersion {
		return bad("too long")
	}
	base, rest, ramped := strings.Cut(s, rampMark)
	if !validBase(base) {
		return bad("the base must begin with a letter or digit and hold only letters, digits, dots and hyphens")
	}
	if !ramped {
		return Version{Base: base}, nil
	}
	if n, ok := strings.CutPrefix(rest, "."); ok {
		v, err := strconv.Atoi(n)
		if err != nil || v < 1 || v > maxRampN || strconv.Itoa(v) != n {
			return bad("the number after +ramp. must be 1 or more, without leading zeros")
		}
		return Version{Base: base, N: v}, nil
	}
	if strings.ReplaceAll(rest, rampMark, "") != "" {
		return bad("unexpected text after +ramp")
	}
	return Version{Base: base, N: 1 + strings.Count(rest, rampMark)}, nil
}

func validBase(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case (c == '.' || c == '-') && i > 0:
		default:
			return false
		}
	}
	return s != ""
}

// String is the form that is written: never the older, repeated one.
func (v Version) String() string {
	if v.N == 0 {
		return v.Base
	}
	return v.Base + rampMark + "." + strconv.Itoa(v.N)
}

// With is the version of an entry that changed in a spec of ramp number n: the
// entry's own base with the spec's n.
func (v Version) With(n int) Version { return Version{Base: v.Base, N: n} }

// NextVersion is the version for the next change: base with one more than the
// highest n that it has among seen, which must be every version that the file
// ever had. An empty base means the base of current. Versions in seen that
// cannot be read name nothing and are passed over.
func NextVersion(current string, base string, seen []string) (Version, error) {
	cur, err := ParseVersion(current)
	if err != nil {
		return Version{}, err
	}
	next := Version{Base: cur.Base, N: cur.N}
	if base != "" && base != cur.Base {
		if !validBase(base) {
			return Version{}, fmt.Errorf("base %.80q: %w", base, ErrVersion)
		}
		next = Version{Base: base, N: -1}
	}
	for _, s := range seen {
		if v, err := ParseVersion(s); err == nil && v.Base == next.Base {
			next.N = max(next.N, v.N)
		}
	}
	if next.N == maxRampN {
		return Version{}, fmt.Errorf("version %s: no ramp number is left, start a new base: %w", next, ErrVersion)
	}
	next.N++
	return next, nil
}
