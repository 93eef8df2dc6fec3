package reconciler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
)

func TestDriftIsRepaired(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), maintainer)
	w.release("flags-v1", "receipts", 10, "attest", 20)
	w.pass()
	w.Redis.CLI("SET", "flags:v1:receipts:__default__", `{"version":"v1","enabled":true,"ramp_pct":100,"cohorts":[]}`)
	w.Redis.CLI("DEL", "flags:v1:attest:__default__")
	w.Redis.CLI("SET", "flags:v1:ghost:__default__", "{}")
	w.Redis.CLI("SET", "flags:v1:spec", "tampered")
	w.Redis.CLI("SET", "other:receipts:__default__", "mine")
	w.events = nil
	res := w.pass()
	w.wantLive(1, "receipts", "10")
	if got := w.livePct("attest", flags.DefaultTenant); got != "20" {
		t.Errorf("attest is live at %q", got)
	}
	for key, want := range map[string]string{
		"flags:v1:ghost:__default__": "", "flags:v1:spec": strings.TrimSuffix(w.Repo.Read("specs/flags.json"), "\n"), "other:receipts:__default__": "mine",
	} {
		if got := strings.TrimSuffix(w.Redis.CLI("GET", key), "\n"); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if len(w.events) != 1 || w.events[0].Kind != KindRepair || w.events[0].Outcome != OutcomeApplied {
		t.Fatalf("events = %+v", w.events)
	}
	d := w.events[0].Drift
	if d.Changed != 1 || d.Missing != 1 || d.Extra != 1 || fmt.Sprint(d.System) != "[spec]" {
		t.Errorf("drift = %+v", d)
	}
	if c := res.Status.Condition(CondDriftDetected); c.Status != True || c.Reason != Repaired {
		t.Errorf("condition = %+v", c)
	}
	w.events = nil
	if c := w.pass().Status.Condition(CondDriftDetected); c.Status != False || len(w.events) > 0 {
		t.Errorf("after the repair: condition %+v, events %+v", c, w.events)
	}
}

// Every field of meta is put back, and repeated passes over it write nothing.
func TestMetaIsRepaired(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	want := w.meta()
	for _, field := range []string{"commit", "version", "digest", "environment", "applied_at", "reconciler", "attestation", "epoch", "pending"} {
		value := "forged"
		if field == "epoch" {
			value = "0"
		}
		w.Redis.CLI("HSET", "flags:v1:meta", field, value)
		w.pass()
		got := w.meta()
		if got.Message = want.Message; got != want {
			t.Errorf("after forging %s: %+v, want %+v", field, got, want)
		}
	}
	for _, generation := range []string{"nonsense", "9007199254740992", "18446744073709551615"} {
		w.Redis.CLI("HSET", "flags:v1:meta", "generation", generation)
		w.pass()
		if got := w.meta(); got.Generation != 1 {
			t.Errorf("after generation %s: %d, want 1", generation, got.Generation)
		}
	}
}

// A bundle that cannot be read is refused for what it is, and hides no other.
func TestUnreadableBundleSaysWhy(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	bundle := filepath.Join(w.Repo.Dir, "specs/flags.json.sigstore.json")
	for _, c := range []struct {
		version string
		damage  func() error
		want    string
	}{
		{"flags-v2", func() error { return os.WriteFile(bundle, make([]byte, signing.MaxBundle+1), 0o600) }, "1048577 bytes"},
		{"flags-v3", func() error { return os.Symlink("flags.json", bundle) }, "symbolic link"},
	} {
		w.Spec(c.version, "receipts=20")
		if err := errors.Join(os.Remove(bundle), c.damage()); err != nil {
			t.Fatal(err)
		}
		w.Land(c.version)
		refused := w.pass().Status.Refused
		if len(refused) == 0 || refused[len(refused)-1].Code != SignatureInvalid || !strings.Contains(refused[len(refused)-1].Message, c.want) {
			t.Errorf("%s: refused %+v, want a message with %q", c.version, refused, c.want)
		}
	}
	if err := os.Remove(bundle); err != nil {
		t.Fatal(err)
	}
	w.Spec("flags-v4", "receipts=30")
	w.Repo.Write("specs/flags.json.huge.sigstore.json", strings.Repeat(" ", signing.MaxBundle+1))
	w.Sign("alice")
	w.Land("a good one beside")
	w.pass()
	if got := w.meta(); got.Version != "flags-v4" {
		t.Errorf("beside an unreadable bundle: %s is live, want flags-v4", got.Version)
	}
}

