package reconciler

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// commandCounts is what the server counted of each command since it was last asked.
func commandCounts(redis *flagtest.RedisServer) map[string]int {
	counts := map[string]int{}
	for _, line := range strings.Split(redis.CLI("INFO", "commandstats"), "\n") {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok || name == "info" || strings.HasPrefix(name, "config") || name == "command|docs" {
			continue
		}
		n, _, _ := strings.Cut(rest, ",")
		counts[name], _ = strconv.Atoi(n)
	}
	redis.CLI("CONFIG", "RESETSTAT")
	return counts
}

var reading = []string{"type", "hgetall", "get", "mget", "scan", "exec", "multi", "ping", "hello", "client|setinfo", "client|maint_notifications", "time"}

// A pass over nothing changed writes nothing and sends ten commands at most, although it
// reads a thousand entries back.
func TestIdlePassCommands(t *testing.T) {
	redis := flagtest.Redis(t)
	w := newWorld(t, redis, maintainer)
	w.Repo.Write("specs/flags.json", string(bigSpec("flags-v1", 1000, 5)))
	w.Sign("alice")
	w.Land("first")
	w.pass()
	w.pass()
	commandCounts(redis)
	w.pass()
	counts, total := commandCounts(redis), 0
	for name, n := range counts {
		if total += n; !slices.Contains(reading, name) {
			t.Errorf("the pass sent %s", name)
		}
	}
	if total == 0 || total > 10 {
		t.Errorf("the pass sent %d commands: %v", total, counts)
	}
}

// One changed entry of many writes five keys at most.
func TestSmallChangeWrites(t *testing.T) {
	redis := flagtest.Redis(t)
	w := newWorld(t, redis, maintainer)
	const entries = 20_000
	for n := range 2 {
		w.Repo.Write("specs/flags.json", string(bigSpec(fmt.Sprintf("flags-v%d", n+1), entries, 5)))
		if n == 1 { // one tenant's percentage moves, nobody inherits it
			src := strings.Replace(w.Repo.Read("specs/flags.json"), `"tenant-000007": {"pct": 7,`, `"tenant-000007": {"pct": 8,`, 1)
			w.Repo.Write("specs/flags.json", src)
			commandCounts(redis)
		}
		w.Sign("alice")
		w.Land("step")
		w.pass()
	}
	e := w.events[len(w.events)-1]
	if e.Counts == nil || e.Counts.Set != 1 || e.Counts.Keys > 5 {
		t.Errorf("the write was %+v", e.Counts)
	}
	counts := commandCounts(redis)
	maps.DeleteFunc(counts, func(name string, _ int) bool { return slices.Contains(reading, name) })
	for name, n := range counts {
		if want := map[string]int{"mset": 1, "set": 2, "hset": 1, "xadd": 1, "publish": 1, "watch": 1, "unwatch": 1, "hget": 1}[name]; n > want {
			t.Errorf("%s was sent %d times, want %d at most", name, n, want)
		}
	}
	if counts["mset"] != 1 {
		t.Errorf("commands: %v", counts)
	}
}
