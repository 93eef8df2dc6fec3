package evidence

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/ramp"
)

// FromReport makes a coverage document of what a service reports: a coverage document already, or the
// older {"tenant": pct}. at says when it was measured, where the report does not. Unlike [Coverage], it
// fails: what is collected should be good when it is.
func FromReport(src []byte, at time.Time) ([]byte, error) {
	c := Coverage(src)
	if c.Problem != "" {
		return nil, errors.New(c.Problem)
	}
	if c.At.IsZero() {
		c.At = at
	}
	if c.At.IsZero() {
		return nil, ErrUndated
	}
	if len(c.Tenants) == 0 {
		return nil, errors.New("it names no tenant")
	}
	return writeCoverage(c)
}

// ErrUndated says that nobody said when evidence was measured.
var ErrUndated = errors.New("it does not say when it was measured")

// Merge lays coverage documents over each other, later ones over earlier ones. The result is as old as
// the oldest of them.
func Merge(docs ...[]byte) ([]byte, error) {
	var all ramp.Coverage
	for _, src := range docs {
		c := Coverage(src)
		if c.Problem != "" {
			return nil, errors.New(c.Problem)
		}
		if all.Tenants == nil {
			all = c
			continue
		}
		if c.At.Before(all.At) {
			all.At = c.At
		}
		maps.Copy(all.Tenants, c.Tenants)
	}
	return writeCoverage(all)
}

func writeCoverage(c ramp.Coverage) ([]byte, error) {
	var tenants document
	for _, t := range slices.Sorted(maps.Keys(c.Tenants)) {
		m := c.Tenants[t]
		if m.Problem != "" {
			return nil, fmt.Errorf("tenant %s: %s", t, m.Problem)
		}
		one := append([]byte(`{"pct":`), value(m.Pct)...)
		if m.Samples != ramp.NoSamples {
			one = append(append(one, `,"samples":`...), whole(float64(m.Samples))...)
		}
		if !m.At.IsZero() {
			one = append(append(one, `,"generated_at":`...), quote(m.At.UTC().Format(time.RFC3339))...)
		}
		tenants.add(t, append(one, '}'))
	}
	inner, err := tenants.bytes()
	if err != nil {
		return nil, err
	}
	var doc document
	doc.add("generated_at", quote(c.At.UTC().Format(time.RFC3339)))
	doc.add("tenants", inner)
	return doc.bytes()
}
