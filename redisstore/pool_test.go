package redisstore_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// Two hundred namespaces of one Redis, each read and listened to, cost it some thirty connections; each hears its own keys
// only; and the last to go closes them all.
func TestPoolSharesConnections(t *testing.T) {
	redis := flagtest.Redis(t, "--notify-keyspace-events", "KA")
	connections := func() int {
		out := redis.CLI("CLIENT", "LIST")
		return len(strings.Split(strings.TrimSpace(out), "\n")) - 1 // redis-cli's own
	}
	var pool redisstore.Pool
	const users = 200
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all [users]*redisstore.Store
	var heard [users]atomic.Int32
	var listening sync.WaitGroup
	for i := range all {
		var err error
		all[i], err = redisstore.Open(ctx, redisstore.Options{URL: redis.URL(), Namespace: fmt.Sprintf("n%d:", i), Pool: &pool})
		if err != nil {
			t.Fatal(err)
		}
		listening.Go(func() {
			_ = all[i].Watch(ctx, func(k flags.Key, _ bool) {
				if k.Feature == fmt.Sprintf("f%d", i) {
					heard[i].Add(1)
				} else {
					t.Errorf("namespace %d heard of %v", i, k)
				}
			})
		})
	}
	var reading sync.WaitGroup
	for _, s := range all {
		reading.Go(func() {
			if err := s.Ping(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	reading.Wait()
	flagtest.Eventually(t, "every namespace to hear of its key", func() bool {
		deaf := 0
		for i := range all {
			if heard[i].Load() == 0 {
				redis.CLI("SET", fmt.Sprintf("n%d:f%d:__default__", i, i), "{}")
				deaf++
			}
		}
		return deaf == 0
	})
	flagtest.Eventually(t, "the trial connections to go", func() bool { return connections() <= 34 })

	// One that ends takes nobody else's ears.
	if err := all[0].Close(); err != nil {
		t.Fatal(err)
	}
	if err := all[1].Ping(ctx); err != nil {
		t.Errorf("closing one closed another: %v", err)
	}
	cancel()
	listening.Wait()
	for _, s := range all {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	flagtest.Eventually(t, "every connection to be closed", func() bool { return connections() <= 0 })
}

// clusterPool counts what namespaces of one Cluster listen on, as docs/environments.md says.
func clusterPool(t *testing.T, c *flagtest.RedisCluster) {
	page, err := os.ReadFile("../docs/environments.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "a hundred environments on a Cluster of three masters take 400 connections that listen") {
		t.Error("docs/environments.md does not say what environments on a Cluster listen on")
	}
	const users, masters = 5, 3
	var pool redisstore.Pool
	ctx, cancel := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel()
	for i := range users {
		s := openWith(t, redisstore.Options{URL: c.URL(), Namespace: fmt.Sprintf("n%d:", i), Pool: &pool})
		listening.Go(func() { _ = s.Watch(ctx, func(flags.Key, bool) {}) })
		listening.Go(func() { _ = s.HearPeers(ctx, func(string) {}) })
	}
	flagtest.Eventually(t, "every namespace to listen to its peers and to each master", func() bool {
		ears := 0
		for _, node := range c.Nodes {
			ears += strings.Count(node.CLI("CLIENT", "LIST", "TYPE", "pubsub"), "id=")
		}
		return ears == users*(1+masters)
	})
}
