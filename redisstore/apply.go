package redisstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
)

// Sizes of what is sent at once.
const (
	// atomicWrites is how many entries, written or deleted, appear all at once.
	atomicWrites = 10_000
	// batch is how many keys one MSET, MGET or UNLINK names. Larger ones are no faster
	// and keep the server from its other clients longer.
	batch = 500
)

// KV is one entry and its Redis value.
type KV struct {
	Key   flags.Key
	Value []byte
}

// Change is a plan: what to write so that a generation is live.
type Change struct {
	Set    []KV
	Delete []flags.Key
	// Meta is what is live afterwards. Its generation is the fence's or higher, unless
	// that is MaxGeneration or more: the same one for a refill or when only the commit moved on. Pending and Message are
	// the store's own business and not looked at.
	Meta Meta
	// Spec and Bundle are written unless nil.
	Spec, Bundle []byte
}

// Counts says what a write sent, in the end: what was refused or retried before is
// not in it.
type Counts struct {
	Set, Deleted int   // entries
	Keys         int   // keys written or deleted, system keys among them
	Commands     int   // commands that write or publish
	Transactions int   // MULTI/EXEC rounds
	Bytes        int64 // of keys and values sent
}

// Apply makes the change live. Up to 10,000 entries appear together with spec,
// bundle, meta and the message in changes, on one Redis or in a namespace with a
// hash tag; on an error nothing was written. A larger change, and any across the
// slots of a Cluster, marks meta as pending, writes entries in chunks, then spec
// and bundle, and meta last: an error leaves the mark, and the next plan finds it
// in [Meta.Pending].
//
// ErrConflict says that the fence's live set is not there any more, or that
// another's lease has begun since. Where the connection broke in the middle, Apply
// asks Redis whether the write was done; ErrUnavailable then says that it could not
// find out.
func (s *Store) Apply(ctx context.Context, fence Fence, c Change) (Counts, error) {
	doing := fmt.Sprintf("applying generation %d to %s", c.Meta.Generation, s.ns)
	if c.Meta.Generation == 0 || c.Meta.Generation < fence.Generation && fence.Generation < MaxGeneration {
		return Counts{}, fmt.Errorf("%s: generations only rise, and %d is live", doing, fence.Generation)
	}
	w := s.newWriter(fence, c)
	w.term = c.Meta.Epoch
	w.kind = KindApply
	if c.Meta.Generation == fence.Generation {
		w.kind = KindRepair
	}
	counts, err := w.run(ctx)
	return counts, wrap(err, "%s", doing)
}

// Repair writes entries back that drifted, without a new generation: meta stays,
// but for the ID of the message that tells readers what was touched. The fence and
// the errors are those of [Store.Apply]. More than 10,000 entries go in several
// transactions, each of them fenced; across the slots of a Cluster only the
// beginning and the end are.
func (s *Store) Repair(ctx context.Context, fence Fence, set []KV, del []flags.Key) (Counts, error) {
	doing := "repairing entries of " + string(s.ns)
	if fence.Generation == 0 {
		return Counts{}, fmt.Errorf("%s: %w", doing, ErrNoMeta)
	}
	if fence.Pending != "" {
		return Counts{}, fmt.Errorf("%s: an apply is unfinished: %w", doing, ErrConflict)
	}
	w := s.newWriter(fence, Change{Set: set, Delete: del})
	w.kind, w.keepMeta = KindRepair, true
	counts, err := w.run(ctx)
	return counts, wrap(err, "%s", doing)
}

// writer is one Apply or Repair under way.
type writer struct {
	s        *Store
	fence    Fence
	term     uint64 // the writer's own; 0 is not compared with the lease
	c        Change
	kind     MessageKind
	keepMeta bool   // of meta only the message ID changes
	marked   bool   // meta bears this writer's pending mark
	message  string // ID of the message that tells of it
	counts   Counts
	// before is the meta that the last transaction replaced.
	before Meta
	// extra is written with the last transaction.
	extra func(redis.Pipeliner, *Counts)
}

func (s *Store) newWriter(fence Fence, c Change) *writer {
	return &writer{s: s, fence: fence, term: fence.Term, c: c, message: newID()}
}

