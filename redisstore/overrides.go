package redisstore

import (
	"context"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Overrides gives the signed break-glass statements in force, by their ID. What
// they say and who may sign them is not this package's business. A Cluster's master is
// asked also where reads go to replicas: nothing in meta tells that one which is missing
// has only not arrived there.
func (s *Store) Overrides(ctx context.Context) (map[string][]byte, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	key := s.ns.system(nameOverrides)
	if !s.replicas {
		all, err := overridesOf(s.client.HGetAll(ctx, key))
		return all, wrap(err, "reading the overrides of %s", s.ns)
	}
	p := s.client.TxPipeline() // the driver takes transactions to masters
	cmd := p.HGetAll(ctx, key)
	if _, err := p.Exec(ctx); err != nil && !isAnswer(err) {
		return nil, wrap(err, "reading the overrides of %s", s.ns)
	}
	all, err := overridesOf(cmd)
	return all, wrap(err, "reading the overrides of %s", s.ns)
}

// overridesOf is empty for a key of another type, which the next write replaces.
func overridesOf(cmd *redis.MapStringStringCmd) (map[string][]byte, error) {
	h, err := cmd.Result()
	if isWrongType(err) {
		return map[string][]byte{}, nil
	}
	if err != nil {
		return nil, err
	}
	all := make(map[string][]byte, len(h))
	for id, statement := range h {
		all[id] = []byte(statement)
	}
	return all, nil
}

// SetOverrides puts these statements in the place of all that are there, and tells
// readers. The fence is that of [Store.Repair]. Across the slots of a Cluster, meta
// is looked at first and the write is not in its transaction.
func (s *Store) SetOverrides(ctx context.Context, fence Fence, statements map[string][]byte) error {
	w := s.newWriter(fence, Change{})
	w.kind, w.keepMeta = KindOverrides, true
	key := s.ns.system(nameOverrides)
	fill := func(p redis.Pipeliner, n *Counts) {
		p.Unlink(ctx, key)
		var fields []any
		for _, id := range slices.Sorted(maps.Keys(statements)) {
			fields = append(fields, id, statements[id])
		}
		if len(fields) > 0 {
			p.HSet(ctx, key, fields...)
		}
		n.wrote(1, 1, len(key))
	}
	if s.oneSlot() {
		w.extra = fill
		return wrap(w.finish(ctx, nil, nil), "writing the overrides of %s", s.ns)
	}
	err := w.stillLive(ctx)
	if err == nil {
		p := s.client.TxPipeline()
		fill(p, &w.counts)
		_, err = p.Exec(ctx)
	}
	if err == nil {
		err = w.finish(ctx, nil, nil)
	}
	if err == nil {
		w.tell(ctx)
	}
	return wrap(err, "writing the overrides of %s", s.ns)
}
