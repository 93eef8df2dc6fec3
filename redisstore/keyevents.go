package redisstore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
)

// Watch calls touched with the entries, or true for a system key but the lease, that Redis says
// were written, deleted or expired, by anyone: the store's own writes are among
// them. It runs until the context ends, whose error it returns, or Redis denies
// access. It hears nothing unless Redis' notify-keyspace-events holds K and at least g, $ and x (KA for all);
// it is a hint to look sooner and never a reason not to look.
func (s *Store) Watch(ctx context.Context, touched func(entry flags.Key, system bool)) error {
	prefix := fmt.Sprintf("__keyspace@%d__:", s.address.db)
	var mu sync.Mutex // nodes of a Cluster call from goroutines of their own
	heard := func(channel string) {
		key, ok := strings.CutPrefix(channel, prefix)
		if !ok {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if k, ok := s.ns.parse(key); ok {
			touched(k, false)
		} else if name, ok := strings.CutPrefix(key, string(s.ns)); ok && !strings.Contains(name, ":") && name != nameLease {
			touched(flags.Key{}, true)
		}
	}
	pattern := prefix + s.ns.pattern()
	switch {
	case s.cluster == nil && s.line != nil:
		return s.line.listen(ctx, pattern, heard)
	case s.cluster == nil:
		return listen(ctx, s.single, pattern, heard)
	}
	return s.watchNodes(ctx, pattern, heard)
}

// watchNodes listens to every master: a node of a Cluster tells of its own keys only.
func (s *Store) watchNodes(ctx context.Context, pattern string, heard func(string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	var mu sync.Mutex
	running := map[string]bool{}
	for {
		// Masters come and go; one that cannot be listed now is found at the next look.
		_ = s.cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			addr := node.Options().Addr
			if !running[addr] && ctx.Err() == nil {
				running[addr] = true
				wg.Go(func() {
					if err := listen(ctx, node, pattern, heard); err != nil && ctx.Err() == nil {
						cancel(err)
					}
				})
			}
			return nil
		})
		if pause(ctx, lookEvery) != nil {
			return context.Cause(ctx)
		}
	}
}

// listen hears one server until the context ends; lost connections are mended.
func listen(ctx context.Context, c *redis.Client, pattern string, heard func(channel string)) error {
	ps := c.PSubscribe(ctx, pattern)
	defer ps.Close()
	if err := mayListen(ctx, ps, dialTimeout); err != nil {
		return wrap(err, "listening to %s", pattern)
	}
	events := ps.Channel(redis.WithChannelSize(1024), redis.WithChannelHealthCheckInterval(3*time.Second))
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m, open := <-events:
			if !open {
				return wrap(redis.ErrClosed, "listening to %s", pattern)
			}
			heard(m.Channel)
		}
	}
}
