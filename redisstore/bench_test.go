package redisstore_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// bare writes entries the fastest way that the client has without any promise:
// pipelined MSETs of 500.
func bare(ctx context.Context, c *redis.Client, set []redisstore.KV) error {
	p := c.Pipeline()
	for part := range slices.Chunk(set, 500) {
		args := make([]any, 0, 1000)
		for _, kv := range part {
			args = append(args, "flags:v1:"+kv.Key.String(), kv.Value)
		}
		p.MSet(ctx, args...)
	}
	_, err := p.Exec(ctx)
	return err
}

// BenchmarkApplyCold fills an empty Redis, in turn with bare MSETs of the same
// entries by the same driver. The metric of interest is the ratio of the rates:
// 1.0 is as fast as bare, and the fence, the chunks and meta are all in it. Medians,
// of five rounds at least.
func BenchmarkApplyCold(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := flagtest.Redis(b)
			s := open(b, r.URL(), "")
			c := redis.NewClient(&redis.Options{Addr: r.Addr(), ReadTimeout: time.Minute, WriteTimeout: time.Minute})
			defer c.Close()
			set := many(n, 10)
			var ours, theirs []time.Duration
			for round := 0; round < 5 || b.Loop(); round++ {
				r.Flush()
				runtime.GC()
				at := time.Now()
				if err := bare(b.Context(), c, set); err != nil {
					b.Fatal(err)
				}
				theirs = append(theirs, time.Since(at))
				r.Flush()
				runtime.GC()
				at = time.Now()
				mustApply(b, s, redisstore.Fence{}, redisstore.Change{Set: set, Meta: meta(1, 1), Spec: []byte("spec"), Bundle: []byte("{}")})
				ours = append(ours, time.Since(at))
			}
			b.ReportMetric(median(theirs).Seconds()/median(ours).Seconds(), "of-bare-rate")
			b.ReportMetric(float64(median(theirs).Microseconds())/1000, "bare-ms")
			b.ReportMetric(float64(median(ours).Microseconds())/1000, "apply-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkApplyDiff changes few entries of 100,000, with the fence.
func BenchmarkApplyDiff(b *testing.B) {
	for _, n := range []int{1, 10, 1_000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := open(b, flagtest.Redis(b).URL(), "")
			mustApply(b, s, redisstore.Fence{}, redisstore.Change{Set: many(100_000, 10), Meta: meta(1, 1)})
			sets := [][]redisstore.KV{many(n, 20), many(n, 30)}
			fence, g := mustMeta(b, s).Fence(), uint64(1)
			b.ReportAllocs()
			for b.Loop() {
				g++
				mustApply(b, s, fence, redisstore.Change{Set: sets[g%2], Meta: meta(g, 1), Spec: []byte("spec"), Bundle: []byte("{}")})
				fence.Generation = g
			}
		})
	}
}

// BenchmarkPing is one round trip, the floor under everything here.
func BenchmarkPing(b *testing.B) {
	s := open(b, flagtest.Redis(b).URL(), "")
	for b.Loop() {
		if err := s.Ping(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead reads entries back, as the deep pass does.
func BenchmarkRead(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := open(b, flagtest.Redis(b).URL(), "")
			set := many(n, 10)
			mustApply(b, s, redisstore.Fence{}, redisstore.Change{Set: set, Meta: meta(1, 1)})
			names := keys(set)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Read(b.Context(), names); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkEntries goes through the whole namespace by SCAN and MGET.
func BenchmarkEntries(b *testing.B) {
	s := open(b, flagtest.Redis(b).URL(), "")
	mustApply(b, s, redisstore.Fence{}, redisstore.Change{Set: many(100_000, 10), Meta: meta(1, 1)})
	for b.Loop() {
		n := 0
		for _, err := range s.Entries(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n < 100_000 {
			b.Fatalf("%d entries", n)
		}
	}
}

// BenchmarkPublish is the time from Apply's start until a subscriber has the message.
func BenchmarkPublish(b *testing.B) {
	s := open(b, flagtest.Redis(b).URL(), "")
	mustApply(b, s, redisstore.Fence{}, redisstore.Change{Meta: meta(1, 1)})
	heard := make(chan redisstore.Message, 100)
	go func() { _ = s.Subscribe(b.Context(), func(m redisstore.Message) { heard <- m }) }()
	<-heard
	fence, g := mustMeta(b, s).Fence(), uint64(1)
	for b.Loop() {
		g++
		mustApply(b, s, fence, redisstore.Change{Set: many(1, int(g%100)), Meta: meta(g, 1)})
		fence.Generation = g
		for m := range heard {
			if m.Generation == g {
				break
			}
		}
	}
}
