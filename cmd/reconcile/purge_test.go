package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A purge takes evidence that was pushed, but what a hold names; a dry run takes nothing; the log verifies afterwards, and has
// the purge's own receipt.
func TestPurgeTakesEvidenceAlong(t *testing.T) {
	w := newLedgerWorld(t)
	w.land(specOf("flags-v1", "10", ""), "begin")
	w.must(0, append([]string{"once"}, w.flags...)...)
	pushed := filepath.Join(w.state(), pushedName)
	const old, young = `"at":"2020-01-01T00:00:00Z"`, `"at":"2999-01-01T00:00:00Z"`
	doc := `{"format":"pushed/v1","coverage":{"acme":{"pct":97,` + old + `},"globex":{"pct":97,` + young + `},"held":{"pct":97,` + old + `}},
		"ramp":{"acme":{"receipts":{"pct":10,` + old + `}},"globex":{"receipts":{"pct":10,` + young + `},"search":{"pct":10,` + old + `}}},
		"decisions":{"receipts:acme":{"feature":"receipts","tenant":"acme","action":"hold","from":10,"to":10,"verdict":"amber","code":"amber","reason":"r",` + old + `}}}`
	if err := os.WriteFile(pushed, []byte(doc), 0o600); err != nil {
		t.Fatal(err)
	}
	state := []string{"--state-dir", w.state(), "--older-than", "400d", "--holds", w.file("holds", "# a lawsuit\nheld\n")}
	if out := w.must(0, append([]string{"purge", "--dry-run"}, state...)...); !strings.Contains(out, "4 values of evidence would be removed") {
		t.Errorf("dry run: %s", out)
	}
	if src, err := os.ReadFile(pushed); err != nil || string(src) != doc {
		t.Fatalf("a dry run changed something: %s, %v", src, err)
	}
	if out := w.must(0, append([]string{"purge"}, state...)...); !strings.Contains(out, "4 values of evidence removed") {
		t.Errorf("purge: %s", out)
	}
	src, err := os.ReadFile(pushed)
	if err != nil {
		t.Fatal(err)
	}
	for text, stays := range map[string]bool{`"held"`: true, `"globex":{"pct"`: true, `"receipts":{"pct"`: true, "acme": false, `"search"`: false} {
		if strings.Contains(string(src), text) != stays {
			t.Errorf("%s stays: %v, want %v, in %s", text, !stays, stays, src)
		}
	}
	if out := w.must(0, "receipts", "list", "--kind", "purge", "--json", "--state-dir", w.state()); strings.Count(out, "\n") != 1 || !strings.Contains(out, "4 values of evidence") {
		t.Errorf("the purge's receipt: %s", out)
	}
	w.must(0, "receipts", "verify", "--state-dir", w.state())
	if out := w.must(0, append([]string{"purge"}, state...)...); !strings.Contains(out, "0 values of evidence") {
		t.Errorf("again: %s", out)
	}
	w.must(0, append([]string{"once"}, w.flags...)...)
}
