package receipt

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/schema"
)

// matches holds a document against a schema, and reports members that the schema does not describe: it lets them pass, for
// later versions may add some, but what is written today is described today.
func matches(t *testing.T, name string, doc []byte) {
	t.Helper()
	v, err := schema.Value(doc, 10000)
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	if problems := schema.Lookup(name, "").Validate(v); problems != nil {
		t.Errorf("%s: %v", doc, problems)
	}
	src, err := schema.Source(name)
	if err != nil {
		t.Fatal(err)
	}
	var s, d any
	if err := json.Unmarshal(src, &s); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	described(t, "", s.(map[string]any), d)
}

func described(t *testing.T, at string, s map[string]any, d any) {
	t.Helper()
	switch d := d.(type) {
	case map[string]any:
		props, _ := s["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(d)) {
			p, ok := props[name].(map[string]any)
			if !ok {
				if props != nil {
					t.Errorf("%s/%s is in the document and not in the schema", at, name)
				}
				continue
			}
			described(t, at+"/"+name, p, d[name])
		}
	case []any:
		if items, ok := s["items"].(map[string]any); ok {
			for _, v := range d {
				described(t, at+"/items", items, v)
			}
		}
	}
}

// Every kind of receipt, with every member, is one by its schema; so is what is kept of a confirmation.
func TestReceiptsMatchTheirSchema(t *testing.T) {
	full := Receipt{
		Format: Format, OpID: "01a202a0-dcd1-7ddf-8c1b-596548ae1cf3", ParentID: "01a20000-0000-7000-8000-000000000001", ChainID: "0af7651916cd43dd8448eb211c80319c",
		Phase: Outcome, Time: time.Now().UTC(), Environment: "prod", Reconciler: "rampart/test",
		Commit: "5e6f7d96f6815e6f7d96f6815e6f7d96f6815e6f", PreviousCommit: "5e6f7d96f6815e6f7d96f6815e6f7d96f6815e6f", Generation: 2, Version: "flags-v1",
		Digest: "sha256:" + sha, PreviousDigest: "sha256:" + sha, Policy: "sha256:" + sha, Signers: []Signer{{"alice", []string{"maintainer"}}},
		Changes: []Change{{"ramp.up", "receipts", "acme", "10", "20", true}}, ChangesOmitted: 1, Redis: &Counts{1, 2, 3, 4},
		Drift:  &Drift{1, 2, 3, []string{"meta"}, []DriftEntry{{"receipts:acme", "changed", "x", "y"}}},
		Result: "applied", Reason: "Accepted", Detail: "why", Seconds: 0.1, Backfilled: true, Late: true,
		Ramp: &RampNote{"up", "green", "sha256:" + sha}, Anchored: &Anchored{"outside", AnchorWitness, "id", 2, sha},
	}
	for _, kind := range []Kind{Generation, Rollback, Refusal, Repair, Override, Suspension, PolicyChange, Revoked, Signatures, AcceptHistory, Request, Anchor, Purge} {
		full.Kind = kind
		doc, err := json.Marshal(full)
		if err != nil {
			t.Fatal(err)
		}
		matches(t, "receipt", doc)
	}
	bad := full
	bad.Kind = "whim"
	doc, err := json.Marshal(bad)
	if err != nil {
		t.Fatal(err)
	}
	v, err := schema.Value(doc, 10000)
	if err != nil {
		t.Fatal(err)
	}
	if schema.Lookup("receipt", "").Validate(v) == nil {
		t.Error("a kind that does not exist passes")
	}
}

const sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// What a real ledger writes is what the schemas say: receipts, anchors, purges and proofs.
func TestLedgerMatchesTheSchemas(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir)
	a, err := StartAnchors(t.Context(), l, &witness{name: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	addTest(t, l, 3)
	eventually(t, "the notary confirms", func() bool { return a.State()[0].Confirmed >= 3 })
	a.Close()
	if err := l.startNewSegment(t); err != nil {
		t.Fatal(err)
	}
	if done, err := l.Purge(t.Context(), PurgeOptions{Before: time.Now().Add(time.Hour), Hold: func(r Receipt) bool { return r.Generation == 2 }}); err != nil || done.Bodies == 0 {
		t.Fatalf("purge %+v, %v", done, err)
	}
	kinds := map[Kind]int{}
	err = l.Scan(0, func(rec Record) error {
		if rec.Purged() {
			return nil
		}
		matches(t, "receipt", rec.Body)
		r, err := rec.Decode()
		kinds[r.Kind]++
		return err
	})
	if err != nil || kinds[Purge] != 1 || kinds[Generation] != 1 {
		t.Fatalf("kinds %v, %v", kinds, err)
	}
	closeTest(t, l)
	proofs, err := filepath.Glob(filepath.Join(dir, "anchors", "*", "*.json"))
	if err != nil || len(proofs) == 0 {
		t.Fatal(proofs, err)
	}
	for _, p := range proofs {
		doc, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		matches(t, "anchor", doc)
	}
}

// startNewSegment lets a purge reach what was written: it leaves the newest segment alone.
func (l *Ledger) startNewSegment(t *testing.T) error {
	t.Helper()
	l.journal.size = segmentSize // nobody writes now
	_, err := l.Append(t.Context(), &Receipt{Kind: Repair, Phase: Outcome, Result: "applied"})
	return err
}

func TestCoverageMatchesItsSchema(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 2)
	src, err := OpenSource(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []Expected{{Generation: 1, Commit: "c1", Version: "v1", Entries: []Entry{{"receipts", "acme"}}}, {Generation: 9}}
	cov, err := Cover(time.Now(), want, []string{"outside"}, src)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(struct {
		Format string `json:"format"`
		Coverage
	}{"receipt-coverage/v1", cov})
	if err != nil {
		t.Fatal(err)
	}
	matches(t, "receipt-coverage", doc)
	v, err := schema.Value(doc, 10000)
	if err != nil {
		t.Fatal(err)
	}
	if problems := schema.Lookup("coverage", "").Validate(v); problems != nil {
		t.Errorf("it is no coverage evidence: %v", problems)
	}
}
