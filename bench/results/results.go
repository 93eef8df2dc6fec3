// Package results reads what "go test -bench" prints.
package results

import (
	"bufio"
	"strconv"
	"strings"
)

// Result is one line of a benchmark.
type Result struct {
	Package string // import path, as the "pkg:" line before it says
	Name    string // without "Benchmark" and without the number of processors
	N       int    // iterations
	// Values are by unit: "ns/op", "B/op", "allocs/op", and whatever the benchmark
	// reports of its own.
	Values map[string]float64
	Units  []string // in the order of the line
}

// Parse reads the benchmarks in a test's output. Lines that are none are passed over,
// as are those that do not read as numbers.
func Parse(out string) []Result {
	var all []Result
	pkg := ""
	in := bufio.NewScanner(strings.NewReader(out))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		if p, ok := strings.CutPrefix(in.Text(), "pkg: "); ok {
			pkg = strings.TrimSpace(p)
			continue
		}
		if r, ok := parseLine(in.Text()); ok {
			r.Package = pkg
			all = append(all, r)
		}
	}
	return all
}

func parseLine(line string) (Result, bool) {
	f := strings.Fields(line)
	if len(f) < 4 || len(f)%2 != 0 || !strings.HasPrefix(f[0], "Benchmark") {
		return Result{}, false
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		return Result{}, false
	}
	name := strings.TrimPrefix(f[0], "Benchmark")
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		if _, err := strconv.Atoi(name[i+1:]); err == nil {
			name = name[:i]
		}
	}
	r := Result{Name: name, N: n, Values: map[string]float64{}}
	for i := 2; i < len(f); i += 2 {
		v, err := strconv.ParseFloat(f[i], 64)
		if err != nil {
			return Result{}, false
		}
		r.Values[f[i+1]] = v
		r.Units = append(r.Units, f[i+1])
	}
	return r, true
}
