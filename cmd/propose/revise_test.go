package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
)

// largeSpec has one feature and n tenants, about 190 bytes each.
func largeSpec(n int) []byte {
	var b bytes.Buffer
	b.WriteString("{\n  \"version\": \"flags-v1\",\n  \"features\": {\n    \"big\": {\n      \"pct\": 10,\n      \"tenants\": {")
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n        \"tenant-%d\": {\n          \"pct\": %d,\n          \"cohorts\": [\"user-%d\", \"user-%d\"],\n          \"version\": \"v1\"\n        }", i, i%100, i, 7*i)
	}
	b.WriteString("\n      }\n    }\n  }\n}\n")
	return b.Bytes()
}

// BenchmarkSet is what propose set does between reading the file and writing it: one tenant of
// 100,000, and all of them at once.
func BenchmarkSet(b *testing.B) {
	src := largeSpec(100_000)
	three, off := "3", false
	for _, c := range []struct {
		name string
		w    wish
	}{
		{"one", wish{feature: "big", tenant: "tenant-77", pct: &three}},
		{"all", wish{feature: "big", enabled: &off}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				var dec flags.Decoder
				made, err := dec.Decode("flags.json", src)
				if err != nil {
					b.Fatal(err)
				}
				cur, err := dec.Decode("flags.json", bytes.Clone(src))
				if err != nil {
					b.Fatal(err)
				}
				edits, err := c.w.edits(cur)
				if err != nil {
					b.Fatal(err)
				}
				rev, err := revise(cur, edits, basis{file: "flags.json", made: made, dec: &dec})
				if err != nil || len(rev.changes) == 0 {
					b.Fatal(err)
				}
				effects(rev.changes)
			}
		})
	}
}

func mustDecode(t *testing.T, src string) *flags.Spec {
	t.Helper()
	s, err := flags.Decode("flags.json", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReviseStamps(t *testing.T) {
	made := mustDecode(t, `{"version": "flags-v1+ramp.4", "features": {
		"a": {"pct": 10, "version": "v7+ramp.2", "tenants": {
			"follows": {"cohorts": ["x"]},
			"own": {"pct": 5, "version": "v2"},
			"stamped": {"enabled": false, "version": "v3+ramp.1"}}},
		"b": {"pct": 20}}}`)
	thirty, five := "30", "6"
	for _, c := range []struct {
		name string
		w    wish
		want map[string]string // entry: version
	}{
		{"the feature", wish{feature: "a", pct: &thirty}, map[string]string{
			"a:__default__": "v7+ramp.10", "a:follows": "v7+ramp.10", "a:own": "v2", "a:stamped": "v3+ramp.10", "b:__default__": "v1",
		}},
		{"a tenant that inherits its version", wish{feature: "a", tenant: "follows", pct: &five}, map[string]string{
			"a:__default__": "v7+ramp.2", "a:follows": "v7+ramp.10", "a:own": "v2", "a:stamped": "v3+ramp.1", "b:__default__": "v1",
		}},
		{"a tenant that has one", wish{feature: "a", tenant: "own", pct: &five}, map[string]string{
			"a:__default__": "v7+ramp.2", "a:follows": "v7+ramp.2", "a:own": "v2+ramp.10", "a:stamped": "v3+ramp.1", "b:__default__": "v1",
		}},
		{"a new one", wish{feature: "c", create: true}, map[string]string{
			"a:__default__": "v7+ramp.2", "c:__default__": "v1+ramp.10", "b:__default__": "v1",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			edits, err := c.w.edits(made)
			if err != nil {
				t.Fatal(err)
			}
			rev, err := revise(made, edits, basis{file: "flags.json", made: made, seen: []string{"flags-v1", "flags-v1+ramp.9", "flags-v0+ramp.50", "flags-v1+ramp.4", "junk+"}})
			if err != nil {
				t.Fatal(err)
			}
			if rev.spec.Version != "flags-v1+ramp.10" || rev.spec.Previous != made.Digest() {
				t.Errorf("version %s, previous %s", rev.spec.Version, rev.spec.Previous)
			}
			for name, want := range c.want {
				feature, tenant, _ := strings.Cut(name, ":")
				if e, ok := rev.spec.Entry(feature, tenant); !ok || e.Version != want {
					t.Errorf("%s has version %q, want %q", name, e.Version, want)
				}
			}
			for _, change := range rev.changes {
				if change.Kind == flags.Meta || change.Kind == flags.Other {
					t.Errorf("the stamps themselves are a change: %s", change)
				}
			}
		})
	}
}
