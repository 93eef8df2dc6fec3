package reconciler

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/trust"
)

func TestSuspensionOutlivesTheLeader(t *testing.T) {
	a, b := pair(t, maintainer)
	ctx := context.Background()
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	if err := a.r.Suspend(ctx, &Suspension{Reason: "migration"}); err != nil {
		t.Fatal(err)
	}
	a.runOut() // a is killed
	a.release("flags-v2", "receipts", 20)
	b.pass()
	if s := b.wantRole(RoleLeader, 1); s.Suspended == nil || s.Suspended.Reason != "migration" {
		t.Errorf("b says %+v", s.Suspended)
	}
	b.wantLive(1, "receipts", "10")
	// A person asks the instance that does not lead to go on: it takes the lead for it.
	a.pass()
	a.wantRole(RoleFollower, 1)
	if err := a.r.Suspend(ctx, nil); err != nil {
		t.Fatal(err)
	}
	a.wantRole(RoleLeader, 1)
	a.pass()
	a.wantLive(2, "receipts", "20")
	b.pass()
	if s := b.wantRole(RoleFollower, 2); s.Suspended != nil {
		t.Errorf("b says %+v", s.Suspended)
	}
	// A note left in the state folder of one that does not run is a person's word as well.
	b.close()
	if err := Suspend(filepath.Join(b.dir, "state"), &Suspension{Reason: "by hand", Since: b.clock.Now().Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	b.pass()
	b.pass()
	if s := b.wantRole(RoleLeader, 2); s.Suspended == nil {
		t.Error("b does not heed its folder")
	}
	a.pass()
	if s := a.wantRole(RoleFollower, 2); s.Suspended == nil || s.Suspended.Reason != "by hand" {
		t.Errorf("a says %+v", s.Suspended)
	}
	// Resumed by hand while nobody ran, and the flush took the lease's notes.
	b.close()
	a.close()
	if err := Suspend(filepath.Join(a.dir, "state"), nil); err != nil {
		t.Fatal(err)
	}
	a.pass()
	a.pass()
	if s := a.wantRole(RoleLeader, 2); s.Suspended != nil {
		t.Errorf("a says %+v", s.Suspended)
	}
}

func TestOverrideAtTheInstanceThatFollows(t *testing.T) {
	a, b := pair(t, withBrake)
	ctx := context.Background()
	a.release("flags-v1", "receipts", 50)
	a.pass()
	b.pass()
	o := a.seal([]trust.OverrideItem{{Feature: "receipts"}}, "bob")
	in, err := b.r.Override(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if s := b.wantRole(RoleLeader, 1); len(s.Overrides) != 1 || s.Term != 2 {
		t.Errorf("b says %+v", s)
	}
	b.is("receipts", flags.DefaultTenant, "off")
	a.pass()
	if s := a.wantRole(RoleFollower, 1); len(s.Overrides) != 1 || s.Overrides[0].ID != in.ID {
		t.Errorf("a follows with %+v", s.Overrides)
	}
	if e := a.r.Live().Entry("receipts", "acme"); e.Enabled {
		t.Error("a serves it on")
	}
	b.runOut() // b is killed
	a.pass()
	a.wantRole(RoleLeader, 1)
	a.is("receipts", flags.DefaultTenant, "off")
	// It was used, whoever leads.
	var refused *RefusedOverride
	if _, err := a.r.Override(ctx, o); !errors.As(err, &refused) {
		t.Errorf("a second time: %v", err)
	}
	a.clock.Advance(2 * time.Hour)
	a.pass()
	a.wantLive(1, "receipts", "50")
	b.pass()
	if s := b.wantRole(RoleFollower, 1); len(s.Overrides) != 0 {
		t.Errorf("b follows with %+v", s.Overrides)
	}
	if _, err := b.r.Override(ctx, []byte("{}")); err == nil || b.r.Status().Role != RoleFollower {
		t.Errorf("a statement that says nothing moved the lead: %v", err)
	}
}

// One instance is told that a rewritten history may go on; the others know it too.
func TestAcceptedHistoryOutlivesTheLeader(t *testing.T) {
	a, b := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.release("flags-v2", "receipts", 20)
	a.pass()
	b.pass()
	from := a.Repo.Head()
	a.Repo.Git("reset", "-q", "--hard", "HEAD~1")
	a.write("flags-v3", "receipts", 30)
	a.Sign("alice")
	to := a.Repo.Commit("another history")
	a.Repo.ForcePush()
	for _, w := range []*world{a, b} {
		w.pass()
		if c := w.r.Status().Condition(CondHistoryRewritten); c.Status != True {
			t.Errorf("%s says %+v", w.cfg.Name, c)
		}
	}
	if err := AcceptHistory(filepath.Join(b.dir, "state"), a.historyStatement("alice", from, to)); err != nil {
		t.Fatal(err)
	}
	b.pass() // takes the lead for it
	b.pass()
	b.wantLive(2, "receipts", "30")
	b.wantRole(RoleLeader, 2)
	a.pass()
	a.pass()
	a.wantRole(RoleFollower, 2)
	a.wantLive(2, "receipts", "30")
}

// historyStatement says that history goes on from a commit.
func (w *world) historyStatement(signer, from, to string) []byte {
	w.t.Helper()
	h := trust.AcceptHistory{Environment: w.r.trust.policy.Environment, ID: trust.NewID(), Issued: w.r.now().UTC().Truncate(time.Second), From: from, To: to, Reason: "test"}
	text, err := h.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	sealed, err := trust.Sealed{Statement: text, Bundles: [][]byte{w.Keys[signer].Bundle(text)}}.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	return sealed
}

// A follower comes under the policy that is handed on in the repository with the leader,
// also where no generation comes with it.
func TestFollowerTakesThePolicyOver(t *testing.T) {
	a, b := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	a.Rotate(2, `{"roles":{"maintainer":{"signers":["alice","bob"],"may":["*"]}}}`)
	a.SignPolicy("alice")
	a.Land("bob comes")
	a.pass()
	b.pass()
	for _, w := range []*world{a, b} {
		if s := w.r.Status(); s.Policy == nil || s.Policy.Version != 2 || len(s.Refused) > 0 || !s.HeadLive {
			t.Errorf("%s is under %+v, refused %+v", w.cfg.Name, s.Policy, s.Refused)
		}
	}
	a.write("flags-v2", "receipts", 20)
	a.Sign("bob")
	a.Land("bob's")
	a.pass()
	b.pass()
	b.wantRole(RoleFollower, 2)
	b.wantLive(2, "receipts", "20")
}

// Whichever instance is asked says that the newest policy is refused, and since when; whoever leads reports it.
func TestFollowerShowsARefusedPolicy(t *testing.T) {
	a, b := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	say := func(code Code, commit string, inTurn ...*world) {
		t.Helper()
		for _, w := range inTurn {
			res := w.pass()
			s := res.Status
			switch ref := s.Policy.Refused; {
			case code == "":
				if ref != nil || len(s.Refused) > 0 || res.Refused {
					t.Errorf("%s: the policy is refused: %+v, of all: %+v", w.cfg.Name, ref, s.Refused)
				}
			case ref == nil || ref.Code != code || ref.Commit != commit || ref.Hint == "" || len(s.Refused) != 1 || s.Refused[0].Commit != commit || !res.Refused:
				t.Errorf("%s: the policy is refused: %+v, of all: %+v; a person must act: %t", w.cfg.Name, ref, s.Refused, res.Refused)
			}
		}
	}
	a.Rotate(2, `{"roles":{"maintainer":{"signers":["alice","bob"],"may":["*"]}}}`)
	a.SignPolicy("mallory")
	taken := a.Land("mallory's")
	say(PolicyOldMaintainers, taken, b, a) // b sees it before the leader does
	since := b.r.Status().Policy.Refused.Since
	a.release("flags-v2", "receipts", 20)
	a.clock.Advance(time.Minute)
	b.pass()
	if s := b.r.Status(); s.HeadLive || s.Policy.Refused == nil || len(s.Refused) != 1 {
		t.Errorf("before the leader has taken the spec b says %+v, refused %+v", s.Policy, s.Refused)
	}
	say(PolicyOldMaintainers, taken, a, b)
	b.wantRole(RoleFollower, 2)
	if got := b.r.Status().Policy.Refused.Since; !got.Equal(since) {
		t.Errorf("b says it is refused since %s, not since %s", got, since)
	}
	a.Repo.Git("rm", "-q", "specs/trust.json", "specs/trust.json.sigstore.json")
	a.Land("it is gone")
	say("", "", a, b)
	if n := b.count(KindPolicy); n > 0 {
		t.Errorf("b, which follows, reported %d policies", n)
	}
	a.Rotate(2, `{"roles":{"maintainer":{"signers":["alice","bob"],"may":["*"]}}}`)
	taken = a.Land("signed by nobody")
	b.pass()
	a.close() // before it saw that
	b.pass()
	b.wantRole(RoleLeader, 2)
	if ref := b.r.Status().Policy.Refused; ref == nil || ref.Code != PolicyUnsigned || ref.Commit != taken || b.count(KindPolicy) != 1 {
		t.Errorf("b, which leads now, says %+v and has reported %d", ref, b.count(KindPolicy))
	}
}

// A flushed Redis has forgotten who leads. What a person asks the leader in that moment is carried out all the same.
func TestCommandsRightAfterAFlush(t *testing.T) {
	a, _ := pair(t, withBrake)
	ctx := context.Background()
	a.release("flags-v1", "receipts", 50)
	a.pass()
	a.Redis.CLI("FLUSHALL")
	if err := a.r.Suspend(ctx, &Suspension{Reason: "migration"}); err != nil {
		t.Errorf("suspending: %v", err)
	}
	a.wantRole(RoleLeader, 1)
	a.Redis.CLI("FLUSHALL")
	if _, err := a.r.Override(ctx, a.seal([]trust.OverrideItem{{Feature: "receipts"}}, "bob")); err != nil {
		t.Errorf("overriding: %v", err)
	}
	a.pass()
	if s := a.wantRole(RoleLeader, 1); s.Suspended == nil || len(a.r.Live().Overrides) != 1 {
		t.Errorf("a says %+v, with %+v", s.Suspended, a.r.Live())
	}
}

// After a flush whoever led goes on, and one that did not waits a lease time for it: it may know less of what was live.
func TestFlushLeavesTheLeadWhereItWas(t *testing.T) {
	a, b := pair(t, maintainer)
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	a.release("flags-v2", "receipts", 20)
	a.pass() // b was stopped meanwhile
	a.Redis.CLI("FLUSHALL")
	b.pass()
	if live := b.Redis.CLI("EXISTS", b.NS+"meta"); live != "0" {
		t.Error("b, which knows less, filled Redis")
	}
	a.r.renew(t.Context()) // as it is done beside the passes
	a.try()
	a.pass()
	a.wantLive(2, "receipts", "20")
	if s := a.wantRole(RoleLeader, 2); s.Term != 2 {
		t.Errorf("a leads in term %d", s.Term)
	}
	b.pass()
	b.wantRole(RoleFollower, 2)
	// With the leader gone as well, the time of a lease passes first.
	a.Redis.CLI("FLUSHALL")
	b.pass()
	b.wantRole(RoleFollower, 2)
	b.r.lead.passes.vacant = time.Now().Add(-b.cfg.Lease)
	b.try()
	b.pass()
	b.wantRole(RoleLeader, 2)
	b.wantLive(2, "receipts", "20")
}
