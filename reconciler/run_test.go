package reconciler

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// running starts the loop on the real clock and ends it with the test.
func (w *world) running() {
	w.t.Helper()
	w.start()
	w.r.now = time.Now
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.r.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
}

func (w *world) untilLive(feature, pct string) {
	w.t.Helper()
	flagtest.Eventually(w.t, feature+" to be live at "+pct, func() bool { return w.livePct(feature, flags.DefaultTenant) == pct })
}

func TestRunLooksWhenNudged(t *testing.T) {
	w := newWorld(t, nil, maintainer)
	w.cfg.Interval = time.Hour
	w.release("flags-v1", "receipts", 10)
	w.running()
	w.untilLive("receipts", "10")
	w.release("flags-v2", "receipts", 20)
	w.r.Nudge()
	w.untilLive("receipts", "20")
	flagtest.Eventually(t, "status to say so", func() bool { return w.r.Status().HeadLive && w.r.Status().Verified.Generation == 2 })
	if l := w.r.Live(); l == nil || l.Number != 2 || l.Spec.Version != "flags-v2" {
		t.Errorf("Live() = %+v", l)
	}
}

func TestRunLooksByItself(t *testing.T) {
	w := newWorld(t, nil, maintainer)
	w.cfg.Interval = 20 * time.Millisecond
	w.release("flags-v1", "receipts", 10)
	w.running()
	w.untilLive("receipts", "10")
	w.release("flags-v2", "receipts", 20)
	w.untilLive("receipts", "20")
	// Trouble with git comes and goes.
	if err := os.Rename(w.Repo.Origin, w.Repo.Origin+".away"); err != nil {
		t.Fatal(err)
	}
	flagtest.Eventually(t, "the trouble to show", func() bool { return w.r.Status().Condition(CondFetchFailed).Status == True })
	w.r.mu.Lock()
	retry := w.r.source.retry
	w.r.mu.Unlock()
	if retry == retry.Round(0) { // found by make chaos
		t.Errorf("the next try, at %v, waits for the time of day: a clock that is set back by an hour puts it off by an hour", retry)
	}
	if err := os.Rename(w.Repo.Origin+".away", w.Repo.Origin); err != nil {
		t.Fatal(err)
	}
	w.release("flags-v3", "receipts", 30)
	w.untilLive("receipts", "30")
}

// Where Redis tells of writes, drift is put right at once: the interval here is an hour.
func TestRunHearsOfDrift(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t, "--notify-keyspace-events", "KA"), maintainer)
	w.cfg.Interval = time.Hour
	w.release("flags-v1", "receipts", 10)
	w.running()
	w.untilLive("receipts", "10")
	flagtest.Eventually(t, "the reconciler to listen", func() bool {
		return w.Redis.CLI("PUBSUB", "NUMPAT") != "0"
	})
	w.Redis.CLI("SET", "flags:v1:receipts:__default__", "{}")
	w.untilLive("receipts", "10")
	w.Redis.CLI("DEL", "flags:v1:meta")
	flagtest.Eventually(t, "meta to be back", func() bool { return w.Redis.CLI("HGET", "flags:v1:meta", "generation") == "1" })
	w.Redis.CLI("DEL", "flags:v1:spec")
	flagtest.Eventually(t, "the spec to be back", func() bool { return w.Redis.CLI("STRLEN", "flags:v1:spec") != "0" })
}

func TestBackoffGrows(t *testing.T) {
	var b backoff
	before := time.Duration(0)
	for n := range 30 {
		d := b.next()
		if d < backoffMin || d > backoffMax {
			t.Errorf("pause %d is %v", n, d)
		}
		if n < 8 && d <= before/2 {
			t.Errorf("pause %d is %v, the one before was %v", n, d, before)
		}
		before = d
	}
	if before != backoffMax {
		t.Errorf("after much trouble the pause is %v", before)
	}
	b.reset()
	if d := b.next(); d >= 2*backoffMin {
		t.Errorf("after a success the pause is %v", d)
	}
}

// A remote in trouble is left alone for a while, and asked at once when nudged.
func TestFetchBacksOff(t *testing.T) {
	w := newWorld(t, nil, maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	if err := os.Rename(w.Repo.Origin, w.Repo.Origin+".away"); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	good := w.r.Status().LastSuccess
	asked := 0
	for range 40 {
		if _, err := w.r.Pass(ctx); err != nil {
			asked++
		}
		w.clock.Advance(time.Second)
	}
	if asked < 3 || asked > 8 {
		t.Errorf("in 40 seconds of trouble the remote was asked %d times", asked)
	}
	if s := w.r.Status(); s.Condition(CondFetchFailed).Status != True || s.Condition(CondReady).Status != True || !s.LastSuccess.Equal(good) {
		t.Errorf("status = %+v", s)
	}
	if err := os.Rename(w.Repo.Origin+".away", w.Repo.Origin); err != nil {
		t.Fatal(err)
	}
	w.r.Nudge()
	if _, err := w.r.Pass(ctx); err != nil {
		t.Error(err)
	}
	if s := w.r.Status(); s.Condition(CondFetchFailed).Status != False {
		t.Errorf("status = %+v", s)
	}
}
