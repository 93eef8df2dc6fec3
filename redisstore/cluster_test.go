package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// One cluster serves all of these; the last one loses a master.
func TestCluster(t *testing.T) {
	t.Parallel() // it waits, mostly
	c := flagtest.Cluster(t, "--notify-keyspace-events", "KA")
	t.Run("least privilege", func(t *testing.T) { clusterACL(t, c) })
	t.Run("foreign hands", func(t *testing.T) { clusterWatch(t, c) })
	t.Run("shared connections", func(t *testing.T) { clusterPool(t, c) })
	t.Run("every operation", func(t *testing.T) { clusterOperations(t, c, "ops:") })
	t.Run("every operation in one slot", func(t *testing.T) { clusterOperations(t, c, "{ops}:") })
	t.Run("in one slot a change is atomic", func(t *testing.T) { clusterOneSlot(t, c) })
	t.Run("a stale writer confesses", func(t *testing.T) { clusterStaleWriter(t, c) })
	t.Run("replicas serve reads", func(t *testing.T) { clusterReplicas(t, c) })
	t.Run("resharding", func(t *testing.T) { clusterResharding(t, c) })
	t.Run("promotions", func(t *testing.T) { clusterPromotions(t, c) })
	t.Run("a lost master", func(t *testing.T) { clusterLostMaster(t, c) })
}

func clusterOperations(t *testing.T, c *flagtest.RedisCluster, ns string) {
	ctx := t.Context()
	s := open(t, c.URL(), ns)
	if _, err := s.Meta(ctx); !errors.Is(err, redisstore.ErrNoMeta) {
		t.Fatalf("meta of a new namespace: %v", err)
	}
	l := mustLease(t, s, "a", 0)
	if l, err := s.RenewLease(ctx, l, time.Hour); err != nil || l.Term != 1 {
		t.Fatalf("renewing: %+v, %v", l, err)
	}
	heal(t, s, many(5_000, 1), meta(1, l.Term))
	heard := subscribe(t, s)
	expect(t, heard, redisstore.KindResync, 1)
	fence := mustMeta(t, s).Fence()
	n := mustApply(t, s, fence, redisstore.Change{Set: many(3, 2), Delete: keys(many(5_000, 0)[4_990:]), Meta: meta(2, l.Term), Spec: []byte("two"), Bundle: []byte("{}")})
	if n.Set != 3 || n.Deleted != 10 {
		t.Errorf("counts %+v", n)
	}
	if m := expect(t, heard, redisstore.KindApply, 2); len(m.Set) != 3 || len(m.Deleted) != 10 {
		t.Errorf("heard %+v", m)
	}
	want := append(many(3, 2), many(4_990, 1)[3:]...)
	expectLive(t, s, want, 2)
	if live, err := s.Live(ctx); err != nil || string(live.Spec) != "two" || live.Meta.Message == "" {
		t.Errorf("live %+v, %v", live, err)
	}
	if _, err := s.Apply(ctx, fence, redisstore.Change{Set: many(3, 3), Meta: meta(2, l.Term)}); !errors.Is(err, redisstore.ErrConflict) {
		t.Errorf("apply from an old plan: %v", err)
	}
	fence = mustMeta(t, s).Fence()
	if _, err := s.Repair(ctx, fence, many(2, 2), keys(many(6_000, 0)[5_500:])); err != nil {
		t.Error(err)
	}
	expect(t, heard, redisstore.KindRepair, 2)
	if err := s.SetOverrides(ctx, fence, map[string][]byte{"1": []byte("{}")}); err != nil {
		t.Error(err)
	}
	expect(t, heard, redisstore.KindOverrides, 2)
	if o, err := s.Overrides(ctx); err != nil || string(o["1"]) != "{}" {
		t.Errorf("overrides %q, %v", o, err)
	}
	expectLive(t, s, want, 2)
	if err := s.ReleaseLease(ctx, l); err != nil {
		t.Error(err)
	}
}

