package console

import (
	"fmt"
	"slices"
	"sync"

	"github.com/rampart-flags/rampart/receipt"
)

// index keeps what pages need of the ledger in memory: what happened to each feature, and the newest receipts. It reads each
// receipt once. Bounds keep it small whatever the ledger's size; what is older stands in the ledger.
type index struct {
	dir string

	mu       sync.Mutex
	next     uint64
	features map[string][]happened // oldest first
	recent   []numbered            // oldest first
	total    int

	verifying sync.Mutex // held while the whole ledger is checked
}

// happened is one change of one feature.
type happened struct {
	receipt.Change
	Seq     uint64
	Receipt *receipt.Receipt
}

type numbered struct {
	Seq uint64
	*receipt.Receipt
}

const (
	maxPerFeature = 500
	maxHappened   = 500_000
	maxRecent     = 5_000
)

func newIndex(dir string) *index { return &index{dir: dir, features: map[string][]happened{}} }

// read takes up what the ledger has come to hold. The caller holds mu.
func (x *index) read() error {
	if x.dir == "" {
		return nil
	}
	err := receipt.ScanFrom(x.dir, x.next, func(rec receipt.Record) error {
		x.next = rec.Seq + 1
		if rec.Purged() {
			return nil
		}
		r, err := rec.Decode()
		if err != nil {
			return err
		}
		x.recent = append(x.recent, numbered{rec.Seq, &r})
		if len(x.recent) > 2*maxRecent {
			x.recent = slices.Clone(x.recent[len(x.recent)-maxRecent:])
		}
		if r.Phase != receipt.Outcome || r.Kind == receipt.Refusal {
			return nil
		}
		for _, ch := range r.Changes {
			if ch.Feature == "" || x.total >= maxHappened {
				continue
			}
			list := append(x.features[ch.Feature], happened{ch, rec.Seq, &r})
			x.total++
			if n := len(list) - maxPerFeature; n > 0 {
				list, x.total = slices.Clone(list[n:]), x.total-n
			}
			x.features[ch.Feature] = list
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the receipts: %w", err)
	}
	return nil
}

// feature is what happened to a feature, oldest first.
func (x *index) feature(name string) ([]happened, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.read()
	return slices.Clone(x.features[name]), err
}

// newest are the last n receipts that keep wants, newest first, and whether there are more.
func (x *index) newest(n int, keep func(numbered) bool) (out []numbered, more bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	err = x.read()
	for _, r := range slices.Backward(x.recent) {
		if !keep(r) {
			continue
		}
		if len(out) == n {
			return out, true, err
		}
		out = append(out, r)
	}
	return out, false, err
}
