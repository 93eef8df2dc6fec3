package client_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// wide is a spec of so many entries that a message does not list what it touched.
func wide(version string, pct int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"version":%q,"environment":"prod","features":{"receipts":{"pct":%d,"tenants":{"t":{"pct":%d}`, version, pct, pct)
	for i := range 600 {
		fmt.Fprintf(&b, `,"tenant-%d":{"pct":%d}`, i, pct)
	}
	return b.String() + "}}}}"
}

// Where a message does not say what was touched, clients read the whole spec, and not
// all at the same moment: each once, after a time of its own within a window that grows
// with the spec.
func TestWholeReadsAreSpread(t *testing.T) {
	w := newWorld(t)
	w.apply(wide("flags-v1", 1))
	c := w.open(client.Options{Poll: time.Hour})
	size := len(wide("flags-v1", 1))
	var mu sync.Mutex
	var windows []time.Duration
	asked := func() int { mu.Lock(); defer mu.Unlock(); return len(windows) }
	client.Spread(c, func(d time.Duration) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		windows = append(windows, d)
		return time.Minute
	})
	w.apply(wide("flags-v2", 2))
	eventually(t, "the client to choose its time", func() bool { return asked() == 1 })
	w.apply(wide("flags-v3", 3)) // of the meantime
	if c.Snapshot().Generation != 1 || asked() != 1 {
		t.Errorf("generation %d is served, and %d times were chosen", c.Snapshot().Generation, asked())
	}
	client.Advance(c, time.Minute)
	client.Knock(c)
	eventually(t, "the newest generation", func() bool { return c.Snapshot().Generation == 3 })
	if windows[0] != client.Window(size) || asked() != 1 {
		t.Errorf("the times were chosen within %v, the spec has %d bytes", windows, size)
	}
	// The next time is chosen anew, and a small change waits for nobody.
	w.apply(wide("flags-v4", 4))
	eventually(t, "the client to choose again", func() bool { return asked() == 2 })
	client.Advance(c, time.Minute)
	client.Knock(c)
	eventually(t, "generation 4", func() bool { return c.Snapshot().Generation == 4 })
	w.apply(strings.Replace(wide("flags-v5", 4), `"t":{"pct":4}`, `"t":{"pct":5}`, 1))
	eventually(t, "generation 5", func() bool { return c.Snapshot().Generation == 5 })
	if asked() != 2 {
		t.Errorf("a small change was put off: %v", windows)
	}
}

func TestWindow(t *testing.T) {
	for size, want := range map[int]time.Duration{0: 100 * time.Millisecond, 1 << 10: 100 * time.Millisecond, 1 << 20: time.Second, 5 << 19: 2500 * time.Millisecond, 32 << 20: 10 * time.Second} {
		if got := client.Window(size); got != want {
			t.Errorf("a spec of %d bytes: %v, want %v", size, got, want)
		}
	}
}

func TestWider(t *testing.T) {
	for _, c := range []struct{ last, took, want time.Duration }{
		{time.Second, 0, 2 * time.Second},
		{time.Second, 10 * time.Second, 10 * time.Second},
		{8 * time.Second, 10 * time.Second, 16 * time.Second},
		{4 * time.Minute, time.Second, 5 * time.Minute},
		{time.Second, time.Hour, 5 * time.Minute},
	} {
		if got := client.Wider(c.last, c.took); got != c.want {
			t.Errorf("after %v, of which the read took %v: %v, want %v", c.last, c.took, got, c.want)
		}
	}
}

// Whole reads that fail are spread anew, each time over twice the time, until one
// succeeds.
func TestWholeReadsThatFailAreSpreadFurther(t *testing.T) {
	w := newWorld(t)
	first, second := wide("flags-v1", 1), wide("flags-v2", 2)
	w.apply(first)
	c := w.open(client.Options{Poll: 10 * time.Millisecond, Sources: []client.Source{
		client.Redis(redisstore.Options{URL: w.redis.URL(), ReadReplicas: true}),
	}})
	var mu sync.Mutex
	var windows []time.Duration
	seen := func() []time.Duration { mu.Lock(); defer mu.Unlock(); return slices.Clone(windows) }
	client.Spread(c, func(d time.Duration) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		windows = append(windows, d)
		return time.Second
	})
	w.apply(second)
	w.redis.CLI("SET", "flags:v1:spec", first) // a replica that lags
	var want []time.Duration
	for i := range 5 {
		want = append(want, client.Window(len(first))<<i)
		eventually(t, fmt.Sprintf("window %d", i+1), func() bool { return len(seen()) == i+1 })
		client.Advance(c, time.Second)
	}
	eventually(t, "one more", func() bool { return len(seen()) == 6 })
	if got := seen()[:5]; !slices.Equal(got, want) {
		t.Errorf("windows of %v, want %v", got, want)
	}
	w.redis.CLI("SET", "flags:v1:spec", second)
	client.Advance(c, time.Second)
	eventually(t, "generation 2", func() bool { return c.Snapshot().Generation == 2 })
	w.apply(wide("flags-v3", 3))
	eventually(t, "another window", func() bool { return len(seen()) == 7 })
	if got := seen()[6]; got != want[0] {
		t.Errorf("after a success the window is %v, want %v", got, want[0])
	}
}

// Clients whose link is too narrow for all of them within their time-out get the spec
// nevertheless, each once.
func TestWholeReadsThroughANarrowLink(t *testing.T) {
	t.Parallel() // it waits, mostly
	const clients, seconds = 8, 5
	large := func(version string, pct int) string {
		return strings.ReplaceAll(wide(version, pct), `{"pct"`, `{"cohorts":["`+strings.Repeat("m", 200)+`"],"pct"`)
	}
	w := newWorld(t)
	w.apply(large("flags-v1", 1))
	link := flagtest.Narrow(t, w.redis.Addr())
	var all []*client.Client
	for range clients {
		all = append(all, w.open(client.Options{Sources: []client.Source{
			client.Redis(redisstore.Options{URL: "redis://" + link.Addr(), ReadReplicas: true, Timeout: time.Second}),
		}}))
	}
	copies := clients * len(large("flags-v2", 2))
	before := link.Sent()
	link.Let(copies / seconds)
	w.apply(large("flags-v2", 2))
	eventually(t, "all of them to have it", func() bool {
		return !slices.ContainsFunc(all, func(c *client.Client) bool { return c.Snapshot().Generation != 2 })
	})
	if sent := link.Sent() - before; sent > copies*3/2 {
		t.Errorf("%d bytes went through the link, and %d are one copy for each", sent, copies)
	}
}

// A leader that takes over changes nothing that a client holds: ten thousand of them
// need not read anything again.
func TestTakeoverIsNoChange(t *testing.T) {
	w := newWorld(t)
	w.apply(spec("flags-v1", `{"pct":10}`))
	c := w.open(client.Options{Poll: 20 * time.Millisecond})
	before := c.Snapshot()
	w.redis.CLI("CONFIG", "RESETSTAT")
	w.redis.CLI("HSET", "flags:v1:meta", "epoch", "9", "reconciler", "another")
	eventually(t, "some polls", func() bool { return w.redis.Commandstats()["hgetall"] > 5 })
	if n := w.redis.Commandstats()["get"]; n > 0 || c.Snapshot() != before {
		t.Errorf("the client read the spec again: %d", n)
	}
}
