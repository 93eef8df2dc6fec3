package reconciler

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/trust"
)

// amended rewrites the newest commit, content and all, and gives the old and the new one.
func (w *world) amended(message string) (from, to string) {
	w.t.Helper()
	from = w.Repo.Head()
	w.Repo.Git("commit", "-q", "--amend", "-m", message)
	to = w.Repo.Head()
	w.Repo.ForcePush()
	return from, to
}

// waited is as if the patience of an instance that follows were at its end.
func (w *world) waited() {
	w.t.Helper()
	if p := &w.r.lead.passes; !p.ahead.IsZero() {
		p.ahead = time.Now().Add(-time.Hour - w.r.patience())
	}
}

func (w *world) wantRewritten(want Truth) {
	w.t.Helper()
	if c := w.r.Status().Condition(CondHistoryRewritten); c.Status != want {
		w.t.Errorf("%s says %+v", w.cfg.Name, c)
	}
}

// A statement about history was used, and Redis lost the lease's note of it before the other instance saw it. Whoever used
// it says so again, while it follows and when it leads. Found by make chaos.
func TestStatementThatRedisLost(t *testing.T) {
	a, b := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	from, to := a.amended("one, amended")
	a.pass()
	b.pass()
	if _, err := a.r.AcceptHistory(t.Context(), a.historyStatement("alice", from, to)); err != nil {
		t.Fatal(err)
	}
	a.pass()
	a.wantRewritten(False)
	lose := func() { a.Redis.CLI("HDEL", a.NS+"lease", "history") }
	note := func() string { return a.Redis.CLI("HGET", a.NS+"lease", "history") }
	lose()
	a.r.renew(t.Context()) // sees that the note is gone
	a.pass()
	if note() == "" {
		t.Error("the leader does not say again what was lost")
	}
	lose()
	a.runOut()
	b.pass() // leads, and knows nothing of the statement
	b.wantRole(RoleLeader, 1)
	b.wantRewritten(True)
	a.close() // also after a restart
	a.pass()
	a.wantRole(RoleFollower, 1)
	if note() == "" {
		t.Fatal("who follows does not say again what was lost")
	}
	b.r.renew(t.Context())
	b.release("flags-v2", "receipts", 20)
	b.pass()
	b.wantRewritten(False)
	b.wantLive(2, "receipts", "20")
	a.pass()
	a.wantRole(RoleFollower, 2)

	// The newer of two statements stands.
	from, to = a.amended("two, amended")
	a.pass()
	b.pass()
	a.clock.Advance(time.Minute)
	if _, err := b.r.AcceptHistory(t.Context(), b.historyStatement("alice", from, to)); err != nil {
		t.Fatal(err)
	}
	b.pass()
	newest := note()
	a.pass()
	a.wantRewritten(False)
	b.pass()
	if got := note(); got != newest {
		t.Errorf("the note is\n%s\nafter\n%s", got, newest)
	}
}

