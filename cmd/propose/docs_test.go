package main

import (
	"os"
	"path/filepath"
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
	if got != string(want) {
		t.Errorf("%s is not what propose --help says: read the difference after make golden\n%s", path, got)
	}
}
