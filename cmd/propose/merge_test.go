package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"github.com/rampart-flags/rampart/flags"
)

func TestMerge(t *testing.T) {
	const base = `{"version": "flags-v1", "features": {
		"a": {"pct": 10, "version": "v1+ramp.1", "cohorts": ["x", "y"], "tenants": {"t": {"pct": 5}}},
		"b": {"pct": 20}}}`
	for _, c := range []struct {
		name, ours, theirs string
		want               string   // the merged features, without versions
		clashes            []string // of which the paths
	}{
		{
			"different features", strings.Replace(base, `"pct": 10`, `"pct": 11`, 1), strings.Replace(base, `"pct": 20`, `"pct": 21`, 1),
			`{"a":{"cohorts":["x","y"],"pct":11,"tenants":{"t":{"pct":5}}},"b":{"pct":21}}`, nil,
		},
		{
			"different fields", strings.Replace(base, `"pct": 10`, `"pct": 10, "owner": "me"`, 1), strings.Replace(base, `"pct": 10`, `"pct": 30`, 1),
			`{"a":{"cohorts":["x","y"],"owner":"me","pct":30,"tenants":{"t":{"pct":5}}},"b":{"pct":20}}`, nil,
		},
		{
			"members on both sides", strings.Replace(base, `["x", "y"]`, `["y", "o"]`, 1), strings.Replace(base, `["x", "y"]`, `["x", "y", "z"]`, 1),
			`{"a":{"cohorts":["y","o","z"],"pct":10,"tenants":{"t":{"pct":5}}},"b":{"pct":20}}`, nil,
		},
		{
			"the same on both sides", strings.Replace(base, `"pct": 10`, `"pct": 50`, 1), strings.Replace(base, `"pct": 10`, `"pct": 50.0`, 1),
			`{"a":{"cohorts":["x","y"],"pct":50,"tenants":{"t":{"pct":5}}},"b":{"pct":20}}`, nil,
		},
		{
			"one field, two values", strings.Replace(base, `"pct": 5`, `"pct": 6`, 1), strings.Replace(base, `"pct": 5`, `"pct": 7`, 1),
			"", []string{"a t pct"},
		},
		{
			"removed here, changed there", strings.Replace(base, `,
		"b": {"pct": 20}`, ``, 1), strings.Replace(base, `"pct": 20`, `"pct": 21`, 1), "", []string{"b"},
		},
		{
			"removed here, only restamped there", strings.Replace(base, `,
		"b": {"pct": 20}`, ``, 1), strings.Replace(base, `"pct": 20`, `"pct": 20, "version": "v1+ramp.9"`, 1),
			`{"a":{"cohorts":["x","y"],"pct":10,"tenants":{"t":{"pct":5}}}}`, nil,
		},
		{
			"a tenant each, the last one gone here", strings.Replace(base, `, "tenants": {"t": {"pct": 5}}`, ``, 1), strings.Replace(base, `{"t": {"pct": 5}}`, `{"t": {"pct": 5}, "u": {"pct": 1}}`, 1),
			`{"a":{"cohorts":["x","y"],"pct":10,"tenants":{"u":{"pct":1}}},"b":{"pct":20}}`, nil,
		},
		{
			"both add a feature of one name", strings.Replace(base, `"b": {`, `"n": {"pct": 1}, "b": {`, 1), strings.Replace(base, `"b": {`, `"n": {"pct": 1, "owner": "x"}, "b": {`, 1),
			`{"a":{"cohorts":["x","y"],"pct":10,"tenants":{"t":{"pct":5}}},"b":{"pct":20},"n":{"owner":"x","pct":1}}`, nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, o, th := mustDecode(t, base), mustDecode(t, c.ours), mustDecode(t, c.theirs)
			edits, clashes := mergeSpecs(b, o, th)
			var paths []string
			for _, clash := range clashes {
				paths = append(paths, clash.Path)
			}
			if !slices.Equal(paths, c.clashes) {
				t.Fatalf("clashes %q, want %q", paths, c.clashes)
			}
			if len(clashes) > 0 {
				return
			}
			src, err := flags.Edit(o.Bytes(), edits)
			if err != nil {
				t.Fatal(err)
			}
			features := parts(parts(src)["features"])
			for name, f := range features {
				features[name] = withoutVersions(f)
			}
			if got := string(canonical(encode(features))); got != c.want {
				t.Errorf("merged into\n%s, want\n%s", got, c.want)
			}
		})
	}
}

