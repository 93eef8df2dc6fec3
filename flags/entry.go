package flags

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// DefaultTenant is the reserved name of a feature's own entry: what every
// tenant gets that has no entry of its own.
const DefaultTenant = "__default__"

// Key names one entry.
type Key struct {
	Feature, Tenant string
}

// String is the key as it stands in Redis, after the namespace.
func (k Key) String() string { return k.Feature + ":" + k.Tenant }

// Entry is one feature resolved for one tenant: the content of one Redis key.
// Cohorts are plain members, segments expanded; they are shared and must not
// be changed.
type Entry struct {
	Version string
	Enabled bool
	Pct     Pct
	Cohorts []string
	Salt    string
}

// Equal reports whether both would be the same bytes in Redis.
func (e Entry) Equal(o Entry) bool {
	return e.Enabled == o.Enabled && e.Pct == o.Pct && e.Version == o.Version && e.Salt == o.Salt &&
		sameMembers(e.Cohorts, o.Cohorts)
}

// sameMembers is slices.Equal with a short way for shared lists.
func sameMembers(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	return len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b)
}

// AppendJSON appends the entry's Redis value, which depends on the entry alone:
//
//	{"version":"v1+ramp.7","enabled":true,"ramp_pct":20,"cohorts":["A","user-123"]}
//
// with "salt" at the end where there is one.
func (e Entry) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"version":`...)
	dst = appendString(dst, e.Version)
	if e.Enabled {
		dst = append(dst, `,"enabled":true,"ramp_pct":`...)
	} else {
		dst = append(dst, `,"enabled":false,"ramp_pct":`...)
	}
	dst = e.Pct.append(dst)
	dst = append(dst, `,"cohorts":[`...)
	for i, m := range e.Cohorts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, m)
	}
	dst = append(dst, ']')
	if e.Salt != "" {
		dst = append(dst, `,"salt":`...)
		dst = appendString(dst, e.Salt)
	}
	return append(dst, '}')
}

func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			out, _ := jsontext.AppendQuote(dst, s) // invalid UTF-8 cannot get into a spec; it becomes U+FFFD
			return out
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// ErrEntry is what [ParseEntry] wraps.
var ErrEntry = errors.New("want an object with version, enabled, ramp_pct and cohorts")

// ParseEntry reads a Redis value, also one that an older client wrote: there
// ramp_pct may be missing (100), out of range (clamped) or finer than we keep
// (rounded so that the older rule decides the same), cohorts may be missing or
// null (none), and a missing enabled means off. Unknown fields are passed over.
// The error wraps [ErrEntry].
func ParseEntry(b []byte) (Entry, error) {
	if e, ok := parseOwn(b); ok {
		return e, nil
	}
	var raw struct {
		Version string         `json:"version"`
		Enabled bool           `json:"enabled"`
		Pct     jsontext.Value `json:"ramp_pct"`
		Cohorts []string       `json:"cohorts"`
		Salt    string         `json:"salt"`
	}
	if err := json.Unmarshal(b, &raw); err != nil {
		return Entry{}, fmt.Errorf("reading an entry: %w: %w", ErrEntry, err)
	}
	if v := jsontext.Value(b); v.Kind() != '{' {
		return Entry{}, fmt.Errorf("reading an entry: found %.40s: %w", b, ErrEntry)
	}
	e := Entry{Version: raw.Version, Enabled: raw.Enabled, Pct: Full, Cohorts: raw.Cohorts, Salt: raw.Salt}
	if kind := raw.Pct.Kind(); kind == '0' {
		p, _, ok := parsePct(string(raw.Pct))
		if !ok {
			return Entry{}, fmt.Errorf("reading an entry: ramp_pct %.40s: %w", raw.Pct, ErrEntry)
		}
		e.Pct = min(max(p, 0), Full)
	} else if len(raw.Pct) > 0 && kind != 'n' {
		return Entry{}, fmt.Errorf("reading an entry: ramp_pct %.40s: %w", raw.Pct, ErrEntry)
	}
	return e, nil
}

// parseOwn reads what AppendJSON wrote, where all strings are plain. It is
// false for everything else, which ParseEntry reads the long way.
func parseOwn(b []byte) (e Entry, ok bool) {
	rest := string(b) // the entry's strings are parts of it
	if e.Version, rest, ok = cutString(rest, `{"version":`); !ok {
		return e, false
	}
	if rest, e.Enabled = strings.CutPrefix(rest, `,"enabled":true`); !e.Enabled {
		if rest, ok = strings.CutPrefix(rest, `,"enabled":false`); !ok {
			return e, false
		}
	}
	if rest, ok = strings.CutPrefix(rest, `,"ramp_pct":`); !ok {
		return e, false
	}
	pct, rest, ok := strings.Cut(rest, ",")
	if !ok || len(pct) > 6 {
		return e, false
	}
	p, err := ParsePct(pct)
	if e.Pct = p; err != nil || pct != p.String() {
		return e, false
	}
	if e.Cohorts, rest, ok = cutMembers(rest); !ok {
		return e, false
	}
	if rest == "}" {
		return e, true
	}
	e.Salt, rest, ok = cutString(rest, `,"salt":`)
	return e, ok && e.Salt != "" && rest == "}"
}

func cutMembers(s string) (members []string, rest string, ok bool) {
	if rest, ok = strings.CutPrefix(s, `"cohorts":[`); !ok {
		return nil, s, false
	}
	if after, empty := strings.CutPrefix(rest, "]"); empty {
		return nil, after, true
	}
	members = make([]string, 0, 1+strings.Count(rest, `","`))
	for sep := ""; ; sep = "," {
		var m string
		if m, rest, ok = cutString(rest, sep); !ok {
			return nil, s, false
		}
		members = append(members, m)
		if after, end := strings.CutPrefix(rest, "]"); end {
			return members, after, true
		}
	}
}

// cutString takes prefix and a plain string in quotes off s.
func cutString(s, prefix string) (text, rest string, ok bool) {
	rest, ok = strings.CutPrefix(s, prefix+`"`)
	if !ok {
		return "", s, false
	}
	for i := range len(rest) {
		switch c := rest[i]; {
		case c == '"':
			return rest[:i], rest[i+1:], true
		case c < 0x20 || c >= 0x7f || c == '\\':
			return "", s, false
		}
	}
	return "", s, false
}
