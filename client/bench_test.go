package client_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

var sink int

func flat(n int) (map[flags.Key]flags.Entry, []string) {
	m := make(map[flags.Key]flags.Entry, n)
	names := make([]string, n)
	for i := range n {
		names[i] = fmt.Sprintf("feature-%05d", i)
		m[flags.Key{Feature: names[i], Tenant: flags.DefaultTenant}] = flags.Entry{Version: "v1", Enabled: true, Pct: 20_000}
	}
	return m, names
}

func settable(b *testing.B, entries map[flags.Key]flags.Entry) (*client.Client, *client.Settable) {
	b.Helper()
	src := client.NewSettable("bench")
	if err := src.Set(maps.All(entries)); err != nil {
		b.Fatal(err)
	}
	return open(b, client.Options{Sources: []client.Source{src.Source()}}), src
}

// BenchmarkEnabled compares the client with the bare snapshot: it may cost 1.3
// times as much, whatever the number of features.
func BenchmarkEnabled(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		m, names := flat(n)
		c, _ := settable(b, m)
		bare := c.Snapshot().Flags()
		who := c.For("acme", "user-123456")
		for _, how := range []struct {
			name string
			on   func(feature string) bool
		}{
			{"bare", func(f string) bool { return bare.Decide(f, "acme", "user-123456").On }},
			{"client", func(f string) bool { return c.Enabled(f, "acme", "user-123456") }},
			{"subject", func(f string) bool { return who.Enabled(f) }},
		} {
			b.Run(fmt.Sprintf("%s/%d", how.name, n), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if how.on(names[i]) {
						sink++
					}
					if i++; i == n {
						i = 0
					}
				}
			})
		}
	}
}

func BenchmarkEnabledParallel(b *testing.B) {
	m, names := flat(1000)
	c, _ := settable(b, m)
	b.RunParallel(func(pb *testing.PB) {
		i, on := 0, 0
		for pb.Next() {
			if c.Enabled(names[i], "acme", "user-123456") {
				on++
			}
			if i++; i == len(names) {
				i = 0
			}
		}
	})
}

func BenchmarkAll(b *testing.B) {
	m, _ := flat(1000)
	c, _ := settable(b, m)
	b.ReportAllocs()
	for b.Loop() {
		for _, d := range c.All("acme", "user-123456") {
			if d.On {
				sink++
			}
		}
	}
}

// BenchmarkSwap takes decisions while generations of 100,000 entries are swapped
// in, and reports the slowest one in a thousand beside that of a quiet client.
func BenchmarkSwap(b *testing.B) {
	m := cohorts(100_000)
	for _, swapping := range []bool{false, true} {
		b.Run(fmt.Sprintf("swapping=%v", swapping), func(b *testing.B) {
			c, src := settable(b, m)
			var stop atomic.Bool
			var swaps int
			var swapper sync.WaitGroup
			if swapping {
				swapper.Go(func() {
					for !stop.Load() {
						if err := src.Set(maps.All(m)); err != nil {
							b.Error(err)
						}
						swaps++
						time.Sleep(100 * time.Millisecond)
					}
				})
			}
			var took []time.Duration
			b.ResetTimer()
			for range b.N {
				start := time.Now()
				if c.Enabled("receipts", "tenant-000777", "user-123456") {
					sink++
				}
				took = append(took, time.Since(start))
			}
			b.StopTimer()
			stop.Store(true)
			swapper.Wait()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*999/1000]), "p99.9-ns")
			b.ReportMetric(float64(swaps), "swaps")
		})
	}
}

func cohorts(n int) map[flags.Key]flags.Entry {
	m := make(map[flags.Key]flags.Entry, n)
	m[flags.Key{Feature: "receipts", Tenant: flags.DefaultTenant}] = flags.Entry{Version: "v1", Enabled: true, Pct: 20_000}
	for i := range n - 1 {
		m[flags.Key{Feature: "receipts", Tenant: fmt.Sprintf("tenant-%06d", i)}] = flags.Entry{
			Version: "v1+ramp.7", Enabled: true, Pct: 20_000,
			Cohorts: []string{fmt.Sprintf("user-%07d", 3*i), fmt.Sprintf("user-%07d", 3*i+1), fmt.Sprintf("user-%07d", 3*i+2)},
		}
	}
	return m
}

func bigSpec(entries int, version string, pct int) string {
	var s strings.Builder
	fmt.Fprintf(&s, `{"version":%q,"environment":"prod","features":{`, version)
	const features = 10
	for f := range features {
		if f > 0 {
			s.WriteByte(',')
		}
		fmt.Fprintf(&s, `"feature-%d":{"pct":%d,"tenants":{`, f, pct)
		for i := range entries/features - 1 {
			if i > 0 {
				s.WriteByte(',')
			}
			fmt.Fprintf(&s, `"tenant-%06d":{"pct":50,"version":"v1+ramp.7","cohorts":["user-%07d","user-%07d","user-%07d"]}`, i, 3*i, 3*i+1, 3*i+2)
		}
		s.WriteString("}}")
	}
	s.WriteString("}}")
	return s.String()
}

// BenchmarkOpen opens a client on 100,000 entries in Redis, which may take half
// a second, and says what it holds.
func BenchmarkOpen(b *testing.B) {
	w := newWorld(b)
	w.apply(bigSpec(100_000, "flags-v1", 10))
	for b.Loop() {
		c, err := client.Open(context.Background(), client.Options{
			Sources: []client.Source{client.Redis(redisstore.Options{URL: w.redis.URL()})}, Environ: []string{}, Log: quiet(), Wait: time.Minute,
		})
		if err != nil {
			b.Fatal(err)
		}
		f := c.Snapshot().Flags()
		b.ReportMetric(float64(f.Size())/float64(f.Len()), "B/entry")
		c.Close()
	}
}

// BenchmarkThousandClients changes one entry and waits until 1,000 connected
// clients decide by it, which may take a second from meta.
func BenchmarkThousandClients(b *testing.B) {
	const n = 1000
	w := newWorld(b)
	w.apply(bigSpec(n, "flags-v1", 0))
	clients := make([]*client.Client, n)
	for i := range clients {
		clients[i] = w.open(client.Options{Poll: time.Minute, Wait: time.Minute})
	}
	var worst time.Duration
	generation := uint64(1)
	for b.Loop() {
		generation++
		pct := int(generation%2) * 100
		next := bigSpec(n, fmt.Sprintf("flags-v1+ramp.%d", generation), 0)
		w.apply(strings.Replace(next, `"feature-0":{"pct":0`, fmt.Sprintf(`"feature-0":{"pct":%d`, pct), 1))
		live := time.Now()
		for _, c := range clients {
			for c.Enabled("feature-0", "nobody", "u") != (pct == 100) {
				time.Sleep(time.Millisecond)
			}
		}
		worst = max(worst, time.Since(live))
	}
	b.ReportMetric(float64(worst.Milliseconds()), "worst-ms")
}
