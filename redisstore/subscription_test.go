package redisstore_test

import (
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// Subscriptions that are lost at the same moment come back one after the other: each
// asks for meta then.
func TestSubscriptionsComeBackApart(t *testing.T) {
	t.Parallel() // it waits, mostly
	const subscribers = 60
	r := flagtest.Redis(t)
	writer := open(t, r.URL(), "")
	mustApply(t, writer, redisstore.Fence{}, redisstore.Change{Set: many(1, 1), Meta: meta(1, 1)})
	var all []<-chan redisstore.Message
	for range subscribers {
		all = append(all, subscribe(t, open(t, r.URL(), "")))
	}
	for _, heard := range all {
		expect(t, heard, redisstore.KindResync, 1)
	}
	number := regexp.MustCompile(`\d+$`)
	there := func() int {
		n, _ := strconv.Atoi(number.FindString(r.CLI("PUBSUB", "NUMSUB", "flags:v1:changes")))
		return n
	}
	flagtest.Eventually(t, "everybody to listen", func() bool { return there() == subscribers })
	began := time.Now()
	r.CLI("CLIENT", "KILL", "TYPE", "pubsub")
	mustApply(t, writer, mustMeta(t, writer).Fence(), redisstore.Change{Set: many(1, 2), Meta: meta(2, 1)})
	var early int
	flagtest.Eventually(t, "everybody to listen again", func() bool {
		n := there()
		if time.Since(began) < 400*time.Millisecond {
			early = n
		}
		return n == subscribers
	})
	if took := time.Since(began); early > 0 || took < 900*time.Millisecond {
		t.Errorf("%d of %d were back within 0.4 s, all after %v", early, subscribers, took)
	}
	for _, heard := range all {
		expect(t, heard, redisstore.KindApply, 2)
	}
}
