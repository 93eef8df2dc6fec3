package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rampart-flags/rampart/internal/cli"
)

// TestManual holds docs/cli-evaluate.md to what the command says of itself.
func TestManual(t *testing.T) {
	got, err := cli.Manual(newRoot, aliases)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "docs", "cli-evaluate.md")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s is not what evaluate --help says: run make golden and read the difference", path)
	}
}
