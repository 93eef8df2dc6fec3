package flags_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// bigSpec is a spec of n tenants over ten features: 20 MB at 100,000. Every
// override is different from every other one, as only a hostile or a very
// diligent author writes them, unless alike is given.
func bigSpec(n int, alike bool) []byte {
	var b bytes.Buffer
	b.WriteString("{\n  \"version\": \"flags-v1+ramp.7\",\n  \"environment\": \"prod\",\n  \"segments\": {\"beta\": [\"user-1\", \"user-2\"]},\n  \"features\": {\n")
	const features = 10
	for f := range features {
		fmt.Fprintf(&b, "    \"feature-%d\": {\n      \"description\": \"A feature of a large spec\",\n      \"enabled\": true,\n      \"pct\": 20,\n      \"cohorts\": [\"A\", \"@beta\"],\n      \"ramp\": {\"steps\": [1, 5, 10, 20, 50, 100]},\n      \"tenants\": {\n", f)
		for t := range n / features {
			id := t
			if alike {
				id = t % 50
			}
			fmt.Fprintf(&b, "        \"tenant-%05d-of-feature-%d\": {\n          \"enabled\": true,\n          \"pct\": %d,\n          \"cohorts\": [\"user-%06d@example.com\", \"user-%06d@example.com\", \"group-%d\"],\n          \"version\": \"v1+ramp.%d\"\n        }", t, f, id%101, id, id+f*1000, id, 1+id%7)
			if t < n/features-1 {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
		}
		b.WriteString("      }\n    }")
		if f < features-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("  }\n}\n")
	return b.Bytes()
}

// oneChange is src with one tenant's percentage moved and the version with it.
func oneChange(tb testing.TB, src []byte, n int) []byte {
	tb.Helper()
	out, err := flags.Edit(src, []flags.EditOp{
		{Pointer: "/version", Value: []byte(fmt.Sprintf(`"flags-v1+ramp.%d"`, n))},
		{Pointer: "/features/feature-4/tenants/tenant-00444-of-feature-4/pct", Value: []byte(fmt.Sprint(n % 100))},
		{Pointer: "/features/feature-4/tenants/tenant-00444-of-feature-4/version", Value: []byte(fmt.Sprintf(`"v1+ramp.%d"`, n))},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func mustDecode(tb testing.TB, src []byte) *flags.Spec {
	tb.Helper()
	s, err := flags.Decode("flags.json", src)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// BenchmarkWhole is the whole way of a spec that nobody has seen: decode,
// validate, diff against one that has nothing in common, and the entries that
// a plan sets and deletes. 100,000 tenants have to take less than 2 s and 800 MB.
func BenchmarkWhole(b *testing.B) {
	for _, alike := range []bool{false, true} {
		b.Run(fmt.Sprintf("tenants=100000/alike=%v", alike), func(b *testing.B) {
			src := bigSpec(100_000, alike)
			before := mustDecode(b, []byte(`{"version":"flags-v1","features":{"other":{}}}`))
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				s := mustDecode(b, src)
				changes := flags.Diff(before, s)
				set, deleted := flags.ChangedEntries(before, s)
				var buf []byte
				for _, k := range set {
					e, _ := s.Entry(k.Feature, k.Tenant)
					buf = e.AppendJSON(buf[:0])
				}
				if len(changes) < 100_000 || len(set) != 100_010 || len(deleted) != 1 {
					b.Fatalf("%d changes, %d set, %d deleted", len(changes), len(set), len(deleted))
				}
			}
		})
	}
}

// BenchmarkAgain is what one changed tenant among 100,000 costs.
func BenchmarkAgain(b *testing.B) {
	src := bigSpec(100_000, false)
	a, c := oneChange(b, src, 8), oneChange(b, src, 9)
	b.Run("decode", func(b *testing.B) {
		var d flags.Decoder
		if _, err := d.Decode("flags.json", a); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(src)))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			next := c
			if i%2 == 1 {
				next = a
			}
			if _, err := d.Decode("flags.json", next); err != nil {
				b.Fatal(err)
			}
		}
	})
	var d flags.Decoder
	sa, err := d.Decode("flags.json", a)
	if err != nil {
		b.Fatal(err)
	}
	sc, err := d.Decode("flags.json", c)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("diff", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if changes := flags.Diff(sa, sc); len(changes) != 1 {
				b.Fatal(changes)
			}
		}
	})
	b.Run("plan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if set, deleted := flags.ChangedEntries(sa, sc); len(set) != 1 || len(deleted) != 0 {
				b.Fatal(set, deleted)
			}
		}
	})
	b.Run("compare", func(b *testing.B) { // the floor: looking at the bytes once
		b.SetBytes(int64(len(src)))
		other := bytes.Clone(a)
		for b.Loop() {
			if !bytes.Equal(a, other) {
				b.Fatal("not the same")
			}
		}
	})
}

// BenchmarkOneFeature is BenchmarkAgain where all tenants stand in one feature.
func BenchmarkOneFeature(b *testing.B) {
	var text bytes.Buffer
	text.WriteString(`{"version":"flags-v1","features":{"receipts":{"pct":5,"tenants":{`)
	for i := range 100_000 {
		if i > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, "\"tenant-%06d\":{\"pct\":%d,\"cohorts\":[\"u%d\"]}", i, i%101, i)
	}
	text.WriteString("}}}}\n")
	var d flags.Decoder
	before, err := d.Decode("flags.json", text.Bytes())
	if err != nil {
		b.Fatal(err)
	}
	src, err := flags.Edit(text.Bytes(), []flags.EditOp{
		{Pointer: "/version", Value: []byte(`"flags-v1+ramp.1"`)},
		{Pointer: "/features/receipts/tenants/tenant-050000/pct", Value: []byte("100")},
	})
	if err != nil {
		b.Fatal(err)
	}
	after, err := d.Decode("flags.json", src)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("decode", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := d.Decode("flags.json", [][]byte{text.Bytes(), src}[i%2]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("diff", func(b *testing.B) {
		for b.Loop() {
			if changes := flags.Diff(before, after); len(changes) != 1 {
				b.Fatal(changes)
			}
		}
	})
	b.Run("plan", func(b *testing.B) {
		for b.Loop() {
			if set, _ := flags.ChangedEntries(before, after); len(set) != 1 {
				b.Fatal(set)
			}
		}
	})
}

// BenchmarkEdit is 100,000 edits in one document, laid out and on one line.
func BenchmarkEdit(b *testing.B) {
	src := bigSpec(100_000, false)
	var edits []flags.EditOp
	for f := range 10 {
		for t := range 10_000 {
			edits = append(edits, flags.EditOp{Pointer: fmt.Sprintf("/features/feature-%d/tenants/tenant-%05d-of-feature-%d/pct", f, t, f), Value: []byte("42")})
		}
	}
	line := jsontext.Value(bytes.Clone(src))
	if err := line.Compact(); err != nil {
		b.Fatal(err)
	}
	for name, src := range map[string][]byte{"lines": src, "line": line} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := flags.Edit(src, edits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Live memory of a large spec, as a figure for the notes.
func BenchmarkSpecMemory(b *testing.B) {
	src := bigSpec(100_000, false)
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		s := mustDecode(b, src)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(s.Len()), "B/entry")
		runtime.KeepAlive(s)
	}
}

func BenchmarkParseEntry(b *testing.B) {
	text := []byte(`{"version":"v1+ramp.7","enabled":true,"ramp_pct":20,"cohorts":["A","user-123","user-456"]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := flags.ParseEntry(text); err != nil {
			b.Fatal(err)
		}
	}
}