func clusterOneSlot(t *testing.T, c *flagtest.RedisCluster) {
	s := open(t, c.URL(), "atomic:{x}:")
	n := mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: many(10_000, 1), Meta: meta(1, 1), Spec: []byte("s")})
	if n.Transactions != 1 || n.Set != 10_000 {
		t.Errorf("counts %+v, want one transaction", n)
	}
	home := c.MasterOf("atomic:{x}:meta")
	slot := fmt.Sprint(c.Slot("atomic:{x}:meta"))
	if got := strings.Count("\n"+home.CLI("CLUSTER", "GETKEYSINSLOT", slot, "20000"), "\natomic:{x}:"); got != 10_003 {
		t.Errorf("%d keys in the namespace's slot", got)
	}
	heal(t, s, many(25_000, 2), meta(2, 1)) // in chunks, fenced
	expectLive(t, s, many(25_000, 2), 2)
}

// A writer stops between two chunks; another takes over and applies; the first goes
// on, notices, and says what it may have done.
func clusterStaleWriter(t *testing.T, c *flagtest.RedisCluster) {
	a, b := open(t, c.URL(), "stale:"), open(t, c.URL(), "stale:")
	heal(t, a, many(5_000, 1), meta(1, 1))
	fence, done := mustMeta(t, a).Fence(), 0
	a.BetweenChunks(func() {
		if done++; done == 1 {
			heal(t, b, many(5_000, 2), meta(2, 2))
		}
	})
	_, err := a.Apply(t.Context(), fence, redisstore.Change{Set: many(5_000, 3), Meta: meta(2, 1)})
	if !errors.Is(err, redisstore.ErrConflict) || done != 1 {
		t.Errorf("the stale writer went on for %d chunks: %v", done, err)
	}
	if m := mustMeta(t, b); m.Pending == "" || m.Generation != 2 || m.Epoch != 2 {
		t.Errorf("meta %+v: the new writer is not told to look", m)
	}
	heal(t, b, many(5_000, 2), meta(2, 2))
	expectLive(t, b, many(5_000, 2), 2)
}

func clusterReplicas(t *testing.T, c *flagtest.RedisCluster) {
	s := open(t, c.URL(), "replicas:")
	heal(t, s, many(500, 1), meta(1, 1))
	for _, node := range c.Nodes {
		node.ResetStats()
	}
	r := openWith(t, redisstore.Options{URL: c.URL(), Namespace: "replicas:", ReadReplicas: true})
	flagtest.Eventually(t, "the replicas to have it all", func() bool {
		live, err := r.Live(t.Context())
		if err != nil || live.Meta.Generation != 1 {
			return false
		}
		got, err := r.Read(t.Context(), keys(many(500, 0)))
		for _, v := range got {
			if string(v) != string(value(1)) {
				return false
			}
		}
		return err == nil
	})
	served := 0
	for _, node := range c.Nodes {
		if node.CLI("ROLE")[:5] == "slave" {
			served += node.Commandstats()["get"]
		}
	}
	if served == 0 {
		t.Error("no replica served a read")
	}
	// Overrides alone come from the master: that one is missing would not show.
	if err := s.SetOverrides(t.Context(), mustMeta(t, s).Fence(), map[string][]byte{"1": []byte("statement")}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got, err := r.Overrides(t.Context()); err != nil || string(got["1"]) != "statement" {
			t.Fatalf("overrides %q, %v", got, err)
		}
	}
}

