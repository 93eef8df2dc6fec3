package redisstore

import (
	"context"
	"sync"
)

// promotions remembers which nodes of a Cluster were masters.
type promotions struct {
	mu      sync.Mutex
	masters map[string]bool // by the node's ID; nil before the first look
}

// Promoted tells whether a node that was no master when it was last asked serves slots
// now: a replica took its master's place, or a new shard some of its slots. A replica
// that is promoted before its first sync has nothing, and meta, on another node, does not
// show it: whoever knew what the entries are must read them all back. Slots that move
// between masters take their entries along, and do not count.
//
// It costs one command, CLUSTER SLOTS, which the driver sends anyway now and then, and
// none where all keys lie on one server: there meta goes with the entries. The first
// answer is no.
func (s *Store) Promoted(ctx context.Context) (bool, error) {
	if s.cluster == nil || s.oneSlot() {
		return false, nil
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	//lint:ignore SA1019 CLUSTER SHARDS would be one more right to grant; the driver itself asks for SLOTS
	ranges, err := s.cluster.ClusterSlots(ctx).Result()
	if err != nil {
		return false, wrap(err, "asking %s for its masters", s.address)
	}
	now := map[string]bool{}
	for _, r := range ranges {
		if len(r.Nodes) > 0 {
			now[r.Nodes[0].ID] = true // the master is named first
		}
	}
	p := &s.promotions
	p.mu.Lock()
	defer p.mu.Unlock()
	promoted := false
	for id := range now {
		promoted = promoted || p.masters != nil && !p.masters[id]
	}
	p.masters = now
	return promoted, nil
}
