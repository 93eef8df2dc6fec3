package reconciler

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/receipt"
)

const (
	firstPolicy  = `{"roles":{"maintainer":{"signers":["alice"],"may":["*"]}}}`
	secondPolicy = `{"roles":{"maintainer":{"signers":["alice","bob"],"may":["*"]}}}`
)

// rotated is a world whose branch has a second policy that nobody has looked at yet.
func rotated(t *testing.T) (w *world, commit string) {
	w = newWorld(t, flagtest.Redis(t), firstPolicy)
	w.NS = t.Name() + ":"
	w.release("flags-v1", "receipts", 10)
	w.pass()
	w.Rotate(2, secondPolicy)
	w.SignPolicy("alice")
	return w, w.Land("bob joins")
}

// A policy that cannot be recorded is not taken, for it may give power to anybody; what is live stays.
func TestPolicyIsRecordedFirst(t *testing.T) {
	w, commit := rotated(t)
	w.fail = errors.New("the ledger is full")
	if _, err := w.try(); err == nil || !strings.Contains(err.Error(), "taking policy 2 into force") || !errors.Is(err, w.fail) {
		t.Fatalf("err = %v", err)
	}
	if p := w.r.Status().Policy; p.Version != 1 || p.Source != "file" {
		t.Errorf("in force: %+v", p)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "state", policyName)); err == nil {
		t.Error("the policy was written down")
	}
	w.fail = nil
	res := w.pass()
	p := res.Status.Policy
	if p.Version != 2 || p.Source != "repository" || p.Commit != commit || len(p.Signers) != 1 || p.Signers[0] != "alice" || p.File == nil || p.File.Version != 1 || p.Note != "" {
		t.Errorf("in force: %+v", p)
	}
	var told []Event
	for _, e := range res.Events {
		if e.Kind == KindPolicy {
			told = append(told, e)
		}
	}
	if len(told) != 1 {
		t.Fatalf("events: %+v", res.Events)
	}
	e := told[0]
	if e.Outcome != OutcomeApplied || e.Commit != commit || e.Digest != p.Digest || e.Previous != p.File.Digest || !e.Rises() {
		t.Errorf("event: %+v", e)
	}
	if r := NewReceipt(e, receipt.Outcome); r.Kind != receipt.PolicyChange || r.Digest != p.Digest || r.PreviousDigest != p.File.Digest {
		t.Errorf("receipt: %+v", r)
	}
	if again := w.pass(); len(again.Events) != 0 {
		t.Errorf("told again: %+v", again.Events)
	}
}

// A restart keeps the accepted policy, also where all else that only saves work is lost; a damaged one stops the start, for
// falling back to an older policy is what an attacker would want.
func TestPolicyIsKept(t *testing.T) {
	w, _ := rotated(t)
	w.pass()
	state := filepath.Join(w.dir, "state")
	w.close()
	if err := os.Remove(filepath.Join(state, cursorName)); err != nil {
		t.Fatal(err)
	}
	w.start()
	if p := w.r.Status().Policy; p.Version != 2 {
		t.Errorf("before the first look: %+v", p)
	}
	w.write("flags-v2", "receipts", 20)
	w.Sign("bob")
	w.Land("by bob")
	w.pass()
	w.wantLive(2, "receipts", "20")
	w.close()
	path := filepath.Join(state, policyName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"cut short":       string(good[:len(good)/2]),
		"another format":  strings.Replace(string(good), policyFormat, "policy/v0", 1),
		"no policy in it": strings.Replace(string(good), "maintainer", "nobody", 1)[:len(good)/3] + "}",
	} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := w.cfg
		cfg.Dir, cfg.Store, cfg.Repo = state, w.store, w.git
		if _, err := Open(cfg); !errors.Is(err, ErrStateDamaged) {
			t.Errorf("%s: err = %v", name, err)
		}
	}
}

// Where nothing in the repository is followed, a successor there is a file like any other.
func TestPolicyNotFollowed(t *testing.T) {
	w, _ := rotated(t)
	w.cfg.TrustPath = "none"
	w.close()
	res := w.pass()
	if p := res.Status.Policy; p.Version != 1 || p.Path != "" || p.Refused != nil || !res.HeadLive {
		t.Errorf("in force: %+v", p)
	}
}

// The policy's own commit is judged by the new policy. What of it is refused stays refused for whoever asks afterwards.
func TestPlanAfterAPolicysCommit(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), `{"roles":{"maintainer":{"signers":["alice","bob"],"may":["*"]}}}`)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	w.Rotate(2, firstPolicy)
	w.SignPolicy("alice")
	w.write("flags-v2", "receipts", 50)
	w.Sign("bob")
	w.Land("bob leaves, and has a last wish")
	for _, when := range []string{"before", "after"} {
		plan, err := w.r.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		turned := slices.ContainsFunc(plan.Commits, func(c PlannedCommit) bool { return c.Verdict == refused.String() })
		if !turned || plan.HeadLive {
			t.Errorf("%s the pass: head live %t, %+v", when, plan.HeadLive, plan.Commits)
		}
		if res := w.pass(); res.HeadLive {
			t.Error("bob's spec is live")
		}
	}
}
