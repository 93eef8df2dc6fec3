package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/cli"
)

// TestManual holds docs/cli-propose.md to what the command says of itself.
func TestManual(t *testing.T) {
	got, err := cli.Manual(newRoot, aliases)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "docs", "cli-propose.md")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	has := strings.Split(string(want), "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(has) || has[i] != line {
			t.Fatalf("%s:%d is not what propose --help says, %q: run make golden and read the difference", path, i+1, line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s goes on after what propose --help says: run make golden and read the difference", path)
	}
}

// TestSample holds the repository's own environment to its policy.
func TestSample(t *testing.T) {
	specs := filepath.Join("..", "..", "specs")
	var stdout, stderr strings.Builder
	env := cli.Env{
		Args:  []string{"verify", "--path", filepath.Join(specs, "flags.json"), "--trust", filepath.Join(specs, "trust.json")},
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" },
	}
	if err := run(t.Context(), env); err != nil {
		t.Errorf("verifying the sample: %v\n%s%s", err, &stdout, &stderr)
	}
	files, err := os.ReadDir(specs)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.IsDir() {
			continue
		}
		src, err := os.ReadFile(filepath.Join(specs, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(src), "PRIVATE KEY") {
			t.Errorf("%s holds a private key", f.Name())
		}
	}
}
