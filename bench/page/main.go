// Command page turns what "go test -bench" prints into docs/benchmarks.md: a table for
// each package, the variants of a benchmark one below the other, medians where it ran
// several times.
//
//	go test -run '^$' -bench . -count 3 ./... | go run ./bench/page --command "make bench"
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/bench/results"
)

func main() {
	out := flag.String("out", "docs/benchmarks.md", "write to this `FILE`, - for stdout")
	command := flag.String("command", "make bench", "the `COMMAND` that made the numbers")
	note := flag.String("note", "", "a SENTENCE about the circumstances")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *out, *command, *note); err != nil {
		fmt.Fprintln(os.Stderr, "page: error:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, stdout io.Writer, out, command, note string) error {
	src, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("reading the benchmarks: %w", err)
	}
	all := results.Parse(string(src))
	if len(all) == 0 {
		return fmt.Errorf("reading the benchmarks: there is none in %d bytes", len(src))
	}
	text := render(all, header{
		Date: time.Now().UTC().Format(time.DateOnly), Command: command, Note: note, Go: runtime.Version(),
		Machine: machine(string(src)),
	})
	if out == "-" {
		_, err = io.WriteString(stdout, text)
		return err
	}
	if err := os.WriteFile(out, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	_, err = fmt.Fprintln(stdout, out)
	return err
}

// machine is what the benchmarks themselves say of it.
func machine(out string) string {
	cpu := "an unnamed processor"
	if _, rest, ok := strings.Cut(out, "\ncpu: "); ok {
		cpu, _, _ = strings.Cut(rest, "\n")
	}
	return fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), strings.TrimSpace(cpu))
}

type header struct{ Date, Command, Note, Go, Machine string }

// row is one benchmark, its values over all runs.
type row struct {
	name   string
	values map[string][]float64
	units  []string
}

func render(all []results.Result, h header) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Benchmarks

<!-- Made by "make bench": go run ./bench/page. -->

Measured on %s with `+"`%s`"+`: %s, %s. Medians where a benchmark ran several times.%s
Times of a busy machine are higher, and ratios are what to go by: variants stand one below the other, those called bare, git or by another product's name
are what ours is measured against. [Size](scale.md) says what follows for a load.
`, h.Date, h.Command, h.Machine, h.Go, map[bool]string{true: " " + h.Note}[h.Note != ""])
	for _, pkg := range packages(all) {
		fmt.Fprintf(&b, "\n## %s\n\n", strings.TrimPrefix(pkg, "github.com/rampart-flags/rampart/"))
		rows := rowsOf(all, pkg)
		units := unitsOf(rows)
		fmt.Fprintf(&b, "| | %s |\n|---|%s\n", strings.Join(units, " | "), strings.Repeat("---:|", len(units)))
		for _, r := range rows {
			fmt.Fprintf(&b, "| %s |", r.name)
			for _, u := range units {
				fmt.Fprintf(&b, " %s |", cell(r, u))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func packages(all []results.Result) []string {
	var names []string
	for _, r := range all {
		if !slices.Contains(names, r.Package) {
			names = append(names, r.Package)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(path.Clean(a), path.Clean(b)) })
	return names
}

// rowsOf keeps the order in which the benchmarks ran: variants lie together.
func rowsOf(all []results.Result, pkg string) []*row {
	var rows []*row
	for _, r := range all {
		if r.Package != pkg {
			continue
		}
		i := slices.IndexFunc(rows, func(have *row) bool { return have.name == r.Name })
		if i < 0 {
			rows = append(rows, &row{name: r.Name, values: map[string][]float64{}, units: r.Units})
			i = len(rows) - 1
		}
		for u, v := range r.Values {
			rows[i].values[u] = append(rows[i].values[u], v)
		}
	}
	return rows
}

// unitsOf are the columns: time first, memory next, then what benchmarks report of their
// own. Time that a benchmark says is nothing (it reports its own) gets no column.
func unitsOf(rows []*row) []string {
	var units []string
	for _, r := range rows {
		for _, u := range r.units {
			if !slices.Contains(units, u) && !(u == "ns/op" && !slices.ContainsFunc(rows, func(r *row) bool { return median(r.values[u]) > 0 })) {
				units = append(units, u)
			}
		}
	}
	rank := map[string]int{"ns/op": -3, "B/op": -2, "allocs/op": -1}
	slices.SortStableFunc(units, func(a, b string) int { return rank[a] - rank[b] })
	return units
}

func cell(r *row, unit string) string {
	values := r.values[unit]
	if len(values) == 0 || unit == "ns/op" && median(values) == 0 {
		return ""
	}
	return figure(median(values))
}

// figure has at least three significant digits, thousands set apart.
func figure(v float64) string {
	switch {
	case v == float64(int64(v)) || v >= 100:
		text := strconv.FormatFloat(v, 'f', 0, 64)
		for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
			text = text[:i] + "," + text[i:]
		}
		return text
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
