package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const output = `goos: linux
cpu: A Processor
pkg: github.com/rampart-flags/rampart/redisstore
BenchmarkApplyCold/10000-2 	5	0 ns/op	 0.91 of-bare-rate
BenchmarkPing-2 	5	30000 ns/op
BenchmarkPing-2 	5	10000 ns/op
BenchmarkPing-2 	5	20000 ns/op
pkg: github.com/rampart-flags/rampart/flags
BenchmarkDecide/bare-2 	5	88.5 ns/op	0 B/op	0 allocs/op
BenchmarkDecide/rampart-2 	5	1234567 ns/op	0 B/op	0 allocs/op
`

func TestPage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	var out bytes.Buffer
	if err := run(strings.NewReader(output), &out, file, "make bench", "It was busy."); err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(src)
	for _, want := range []string{
		"with `make bench`", "A Processor", "It was busy.", "| Ping | 20,000 |  |", "| ApplyCold/10000 |  | 0.91 |",
		"| Decide/bare | 88.5 | 0 | 0 |", "| Decide/rampart | 1,234,567 | 0 | 0 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	if strings.Index(text, "## flags") > strings.Index(text, "## redisstore") {
		t.Error("packages are not in order")
	}
	if err := run(strings.NewReader("PASS\n"), &out, file, "", ""); err == nil {
		t.Error("a page was made of nothing")
	}
}