// A flushed or restarted Redis is filled again without git.
func TestRefillWithoutGit(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	if err := os.Rename(w.Repo.Origin, w.Repo.Origin+".away"); err != nil {
		t.Fatal(err)
	}
	w.Redis.Flush()
	if _, err := w.try(); err == nil {
		t.Error("a pass without git met no trouble")
	}
	w.wantLive(1, "receipts", "10")

	// A new process knows it from the state folder.
	w.close()
	w.Redis.Restart()
	res, err := w.try()
	if err == nil {
		t.Error("a pass without git met no trouble")
	}
	w.wantLive(1, "receipts", "10")
	s := res.Status
	if s.Condition(CondFetchFailed).Status != True || s.Condition(CondReady).Status != True || s.HeadLive || res.Refused {
		t.Errorf("status = %+v", s)
	}

	// So does one whose state folder lost the bytes: the clone still has them.
	w.close()
	if err := os.RemoveAll(filepath.Join(w.dir, "state", "spec")); err != nil {
		t.Fatal(err)
	}
	w.Redis.Flush()
	if err := os.Rename(w.Repo.Origin+".away", w.Repo.Origin); err != nil {
		t.Fatal(err)
	}
	w.pass()
	w.wantLive(1, "receipts", "10")
}

func TestStoreAway(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	w.Redis.Kill()
	w.release("flags-v2", "receipts", 20)
	res, err := w.try()
	if !errors.Is(err, redisstore.ErrUnavailable) {
		t.Fatalf("err = %v", err)
	}
	s := res.Status
	if s.Condition(CondStoreUnavailable).Status != True || s.Condition(CondReady).Status != False || s.Verified.Generation != 2 || s.HeadLive {
		t.Errorf("status = %+v", s)
	}
	w.Redis.Start()
	w.pass()
	w.wantLive(2, "receipts", "20")
	last := w.events[len(w.events)-1]
	if last.Kind != KindAccept || last.Generation != 2 || last.Outcome != OutcomeApplied {
		t.Errorf("the last event is %+v", last)
	}
}

// Somebody writes between plan and write: nothing is written under the old plan, and
// the pass plans anew.
func TestConflict(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	w.release("flags-v2", "receipts", 20)
	times := 0
	w.r.beforeApply = func() {
		if times++; times == 1 {
			w.Redis.CLI("HSET", "flags:v1:meta", "generation", "7", "commit", "elsewhere")
			w.Redis.CLI("SET", "flags:v1:receipts:__default__", "{}")
		}
	}
	w.pass()
	w.wantLive(8, "receipts", "20")
	if times != 2 {
		t.Errorf("there were %d attempts", times)
	}
	w.r.beforeApply = nil
	w.release("flags-v3", "receipts", 30)
	w.pass()
	w.wantLive(9, "receipts", "30")
}

