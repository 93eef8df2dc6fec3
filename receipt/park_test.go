package receipt_test

import (
	"bytes"
	"runtime"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/receipt"
)

// A ledger to which nothing happens does nothing: the log library's goroutines end. The next receipt finds it as before.
func TestIdleLedgerRests(t *testing.T) {
	dir := t.TempDir()
	l, err := receipt.Open(t.Context(), receipt.Options{Dir: dir, Origin: "test/rest"})
	if err != nil {
		t.Fatal(err)
	}
	resting := func() bool {
		stacks := make([]byte, 4<<20)
		return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("tessera"))
	}
	for i := range 2 {
		if _, err := l.Append(t.Context(), &receipt.Receipt{Kind: receipt.Generation, Phase: receipt.Intent}); err != nil {
			t.Fatal(err)
		}
		flagtest.Eventually(t, "the receipt's leaf, and the log to rest", func() bool { // it rests before it has begun, too
			rep, err := receipt.Verify(t.Context(), dir, l.VerifierKey())
			if err != nil || len(rep.Findings) > 0 {
				t.Fatalf("after %d receipts: %+v, %v", i+1, rep, err)
			}
			return rep.Leaves == uint64(i+1) && resting()
		})
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
