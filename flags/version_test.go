package flags_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/schema"
)

func TestParseVersion(t *testing.T) {
	good := map[string]flags.Version{
		"flags-v1":                         {Base: "flags-v1"},
		"1":                                {Base: "1"},
		"v1.2.3-rc.1":                      {Base: "v1.2.3-rc.1"},
		"flags-v1+ramp.1":                  {Base: "flags-v1", N: 1},
		"flags-v1+ramp.999999999":          {Base: "flags-v1", N: 999_999_999},
		"flags-v1+ramp":                    {Base: "flags-v1", N: 1},
		"flags-v1+ramp+ramp+ramp":          {Base: "flags-v1", N: 3},
		"v" + strings.Repeat("+ramp", 400): {Base: "v", N: 400},
	}
	for s, want := range good {
		if got, err := flags.ParseVersion(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "+ramp.1", "-v1", ".1", "v 1", "v1+", "v1+ramp.", "v1+ramp.0", "v1+ramp.01", "v1+ramp.-1", "v1+ramp.1.2",
		"v1+ramp.1+ramp", "v1+ramp+ramp.2", "v1+rampx", "v1 +ramp", "v1+ramp ", "v1+ramp.1000000000", "ü", "v1\n", "v_1", strings.Repeat("a", 9000)} {
		if got, err := flags.ParseVersion(s); !errors.Is(err, flags.ErrVersion) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

// The parser and the pattern of the schema, which editors use, agree.
func FuzzVersion(f *testing.F) {
	for _, s := range []string{"flags-v1", "flags-v1+ramp.7", "v+ramp+ramp", "v+ramp.0", "v+ramp.1+ramp", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := flags.ParseVersion(s)
		if problems := schema.Lookup("flags", "/$defs/version").Validate(s); (problems == nil) != (err == nil) {
			t.Fatalf("%q: parser %v, schema %v", s, err, problems)
		}
		if err != nil {
			return
		}
		again, err := flags.ParseVersion(v.String())
		if err != nil || again != v {
			t.Fatalf("%q is written %q, which reads %v, %v", s, v, again, err)
		}
	})
}

func TestNextVersion(t *testing.T) {
	for _, c := range []struct {
		current, base string
		seen          []string
		want          string
	}{
		{"flags-v1", "", nil, "flags-v1+ramp.1"},
		{"flags-v1+ramp.1", "", []string{"flags-v1"}, "flags-v1+ramp.2"},
		{"flags-v1+ramp.1", "", []string{"flags-v1+ramp.5", "flags-v2+ramp.9", "not a version"}, "flags-v1+ramp.6"}, // after a revert
		{"flags-v1+ramp+ramp", "", nil, "flags-v1+ramp.3"},
		{"flags-v1+ramp.7", "flags-v2", []string{"flags-v1+ramp.7"}, "flags-v2"},
		{"flags-v1+ramp.7", "flags-v2", []string{"flags-v2", "flags-v2+ramp.3"}, "flags-v2+ramp.4"},
		{"flags-v1+ramp.7", "flags-v1", nil, "flags-v1+ramp.8"},
	} {
		got, err := flags.NextVersion(c.current, c.base, c.seen)
		if err != nil || got.String() != c.want {
			t.Errorf("after %s (base %q, seen %v): %v, %v; want %s", c.current, c.base, c.seen, got, err, c.want)
		}
	}
	for _, c := range [][2]string{{"", ""}, {"v1", "v 2"}, {"v1+ramp.999999999", ""}} {
		if got, err := flags.NextVersion(c[0], c[1], nil); !errors.Is(err, flags.ErrVersion) {
			t.Errorf("%q: %v, %v", c, got, err)
		}
	}
	if got := (flags.Version{Base: "v1", N: 3}).With(9).String(); got != "v1+ramp.9" {
		t.Error(got)
	}
}
