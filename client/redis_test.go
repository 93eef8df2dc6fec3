package client_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

func TestDecisionsFollowTheStore(t *testing.T) {
	w := newWorld(t)
	w.apply(spec("flags-v1", `{"pct":0,"version":"v1","tenants":{"acme":{"cohorts":["u1"]},"globex":{"pct":100}}}`))
	c := w.open(client.Options{Poll: time.Hour}) // messages alone
	if d := c.Decide("receipts", "acme", "u1"); !d.On || d.Reason != flags.ReasonCohort || d.Generation != 1 || d.Tenant != "acme" || d.Commit == "" {
		t.Errorf("first decision: %+v", d)
	}
	if c.Enabled("receipts", "other", "u1") || c.Enabled("unknown", "acme", "u1") {
		t.Error("on for somebody who is not listed")
	}
	got, before := listen(c), c.Snapshot()

	w.apply(spec("flags-v1+ramp.1", `{"pct":100,"version":"v1+ramp.1","tenants":{"acme":{"enabled":false},"new":{"pct":1}}}`))
	eventually(t, "generation 2", func() bool { return c.Snapshot().Generation == 2 })
	for tenant, on := range map[string]bool{"acme": false, "globex": true, "other": true} {
		if d := c.Decide("receipts", tenant, "u1"); d.On != on {
			t.Errorf("%s after the change: %+v", tenant, d)
		}
	}
	s := c.Snapshot()
	if s.Revision == "" || s.Revision == before.Revision {
		t.Errorf("revision %q after %q", s.Revision, before.Revision)
	}
	if s.Version != "flags-v1+ramp.1" || s.Digest != w.last.Digest() || s.Environment != "prod" || s.Source != "redis" {
		t.Errorf("snapshot is about %+v", s)
	}
	if s.Flags().Len() != w.last.Len() {
		t.Errorf("%d entries, want %d: a deleted one is left or a new one missing", s.Flags().Len(), w.last.Len())
	}
	eventually(t, "the event", func() bool { return got.count(client.Changed) == 1 })
	if ev := got.last(client.Changed); len(ev.Features) != 1 || ev.Features[0] != "receipts" || ev.Snapshot.Generation != 2 {
		t.Errorf("event = %+v", ev)
	}
}

// TestPollingFindsWhatNoMessageTold changes Redis without telling anybody.
func TestPollingFindsWhatNoMessageTold(t *testing.T) {
	w := newWorld(t)
	w.apply(spec("flags-v1", `{"pct":0}`))
	c := w.open(client.Options{Poll: 50 * time.Millisecond})
	next, err := flags.Decode("test", []byte(spec("flags-v2", `{"pct":100}`)))
	if err != nil {
		t.Fatal(err)
	}
	w.redis.CLI("SET", "flags:v1:spec", string(next.Bytes()))
	w.redis.CLI("HSET", "flags:v1:meta", "generation", "2", "version", "flags-v2", "digest", next.Digest(), "message", "unheard")
	eventually(t, "generation 2", func() bool { return c.Enabled("receipts", "acme", "u") })
}

