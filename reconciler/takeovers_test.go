package reconciler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// takeovers are three instances on one environment, of which whoever leads is deposed
// again and again, at any moment of a pass.
type takeovers struct {
	t      *testing.T
	rnd    *rand.Rand
	all    []*world
	landed int               // versions in git
	specs  map[string]string // by their digest
	at     map[uint64]string // generation -> digest, as seen live
	newest uint64            // generation seen live
	epoch  uint64
	done   int // takeovers
	flush  bool
}

// Whoever is deposed at whatever moment: no generation is lost, none falls or stands for
// two contents, and no entry is ever of another spec than the one that meta names.
// RAMPART_TEST_TAKEOVERS says how many there are to be, RAMPART_TEST_SEED which.
func TestForcedTakeovers(t *testing.T) {
	want, seed := number(t, "RAMPART_TEST_TAKEOVERS", 20), number(t, "RAMPART_TEST_SEED", int(time.Now().UnixNano()%1e9))
	t.Logf("RAMPART_TEST_SEED=%d", seed)
	first := newWorld(t, flagtest.Redis(t), maintainer)
	first.cfg.Lease, first.cfg.Name = time.Hour, "a"
	x := &takeovers{
		t: t, rnd: rand.New(rand.NewPCG(uint64(seed), 1)), specs: map[string]string{}, at: map[uint64]string{},
		all: []*world{first, first.peer("b"), first.peer("c")},
	}
	x.land()
	for _, w := range x.all {
		w.pass()
	}
	started := time.Now()
	for x.done < want {
		x.round()
		if t.Failed() {
			t.Fatalf("after %d takeovers", x.done)
		}
	}
	t.Logf("%d takeovers in %s: generation %d, term %d", x.done, time.Since(started).Round(time.Millisecond), x.newest, x.epoch)
	x.settle()
	x.compare()
}

