package reconciler

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// bigSpec has one feature and a tenant for each further entry.
func bigSpec(version string, entries, pct int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n  \"version\": %q,\n  \"features\": {\n    \"receipts\": {\n      \"pct\": %d,\n      \"tenants\": {", version, pct)
	for i := range entries - 1 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n        \"tenant-%06d\": {\"pct\": %d, \"cohorts\": [\"user-%d\", \"user-%d\", \"user-%d\"], \"version\": \"v1+ramp.%d\"}", i, i%101, i, i+1, i+2, i%7+1)
	}
	b.WriteString("\n      }\n    }\n  }\n}\n")
	return b.Bytes()
}

// BenchmarkCommitToLive is what a pass adds to the fetch: one changed entry, signed,
// committed and already fetched, until it stands in Redis. ms/look is the part that asks
// git whether there is anything new, and is not counted.
func BenchmarkCommitToLive(b *testing.B) {
	for _, entries := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			w := newWorld(b, flagtest.Redis(b), maintainer)
			land := func(n int) {
				src := bigSpec(fmt.Sprintf("flags-v1+ramp.%d", n+1), entries, n%101)
				w.Repo.Write("specs/flags.json", string(src))
				w.Sign("alice")
				w.Land("step")
			}
			land(0)
			w.pass()
			land(1)
			w.pass() // the first change after a start looks at the time before it
			var live, look time.Duration
			b.ResetTimer()
			for n := range b.N {
				b.StopTimer()
				land(n + 2)
				if _, err := w.git.Fetch(context.Background()); err != nil {
					b.Fatal(err)
				}
				w.r.now = time.Now
				b.StartTimer()
				started := time.Now()
				var applied time.Time
				w.r.afterApply = func() { applied = time.Now() }
				res, err := w.r.Pass(context.Background())
				if err != nil || !res.HeadLive {
					b.Fatalf("%v %+v", err, res.Status.Conditions)
				}
				live += applied.Sub(started) - w.r.source.took
				look += w.r.source.took
			}
			b.ReportMetric(float64(live.Microseconds())/1000/float64(b.N), "ms/live")
			b.ReportMetric(float64(look.Microseconds())/1000/float64(b.N), "ms/look")
		})
	}
}

// BenchmarkIdle is a pass over nothing changed.
func BenchmarkIdle(b *testing.B) {
	for _, entries := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			w := newWorld(b, flagtest.Redis(b), maintainer)
			w.Repo.Write("specs/flags.json", string(bigSpec("flags-v1", entries, 1)))
			w.Sign("alice")
			w.Land("first")
			w.pass()
			for b.Loop() {
				w.pass()
			}
		})
	}
}

// BenchmarkThousandPasses says by how much the heap grows over a thousand passes, in
// bytes a pass: near nothing.
func BenchmarkThousandPasses(b *testing.B) {
	w := newWorld(b, nil, maintainer)
	w.Repo.Write("specs/flags.json", string(bigSpec("flags-v1", 1_000, 1)))
	w.Sign("alice")
	w.Land("first")
	for range 100 {
		w.pass()
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	descriptors := func() int {
		all, _ := os.ReadDir("/proc/self/fd")
		return len(all)
	}
	before, open := heap(), descriptors()
	passes := 0
	for b.Loop() {
		for range 1000 {
			w.pass()
			passes++
		}
	}
	b.ReportMetric((float64(heap())-float64(before))/float64(passes), "heap-B/pass")
	b.ReportMetric(float64(descriptors()-open), "descriptors")
}

// BenchmarkColdStart replays a history from its first commit on.
func BenchmarkColdStart(b *testing.B) {
	const commits = 1000
	w := newWorld(b, flagtest.Redis(b), `{"roles":{"maintainer":{"signers":["alice"],"may":["*"]},"ramp":{"signers":["bot"],"may":["ramp.up","ramp.down"]}}}`)
	for n := range commits {
		w.Repo.Write("specs/flags.json", string(bigSpec(fmt.Sprintf("flags-v1+ramp.%d", n+1), 150, n%101)))
		who := "bot"
		if n == 0 {
			who = "alice"
		}
		w.Sign(who)
		w.Repo.Commit("step")
	}
	w.Repo.Push()
	for b.Loop() {
		b.StopTimer()
		w.forget()
		w.Redis.Flush()
		b.StartTimer()
		if res := w.pass(); res.Status.Applied.Generation != commits {
			b.Fatalf("generation %d", res.Status.Applied.Generation)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/commits, "ms/commit")
}
