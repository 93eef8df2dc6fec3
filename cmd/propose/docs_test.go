package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// TestManual holds docs/cli-propose.md to what the command says of itself.
func TestManual(t *testing.T) {
	got, err := cli.Manual(newRoot, aliases)
	if err != nil {
		t.Fatal(err)
	}
	flagtest.Golden(t, filepath.Join("..", "..", "docs", "cli-propose.md"), got)
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
