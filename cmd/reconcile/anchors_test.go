package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/signing/keyless/keylesstest"
)

// One pass leaves its checkpoint in a Rekor log; the entry is kept, and verifies offline, and an edited one is named.
func TestAnchoredInRekor(t *testing.T) {
	w := newLedgerWorld(t)
	a := keylesstest.New(t)
	a.Services()
	root := w.file("root.json", string(a.TrustedRoot()))
	notaries, err := json.Marshal([]notaryJSON{{Name: "rekor", Kind: "rekor", URL: a.URL, TrustedRoot: root, Timestamps: a.URL + "/api/v1/timestamp"}})
	if err != nil {
		t.Fatal(err)
	}
	w.land(specOf("flags-v1", "10", ""), "begin")
	w.must(0, append([]string{"once", "--notaries", w.file("notaries.json", string(notaries))}, w.flags...)...)
	state := []string{"--state-dir", w.state()}
	if out := w.must(0, append([]string{"receipts", "verify", "--trusted-root", root}, state...)...); !strings.Contains(out, "1 proofs hold, up to 2 receipts") {
		t.Errorf("verify: %s", out)
	}
	if out := w.must(0, append([]string{"receipts", "list", "--kind", "anchor", "--json"}, state...)...); !strings.Contains(out, `"kind":"rekor"`) {
		t.Errorf("the anchor's receipt: %s", out)
	}
	other := w.file("other.json", string(keylesstest.New(t).TrustedRoot()))
	if out := w.must(4, append([]string{"receipts", "verify", "--trusted-root", other}, state...)...); !strings.Contains(out, "anchor: what rekor answered") {
		t.Errorf("verify with another root: %s", out)
	}
	proofs, err := filepath.Glob(filepath.Join(w.state(), "ledger", "anchors", "rekor", "*.json"))
	if err != nil || len(proofs) != 1 {
		t.Fatalf("proofs %v, %v", proofs, err)
	}
	if err := os.Remove(proofs[0]); err != nil {
		t.Fatal(err)
	}
	if out := w.must(4, append([]string{"receipts", "verify", "--trusted-root", root}, state...)...); !strings.Contains(out, "nothing here was confirmed") {
		t.Errorf("verify without proof: %s", out)
	}
}

// Settings that belong to another kind, or to none, are refused before anything runs.
func TestNotariesFile(t *testing.T) {
	w := newLedgerWorld(t)
	w.land(specOf("flags-v1", "10", ""), "begin")
	for src, want := range map[string]string{
		`[{"name":"n","kind":"oracle","url":"https://n.example"}]`:                   `no kind "oracle"`,
		`[{"name":"n","kind":"witness","url":"https://n.example","key":"x"}]`:        "reading the witness's key",
		`[{"name":"n","kind":"rekor","url":"https://n.example"}]`:                    "trusted_root",
		`[{"name":"n","kind":"rekor","url":"http://n.example","trusted_root":"x"}]`:  "loopback",
		`[{"name":"n","kind":"rekor","url":"https://n.example","token_file":"x"}]`:   `"token_file" says nothing`,
		`[{"name":"n","url":"https://n.example","key":"w+1+x"}]`:                     `"key" says nothing`,
		`[{"name":"n","url":"https://n.example","every":"soon"}]`:                    "every",
		`[{"name":"n","kind":"witness","url":"https://n.example","version":2}]`:      `"version" says nothing`,
		`[{"name":"n","url":"https://n.example"},{"name":"n","url":"https://x.ex"}]`: `two notaries are named "n"`,
	} {
		code, _, errs := w.run(append([]string{"once", "--notaries", w.file("bad.json", src)}, w.flags...)...)
		if code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d, %s, want %q", src, code, errs, want)
		}
	}
	w.must(2, "receipts", "verify", "--witness", "nonsense", "--ledger", w.dir)
}

// file writes a file beside the state folder and returns its path.
func (w *ledgerWorld) file(name, content string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}
