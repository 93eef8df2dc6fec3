package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
)

// acrossSlots is the way on a Cluster whose namespace has no hash tag. Only meta can
// be fenced: it is marked first, looked at before each chunk, and written last.
func (w *writer) acrossSlots(ctx context.Context) error {
	if err := w.pendingChunk(ctx, nil, nil); err != nil {
		return err
	}
	wrote := false
	err := w.scatter(ctx, &wrote)
	if err == nil {
		err = w.finish(ctx, nil, nil)
	}
	if err != nil && wrote {
		w.confess(ctx)
	}
	if err != nil || !w.speaks() {
		return err
	}
	w.tell(ctx)
	return nil
}

// tell sends the message apart from the transaction that made the change live.
// Readers that miss it find the change when they next look at meta.
func (w *writer) tell(ctx context.Context) {
	stream := w.s.client.Type(ctx, w.s.ns.system(nameChanges))
	p := w.s.client.Pipeline()
	w.s.announce(ctx, p, &w.counts, w.messageOf(w.before), stream.Err() == nil && isNoStream(stream))
	if _, err := p.Exec(ctx); err != nil {
		w.s.log.Warn("the change is live, but readers were not told",
			slog.String("namespace", string(w.s.ns)), slog.Any("err", err))
	}
}

// scattered is how many entries go to a Cluster between two looks at meta: what a
// writer that has lost its lease can still write.
const scattered = 2_000

// scatter writes entries, then spec and bundle, each to the node that has its slot.
func (w *writer) scatter(ctx context.Context, wrote *bool) error {
	chunk := min(scattered, w.s.chunk)
	set, del := w.c.Set, w.c.Delete
	for len(set)+len(del) > 0 {
		var now []KV
		var gone []flags.Key
		now, set = cut(set, chunk)
		gone, del = cut(del, chunk-len(now))
		if err := w.stillLive(ctx); err != nil {
			return err
		}
		*wrote = true
		if err := w.s.send(ctx, func(p redis.Pipeliner, n *Counts) {
			for _, kv := range now {
				key := w.s.ns.entry(kv.Key)
				p.Set(ctx, key, kv.Value, 0)
				n.wrote(1, 1, len(key)+len(kv.Value))
			}
			for _, k := range gone {
				key := w.s.ns.entry(k)
				p.Unlink(ctx, key)
				n.wrote(1, 1, len(key))
			}
			n.Set, n.Deleted = len(now), len(gone)
		}, &w.counts); err != nil {
			return err
		}
		if w.s.betweenChunks != nil {
			w.s.betweenChunks()
		}
	}
	if w.c.Spec == nil && w.c.Bundle == nil {
		return nil
	}
	if err := w.stillLive(ctx); err != nil {
		return err
	}
	*wrote = true
	return w.s.send(ctx, func(p redis.Pipeliner, n *Counts) {
		w.s.writeSystem(ctx, p, n, nameSpec, w.c.Spec)
		w.s.writeSystem(ctx, p, n, nameBundle, w.c.Bundle)
	}, &w.counts)
}

// send runs single-key writes in one pipeline. They may be repeated, so a node that
// went away in the middle is waited for while the store's timeout lasts.
func (s *Store) send(ctx context.Context, fill func(redis.Pipeliner, *Counts), total *Counts) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for {
		var n Counts
		p := s.client.Pipeline()
		fill(p, &n)
		_, err := p.Exec(ctx)
		if err == nil {
			total.add(n)
			return nil
		}
		if !s.redirected(ctx, err) && !isNetwork(err) {
			return err
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return err
		}
	}
}

// stillLive compares meta with the fence outside a transaction.
func (w *writer) stillLive(ctx context.Context) error {
	m, err := w.s.Meta(ctx)
	if err != nil && !errors.Is(err, ErrNoMeta) {
		return err
	}
	return w.fence.allows(m)
}

// confessTime bounds a confession: it comes after the writer's own time is over.
const confessTime = 5 * time.Second

// confess marks meta as pending where this writer may have overwritten entries of a
// newer generation, so that whoever leads now reads them all at its next pass. That
// goes for a repair as well, and above all for a writer that was cancelled, since it
// lost its lease.
//
// What was cut off under a meta that is still its own needs no mark: an apply has left
// one, and a repair leaves drift. But an apply that was cancelled is followed by another
// leader, who may have read the mark and the entries before the last of them were
// written: another mark keeps it from getting by with what it read.
func (w *writer) confess(ctx context.Context) {
	again := ctx.Err() != nil && !w.keepMeta
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(w.s.timeout, confessTime))
	defer cancel()
	m, err := w.s.Meta(ctx)
	if (err == nil || errors.Is(err, ErrNoMeta)) && (m.Message == w.message || !again && w.fence.allows(m) == nil) {
		return
	}
	mark := fmt.Sprintf("overwritten by epoch %d %s", cmp.Or(w.term, w.fence.Epoch), w.message)
	if err := w.s.client.HSet(ctx, w.s.ns.system(nameMeta), fieldPending, mark).Err(); err != nil {
		w.s.log.Warn("entries of a newer generation may have been overwritten, and meta could not be marked; a deep pass will find them",
			slog.String("namespace", string(w.s.ns)), slog.Any("err", err))
	}
}

// checkNested refuses entries whose key is a system key of a namespace that lies
// inside this one: flags: with a feature v1 and a tenant spec would write over the
// spec of flags:v1:.
func (s *Store) checkNested(ctx context.Context, set []KV, del []flags.Key) error {
	for _, kv := range set {
		if err := s.checkInner(ctx, kv.Key); err != nil {
			return err
		}
	}
	for _, k := range del {
		if err := s.checkInner(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) checkInner(ctx context.Context, k flags.Key) error {
	if !slices.Contains(systemNames, k.Tenant) {
		return nil
	}
	inner, err := s.isNamespace(ctx, k.Feature)
	if err != nil {
		return err
	}
	if inner {
		return fmt.Errorf("%s is a key of the namespace %s, which lies inside %s: rename the tenant, or move one namespace",
			s.ns.entry(k), s.ns.entry(flags.Key{Feature: k.Feature}), s.ns)
	}
	return nil
}

// isNamespace tells whether <ns><feature>: is a namespace of its own: it has a meta
// or a lease. A store's own entries are strings, so they cannot be mistaken for it.
func (s *Store) isNamespace(ctx context.Context, feature string) (bool, error) {
	inner := s.ns.entry(flags.Key{Feature: feature})
	p := s.client.Pipeline()
	meta := p.HExists(ctx, inner+nameMeta, fieldGeneration)
	lease := p.HExists(ctx, inner+nameLease, leaseTerm)
	if _, err := p.Exec(ctx); err != nil && !isAnswer(err) {
		return false, err
	}
	for _, cmd := range []*redis.BoolCmd{meta, lease} {
		if err := cmd.Err(); err != nil && !isWrongType(err) {
			return false, err
		}
	}
	return meta.Val() || lease.Val(), nil
}
