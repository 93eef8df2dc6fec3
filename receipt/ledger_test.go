package receipt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
)

func openTest(t testing.TB, dir string) *Ledger {
	t.Helper()
	l, err := Open(context.Background(), Options{Dir: dir, Origin: "prod/test"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeTest(t testing.TB, l *Ledger) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// fill appends n receipts of generations and closes the ledger.
func fill(t testing.TB, dir string, n int) {
	t.Helper()
	l := openTest(t, dir)
	for i := range n {
		if _, err := l.Append(context.Background(), &Receipt{Kind: Generation, Phase: Outcome, Environment: "prod", Generation: uint64(i + 1), Result: "applied"}); err != nil {
			t.Fatal(err)
		}
	}
	closeTest(t, l)
}

func verifyTest(t testing.TB, dir string) Report {
	t.Helper()
	rep, err := Verify(context.Background(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func problems(r Report) map[Problem]int {
	m := map[Problem]int{}
	for _, f := range r.Findings {
		m[f.Problem]++
	}
	return m
}

func TestLedgerKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 300) // more than one entry bundle
	fill(t, dir, 5)
	rep := verifyTest(t, dir)
	if !rep.OK() || rep.Records != 305 || rep.Leaves != 305 {
		t.Fatalf("report %+v", rep)
	}
	p, err := Prove(context.Background(), dir, 257)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(string(pub)); err != nil {
		t.Fatal(err)
	}
	p.Receipt = bytes.Replace(p.Receipt, []byte(`"applied"`), []byte(`"refused"`), 1)
	if err := p.Check(string(pub)); err == nil {
		t.Fatal("an edited receipt passes its proof")
	}
	if _, err := Prove(context.Background(), dir, 305); !errors.Is(err, ErrNoRecord) {
		t.Fatalf("proof of a receipt that is not there: %v", err)
	}
}

func TestLedgerIsOfOneProcess(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir)
	if _, err := Open(context.Background(), Options{Dir: dir, Origin: "prod/test"}); !errors.Is(err, ErrLocked) {
		t.Fatalf("second opening: %v, want ErrLocked", err)
	}
	closeTest(t, l)
	if _, err := Open(context.Background(), Options{Dir: dir, Origin: "prod/other"}); err == nil {
		t.Fatal("another reconciler may write this ledger")
	}
}

// A crash may cut the last write at any byte: what was acknowledged before stays, and what is cut is said.
func TestLedgerTornAtEveryByte(t *testing.T) {
	base := t.TempDir()
	fill(t, base, 2)
	path := filepath.Join(base, "journal", segmentName(0))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := appendLine(nil, Record{Seq: 2, Salt: make([]byte, 16), Body: []byte(`{"format":"receipt/v1","kind":"repair"}`)})
	for cut := range len(line) {
		if err := os.WriteFile(path, append(bytes.Clone(whole), line[:cut]...), 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(filepath.Join(base, "journal"))
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if j.next != 2 || j.torn != int64(cut) {
			t.Fatalf("cut at %d: next %d, torn %d", cut, j.next, j.torn)
		}
		if _, err := j.append([][]byte{[]byte(`{"kind":"repair"}`)}); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if err := j.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Leaves that the log had not taken when the process died are handed over at the next start.
func TestLedgerCatchesUp(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3)
	j, err := openJournal(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	var bodies [][]byte
	for i := range 5000 {
		bodies = append(bodies, fmt.Appendf(nil, `{"format":"receipt/v1","n":%d}`, i))
	}
	if _, err := j.append(bodies); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	if rep := verifyTest(t, dir); !rep.OK() || rep.Unlogged != 5000 {
		t.Fatalf("before: %+v", rep)
	}
	fill(t, dir, 1)
	if rep := verifyTest(t, dir); !rep.OK() || rep.Leaves != 5004 || rep.Unlogged != 0 {
		t.Fatalf("after: %+v", rep)
	}
}

func TestTamperingIsFoundAndNamed(t *testing.T) {
	base := t.TempDir()
	fill(t, base, 20)
	lines := func(dir string) (string, [][]byte) {
		path := filepath.Join(dir, "journal", segmentName(0))
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return path, bytes.SplitAfter(data, []byte("\n"))
	}
	for name, c := range map[string]struct {
		tamper func(dir string)
		want   Problem
	}{
		"edited": {func(dir string) {
			path, ls := lines(dir)
			ls[7] = bytes.Replace(ls[7], []byte(`"applied"`), []byte(`"refused"`), 1)
			write(t, path, bytes.Join(ls, nil))
		}, ProblemEdited},
		"deleted": {func(dir string) {
			path, ls := lines(dir)
			write(t, path, bytes.Join(append(ls[:7:7], ls[8:]...), nil))
		}, ProblemMissing},
		"reordered": {func(dir string) {
			path, ls := lines(dir)
			ls[3], ls[4] = ls[4], ls[3]
			write(t, path, bytes.Join(ls, nil))
		}, ProblemReordered},
		"renumbered": {func(dir string) {
			path, ls := lines(dir)
			ls[3], ls[4] = bytes.Replace(ls[4], []byte("4 "), []byte("3 "), 1), bytes.Replace(ls[3], []byte("3 "), []byte("4 "), 1)
			write(t, path, bytes.Join(ls, nil))
		}, ProblemEdited},
		"not a record any more": {func(dir string) {
			path, ls := lines(dir)
			ls[5] = []byte("5 zz {}\n")
			write(t, path, bytes.Join(ls, nil))
		}, ProblemDamaged},
		"a leaf edited": {func(dir string) {
			path := filepath.Join(dir, "log", "tile", "entries", "000.p", "20")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			data[10] ^= 1
			write(t, path, data)
		}, ProblemLog},
		"edited with its leaf and tile": {func(dir string) { // only the root tells
			path, ls := lines(dir)
			ls[7] = bytes.Replace(ls[7], []byte(`"applied"`), []byte(`"refused"`), 1)
			write(t, path, bytes.Join(ls, nil))
			rec, err := parseLine(bytes.TrimSuffix(ls[7], []byte("\n")))
			if err != nil {
				t.Fatal(err)
			}
			entries, tile := filepath.Join(dir, "log", "tile", "entries", "000.p", "20"), filepath.Join(dir, "log", "tile", "0", "000.p", "20")
			for _, c := range []struct {
				path  string
				at    int
				bytes []byte
			}{{entries, 7*34 + 2, rec.Leaf[:]}, {tile, 7 * 32, rfc6962.DefaultHasher.HashLeaf(rec.Leaf[:])}} {
				data, err := os.ReadFile(c.path)
				if err != nil {
					t.Fatal(err)
				}
				copy(data[c.at:], c.bytes)
				write(t, c.path, data)
			}
		}, ProblemLog},
		"truncated": {func(dir string) {
			path, ls := lines(dir)
			write(t, path, bytes.Join(ls[:12], nil))
		}, ProblemMissing},
		"checkpoint of another key": {func(dir string) {
			other := t.TempDir()
			fill(t, other, 20)
			data, err := os.ReadFile(filepath.Join(other, "log", "checkpoint"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "log", "checkpoint"), data)
		}, ProblemCheckpoint},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
				t.Fatal(err)
			}
			if rep := verifyTest(t, dir); !rep.OK() {
				t.Fatalf("the copy is not whole: %+v", rep)
			}
			c.tamper(dir)
			rep := verifyTest(t, dir)
			if problems(rep)[c.want] == 0 {
				t.Fatalf("findings %+v, want one of %s", rep.Findings, c.want)
			}
		})
	}
}

// Somebody who holds the log's key and rewrites all of it is found by what notaries hold.
func TestForkIsFoundByAnchors(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir)
	w := &witness{name: "n1"}
	a, err := StartAnchors(context.Background(), l, w)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := l.Append(context.Background(), &Receipt{Kind: Generation, Phase: Outcome}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the notary confirms", func() bool { return a.State()[0].Confirmed >= 3 })
	a.Close()
	closeTest(t, l)
	if rep := verifyTest(t, dir); !rep.OK() || rep.Anchors == 0 {
		t.Fatalf("report %+v", rep)
	}
	for _, gone := range []string{"journal", "log"} {
		if err := os.RemoveAll(filepath.Join(dir, gone)); err != nil {
			t.Fatal(err)
		}
	}
	fill(t, dir, 10) // same key, another history
	if rep := verifyTest(t, dir); problems(rep)[ProblemForked] == 0 {
		t.Fatalf("findings %+v, want forked", rep.Findings)
	}
}

func TestShorterJournalStopsTheLedger(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3)
	if err := os.RemoveAll(filepath.Join(dir, "journal")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), Options{Dir: dir, Origin: "prod/test"}); !errors.Is(err, ErrBehindLog) {
		t.Fatalf("opening: %v, want ErrBehindLog", err)
	}
}

func TestConcurrentAppendsKeepTheirOrder(t *testing.T) {
	dir := t.TempDir()
	l := openTest(t, dir)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var last uint64
			for i := range 100 {
				recs, err := l.Append(context.Background(), &Receipt{Kind: Repair, Phase: Outcome}, &Receipt{Kind: Repair, Phase: Outcome})
				if err != nil {
					t.Error(err)
					return
				}
				if recs[1].Seq != recs[0].Seq+1 || (i > 0 && recs[0].Seq <= last) {
					t.Errorf("numbers %d, %d after %d", recs[0].Seq, recs[1].Seq, last)
				}
				last = recs[1].Seq
			}
		})
	}
	wg.Wait()
	closeTest(t, l)
	if rep := verifyTest(t, dir); !rep.OK() || rep.Leaves != 1600 {
		t.Fatalf("report %+v", rep)
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// witness confirms in process.
type witness struct {
	name string
	mu   sync.Mutex
	fail error
	keys map[string]int
}

func (w *witness) Name() string { return w.name }
func (w *witness) Kind() string { return AnchorNotary }

func (w *witness) Confirm(_ context.Context, key string, _ Checkpoint) (string, []byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return "", nil, w.fail
	}
	if w.keys == nil {
		w.keys = map[string]int{}
	}
	w.keys[key]++
	return "id-" + key[:8], []byte(`{}`), nil
}

func BenchmarkAppendOne(b *testing.B) {
	l := openTest(b, b.TempDir())
	for b.Loop() {
		if _, err := l.Append(context.Background(), &Receipt{Kind: Generation, Phase: Outcome, Environment: "prod"}); err != nil {
			b.Fatal(err)
		}
	}
	closeTest(b, l)
}

// BenchmarkAppendBatches measures receipts that are durable and in the log.
func BenchmarkAppendBatches(b *testing.B) {
	l := openTest(b, b.TempDir())
	const batch = 100
	for b.Loop() {
		rs := make([]*Receipt, batch)
		for i := range rs {
			rs[i] = &Receipt{Kind: Generation, Phase: Outcome, Environment: "prod"}
		}
		if _, err := l.Append(context.Background(), rs...); err != nil {
			b.Fatal(err)
		}
	}
	closeTest(b, l)
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "receipts/s")
}