func (w *writer) run(ctx context.Context) (Counts, error) {
	for _, kv := range w.c.Set {
		if err := w.s.ns.checkKey(kv.Key); err != nil {
			return Counts{}, err
		}
	}
	for _, k := range w.c.Delete {
		if err := w.s.ns.checkKey(k); err != nil {
			return Counts{}, err
		}
	}
	if err := w.s.checkNested(ctx, w.c.Set, w.c.Delete); err != nil {
		return Counts{}, err
	}
	var err error
	switch n := len(w.c.Set) + len(w.c.Delete); {
	case !w.s.oneSlot() && n > 0:
		err = w.acrossSlots(ctx)
	case n > w.s.chunk:
		err = w.inChunks(ctx)
	default:
		err = w.finish(ctx, w.c.Set, w.c.Delete)
	}
	if err != nil {
		return Counts{}, err
	}
	return w.counts, nil
}

// inChunks is the way of a large change on one Redis: every chunk is fenced, and the
// first one marks meta.
func (w *writer) inChunks(ctx context.Context) error {
	set, del := w.c.Set, w.c.Delete
	for len(set)+len(del) > w.s.chunk {
		var now []KV
		var gone []flags.Key
		now, set = cut(set, w.s.chunk)
		gone, del = cut(del, w.s.chunk-len(now))
		if err := w.pendingChunk(ctx, now, gone); err != nil {
			return err
		}
		if w.s.betweenChunks != nil {
			w.s.betweenChunks()
		}
	}
	return w.finish(ctx, set, del)
}

func cut[T any](all []T, n int) (head, tail []T) {
	n = min(n, len(all))
	return all[:n], all[n:]
}

// pendingChunk writes a part, and marks meta unless that is done, so that whoever
// comes after a crash knows. A repair leaves no mark: what is left of one that was
// cut off is drift still, and found as drift.
func (w *writer) pendingChunk(ctx context.Context, set []KV, del []flags.Key) error {
	mark := ""
	if !w.marked && !w.keepMeta {
		mark = fmt.Sprintf("generation %d epoch %d %s", w.c.Meta.Generation, w.c.Meta.Epoch, w.message)
	}
	err := w.fencedOn(ctx, func(_ state, p redis.Pipeliner, n *Counts) {
		if mark != "" {
			key := w.s.ns.system(nameMeta)
			p.HSet(ctx, key, fieldPending, mark)
			n.wrote(1, 0, len(key)+len(fieldPending)+len(mark)) // meta is counted when it is written
		}
		w.s.writeEntries(ctx, p, n, set, del)
	})
	if errors.Is(err, errUnsure) && mark != "" {
		if m, err2 := w.s.Meta(ctx); (err2 == nil || errors.Is(err2, ErrNoMeta)) && m.Pending == mark {
			err = nil
		}
	}
	if err == nil && mark != "" {
		w.marked, w.fence.Pending = true, mark
	}
	return err
}

// finish writes what is left together with the system keys and the message.
func (w *writer) finish(ctx context.Context, set []KV, del []flags.Key) error {
	err := w.fencedOn(ctx, func(live state, p redis.Pipeliner, n *Counts) {
		w.s.writeEntries(ctx, p, n, set, del)
		if w.s.oneSlot() {
			w.s.writeSystem(ctx, p, n, nameSpec, w.c.Spec)
			w.s.writeSystem(ctx, p, n, nameBundle, w.c.Bundle)
		}
		if w.extra != nil {
			w.extra(p, n)
		}
		w.writeMeta(ctx, p, n, live.fields)
		w.before, _ = parseMeta(live.fields)
		if w.speaks() && w.s.oneSlot() {
			w.s.announce(ctx, p, n, w.messageOf(w.before), live.badStream)
		}
	})
	return w.settle(ctx, err)
}

// settle finds out whether an unanswered last write was done: meta then names this
// writer's message.
func (w *writer) settle(ctx context.Context, err error) error {
	if !errors.Is(err, errUnsure) || !w.speaks() {
		return err
	}
	m, merr := w.s.Meta(ctx)
	switch {
	case merr == nil && m.Message == w.message:
		return nil
	case merr == nil || errors.Is(merr, ErrNoMeta):
		return fmt.Errorf("%w: not done so far: %w", ErrUnavailable, err)
	}
	return errors.Join(err, merr)
}

func (n *Counts) wrote(commands, keys, bytes int) {
	n.Commands += commands
	n.Keys += keys
	n.Bytes += int64(bytes)
}