// Slots move to and fro, meta's among them, while generations are applied.
func clusterResharding(t *testing.T, c *flagtest.RedisCluster) {
	s := open(t, c.URL(), "moving:")
	heal(t, s, many(2_000, 1), meta(1, 1))
	ctx, stop := context.WithCancel(t.Context())
	moved := make(chan int)
	go func() {
		n := 0
		defer func() { moved <- n }()
		for ctx.Err() == nil {
			for _, key := range []string{"moving:meta", "moving:spec", "moving:f0:t0", "moving:f3:t7", "moving:f9:t99"} {
				from := c.MasterOf(key)
				for _, to := range c.Nodes[:3] {
					if to != from {
						c.Move(c.Slot(key), from, to)
						n++
						break
					}
				}
			}
		}
	}()
	for g := uint64(2); g <= 12; g++ {
		// A slot in the midst of moving can refuse for longer than a store waits; a
		// reconciler comes back with the next pass.
		flagtest.Eventually(t, "a generation to be applied while slots move", func() bool {
			live, err := s.Meta(t.Context())
			if err != nil {
				return false
			}
			_, err = s.Apply(t.Context(), live.Fence(), redisstore.Change{Set: many(2_000, int(g)), Meta: meta(g, 1), Spec: []byte("s")})
			if err != nil && !errors.Is(err, redisstore.ErrUnavailable) && !errors.Is(err, redisstore.ErrConflict) {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	stop()
	if n := <-moved; n == 0 {
		t.Error("no slot moved meanwhile")
	}
	expectLive(t, s, many(2_000, 12), 12)
}

// A replica that takes its master's place is told, once; a slot that moves is not.
func clusterPromotions(t *testing.T, c *flagtest.RedisCluster) {
	apart, tagged := open(t, c.URL(), "promoted:"), open(t, c.URL(), "{promoted}:")
	expect := func(when string, want bool) {
		t.Helper()
		for s, want := range map[*redisstore.Store]bool{apart: want, tagged: false} {
			if got, err := s.Promoted(t.Context()); err != nil || got != want {
				t.Errorf("%s, in %s: %v, %v", when, s.Namespace(), got, err)
			}
		}
	}
	expect("at first", false)
	key := "promoted:meta"
	from := c.MasterOf(key)
	c.Move(c.Slot(key), from, c.Nodes[slices.IndexFunc(c.Nodes[:3], func(n *flagtest.RedisServer) bool { return n != from })])
	expect("after a slot moved", false)
	c.Promote(c.ReplicaOf(from))
	expect("after a failover", true)
	expect("and again", false)
}

// The master that holds meta dies in the midst of an apply. Whatever was lost, the
// next passes find it.
func clusterLostMaster(t *testing.T, c *flagtest.RedisCluster) {
	s := openWith(t, redisstore.Options{URL: c.URL(), Namespace: "lost:", Timeout: 2 * time.Second})
	heal(t, s, many(6_000, 1), meta(1, 1))
	fence, done := mustMeta(t, s).Fence(), 0
	s.BetweenChunks(func() {
		if done++; done == 1 {
			c.MasterOf("lost:meta").Kill()
		}
	})
	next := many(6_000, 2)
	_, err := s.Apply(t.Context(), fence, redisstore.Change{Set: next, Meta: meta(2, 1)})
	s.BetweenChunks(nil)
	if !errors.Is(err, redisstore.ErrUnavailable) {
		t.Errorf("apply while a third of the slots has no master: %v", err)
	}
	flagtest.Eventually(t, "a pass to go through after the failover", func() bool {
		m, err := s.Meta(t.Context())
		if err != nil && !errors.Is(err, redisstore.ErrNoMeta) {
			return false
		}
		got, err := s.Read(t.Context(), keys(next))
		if err != nil {
			return false
		}
		change := redisstore.Change{Meta: meta(2, 1), Spec: []byte("s"), Bundle: []byte("{}")}
		for i, kv := range next {
			if string(got[i]) != string(kv.Value) {
				change.Set = append(change.Set, kv)
			}
		}
		_, err = s.Apply(t.Context(), m.Fence(), change)
		return err == nil
	})
	expectLive(t, s, next, 2)
}

// A cluster tells of foreign hands from each of its nodes.
func clusterWatch(t *testing.T, c *flagtest.RedisCluster) {
	s := open(t, c.URL(), "hands:")
	heard := make(chan flags.Key, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Watch(ctx, func(k flags.Key, _ bool) { heard <- k }) }()
	for _, node := range c.Nodes[:3] {
		flagtest.Eventually(t, "the subscription to each master", func() bool { return node.CLI("PUBSUB", "NUMPAT") == "1" })
	}
	want := map[flags.Key]bool{}
	for i := range 30 {
		k := flags.Key{Feature: "f", Tenant: fmt.Sprint(i)}
		want[k] = true
		c.MasterOf("hands:"+k.String()).CLI("SET", "hands:"+k.String(), "by hand")
	}
	flagtest.Eventually(t, "word of each of thirty keys", func() bool {
		select {
		case k := <-heard:
			delete(want, k)
		default:
		}
		return len(want) == 0
	})
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("Watch: %v", err)
	}
}
