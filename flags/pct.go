package flags

import (
	"errors"
	"fmt"
	"strconv"
)

// Pct is a percentage in thousandths of a percent: 0 to 100000. Three decimals
// are all that a decision can tell apart (docs/flags.json.md, "pct").
type Pct int32

// Full is 100 percent.
const Full Pct = 100_000

var errPct = errors.New("want a number from 0 to 100 with at most three decimals")

// Whole reports whether p has no decimals, as an entry without salt must have.
func (p Pct) Whole() bool { return p%1000 == 0 }

// String is p in percent without needless zeros: "20", "12.5", "0.001".
func (p Pct) String() string { return string(p.append(nil)) }

func (p Pct) append(dst []byte) []byte {
	if p < 0 {
		dst, p = append(dst, '-'), -p
	}
	dst = strconv.AppendInt(dst, int64(p/1000), 10)
	rest := p % 1000
	if rest == 0 {
		return dst
	}
	dst = append(dst, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	for dst[len(dst)-1] == '0' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// MarshalJSON writes p as a JSON number in percent.
func (p Pct) MarshalJSON() ([]byte, error) { return p.append(nil), nil }

// UnmarshalJSON reads a JSON number in percent, as [ParsePct] does.
func (p *Pct) UnmarshalJSON(b []byte) error {
	v, err := ParsePct(string(b))
	if err != nil {
		return err
	}
	*p = v
	return nil
}

// ParsePct reads a JSON number literal in percent. It is exact: a literal with
// a value between two thousandths is an error, never rounded.
func ParsePct(s string) (Pct, error) {
	v, exact, ok := parsePct(s)
	if !ok || !exact || v < 0 || v > Full {
		return 0, fmt.Errorf("pct %.40q: %w", s, errPct)
	}
	return v, nil
}

// parsePct reads the JSON number s in thousandths, rounded towards plus
// infinity; exact says that nothing was rounded. Values beyond a million
// percent either way come back as a million and one percent of that sign.
func parsePct(s string) (v Pct, exact, ok bool) {
	digits, exp, neg, ok := splitNumber(s)
	if !ok {
		return 0, false, false
	}
	const tooMuch = 1_000_001_000
	n, exact := int64(0), true
	point := len(digits) + exp + 3 // digits that count, in thousandths
	for i := range digits {
		if i < point {
			n = n*10 + int64(digits[i]-'0')
		} else if digits[i] != '0' {
			exact = false
		}
		if n > tooMuch {
			n = tooMuch
			break
		}
	}
	for i := len(digits); i < point && n != 0 && n < tooMuch; i++ {
		n *= 10
	}
	n = min(n, tooMuch)
	switch {
	case neg:
		n = -n
	case !exact:
		n++
	}
	return Pct(n), exact, true
}

// splitNumber takes a JSON number apart: value = ±digits × 10^exp. The digits
// carry no leading zeros.
func splitNumber(s string) (digits string, exp int, neg, ok bool) {
	if s != "" && s[0] == '-' {
		neg, s = true, s[1:]
	}
	mantissa := s
	for i := range len(s) {
		if s[i] == 'e' || s[i] == 'E' {
			e, err := strconv.Atoi(s[i+1:])
			if err != nil || e > 1000 || e < -1000 {
				return "", 0, false, false
			}
			mantissa, exp = s[:i], e
			break
		}
	}
	var buf []byte
	seen, frac := 0, -1
	for i := range len(mantissa) {
		switch c := mantissa[i]; {
		case c == '.' && frac < 0 && i > 0:
			frac = i
		case c >= '0' && c <= '9':
			seen++
			if len(buf) > 0 || c != '0' {
				buf = append(buf, c)
			}
		default:
			return "", 0, false, false
		}
	}
	if seen == 0 || mantissa[len(mantissa)-1] == '.' {
		return "", 0, false, false
	}
	if frac >= 0 {
		exp -= len(mantissa) - frac - 1
	}
	return string(buf), exp, neg, true
}
