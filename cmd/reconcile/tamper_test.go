package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/receipt"
)

// Several ledgers are verified together, each with what was done to it named, and the whole ones beside it found whole.
func TestSeveralLedgersVerifiedTogether(t *testing.T) {
	base := t.TempDir()
	var dirs []string
	for _, name := range []string{"eu-1", "eu-2", "us-1"} {
		dir := filepath.Join(base, name)
		dirs = append(dirs, dir)
		l, err := receipt.Open(t.Context(), receipt.Options{Dir: dir, Origin: "rampart/" + name})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			if _, err := l.Append(t.Context(), &receipt.Receipt{Kind: receipt.Generation, Phase: receipt.Outcome, Environment: "prod", Generation: uint64(i + 1), Result: "applied"}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := l.Close(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	w := &ledgerWorld{t: t, dir: base}
	verify := func(code int) map[string][]string {
		t.Helper()
		out := w.must(code, "receipts", "verify", "--json", "--ledger", dirs[0], "--ledger", dirs[1], "--ledger", dirs[2])
		found := map[string][]string{}
		for line := range strings.Lines(out) {
			var r struct {
				Origin   string
				OK       bool
				Findings []struct{ Problem string }
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			found[r.Origin] = []string{}
			for _, f := range r.Findings {
				found[r.Origin] = append(found[r.Origin], f.Problem)
			}
			if r.OK != (len(r.Findings) == 0) {
				t.Errorf("ok is %v: %s", r.OK, line)
			}
		}
		if len(found) != len(dirs) {
			t.Fatalf("%d reports, want %d: %s", len(found), len(dirs), out)
		}
		return found
	}
	for origin, problems := range verify(0) {
		if len(problems) > 0 {
			t.Errorf("%s: %v", origin, problems)
		}
	}
	journal := filepath.Join(dirs[1], "journal", "00000000000000000000.receipts")
	whole, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		tamper func(ls [][]byte) [][]byte
		want   string
	}{
		"edited": {func(ls [][]byte) [][]byte {
			ls[3] = bytes.Replace(ls[3], []byte("applied"), []byte("refused"), 1)
			return ls
		}, "edited"},
		"deleted":   {func(ls [][]byte) [][]byte { return slices.Delete(ls, 3, 4) }, "missing"},
		"reordered": {func(ls [][]byte) [][]byte { ls[3], ls[8] = ls[8], ls[3]; return ls }, "reordered"},
		"truncated": {func(ls [][]byte) [][]byte { return ls[:5] }, "missing"},
	} {
		lines := slices.Clone(bytes.SplitAfter(bytes.Clone(whole), []byte("\n")))
		if err := os.WriteFile(journal, bytes.Join(c.tamper(lines), nil), 0o600); err != nil {
			t.Fatal(err)
		}
		found := verify(4)
		if !slices.Contains(found["rampart/eu-2"], c.want) {
			t.Errorf("%s: found %v, want %s", name, found["rampart/eu-2"], c.want)
		}
		if len(found["rampart/eu-1"])+len(found["rampart/us-1"]) > 0 {
			t.Errorf("%s: the others are blamed: %v", name, found)
		}
	}
	if err := os.WriteFile(journal, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	verify(0)
	// One instance's ledger in place of another's: each is whole in itself, and is not the one that its key says.
	key, err := os.ReadFile(filepath.Join(dirs[0], "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if out := w.must(4, "receipts", "verify", "--ledger", dirs[1], "--key", strings.TrimSpace(string(key))); !strings.Contains(out, "checkpoint: ") {
		t.Errorf("another ledger under a key from outside: %s", out)
	}
}
