package redisstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
)

// state is what a transaction finds before it writes.
type state struct {
	fields    map[string]string // meta's
	badStream bool              // changes is there and is no stream
}

// fencedOn runs the writes in one transaction that Redis refuses unless the fence's
// live set is there and no later lease has begun.
func (w *writer) fencedOn(ctx context.Context, write func(state, redis.Pipeliner, *Counts)) error {
	ns, near := w.s.ns, w.s.oneSlot() // the other keys are in reach of the transaction
	watch := []string{ns.system(nameMeta)}
	if near {
		watch = append(watch, ns.system(nameLease))
	}
	var fields *redis.MapStringStringCmd
	var held heldLease
	var stream *redis.StatusCmd
	var counts Counts
	err := w.s.transact(ctx, transaction{
		watch: watch,
		ask: func(p redis.Pipeliner) {
			fields = p.HGetAll(ctx, ns.system(nameMeta))
			if near {
				held.term = p.HGet(ctx, ns.system(nameLease), leaseTerm)
				if w.fence.Owner != "" {
					held.owner = p.HGet(ctx, ns.system(nameLease), leaseOwner)
				}
				stream = p.Type(ctx, ns.system(nameChanges))
			}
		},
		decide: func() (func(redis.Pipeliner), error) {
			if err := w.check(fields, held); err != nil {
				return nil, err
			}
			found := state{fields: fields.Val()}
			if near {
				if err := stream.Err(); err != nil {
					return nil, err
				}
				found.badStream = isNoStream(stream)
			}
			return func(p redis.Pipeliner) {
				counts = Counts{Transactions: 1}
				if isWrongType(fields.Err()) {
					p.Unlink(ctx, ns.system(nameMeta)) // else the HSET would fail after the rest was done
				}
				write(found, p, &counts)
			}, nil
		},
	})
	if err == nil {
		w.counts.add(counts)
	}
	return err
}

func isNoStream(kind *redis.StatusCmd) bool { return kind.Val() != "stream" && kind.Val() != "none" }

// heldLease is what a write asks of the lease.
type heldLease struct{ term, owner *redis.StringCmd }

// check compares what is live with the fence.
func (w *writer) check(fields *redis.MapStringStringCmd, held heldLease) error {
	live, err := metaOf(fields)
	if err != nil && !errors.Is(err, ErrNoMeta) {
		return err
	}
	if err := w.fence.allows(live); err != nil || held.term == nil || w.term == 0 {
		return err
	}
	text, err := held.term.Result()
	if err != nil && !errors.Is(err, redis.Nil) && !isWrongType(err) {
		return err
	}
	// A damaged term counts as none, as it does for who takes the lease next.
	if now := parseTerm(text); now > w.term {
		return fmt.Errorf("%w: term %d is over, the lease is in term %d", ErrConflict, w.term, now)
	}
	if held.owner == nil {
		return nil
	}
	owner, err := held.owner.Result()
	if err != nil && !errors.Is(err, redis.Nil) && !isWrongType(err) {
		return err
	}
	if owner != "" && owner != w.fence.Owner {
		return fmt.Errorf("%w: the lease is another's", ErrConflict)
	}
	return nil
}

// allows refuses when another live set is there.
func (f Fence) allows(live Meta) error {
	now := live.Fence()
	if now.Generation == f.Generation && now.Epoch == f.Epoch && now.Pending == f.Pending {
		return nil
	}
	return fmt.Errorf("%w: planned on %s, live is %s", ErrConflict, f, now)
}

// String is the fence in words.
func (f Fence) String() string {
	s := fmt.Sprintf("generation %d of epoch %d", f.Generation, f.Epoch)
	if f.Generation == 0 && f.Epoch == 0 {
		s = "nothing"
	}
	if f.Pending != "" {
		s += " with an unfinished apply (" + f.Pending + ")"
	}
	return s
}

// writeEntries queues entries and deletions for servers that take many keys in one
// command.
func (s *Store) writeEntries(ctx context.Context, p redis.Pipeliner, n *Counts, set []KV, del []flags.Key) {
	for part := range slices.Chunk(set, batch) {
		args := make([]any, 0, 1+2*len(part))
		args = append(args, "MSET")
		for _, kv := range part {
			key := s.ns.entry(kv.Key)
			args = append(args, key, kv.Value)
			n.wrote(0, 1, len(key)+len(kv.Value))
		}
		p.Do(ctx, args...)
		n.wrote(1, 0, 0)
	}
	for part := range slices.Chunk(del, batch) {
		keys := make([]string, len(part))
		for i, k := range part {
			keys[i] = s.ns.entry(k)
			n.wrote(0, 1, len(keys[i]))
		}
		p.Unlink(ctx, keys...)
		n.wrote(1, 0, 0)
	}
	n.Set += len(set)
	n.Deleted += len(del)
}

func (s *Store) writeSystem(ctx context.Context, p redis.Pipeliner, n *Counts, name string, value []byte) {
	if value == nil {
		return
	}
	key := s.ns.system(name)
	p.Set(ctx, key, value, 0)
	n.wrote(1, 1, len(key)+len(value))
}

// speaks tells whether the change is one that readers hear of: a new generation, or
// keys touched. A commit that moved on without new content is not.
func (w *writer) speaks() bool {
	return w.kind != KindRepair || len(w.c.Set)+len(w.c.Delete) > 0 || w.c.Spec != nil || w.c.Bundle != nil
}

// writeMeta queues meta as it will be; fields that no longer stand are removed.
func (w *writer) writeMeta(ctx context.Context, p redis.Pipeliner, n *Counts, live map[string]string) {
	key := w.s.ns.system(nameMeta)
	var fields []any
	stale := map[string]string{}
	if !w.keepMeta {
		m := w.c.Meta
		m.Pending, m.Message = "", ""
		if !w.speaks() {
			m.Message = live[fieldMessage]
		}
		fields, stale = m.fields(), maps.Clone(live)
	}
	if w.speaks() {
		fields = append(fields, fieldMessage, w.message)
	}
	same := true
	for i := 0; i < len(fields); i += 2 {
		name, value := fields[i].(string), fields[i+1].(string)
		same = same && live[name] == value
		delete(stale, name)
		n.Bytes += int64(len(name) + len(value))
	}
	if !same {
		p.HSet(ctx, key, fields...)
		n.wrote(1, 1, len(key))
	}
	if len(stale) > 0 {
		p.HDel(ctx, key, slices.Sorted(maps.Keys(stale))...)
		n.wrote(1, 0, 0)
	}
}

func (n *Counts) add(m Counts) {
	n.Set += m.Set
	n.Deleted += m.Deleted
	n.Keys += m.Keys
	n.Commands += m.Commands
	n.Transactions += m.Transactions
	n.Bytes += m.Bytes
}