// What cannot be recorded does not go up. What goes down does.
func TestRecorderRefuses(t *testing.T) {
	w := newWorld(t, nil, maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	w.fail = errors.New("disk full")
	w.release("flags-v2", "receipts", 20)
	res, err := w.try()
	if !errors.Is(err, w.fail) {
		t.Fatalf("err = %v", err)
	}
	w.wantLive(1, "receipts", "10")
	if res.HeadLive {
		t.Error("head is said to be live")
	}
	w.release("flags-v3", "receipts", 5)
	if _, err := w.try(); !errors.Is(err, w.fail) {
		t.Fatalf("err = %v", err)
	}
	w.wantLive(2, "receipts", "5")
	w.fail = nil
	w.release("flags-v4", "receipts", 30)
	w.pass()
	w.wantLive(3, "receipts", "30")
}

// A state folder that cannot be written accepts nothing, and what is live stays.
func TestStateUnwritable(t *testing.T) {
	w := newWorld(t, nil, maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	good := w.r.folder.log
	ro, err := os.Open(filepath.Join(w.dir, "state", logName))
	if err != nil {
		t.Fatal(err)
	}
	w.r.folder.log = ro
	w.release("flags-v2", "receipts", 20)
	if _, err := w.try(); err == nil {
		t.Fatal("the pass met no trouble")
	}
	w.wantLive(1, "receipts", "10")
	ro.Close()
	w.r.folder.log = good
	w.pass()
	w.wantLive(2, "receipts", "20")
}

// A policy that breaks leaves the last one in force; one that changes is taken up at
// unchanged HEAD.
func TestPolicyChanges(t *testing.T) {
	w := newWorld(t, nil, maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	w.write("flags-v2", "receipts", 20)
	w.Sign("bob")
	w.Land("by bob")
	if res := w.pass(); res.HeadLive || !res.Refused {
		t.Fatalf("bob's change went live: %+v", res.Status)
	}
	if err := os.WriteFile(w.cfg.Trust, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	res, err := w.try()
	if err == nil {
		t.Error("a broken policy is no trouble")
	}
	if c := res.Status.Condition(CondSourceVerified); c.Reason != TrustUnreadable {
		t.Errorf("condition = %+v", c)
	}
	w.wantLive(1, "receipts", "10")
	w.Policy(`{"roles":{"maintainer":{"signers":["alice","bob"],"may":["*"]}}}`)
	if res := w.pass(); !res.HeadLive {
		t.Errorf("the new policy was not taken up: %+v", res.Status)
	}
	w.wantLive(2, "receipts", "20")
}

// A refused commit is reported once, also over a restart.
func TestRefusalIsReportedOnce(t *testing.T) {
	w := newWorld(t, nil, maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	w.write("flags-v2", "receipts", 20)
	w.Land("unsigned")
	for range 3 {
		w.pass()
	}
	w.close()
	w.pass()
	n := 0
	for _, e := range w.events {
		if e.Kind == KindRefuse {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the refusal was reported %d times", n)
	}
}

// A remote that hangs does not keep the store from being looked after.
func TestHangingRemote(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), maintainer)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	f := &fetch{cancel: func() {}, done: make(chan struct{})} // one that never answers
	w.r.source.fetch = f
	w.Redis.Flush()
	res, err := w.r.pass(context.Background(), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	w.wantLive(1, "receipts", "10")
	if !res.HeadLive {
		t.Error("what was last seen of git no longer counts")
	}
	f.head = w.Repo.Head()
	close(f.done)
}

func TestBundlesAreRenewed(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), `{"roles":{"maintainer":{"signers":["alice","bob"],"may":["*"]}}}`)
	w.release("flags-v1", "receipts", 10)
	w.pass()
	w.Sign("bob", "bob")
	w.Land("countersigned")
	w.pass()
	if got := strings.Count(w.Redis.CLI("GET", "flags:v1:bundle"), "mediaType"); got != 2 {
		t.Errorf("the store has %d bundles, want 2", got)
	}
	w.wantLive(1, "receipts", "10")
	// A bundle that is worse than those before is not taken over.
	if err := os.Remove(filepath.Join(w.Repo.Dir, "specs/flags.json.bob.sigstore.json")); err != nil {
		t.Fatal(err)
	}
	w.Sign("mallory")
	w.Land("worse")
	w.pass()
	if got := strings.Count(w.Redis.CLI("GET", "flags:v1:bundle"), "mediaType"); got != 2 {
		t.Errorf("the store has %d bundles, want 2", got)
	}
}

func TestUnsignedOnlyWhenAskedFor(t *testing.T) {
	w := newWorld(t, nil, maintainer)
	cfg := w.cfg
	cfg.Dir = t.TempDir()
	for _, both := range []Config{{Dir: cfg.Dir}, {Dir: cfg.Dir, Trust: cfg.Trust, AcceptUnsignedUnsafe: true}} {
		if _, err := Open(both); !errors.Is(err, ErrNoTrust) {
			t.Errorf("Open(%+v) = %v", both, err)
		}
	}
	w.cfg.Trust, w.cfg.AcceptUnsignedUnsafe = "", true
	w.write("flags-v1", "receipts", 10)
	w.Land("unsigned")
	w.pass()
	w.wantLive(1, "receipts", "10")
	w.write("flags-v2", "receipts", 20)
	w.Land("unsigned")
	w.pass()
	w.Repo.Revert("HEAD")
	w.Repo.Push()
	w.pass()
	w.wantLive(3, "receipts", "10")
}
