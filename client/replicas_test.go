package client_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

// lagging is a client that reads replicas, before a second generation of which only meta
// has arrived. catchUp brings the rest.
func lagging(t *testing.T) (w *world, c *client.Client, catchUp func()) {
	w = newWorld(t)
	first, second := spec("flags-v1", `{"pct":10}`), spec("flags-v2", `{"pct":20}`)
	w.apply(first)
	old := w.redis.CLI("GET", "flags:v1:receipts:__default__")
	c = w.open(client.Options{Poll: 20 * time.Millisecond, Sources: []client.Source{
		client.Redis(redisstore.Options{URL: w.redis.URL(), ReadReplicas: true}),
	}})
	var wait atomic.Int64
	wait.Store(int64(time.Hour))
	client.Spread(c, func(time.Duration) time.Duration { return time.Duration(wait.Load()) })
	w.apply(second)
	fresh := w.redis.CLI("GET", "flags:v1:receipts:__default__")
	w.redis.CLI("SET", "flags:v1:spec", first)
	w.redis.CLI("SET", "flags:v1:receipts:__default__", old)
	wait.Store(0)
	w.redis.ResetStats()
	client.Advance(c, time.Hour)
	client.Knock(c)
	return w, c, func() {
		w.redis.CLI("SET", "flags:v1:spec", second)
		w.redis.CLI("SET", "flags:v1:receipts:__default__", fresh)
	}
}

// A replica's spec is behind its meta, and so are the entries: they must not be served
// as the generation that meta names, for nobody would read them again.
func TestReplicaThatLagsIsReadAgain(t *testing.T) {
	w, c, catchUp := lagging(t)
	eventually(t, "some looks at the spec", func() bool { return w.redis.Commandstats()["get"] > 4 })
	if s := c.Snapshot(); s.Generation != 1 {
		t.Errorf("generation %d is served with what was read before it arrived", s.Generation)
	}
	if n := w.redis.Commandstats()["scan"]; n > 0 {
		t.Errorf("the entries were read: %d", n)
	}
	catchUp()
	eventually(t, "generation 2", func() bool { return c.Snapshot().Generation == 2 })
	if e, _ := c.Snapshot().Flags().Entry("receipts", flags.DefaultTenant); e.Pct != 20_000 {
		t.Errorf("the entry is %+v", e)
	}
	if _, stale := c.Stale(); stale {
		t.Error("a short lag is no failure")
	}
}

// What never fits together shows, and the last good snapshot serves.
func TestReplicaThatLagsForLongShows(t *testing.T) {
	w, c, catchUp := lagging(t)
	eventually(t, "a look at the spec", func() bool { return w.redis.Commandstats()["get"] > 2 })
	client.Advance(c, 11*time.Second)
	eventually(t, "stale", func() bool { _, stale := c.Stale(); return stale })
	if s := c.Snapshot(); s.Generation != 1 {
		t.Errorf("generation %d is served", s.Generation)
	}
	catchUp()
	eventually(t, "generation 2", func() bool { return c.Snapshot().Generation == 2 })
}

func TestTenantsAreNotReadFromReplicas(t *testing.T) {
	_, err := client.Open(t.Context(), client.Options{Log: quiet(), Environ: []string{}, Tenants: 10, Sources: []client.Source{
		client.Redis(redisstore.Options{URL: "redis://127.0.0.1:1", ReadReplicas: true}),
	}})
	if err == nil || !strings.Contains(err.Error(), "Tenants and ReadReplicas exclude each other") {
		t.Errorf("Open: %v", err)
	}
}