func number(t *testing.T, name string, def int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func (x *takeovers) land() {
	x.landed++
	w := x.all[0]
	src := fmt.Sprintf(`{"version":"flags-v%d","features":{"receipts":{"pct":%d,"tenants":{"t0":{"pct":1}`, x.landed, x.landed%101)
	for i := range 10 + x.landed%20 { // every entry changes, some come and go
		src += fmt.Sprintf(`,"tenant-%d":{"pct":%d}`, i, (i+x.landed)%101)
	}
	w.Repo.Write("specs/flags.json", src+"}}}}")
	w.Sign("alice")
	w.Land("step")
	spec, err := flags.Decode("flags.json", []byte(w.Repo.Read("specs/flags.json")))
	if err != nil {
		x.t.Fatal(err)
	}
	x.specs[spec.Digest()] = spec.Version
}

// leader is whoever leads, and the others.
func (x *takeovers) leader() (w *world, others []*world) {
	for _, i := range x.all {
		if i.r != nil && i.r.leads() && i.r.lead.owner == i.Redis.CLI("HGET", i.NS+"lease", "owner") {
			w = i
		} else {
			others = append(others, i)
		}
	}
	return w, others
}

func (x *takeovers) term() uint64 {
	n, _ := strconv.ParseUint(x.all[0].Redis.CLI("HGET", x.all[0].NS+"lease", "term"), 10, 64)
	return n
}

// round lands a commit or not, and deposes whoever leads: before it looks, between plan
// and write, or when Redis has taken the write.
func (x *takeovers) round() {
	if x.rnd.IntN(3) > 0 {
		x.land()
	}
	before := x.term()
	old, others := x.leader()
	next, moment := others[x.rnd.IntN(len(others))], x.rnd.IntN(5)
	if old != nil {
		x.t.Logf("%d: v%d landed; %s leads in term %d, %s is next, moment %d", x.done, x.landed, old.cfg.Name, before, next.cfg.Name, moment)
	}
	switch {
	case old == nil:
		next.try()
	case moment == 0:
		x.depose(old)
		x.pass(next)
	case moment == 1: // killed: it says nothing to anybody
		old.r.lead.leading = false
		old.close()
		old.Redis.CLI("HSET", old.NS+"lease", "until."+old.Redis.CLI("HGET", old.NS+"lease", "term"), "1")
		if x.rnd.IntN(4) == 0 {
			old.forget()
		}
		x.pass(next)
	case moment == 2: // told to end
		old.close()
		x.pass(next)
	default:
		hook := &old.r.beforeApply
		if moment == 4 {
			hook = &old.r.afterApply
		}
		*hook = func() {
			*hook = nil
			x.depose(old)
			x.pass(next)
			if x.rnd.IntN(3) == 0 {
				x.land()
				x.pass(next)
			}
		}
		x.pass(old)
		if *hook != nil { // there was nothing to write
			*hook = nil
			x.depose(old)
			x.pass(next)
		}
	}
	if x.term() > before {
		x.done++
	}
	x.check()
	for _, w := range x.all {
		if x.rnd.IntN(3) > 0 {
			x.pass(w)
			x.check()
		}
	}
}

// depose takes the lease away from whoever has it, in one way or another.
func (x *takeovers) depose(old *world) {
	defer func() { // where nobody is on record, a lease time passes as well
		for _, w := range x.all {
			if w.r != nil {
				w.r.lead.passes.vacant = time.Now().Add(-w.cfg.Lease)
			}
		}
	}()
	switch x.rnd.IntN(8) {
	case 0:
		old.Redis.CLI("DEL", old.NS+"lease")
	case 1:
		if x.rnd.IntN(4) == 0 && x.allKnow() {
			old.Redis.Flush()
			x.t.Log("redis is flushed")
			x.flush, x.epoch = true, 0 // who never saw the last term cannot know it
			return
		}
		fallthrough
	case 2:
		old.Redis.CLI("SET", old.NS+"lease", "damaged")
		old.Redis.CLI("DEL", old.NS+"lease")
	default:
		old.runOut()
	}
}

// allKnow says whether each state folder holds something. One that lost it, and finds
// Redis empty as well, can only begin at generation 1.
func (x *takeovers) allKnow() bool {
	for _, w := range x.all {
		if all, err := Generations(filepath.Join(w.dir, "state")); err != nil || len(all) == 0 {
			return false
		}
	}
	return true
}

// pass is a pass that may meet a conflict, which the next one settles.
func (x *takeovers) pass(w *world) {
	if _, err := w.try(); err != nil {
		x.t.Logf("%s: %v", w.cfg.Name, err)
	}
}

// check looks at Redis as a reader does.
func (x *takeovers) check() {
	x.t.Helper()
	w := x.all[0]
	if w.store == nil {
		w.start()
	}
	ctx := context.Background()
	live, err := w.store.Live(ctx)
	if err != nil {
		if x.flush {
			return
		}
		x.t.Errorf("reading what is live: %v", err)
		return
	}
	m := live.Meta
	if m.Generation < x.newest || m.Generation == x.newest && x.at[m.Generation] != m.Digest {
		x.t.Errorf("generation %d of %s is live, after %d of %s", m.Generation, m.Digest, x.newest, x.at[x.newest])
	}
	if m.Epoch < x.epoch {
		x.t.Errorf("term %d wrote after term %d", m.Epoch, x.epoch)
	}
	if m.Generation != x.newest || m.Epoch != x.epoch {
		x.t.Logf("generation %d is %s, by %s in term %d", m.Generation, m.Version, m.Reconciler, m.Epoch)
	}
	x.newest, x.epoch, x.at[m.Generation] = m.Generation, m.Epoch, m.Digest
	if m.Generation > uint64(x.landed) {
		x.t.Errorf("generation %d is live and %d versions landed: a number was spent on nothing", m.Generation, x.landed)
	}
	spec, err := flags.Decode("spec", live.Spec)
	if err != nil || spec.Digest() != m.Digest || x.specs[m.Digest] != m.Version || m.Pending != "" {
		x.t.Errorf("meta %+v beside a spec that is not what it names, or that nobody signed: %v", m, err)
		return
	}
	x.entries(spec)
}

func (x *takeovers) entries(spec *flags.Spec) {
	x.t.Helper()
	n := 0
	for kv, err := range x.all[0].store.Entries(context.Background()) {
		if err != nil {
			x.t.Error(err)
			return
		}
		want, ok := exactEntry(spec, kv.Key)
		if n++; !ok || string(want.AppendJSON(nil)) != string(kv.Value) {
			x.t.Errorf("of version %s: %s is %s", spec.Version, kv.Key, kv.Value)
		}
	}
	if n != spec.Len() {
		x.t.Errorf("%d entries are live, version %s has %d", n, spec.Version, spec.Len())
	}
}

// settle lets all of them come to rest.
func (x *takeovers) settle() {
	for range 3 {
		for _, w := range x.all {
			x.pass(w)
		}
	}
	x.flush = false
	x.check()
	if got := x.specs[x.at[x.newest]]; got != fmt.Sprintf("flags-v%d", x.landed) {
		x.t.Errorf("%s is live, %d versions landed", got, x.landed)
	}
}

// compare holds the folders of all against each other and against what was live.
func (x *takeovers) compare() {
	x.t.Helper()
	var last []Generation
	for _, w := range x.all {
		all, err := Generations(filepath.Join(w.dir, "state"))
		if err != nil || len(all) == 0 {
			x.t.Fatalf("%s has no generations: %v", w.cfg.Name, err)
		}
		for _, g := range all {
			if was, ok := x.at[g.Number]; ok && was != g.Digest {
				x.t.Errorf("%s says that generation %d is %s; it was live as %s", w.cfg.Name, g.Number, g.Version, x.specs[was])
			}
		}
		last = append(last, all[len(all)-1])
		for _, e := range w.events {
			if e.Kind == KindRepair && e.Drift != nil && e.Drift.total() > 0 {
				x.t.Errorf("%s found wrong entries: %s", w.cfg.Name, e.Drift)
			}
		}
	}
	for i, g := range last {
		if g.Digest != last[0].Digest || g.Number != x.newest {
			x.t.Errorf("%s ends at generation %d of %s, %d is live", x.all[i].cfg.Name, g.Number, g.Version, x.newest)
		}
	}
}
