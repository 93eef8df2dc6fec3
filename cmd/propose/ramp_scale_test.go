package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

// bigSpec has n features of ten tenants each, every one with a percentage of its own.
func bigSpec(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"version":"flags-v1","environment":"prod","features":{`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n"+`"feature-%05d":{"pct":10,"cohorts":["A"],"ramp":{"steps":[1,5,10,20,50,100],"bake":"24h","guards":{"error_rate":{"green":0.01,"red":0.05}}},"tenants":{`, i)
		for t := range 10 {
			if t > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `"tenant-%d":{"pct":20}`, t)
		}
		b.WriteString("}}")
	}
	b.WriteString("\n}}\n")
	return b.Bytes()
}

// bigSLO has numbers for each of them.
func bigSLO(n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"generated_at":"2026-11-22T04:00:00Z","anchor_p95_ms":21,"divergence":0,"error_rate":0.001,"samples":12000,"alerts":[],"features":{`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"feature-%05d":{"error_rate":0.002,"samples":900}`, i)
	}
	b.WriteString("}}")
	return b.Bytes()
}

const bigCoverage = `{"generated_at":"2026-11-22T04:00:00Z","tenants":{"__default__":97,"tenant-0":97,"tenant-1":97,"tenant-2":97,"tenant-3":97,"tenant-4":97,"tenant-5":97,"tenant-6":97,"tenant-7":97,"tenant-8":97,"tenant-9":97}}`

func rampBig(tb testing.TB, dir string, spec []byte) string {
	tb.Helper()
	path := filepath.Join(dir, "flags.json")
	if err := os.WriteFile(path, spec, 0o644); err != nil {
		tb.Fatal(err)
	}
	var stderr bytes.Buffer
	err := run(tb.Context(), cli.Env{
		Args:  []string{"ramp", "--path", path, "--slo", filepath.Join(dir, "slo"), "--coverage", filepath.Join(dir, "coverage"), "--now", "2026-11-22T04:07:00Z"},
		Stdin: strings.NewReader(""), Stdout: bytes.NewBuffer(nil), Stderr: &stderr, Getenv: func(string) string { return "" },
	})
	if err != nil {
		tb.Fatalf("%v\n%s", err, &stderr)
	}
	return path
}

func bigDir(tb testing.TB, n int) string {
	dir := tb.TempDir()
	for name, content := range map[string][]byte{"slo": bigSLO(n), "coverage": []byte(bigCoverage)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// BenchmarkRampAtScale decides, edits and writes 10,000 features of ten tenants each.
func BenchmarkRampAtScale(b *testing.B) {
	dir, spec := bigDir(b, 10_000), bigSpec(10_000)
	b.ReportAllocs()
	b.SetBytes(int64(len(spec)))
	for b.Loop() {
		rampBig(b, dir, spec)
	}
}

// A run over very many entries stays within its bounds: what it allocates in all, and what it writes,
// which must fit into a spec whatever the records of so many steps would say.
func TestRampAtScale(t *testing.T) {
	const features, allocated = 10_000, 1500 << 20
	dir, spec := bigDir(t, features), bigSpec(features)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	path := rampBig(t, dir, spec)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > allocated {
		t.Errorf("%d MB were allocated, at most %d may", got>>20, allocated>>20)
	}
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next, err := flags.Decode(path, src)
	if err != nil {
		t.Fatal(err)
	}
	changes := flags.Diff(mustDecode(t, string(spec)), next)
	if len(changes) != features*11 {
		t.Errorf("%d changes, want one for each of %d entries", len(changes), features*11)
	}
	for _, c := range changes {
		if c.Kind != flags.RampUp {
			t.Fatalf("a step shows as %s", c)
		}
	}
	if own := next.Feature("feature-00000").Tenant("tenant-0"); own.Ramped == nil || own.Ramped.Evidence == "" {
		t.Errorf("a tenant's record says %+v, want the evidence at least", own.Ramped)
	}
}
