package reconciler

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/signing"
)

// Somebody takes the newest commits off the branch just when an instance that does not
// know them yet takes over. What is live bears the attestation of this environment's
// reconcilers, so it was accepted: it is not put back. Found by make chaos.
func TestTakeoverWhileTheBranchLacksWhatIsLive(t *testing.T) {
	key, err := signing.LoadSigner([]byte(flagtest.NewKey(t, "reconciler").PrivatePEM()), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b := pair(t, maintainer)
	a.cfg.Key, b.cfg.Key = key, key
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	// A statement about another rewrite, which b had no use for, lets nothing go on here.
	stale := b.historyStatement("alice", strings.Repeat("1", 40), strings.Repeat("2", 40))
	if err := AcceptHistory(filepath.Join(b.dir, "state"), stale); err != nil {
		t.Fatal(err)
	}
	a.release("flags-v2", "receipts", 20)
	whole := a.release("flags-v3", "receipts", 30)
	a.pass()
	a.Repo.Git("reset", "-q", "--hard", "HEAD~1")
	a.Repo.ForcePush()
	a.runOut()
	for range 2 {
		if _, err := b.try(); err == nil || !strings.Contains(err.Error(), "is not on the branch") {
			t.Errorf("b, which is behind a branch that was cut: %v", err)
		}
		b.wantLive(3, "receipts", "30")
	}
	a.Repo.Git("reset", "-q", "--hard", whole)
	a.Repo.ForcePush()
	b.pass()
	b.wantLive(3, "receipts", "30")
	b.wantRole(RoleLeader, 3)
	all, err := Generations(filepath.Join(b.dir, "state"))
	if err != nil || len(all) != 3 {
		t.Errorf("b has the generations %+v, %v", all, err)
	}
}

// A rewritten history whose newest spec is the one that is live brings no generation along: the instances that follow learn all
// the same that they may go on, and whoever takes over does.
func TestAcceptedHistoryOfTheSameContent(t *testing.T) {
	a, b := pair(t, maintainer)
	from := a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	a.Repo.Write("README.md", "moved\n")
	a.Land("a page")
	a.pass()
	b.pass()
	a.Repo.Git("commit", "-q", "--amend", "-m", "another page")
	a.Repo.Git("reset", "-q", "--soft", from)
	a.Repo.Git("commit", "-q", "--amend", "-m", "one, amended")
	to := a.Repo.Head()
	a.Repo.ForcePush()
	for _, w := range []*world{a, b} {
		w.pass()
		if c := w.r.Status().Condition(CondHistoryRewritten); c.Status != True {
			t.Errorf("%s says %+v", w.cfg.Name, c)
		}
	}
	if _, err := a.r.AcceptHistory(t.Context(), a.historyStatement("alice", from, to)); err != nil {
		t.Fatal(err)
	}
	a.pass()
	b.pass()
	a.wantRole(RoleLeader, 1)
	b.wantRole(RoleFollower, 1)
	for _, w := range []*world{a, b} {
		if s := w.r.Status(); s.Condition(CondHistoryRewritten).Status != False || !s.HeadLive {
			t.Errorf("%s says %+v, refused %+v", w.cfg.Name, s.Condition(CondHistoryRewritten), s.Refused)
		}
	}
	if n := b.count(KindAcceptHistory); n != 0 {
		t.Errorf("b reported %d times what was the leader's to report", n)
	}
	// The statement works once: what comes off the branch after it is missed.
	a.Repo.Write("specs/flags.json.bob.sigstore.json", "{}")
	a.Land("touches what is beside the spec")
	a.pass()
	a.Repo.Git("reset", "-q", "--hard", to)
	a.Repo.ForcePush()
	a.pass()
	if c := a.r.Status().Condition(CondHistoryRewritten); c.Status != True {
		t.Errorf("a says %+v", c)
	}
}

// Whoever did not see the statement while it followed, goes on by it when it leads.
func TestAcceptedHistoryAtATakeover(t *testing.T) {
	a, b := pair(t, maintainer)
	from := a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	a.Repo.Git("commit", "-q", "--amend", "-m", "one, amended")
	to := a.Repo.Head()
	a.Repo.ForcePush()
	a.pass()
	b.pass()
	if _, err := a.r.AcceptHistory(t.Context(), a.historyStatement("alice", from, to)); err != nil {
		t.Fatal(err)
	}
	a.pass()
	a.runOut()
	b.pass()
	s := b.wantRole(RoleLeader, 1)
	if s.Condition(CondHistoryRewritten).Status != False || !s.HeadLive {
		t.Errorf("b says %+v, refused %+v", s.Condition(CondHistoryRewritten), s.Refused)
	}
}

// A policy's own commit brings a spec that must wait. The instance that follows comes under the policy at once, and takes the
// spec when the leader does.
func TestFollowerTakesWhatWaitedInAPolicysCommit(t *testing.T) {
	a, b := pair(t, `{"roles":{"maintainer":{"signers":["alice"],"may":["*"]},"ramp":{"signers":["bot"],"may":["ramp.up"],"min_interval":"1h"}}}`)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	a.Rotate(2, `{"description":"two","roles":{"maintainer":{"signers":["alice"],"may":["*"]},"ramp":{"signers":["bot"],"may":["ramp.up"],"min_interval":"1h"}}}`)
	a.SignPolicy("alice")
	a.write("flags-v1+ramp.1", "receipts", 20)
	a.Sign("bot")
	a.Land("a policy, and a step too soon")
	for range 2 {
		a.pass()
		b.pass()
	}
	for _, w := range []*world{a, b} {
		if s := w.r.Status(); s.Policy.Version != 2 || len(s.Deferred) != 1 || s.HeadLive {
			t.Errorf("%s is under %+v, deferred %+v, refused %+v", w.cfg.Name, s.Policy, s.Deferred, s.Refused)
		}
	}
	a.clock.Advance(2 * time.Hour)
	a.pass()
	b.pass()
	a.wantLive(2, "receipts", "20")
	a.wantRole(RoleLeader, 2)
	b.wantRole(RoleFollower, 2)
}

// A statement that was left for an instance that follows, before that looked at the rewritten branch at all, is taken like one that
// comes later.
func TestStatementBeforeTheFirstLook(t *testing.T) {
	a, b := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.release("flags-v2", "receipts", 20)
	a.pass()
	b.pass()
	from := a.Repo.Head()
	b.close()
	a.Repo.Git("reset", "-q", "--hard", "HEAD~1")
	a.write("flags-v3", "receipts", 30)
	a.Sign("alice")
	to := a.Repo.Commit("another history")
	a.Repo.ForcePush()
	a.pass()
	if err := AcceptHistory(filepath.Join(b.dir, "state"), a.historyStatement("alice", from, to)); err != nil {
		t.Fatal(err)
	}
	b.pass() // takes the lead for it
	b.pass()
	b.wantLive(2, "receipts", "30")
	b.wantRole(RoleLeader, 2)
}
