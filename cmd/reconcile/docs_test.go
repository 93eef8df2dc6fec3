package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/cli"
)

// TestManual holds docs/cli-reconcile.md to what the command says of itself.
func TestManual(t *testing.T) {
	got, err := cli.Manual(newRoot, aliases)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "docs", "cli-reconcile.md")
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
			t.Fatalf("%s:%d is not what reconcile --help says, %q: run make golden and read the difference", path, i+1, line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s goes on after what reconcile --help says: run make golden and read the difference", path)
	}
}