// Redis came back with less than it had, and who leads now had not seen the last generation: nor can it take it from git,
// for history was rewritten by then and nobody tells it so. Who knows it takes the lead, after a while.
func TestGenerationThatRedisLost(t *testing.T) {
	a, b := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	from, _ := a.amended("one, amended")
	to := a.release("flags-v2", "receipts", 20)
	a.pass()
	if _, err := a.r.AcceptHistory(t.Context(), a.historyStatement("alice", from, to)); err != nil {
		t.Fatal(err)
	}
	a.pass()
	a.wantLive(2, "receipts", "20")
	if err := os.Remove(filepath.Join(a.dir, "state", usedName)); err != nil { // by its number alone
		t.Fatal(err)
	}
	a.close()
	a.Redis.Flush()
	b.pass()
	b.r.lead.passes.vacant = time.Now().Add(-b.cfg.Lease)
	b.pass()
	b.pass()
	b.wantLive(1, "receipts", "10")
	b.wantRewritten(True)
	if err := Suspend(filepath.Join(b.dir, "state"), &Suspension{Reason: "look first", Since: a.clock.Now()}); err != nil {
		t.Fatal(err)
	}
	b.pass()
	for range 2 { // at once it does nothing, and while reconciling is suspended neither
		a.pass()
		a.wantRole(RoleFollower, 2)
		a.waited()
	}
	b.wantLive(1, "receipts", "10")
	if err := b.r.Suspend(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	b.pass()
	a.pass()
	a.waited()
	a.pass()
	a.pass()
	a.wantRole(RoleLeader, 2)
	a.wantLive(2, "receipts", "20")
	b.pass()
	b.wantRole(RoleFollower, 1) // and believes no other history because Redis names it
	a.wantRewritten(False)
	b.wantRewritten(True)
	term := a.meta().Epoch
	for range 3 { // and there it stays
		a.waited()
		b.waited()
		a.pass()
		b.pass()
	}
	if m := a.meta(); m.Epoch != term {
		t.Errorf("the lead went on to term %d", m.Epoch)
	}
}

// An instance that lost its state folder leads first after a flush, and can only begin with generation 1. The others put
// the number right.
func TestNumbersOutliveWhoBeganAnew(t *testing.T) {
	a, b := pair(t, maintainer)
	for n, v := range []string{"flags-v1", "flags-v2", "flags-v3"} {
		a.release(v, "receipts", 10+n)
		a.pass()
		b.pass()
	}
	a.close()
	b.close()
	a.Redis.Flush()
	c := a.peer("c")
	c.pass()
	c.wantLive(1, "receipts", "12")
	b.pass()
	b.wantRole(RoleFollower, 3)
	b.waited()
	b.pass()
	b.pass()
	b.wantRole(RoleLeader, 3)
	b.wantLive(3, "receipts", "12")
	c.pass()
	c.wantRole(RoleFollower, 3)
	b.release("flags-v4", "receipts", 40)
	b.pass()
	b.wantLive(4, "receipts", "40")
}

// A new leader that is behind, and cannot reach git, gets a break-glass statement. It keeps it, and does not write what it knows
// over what is live; the statement is in force once git is back. Found by make chaos.
func TestOverrideAtALeaderThatIsBehind(t *testing.T) {
	a, b := pair(t, withBrake)
	a.release("flags-v1", "receipts", 50, "search", 10)
	a.pass()
	b.pass()
	a.release("flags-v2", "receipts", 50, "search", 20)
	a.pass()
	a.runOut()
	if err := os.Rename(a.Repo.Origin, a.Repo.Origin+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.try(); err == nil || !b.r.leads() {
		t.Fatalf("b leads: %v, %v", b.r.leads(), err)
	}
	before := b.meta()
	brake := b.seal([]trust.OverrideItem{{Feature: "receipts"}}, "bob")
	if _, err := b.r.Override(t.Context(), brake); !errors.Is(err, ErrOverridePending) {
		t.Errorf("the statement was answered with %v", err)
	}
	var refused *RefusedOverride
	if _, err := b.r.Override(t.Context(), b.seal([]trust.OverrideItem{{Feature: "receipts"}}, "bot")); !errors.As(err, &refused) {
		t.Errorf("one by somebody who may not was answered with %v", err)
	}
	if err := DropOverride(filepath.Join(b.dir, "state"), b.seal([]trust.OverrideItem{{Feature: "search"}}, "bob")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := b.try(); err == nil {
			t.Error("git is away, and nobody says so")
		}
		b.wantLive(2, "search", "20")
	}
	if m := b.meta(); m != before {
		t.Errorf("meta became %+v, before %+v", m, before)
	}
	if err := os.Rename(a.Repo.Origin+".away", a.Repo.Origin); err != nil {
		t.Fatal(err)
	}
	b.pass()
	b.is("receipts", flags.DefaultTenant, "off")
	b.is("search", flags.DefaultTenant, "off")
	if s := b.wantRole(RoleLeader, 2); len(s.Overrides) != 2 {
		t.Errorf("b says %+v", s.Overrides)
	}
	a.pass()
	a.wantRole(RoleFollower, 2)
}

// One instance alone accepted a commit, Redis came back without it, and history was rewritten before anybody else saw it. The
// others go on without a word; that one needs a maintainer's, follows by it, and leads when its turn comes. Found by make chaos.
func TestStatementForTheOneThatFollows(t *testing.T) {
	a, b := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	a.runOut()
	from := a.release("flags-v2", "receipts", 20)
	b.pass()
	b.wantRole(RoleLeader, 2)
	b.close()
	a.Redis.Flush()
	a.Repo.Git("reset", "-q", "--hard", "HEAD~1")
	a.write("flags-v3", "receipts", 30)
	a.Sign("alice")
	to := a.Repo.Commit("another history")
	a.Repo.ForcePush()
	a.r.renew(t.Context()) // finds that the lease is gone with the rest, and takes it again
	a.pass()
	a.release("flags-v4", "receipts", 40)
	a.pass()
	a.wantRole(RoleLeader, 3)
	b.pass()
	b.wantRole(RoleFollower, 2)
	b.wantRewritten(True)
	if _, err := b.r.AcceptHistory(t.Context(), b.historyStatement("alice", from, to)); err != nil {
		t.Fatal(err)
	}
	b.pass()
	b.wantRole(RoleFollower, 4)
	b.wantRewritten(False)
	if l := b.r.Live(); l == nil || l.Entry("receipts", "acme").Pct.String() != "40" {
		t.Errorf("b serves %+v", l)
	}
	a.pass()
	a.wantRole(RoleLeader, 3)
	a.runOut()
	b.release("flags-v5", "receipts", 50)
	b.pass()
	b.wantRole(RoleLeader, 5)
	b.wantLive(5, "receipts", "50")
	a.pass()
	a.wantRole(RoleFollower, 5)
}
