package reconciler

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// pair are two instances on one environment, each with a state folder of its own.
func pair(t *testing.T, policy string) (a, b *world) {
	t.Helper()
	a = newWorld(t, flagtest.Redis(t), policy)
	a.cfg.Lease, a.cfg.Name = time.Hour, "a"
	return a, a.peer("b")
}

// peer is a further instance beside this one.
func (w *world) peer(name string) *world {
	w.t.Helper()
	p := &world{Stage: w.Stage, t: w.t, clock: w.clock, cfg: w.cfg, dir: w.t.TempDir()}
	p.cfg.Name = name
	w.t.Cleanup(p.stop)
	return p
}

// runOut makes the lease end now, as time would.
func (w *world) runOut() {
	w.t.Helper()
	w.Redis.CLI("HSET", w.NS+"lease", "until."+w.Redis.CLI("HGET", w.NS+"lease", "term"), "1")
}

func (w *world) wantRole(role string, generation uint64) *Status {
	w.t.Helper()
	s := w.r.Status()
	if s.Role != role || s.Verified == nil || s.Verified.Generation != generation {
		w.t.Errorf("%s is %q with %+v verified, want %s with generation %d", w.cfg.Name, s.Role, s.Verified, role, generation)
	}
	return s
}

func (w *world) count(kind Kind) int {
	n := 0
	for _, e := range w.events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func TestFollowerGoesOnWhereTheLeaderStopped(t *testing.T) {
	a, b := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	a.release("flags-v2", "receipts", 20)
	b.pass() // sees the commit before the leader does
	s := b.wantRole(RoleFollower, 1)
	if s.HeadLive || s.Condition(CondReady).Status != True || s.Leader == nil || s.Leader.Name != "a" || s.Leader.Term != 1 || len(s.Refused) > 0 {
		t.Errorf("b says %+v", s)
	}
	b.wantLive(1, "receipts", "10")
	a.pass()
	before := b.Redis.Commandstats()
	if res := b.pass(); res.Refused || !res.HeadLive || len(res.Events) > 0 {
		t.Errorf("b's pass: %+v", res)
	}
	for name, n := range b.Redis.Commandstats() {
		if n > before[name] && slices.Contains([]string{"set", "mset", "hset", "unlink", "xadd", "publish", "hdel", "multi"}, name) {
			t.Errorf("b, which follows, sent %s", name)
		}
	}
	b.wantRole(RoleFollower, 2)
	if l := b.r.Live(); l == nil || l.Number != 2 || l.Entry("receipts", "acme").Pct.String() != "20" {
		t.Errorf("b serves %+v", l)
	}
	meta := a.meta()
	a.close() // gives the lease back
	b.pass()
	if s := b.wantRole(RoleLeader, 2); s.Term != 2 || s.Applied.Epoch != 2 || s.Leader.Name != "b" {
		t.Errorf("b says %+v", s)
	}
	if m := b.meta(); m.Epoch != 2 || m.Generation != 2 || m.Message != meta.Message || m.AppliedAt != meta.AppliedAt || m.Reconciler != "b" {
		t.Errorf("after the takeover meta is %+v, before %+v", m, meta)
	}
	a.release("flags-v3", "receipts", 30)
	b.pass()
	b.wantLive(3, "receipts", "30")
	if n := b.count(KindRepair) + b.count(KindRefill) + b.count(KindResume); n > 0 {
		t.Errorf("b's events: %+v", b.events)
	}
	a.pass() // comes back, and follows
	a.wantRole(RoleFollower, 3)
	if len(a.events) > 2 {
		t.Errorf("a's events: %+v", a.events)
	}
}

// The old leader does not know that its time is over: what it began is refused, and it
// follows from then on with the same numbers.
func TestStoppedLeaderComesBack(t *testing.T) {
	a, b := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	a.release("flags-v2", "receipts", 20)
	a.r.beforeApply = func() {
		a.r.beforeApply = nil
		a.runOut()
		b.pass()
		b.wantLive(2, "receipts", "20")
		a.release("flags-v3", "receipts", 30)
		b.pass()
	}
	a.pass()
	b.wantLive(3, "receipts", "30")
	a.wantRole(RoleFollower, 2)
	a.pass()
	a.wantRole(RoleFollower, 3)
	if last := a.events[len(a.events)-1]; last.Outcome != OutcomePending || last.Code != NotLeader || last.Generation != 2 {
		t.Errorf("a says of the generation that it did not make live: %+v", last)
	}
	for _, w := range []*world{a, b} {
		all, err := Generations(filepath.Join(w.dir, "state"))
		if err != nil || len(all) != 3 || all[2].Number != 3 || all[2].Version != "flags-v3" {
			t.Errorf("%s has the generations %+v, %v", w.cfg.Name, all, err)
		}
	}
}

// A new leader that does not know what is live asks git first, and writes nothing while
// git does not answer.
func TestTakeoverNeverGoesBack(t *testing.T) {
	a, b := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	for n, v := range []string{"flags-v2", "flags-v3", "flags-v4"} {
		a.release(v, "receipts", 20+n)
		a.pass()
	}
	a.runOut()
	if err := os.Rename(a.Repo.Origin, a.Repo.Origin+".away"); err != nil {
		t.Fatal(err)
	}
	_, err := b.try()
	for range 3 { // also while git is not asked again yet
		if err == nil || !strings.Contains(err.Error(), "nothing is written before git was read") {
			t.Errorf("b, which is behind, without git: %v", err)
		}
		b.wantLive(4, "receipts", "22")
		_, err = b.r.Pass(context.Background())
	}
	if err := os.Rename(a.Repo.Origin+".away", a.Repo.Origin); err != nil {
		t.Fatal(err)
	}
	b.pass()
	b.wantLive(4, "receipts", "22")
	b.wantRole(RoleLeader, 4)
	all, err := Generations(filepath.Join(b.dir, "state"))
	if err != nil || len(all) != 4 || all[2].Version != "flags-v3" {
		t.Errorf("b has the generations %+v, %v", all, err)
	}
	// One that knows needs no git to refill an emptied Redis.
	if err := os.Rename(a.Repo.Origin, a.Repo.Origin+".away"); err != nil {
		t.Fatal(err)
	}
	b.Redis.Flush()
	if _, err := b.try(); err == nil {
		t.Error("git is away, and nobody says so")
	}
	b.try()
	b.wantLive(4, "receipts", "22")
	b.r.renew(context.Background()) // finds that the lease was lost with the rest
	b.try()
	if m := b.meta(); m.Epoch < 3 || m.Generation != 4 || !b.r.leads() {
		t.Errorf("after the flush: %+v", m)
	}
}

// A follower that was away for long, or starts with nothing, comes to the same numbers,
// also where increases were hours apart.
func TestFollowerCatchesUp(t *testing.T) {
	a, b := pair(t, `{"roles":{"maintainer":{"signers":["alice"],"may":["*"]},"ramp":{"signers":["bot"],"may":["ramp.up"],"max_step":10,"min_interval":"1h"}}}`)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	for n := range 3 {
		a.clock.Advance(2 * time.Hour)
		a.Repo.Now = a.clock.Now()
		a.write("flags-v1+ramp."+string(rune('1'+n)), "receipts", 20+10*n)
		a.Sign("bot")
		a.Land("step")
		a.pass()
	}
	a.wantLive(4, "receipts", "40")
	b.pass()
	b.wantRole(RoleFollower, 4)
	c := a.peer("c")
	c.pass()
	c.wantRole(RoleFollower, 4)
	// The bounds hold on: the next step is an hour away for each of them.
	a.write("flags-v1+ramp.9", "receipts", 50)
	a.Sign("bot")
	a.Land("too soon")
	a.runOut()
	b.pass()
	if s := b.wantRole(RoleLeader, 4); len(s.Deferred) != 1 || s.HeadLive {
		t.Errorf("b says %+v", s)
	}
	b.wantLive(4, "receipts", "40")
}

// An instance that starts with nothing follows what is live also where the branch has gone on since.
func TestFreshFollowerBehindTheHead(t *testing.T) {
	a, _ := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	a.write("flags-v2", "receipts", 99)
	a.Land("nobody signed it")
	c := a.peer("c")
	c.pass()
	c.pass()
	s := c.wantRole(RoleFollower, 1)
	if s.Condition(CondReady).Status != True || len(s.Refused) != 1 || s.HeadLive {
		t.Errorf("c says %+v, refused %+v", s.Conditions, s.Refused)
	}
	if l := c.r.Live(); l == nil || l.Number != 1 {
		t.Errorf("c serves %+v", l)
	}
}

// What was refused long ago is not reported again by the next leader; what was refused
// a moment ago is, for the old one may have died over it.
func TestRefusalsAreReportedOverATakeover(t *testing.T) {
	a, b := pair(t, maintainer)
	a.cfg.Lease, b.cfg.Lease = time.Minute, time.Minute
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	bad := func(version string) {
		a.write(version, "receipts", 99)
		a.Sign("bot")
		a.Land("not authorized")
	}
	bad("flags-v2")
	a.pass()
	b.pass()
	if s := b.wantRole(RoleFollower, 1); len(s.Refused) != 1 || s.HeadLive || s.Refused[0].Code != NotAuthorized {
		t.Errorf("b says %+v", s.Refused)
	}
	a.clock.Advance(time.Hour)
	bad("flags-v3")
	b.pass()
	a.runOut()
	b.pass()
	if s := b.wantRole(RoleLeader, 1); len(s.Refused) != 2 {
		t.Errorf("b says %+v", s.Refused)
	}
	if n := b.count(KindRefuse); n != 1 {
		t.Errorf("b reported %d refusals: %+v", n, b.events)
	}
}

// An idle pass of a leader and one renewal send ten commands at most.
func TestIdleLeaderCommands(t *testing.T) {
	w, _ := pair(t, maintainer)
	w.release("flags-v1", "receipts", 10, "search", 20)
	w.pass()
	w.pass()
	commandCounts(w.Redis)
	w.pass()
	w.r.renew(context.Background())
	counts, total := commandCounts(w.Redis), 0
	for name, n := range counts {
		if total += n; !slices.Contains(reading, name) && name != "hset" {
			t.Errorf("the pass sent %s", name)
		}
	}
	if total == 0 || total > 10 || counts["hset"] > 1 {
		t.Errorf("the pass and a renewal sent %d commands: %v", total, counts)
	}
	b := w.peer("b")
	b.pass()
	b.pass()
	commandCounts(w.Redis)
	b.pass()
	counts, total = commandCounts(w.Redis), 0
	for name, n := range counts {
		if total += n; !slices.Contains(reading, name) {
			t.Errorf("the follower sent %s", name)
		}
	}
	if total == 0 || total > 4 {
		t.Errorf("the follower sent %d commands: %v", total, counts)
	}
}

// A lease that cannot be renewed ends the lead before it runs out, and a new one begins
// when Redis is back.
func TestLeaseThatCannotBeRenewed(t *testing.T) {
	w, _ := pair(t, maintainer)
	w.cfg.Lease = 300 * time.Millisecond
	w.cfg.Interval = 20 * time.Millisecond
	w.release("flags-v1", "receipts", 10)
	w.running()
	w.untilLive("receipts", "10")
	w.Redis.Pause()
	flagtest.Eventually(t, "the instance to give up", func() bool { return !w.r.leads() })
	w.Redis.Resume()
	flagtest.Eventually(t, "the instance to lead again", func() bool { return w.r.Status().Role == RoleLeader })
	w.release("flags-v2", "receipts", 20)
	w.untilLive("receipts", "20")
}

// Somebody writes a term into meta that no lease ever had.
func TestForgedEpoch(t *testing.T) {
	a, _ := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	for _, epoch := range []string{"41", "18446744073709551615"} {
		a.Redis.CLI("HSET", a.NS+"meta", "epoch", epoch, "generation", "1")
		a.Redis.CLI("SET", a.NS+"receipts:__default__", "{}")
		a.try()
		a.pass()
		a.wantLive(1, "receipts", "10")
		a.wantRole(RoleLeader, 1)
	}
	if m := a.meta(); m.Epoch != 42 {
		t.Errorf("meta is %+v", m)
	}
	// Nor does a forged lease keep it from leading for ever.
	a.Redis.CLI("DEL", a.NS+"lease")
	a.Redis.CLI("HSET", a.NS+"lease", "holder", "evil", "owner", "evil", "term", "99", "until.99", "9999999999999999")
	a.release("flags-v2", "receipts", 20)
	a.try()
	a.pass()
	a.pass()
	a.wantLive(2, "receipts", "20")
}
