package reconciler

import (
	"context"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// more entries than a pass reads back
const promotedEntries = 12_000

// promotedWorld is an environment at that address whose spec is live and idle.
func promotedWorld(t *testing.T, url string) (*world, *flags.Spec) {
	w := newWorld(t, nil, maintainer)
	var err error
	if w.store, err = redisstore.Open(context.Background(), redisstore.Options{URL: url, Timeout: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
	src := bigSpec("flags-v1", promotedEntries, 5)
	w.Repo.Write("specs/flags.json", string(src))
	w.Sign("alice")
	w.Land("first")
	w.pass()
	w.pass()
	spec, err := flags.Decode("flags.json", src)
	if err != nil {
		t.Fatal(err)
	}
	return w, spec
}

// empty takes everything from a replica, as if it had never had its first sync.
func empty(replica *flagtest.RedisServer) {
	replica.CLI("CONFIG", "SET", "replica-read-only", "no")
	replica.CLI("FLUSHALL")
	replica.CLI("CONFIG", "SET", "replica-read-only", "yes")
}

// A replica that has nothing takes the place of a master that holds a third of the
// entries and not meta: meta is as it was, and the next pass fills the node again.
func TestEmptyReplicaPromotedOnACluster(t *testing.T) {
	t.Parallel() // it waits, mostly
	c := flagtest.Cluster(t)
	w, spec := promotedWorld(t, c.URL())
	home := c.MasterOf(w.NS + "meta")
	lost := c.Nodes[0]
	if lost == home {
		lost = c.Nodes[1]
	}
	before := w.meta()
	replica := c.ReplicaOf(lost)
	empty(replica)
	c.Promote(replica)
	if size := replica.CLI("DBSIZE"); size != "0" || w.meta() != before {
		t.Fatalf("the new master has %s keys, meta is %+v", size, w.meta())
	}
	w.pass()
	(&takeovers{t: t, all: []*world{w}}).entries(spec)
	if d := w.r.Status().Drift; d.Last == nil || d.Last.Missing < promotedEntries/5 {
		t.Errorf("the drift on record is %+v", d)
	}

	// It costs a command a pass, beside the map of slots that the driver reads now and then.
	for _, node := range c.Nodes {
		node.ResetStats()
	}
	const passes = 5
	for range passes {
		w.pass()
	}
	asked := 0
	for _, node := range c.Nodes {
		for name, n := range commandCounts(node) {
			switch name {
			case "cluster|slots":
				asked += n
			case "mset", "set", "hset":
				t.Errorf("an idle pass sent %s", name)
			}
		}
	}
	if asked < passes || asked > passes+2 {
		t.Errorf("%d passes asked %d times who the masters are", passes, asked)
	}
}

// One that Sentinel promotes has no meta either, and is filled again by the first pass
// that reaches it.
func TestEmptyReplicaPromotedBySentinel(t *testing.T) {
	t.Parallel()
	f := flagtest.Sentinel(t)
	w, spec := promotedWorld(t, f.URL())
	f.Master.CLI("WAIT", "1", "0")
	empty(f.Replica)
	f.Master.Kill()
	f.AwaitFailover()
	if size := f.Replica.CLI("DBSIZE"); size != "0" {
		t.Fatalf("the new master has %s keys", size)
	}
	flagtest.Eventually(t, "a pass to reach the new master", func() bool { _, err := w.try(); return err == nil })
	(&takeovers{t: t, all: []*world{w}}).entries(spec)
	w.wantLive(1, "receipts", "5")
	if n := w.count(KindRefill); n != 1 {
		t.Errorf("%d refills on record", n)
	}
}