func TestARewrittenEntryIsReadAgain(t *testing.T) {
	w := newWorld(t)
	w.apply(spec("flags-v1", `{"pct":0}`))
	c := w.open(client.Options{Poll: time.Hour})
	meta, err := w.store.Meta(t.Context()) // whether the client listens by now or not
	if err != nil {
		t.Fatal(err)
	}
	// A break-glass statement or a repair arrives as entries, under the same generation.
	e := flags.Entry{Version: "v1", Enabled: true, Pct: flags.Full}
	key := flags.Key{Feature: "receipts", Tenant: "acme"}
	if _, err := w.store.Repair(t.Context(), meta.Fence(), []redisstore.KV{{Key: key, Value: e.AppendJSON(nil)}}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the repaired entry", func() bool { return c.Enabled("receipts", "acme", "u") })
	if c.Enabled("receipts", "globex", "u") || c.Snapshot().Generation != 1 {
		t.Error("more changed than the entry")
	}
	meta, _ = w.store.Meta(t.Context())
	bad := []redisstore.KV{{Key: key, Value: []byte(`{"enabled":`)}, {Key: flags.Key{Feature: "receipts", Tenant: "new"}, Value: []byte(`[]`)}}
	if _, err := w.store.Repair(t.Context(), meta.Fence(), bad, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the unreadable entries", func() bool { return c.Decide("receipts", "new", "u").Reason == flags.ReasonDisabled })
	if !c.Enabled("receipts", "acme", "u") {
		t.Error("an entry that cannot be read any more changed a decision")
	}
}

func TestALostStoreIsNotTheSameAsNoFlags(t *testing.T) {
	w := newWorld(t)
	w.apply(spec("flags-v1", `{"pct":100}`))
	c := w.open(client.Options{Poll: 50 * time.Millisecond})
	got := listen(c)
	on := func() bool { return c.Enabled("receipts", "acme", "u") }
	if _, stale := c.Stale(); stale || !on() {
		t.Fatal("not ready")
	}
	w.redis.Flush()
	eventually(t, "stale", func() bool { _, stale := c.Stale(); return stale })
	if !on() {
		t.Error("a flushed Redis turned the feature off")
	}
	if msg := c.Status().Errors["redis"]; !strings.Contains(msg, "store is lost") {
		t.Errorf("status says %q", msg)
	}
	eventually(t, "the event", func() bool { return got.count(client.Stale) == 1 })
	if ev := got.last(client.Stale); !errors.Is(ev.Err, client.ErrStoreLost) || ev.Snapshot.Generation != 1 {
		t.Errorf("event = %+v", ev)
	}
	w.refill(2)
	eventually(t, "recovered", func() bool { _, stale := c.Stale(); return !stale && c.Snapshot().Generation == 2 })
	eventually(t, "the event", func() bool { return got.count(client.Recovered) == 1 })
}

// TestFaults kills, pauses, flushes, replaces and cuts off Redis while decisions
// go on: none waits, and none flips to a default.
func TestFaults(t *testing.T) {
	w := newWorld(t)
	w.apply(spec("flags-v1", `{"pct":100,"tenants":{"off":{"enabled":false}}}`))
	net := newCable(t, w.redis.Addr())
	c := w.open(client.Options{Poll: 50 * time.Millisecond, Sources: []client.Source{client.Redis(redisstore.Options{URL: "redis://" + net.address})}})
	var wrong, made atomic.Int64
	var slowest atomic.Int64
	stop := make(chan struct{})
	var deciding sync.WaitGroup
	for range 2 {
		deciding.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				for range 100 {
					if !c.Enabled("receipts", "acme", "u") || c.Enabled("receipts", "off", "u") {
						wrong.Add(1)
					}
				}
				made.Add(200)
				start := time.Now()
				_ = c.Snapshot()
				slowest.Store(max(slowest.Load(), int64(time.Since(start))))
				time.Sleep(time.Millisecond)
			}
		})
	}
	stale := func() bool { _, stale := c.Stale(); return stale }
	generation := uint64(1)
	step := func(what string, breaks, mends func()) {
		breaks()
		eventually(t, what+" is noticed", stale)
		mends()
		generation++
		w.refill(generation)
		eventually(t, what+" is over", func() bool { return !stale() && c.Snapshot().Generation == generation })
	}
	step("kill", w.redis.Kill, w.redis.Start)
	step("flush", w.redis.Flush, func() {})
	step("pause", w.redis.Pause, func() { w.redis.Resume(); w.redis.Flush() })
	step("replacement", func() {
		w.redis.Restart()
		w.redis.CLI("SET", "somebody", "else")
	}, func() {})
	step("another environment", func() {
		w.redis.CLI("HSET", "flags:v1:meta", "environment", "staging", "generation", "99", "digest", "sha256:00")
	}, w.redis.Flush)
	step("cable", net.cut, func() { net.mend(); w.redis.Flush() })
	step("silence", net.hush, func() { net.cut(); net.mend(); w.redis.Flush() })
	close(stop)
	deciding.Wait()
	if wrong.Load() > 0 || made.Load() == 0 {
		t.Errorf("%d of %d decisions flipped", wrong.Load(), made.Load())
	}
	t.Logf("%d decisions, longest look at the snapshot %s", made.Load(), time.Duration(slowest.Load()))
}