// drawSpec is a random spec over few names, so that two of them meet often.
func drawSpec(t *rapid.T, label string) map[string]any {
	entry := func(label string) map[string]any {
		m := map[string]any{}
		if rapid.Bool().Draw(t, label+" has pct") {
			m["pct"] = rapid.IntRange(0, 100).Draw(t, label+" pct")
		}
		if rapid.Bool().Draw(t, label+" has enabled") {
			m["enabled"] = rapid.Bool().Draw(t, label+" enabled")
		}
		if rapid.Bool().Draw(t, label+" has cohorts") {
			m["cohorts"] = rapid.SliceOfDistinct(rapid.SampledFrom([]string{"A", "B", "C", "D"}), rapid.ID).Draw(t, label+" cohorts")
		}
		return m
	}
	features := map[string]any{}
	for _, name := range []string{"a", "b", "c"} {
		if !rapid.Bool().Draw(t, label+" has "+name) {
			continue
		}
		f := entry(label + " " + name)
		tenants := map[string]any{}
		for _, tenant := range []string{"t", "u"} {
			if rapid.Bool().Draw(t, label+" "+name+" has "+tenant) {
				tenants[tenant] = entry(label + " " + name + " " + tenant)
			}
		}
		if len(tenants) > 0 {
			f["tenants"] = tenants
		}
		features[name] = f
	}
	return map[string]any{"version": "flags-v1", "features": features}
}

func drawn(t *rapid.T, label string) *flags.Spec {
	src, err := json.Marshal(drawSpec(t, label), json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := flags.Decode(label, src)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func mustMerge(t *rapid.T, base, ours, theirs *flags.Spec) (*flags.Spec, bool) {
	edits, clashes := mergeSpecs(base, ours, theirs)
	if len(clashes) > 0 {
		return nil, false
	}
	src, err := flags.Edit(ours.Bytes(), edits)
	if err != nil {
		t.Fatalf("edits %v: %v", edits, err)
	}
	merged, err := flags.Decode("merged", src)
	if err != nil {
		t.Fatal(err)
	}
	return merged, true
}

// The laws of a merge: whoever changed nothing has no say, what only one side changed stands, and it
// makes no difference who merges whom.
func TestMergeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base, ours, theirs := drawn(t, "base"), drawn(t, "ours"), drawn(t, "theirs")
		if m, ok := mustMerge(t, base, base, theirs); !ok || len(flags.Diff(m, theirs)) > 0 {
			t.Fatalf("nothing changed here, and the result is not theirs")
		}
		if m, ok := mustMerge(t, base, ours, base); !ok || len(flags.Diff(m, ours)) > 0 {
			t.Fatalf("nothing changed there, and the result is not ours")
		}
		if m, ok := mustMerge(t, base, ours, ours); !ok || len(flags.Diff(m, ours)) > 0 {
			t.Fatalf("both did the same, and the result is another")
		}
		one, ok := mustMerge(t, base, ours, theirs)
		other, okToo := mustMerge(t, base, theirs, ours)
		if ok != okToo {
			t.Fatalf("a conflict one way round only")
		}
		if !ok {
			return
		}
		b, o, th, m := fieldsOf(base), fieldsOf(ours), fieldsOf(theirs), fieldsOf(one)
		if !maps.Equal(m, fieldsOf(other)) {
			t.Fatalf("the two ways round differ:\n%s\n%s", one.Bytes(), other.Bytes())
		}
		for path := range union(b, o, th, m) {
			switch {
			case th[path] == b[path] && m[path] != o[path]:
				t.Fatalf("%s: only ours changed it, to %q, and the result has %q", path, o[path], m[path])
			case o[path] == b[path] && m[path] != th[path]:
				t.Fatalf("%s: only theirs changed it, to %q, and the result has %q", path, th[path], m[path])
			}
		}
	})
}

// fieldsOf has every field of a spec by its path, members sorted, and every feature and tenant that
// is there.
func fieldsOf(s *flags.Spec) map[string]string {
	out := map[string]string{}
	entry := func(path string, m members) {
		out[path] = "there"
		for name, v := range m {
			switch name {
			case "tenants", "version":
			case "cohorts":
				list := listOf(v)
				slices.Sort(list)
				out[path+" "+name] = strings.Join(list, ",")
			default:
				out[path+" "+name] = string(canonical(v))
			}
		}
	}
	for name, f := range parts(parts(s.Bytes())["features"]) {
		entry(name, parts(f))
		for tenant, v := range parts(parts(f)["tenants"]) {
			entry(name+" "+tenant, parts(v))
		}
	}
	return out
}

func union(all ...map[string]string) map[string]bool {
	out := map[string]bool{}
	for _, m := range all {
		for path := range m {
			out[path] = true
		}
	}
	return out
}
