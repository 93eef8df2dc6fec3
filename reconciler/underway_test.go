package reconciler

import (
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// looped makes one pass as a loop does.
func (w *world) looped() Result {
	w.t.Helper()
	w.r.looping.Store(true)
	w.r.hurried.Store(true)
	res, err := w.r.pass(w.t.Context(), time.Minute)
	if err != nil {
		w.t.Fatalf("the pass met trouble: %v", err)
	}
	return res
}

func (w *world) wantJudging(res Result, judged string) {
	w.t.Helper()
	c := res.Status.Condition(CondSourceVerified)
	if res.HeadLive || res.Refused || c.Reason != StillJudging || !strings.HasPrefix(c.Message, judged) {
		w.t.Errorf("head live %v, refused %v, %+v; want %s", res.HeadLive, res.Refused, c, judged)
	}
}

// A branch with much that is new keeps neither a person's command nor drift waiting: the pass rests, and the next one goes on
// where it stopped. Nothing goes live before the end, and nothing is judged or reported twice.
func TestLongWalkRests(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	w.release("flags-v2", "receipts", 20)
	w.write("flags-v2+ramp.1", "receipts", 99)
	w.Land("nobody signed it")
	w.release("flags-v3", "receipts", 30)
	w.release("flags-v4", "receipts", 40)

	told := make(chan error)
	w.intended = func(e Event) {
		if e.Generation != 2 || e.Kind != KindAccept {
			return
		}
		go func() { told <- w.r.Suspend(t.Context(), nil) }()
		flagtest.Eventually(t, "the command to wait", w.r.commanded)
	}
	w.wantJudging(w.looped(), "1 of 4 new commits")
	if err := <-told; err != nil {
		t.Fatal(err)
	}
	w.wantLive(1, "receipts", "10")

	w.r.cfg.Interval = time.Nanosecond // one commit a pass
	w.Redis.CLI("DEL", w.NS+"receipts:__default__")
	w.wantJudging(w.looped(), "2 of 4 new commits")
	w.wantLive(1, "receipts", "10") // what drifted was put right meanwhile
	if plan, err := w.r.Plan(t.Context()); err == nil || plan != nil && plan.HeadLive {
		t.Errorf("a plan that takes longer than an interval: %+v, %v", plan, err)
	}
	w.wantJudging(w.looped(), "3 of 4 new commits")
	if res := w.looped(); !res.HeadLive {
		t.Errorf("after the last commit: %+v", res.Status.Conditions)
	}
	w.wantLive(4, "receipts", "40")
	count := map[Outcome]int{}
	for _, e := range w.events {
		if e.Kind == KindAccept || e.Kind == KindRefuse {
			count[e.Outcome]++
		}
	}
	if count[OutcomeSuperseded] != 2 || count[OutcomeApplied] != 1 || count[OutcomePending] != 0 {
		t.Errorf("outcomes: %v of %+v", count, w.events)
	}
}

// What was judged and is not the branch's any more, or was judged under another policy, does not count.
func TestRestingWalkIsLeft(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), maintainer)
	w.cfg.Interval = time.Nanosecond
	w.release("flags-v1", "receipts", 10)
	w.pass()
	w.release("flags-v2", "receipts", 20)
	w.release("flags-v3", "receipts", 30)
	w.wantJudging(w.looped(), "1 of 2 new commits")
	w.Repo.Git("reset", "-q", "--hard", "HEAD~2")
	w.Repo.ForcePush()
	w.release("flags-v4", "receipts", 40)
	if res := w.looped(); !res.HeadLive {
		t.Errorf("on the branch as it is now: %+v", res.Status.Conditions)
	}
	w.wantLive(2, "receipts", "40")
	left := 0
	for _, e := range w.events {
		if e.Version == "flags-v2" && e.Outcome == OutcomePending && e.Code == StillJudging {
			left++
		}
	}
	if left != 1 {
		t.Errorf("what was left is told %d times: %+v", left, w.events)
	}

	w.release("flags-v5", "receipts", 50)
	w.release("flags-v6", "receipts", 60)
	w.wantJudging(w.looped(), "1 of 2 new commits")
	w.Policy(`{"roles":{"maintainer":{"signers":["bob"],"may":["*"]}}}`)
	w.looped()
	w.looped()
	if res := w.looped(); res.HeadLive || !res.Refused {
		t.Errorf("under a policy that knows alice no more: %+v", res.Status.Conditions)
	}
	w.wantLive(2, "receipts", "40")
}

// A push while a walk rests is judged after it.
func TestPushWhileAWalkRests(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), maintainer)
	w.cfg.Interval = time.Nanosecond
	w.release("flags-v1", "receipts", 10)
	w.pass()
	w.release("flags-v2", "receipts", 20)
	w.release("flags-v3", "receipts", 30)
	w.wantJudging(w.looped(), "1 of 2 new commits")
	w.release("flags-v4", "receipts", 40)
	w.release("flags-v5", "receipts", 50)
	w.wantJudging(w.looped(), "1 of 2 new commits")
	w.wantLive(3, "receipts", "30")
	w.looped()
	w.wantLive(5, "receipts", "50")
}