func TestAnOlderGenerationIsNotBelievedAtOnce(t *testing.T) {
	w := newWorld(t)
	w.apply(spec("flags-v1", `{"pct":0}`))
	w.apply(spec("flags-v2", `{"pct":100}`))
	c := w.open(client.Options{Poll: 50 * time.Millisecond})
	old, err := flags.Decode("test", []byte(spec("flags-v1", `{"pct":0}`)))
	if err != nil {
		t.Fatal(err)
	}
	w.redis.Flush()
	w.last = old
	w.refill(1)
	eventually(t, "stale", func() bool {
		return strings.Contains(c.Status().Errors["redis"], "older generation")
	})
	if !c.Enabled("receipts", "acme", "u") || c.Snapshot().Generation != 2 {
		t.Error("an older generation was served")
	}
	client.Advance(c, 2*time.Minute) // it stays: whoever runs Redis means it
	eventually(t, "the older generation", func() bool { return c.Snapshot().Generation == 1 && !c.Enabled("receipts", "acme", "u") })
}

func TestEntriesServeWhereTheSpecIsMissing(t *testing.T) {
	w := newWorld(t)
	w.apply(spec("flags-v1", `{"pct":100,"tenants":{"acme":{"enabled":false}}}`))
	w.redis.CLI("DEL", "flags:v1:spec")
	c := w.open(client.Options{})
	if !c.Enabled("receipts", "globex", "u") || c.Enabled("receipts", "acme", "u") || c.Snapshot().Generation != 1 {
		t.Errorf("decisions from entries: %+v", c.Decide("receipts", "globex", "u"))
	}
	w.redis.CLI("SET", "flags:v1:spec", "{}")
	c = w.open(client.Options{})
	if !c.Enabled("receipts", "globex", "u") {
		t.Error("a damaged spec hid the entries")
	}
}

// TestNeverHalfAGeneration applies generations in which all entries agree, and
// looks for a snapshot in which two do not.
func TestNeverHalfAGeneration(t *testing.T) {
	w := newWorld(t)
	const features = 40
	write := func(on bool) {
		var b strings.Builder
		fmt.Fprintf(&b, `{"version":"flags-v1+ramp.%d","environment":"prod","features":{`, w.lastN()+1)
		for i := range features {
			fmt.Fprintf(&b, `"f%02d":{"enabled":%t},`, i, on)
		}
		w.apply(strings.TrimSuffix(b.String(), ",") + "}}")
	}
	write(true)
	c := w.open(client.Options{Poll: 20 * time.Millisecond})
	done := make(chan struct{})
	var mixed atomic.Int64
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			s := c.Snapshot()
			on := 0
			for _, d := range s.All("acme", "u") {
				if d.On {
					on++
				}
			}
			if on != 0 && on != features || s.Flags().Len() != features || on == features != (s.Generation%2 == 1) {
				mixed.Add(1)
			}
		}
	})
	for i := range 60 {
		write(i%2 == 1)
	}
	eventually(t, "the last generation", func() bool { return c.Snapshot().Generation == 61 })
	close(done)
	looking.Wait()
	if mixed.Load() > 0 {
		t.Errorf("%d snapshots held parts of two generations", mixed.Load())
	}
}

func (w *world) lastN() int {
	if w.last == nil {
		return 0
	}
	var n int
	fmt.Sscanf(w.last.Version, "flags-v1+ramp.%d", &n)
	return n
}
