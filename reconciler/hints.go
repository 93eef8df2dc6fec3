package reconciler

import (
	"context"
	"sync"

	"github.com/rampart-flags/rampart/flags"
)

// hints are the entries that Redis said were touched since the last pass, where its
// keyspace notifications are on. They make drift seen at once; nothing relies on them.
type hints struct {
	mu     sync.Mutex
	keys   map[flags.Key]bool
	system bool // a system key was touched, or more entries than are kept
}

const maxHints = 10_000

func (h *hints) add(k flags.Key, system bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if system || len(h.keys) == maxHints {
		h.system = true
		return
	}
	if h.keys == nil {
		h.keys = map[flags.Key]bool{}
	}
	h.keys[k] = true
}

// take empties the hints.
func (h *hints) take() (keys map[flags.Key]bool, system bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	keys, system = h.keys, h.system
	h.keys, h.system = nil, false
	return keys, system
}

// listen hears of writes until ctx ends, and makes the next pass come at once.
func (r *Reconciler) listen(ctx context.Context) {
	_ = r.cfg.Store.Watch(ctx, func(k flags.Key, system bool) {
		r.hints.add(k, system)
		select {
		case r.wake <- struct{}{}:
		default:
		}
	})
}
