package main

import (
	"path/filepath"
	"testing"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// TestManual holds docs/cli-notary.md to what the command says of itself.
func TestManual(t *testing.T) {
	got, err := cli.Manual(newRoot, nil)
	if err != nil {
		t.Fatal(err)
	}
	flagtest.Golden(t, filepath.Join("..", "..", "docs", "cli-notary.md"), got)
}
