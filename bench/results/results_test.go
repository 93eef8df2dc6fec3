package results_test

import (
	"testing"

	"github.com/rampart-flags/rampart/bench/results"
)

const output = `goos: linux
pkg: github.com/rampart-flags/rampart/flags
cpu: some
BenchmarkDecide/rampart/1000-2         	12345678	        95.10 ns/op	       0 B/op	       0 allocs/op
BenchmarkBroken-2   	 not a number
--- BENCH: BenchmarkDecide
    note
BenchmarkPlain 	       1	   1000000 ns/op
PASS
ok  	github.com/rampart-flags/rampart/flags	2.1s
pkg: github.com/rampart-flags/rampart/redisstore
BenchmarkApplyCold/10000-2 	5	0 ns/op	 0.91 of-bare-rate
BenchmarkBad-2 	5	x ns/op
`

func TestParse(t *testing.T) {
	all := results.Parse(output)
	if len(all) != 3 {
		t.Fatalf("%d results: %+v", len(all), all)
	}
	first := all[0]
	if first.Name != "Decide/rampart/1000" || first.Package != "github.com/rampart-flags/rampart/flags" || first.N != 12345678 ||
		first.Values["ns/op"] != 95.10 || first.Values["allocs/op"] != 0 || len(first.Units) != 3 {
		t.Errorf("%+v", first)
	}
	if all[1].Name != "Plain" || all[1].Values["ns/op"] != 1e6 {
		t.Errorf("%+v", all[1])
	}
	if last := all[2]; last.Package != "github.com/rampart-flags/rampart/redisstore" || last.Values["of-bare-rate"] != 0.91 {
		t.Errorf("%+v", last)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(output)
	f.Fuzz(func(t *testing.T, out string) {
		for _, r := range results.Parse(out) {
			if r.Name == "" && r.N == 0 && len(r.Units) == 0 {
				t.Errorf("nothing was parsed into something: %+v", r)
			}
			for _, u := range r.Units {
				if _, ok := r.Values[u]; !ok {
					t.Errorf("%s has a unit without a value: %+v", r.Name, r)
				}
			}
		}
	})
}
