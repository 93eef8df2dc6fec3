package main

import (
	"path/filepath"
	"testing"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// TestManual holds docs/cli-reconcile.md to what the command says of itself.
func TestManual(t *testing.T) {
	got, err := cli.Manual(newRoot, aliases)
	if err != nil {
		t.Fatal(err)
	}
	flagtest.Golden(t, filepath.Join("..", "..", "docs", "cli-reconcile.md"), got)
}
