package reconciler

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// TestHistories plays internal/flagtest/histories/*.txtar: git histories, most of them
// attacks, each a file that says what happens and what the reconciler must answer. Git
// and Redis are real. A script knows flagtest.Words, and these:
//
//	pass                        one pass of the reconciler; "! pass" meets trouble
//	clock DURATION              time goes by, for the reconciler and for git
//	restart, forget             a new process; a lost state folder
//	forge-meta COMMIT N         write into Redis that N is live, at COMMIT
//	accept-cold-start COMMIT    what the flag of that name does, from the next start on
//	accept-history NAME COMMIT  leave NAME's statement that history goes on from COMMIT
//	live FEATURE[:TENANT] PCT   what Redis has; "-" for no such entry
//	generation N                what meta says
//	kind N KIND                 how generation N came to be
//	head live|refused|deferred [CODE]
//	refused CODE…               the codes of the commits between the last accepted one and HEAD
//	condition TYPE STATUS REASON
//	policy-is N [file|repository]  the number of the policy in force, and where it came from
//	policy-refused CODE|-       why the newest policy in the repository is not in force
func TestHistories(t *testing.T) {
	flagtest.Need(t, "git", "redis-server")
	redis := flagtest.Redis(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "internal", "flagtest", "histories"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			h := &play{world: newWorld(env.T().(testing.TB), redis, maintainer)}
			h.NS = filepath.Base(env.WorkDir) + ":"
			env.Values["play"] = h
			return nil
		},
		Cmds: words(),
	})
}

// play is a world with the last pass' answer.
type play struct {
	*world
	last Result
}

func on(f func(ts *testscript.TestScript, h *play, neg bool, args []string)) flagtest.Word {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		f(ts, ts.Value("play").(*play), neg, args)
	}
}

func words() map[string]flagtest.Word {
	all := flagtest.Words(func(ts *testscript.TestScript) *flagtest.Stage { return ts.Value("play").(*play).Stage })
	maps.Copy(all, own)
	return all
}

var own = map[string]flagtest.Word{
	"accept-history": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) {
		ts.Check(h.acceptHistory(args[0], args[1]))
	}),
	"forge-meta": on(func(_ *testscript.TestScript, h *play, _ bool, args []string) { h.forge(args[0], args[1]) }),
	"pass": on(func(ts *testscript.TestScript, h *play, neg bool, _ []string) {
		var err error
		if h.last, err = h.try(); (err != nil) != neg {
			ts.Fatalf("pass: %v", err)
		}
	}),
	"clock": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) {
		d, err := time.ParseDuration(args[0])
		ts.Check(err)
		h.clock.Advance(d)
		h.Later(d)
	}),
	"restart": on(func(_ *testscript.TestScript, h *play, _ bool, _ []string) { h.close() }),
	"forget":  on(func(_ *testscript.TestScript, h *play, _ bool, _ []string) { h.forget() }),
	"accept-cold-start": on(func(_ *testscript.TestScript, h *play, _ bool, args []string) {
		h.cfg.AcceptColdStart = h.Repo.Git("rev-parse", args[0])
		h.close()
	}),
	"live": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) {
		ts.Check(h.wantEntry(args[0], args[1]))
	}),
	"generation": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) { ts.Check(h.wantGeneration(args[0])) }),
	"kind": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) {
		ts.Check(h.wantKind(args[0], args[1]))
	}),
	"head":    on(func(ts *testscript.TestScript, h *play, _ bool, args []string) { ts.Check(h.wantHead(args)) }),
	"refused": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) { ts.Check(h.wantRefused(args)) }),
	"policy-is": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) {
		p := h.last.Status.Policy
		if fmt.Sprint(p.Version) != args[0] || len(args) > 1 && p.Source != args[1] {
			ts.Fatalf("policy %d of the %s is in force, want %v; refused: %+v", p.Version, p.Source, args, p.Refused)
		}
	}),
	"policy-refused": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) {
		got := "-"
		if ref := h.last.Status.Policy.Refused; ref != nil {
			got = string(ref.Code)
		}
		if got != args[0] || got != "-" && !h.last.Refused {
			ts.Fatalf("the policy is refused for %s, want %s: %+v; a person must act: %t", got, args[0], h.last.Status.Policy.Refused, h.last.Refused)
		}
	}),
	"condition": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) {
		c := h.last.Status.Condition(ConditionType(args[0]))
		if string(c.Status) != args[1] || string(c.Reason) != args[2] {
			ts.Fatalf("condition %s is %s %s (%s), want %s %s", args[0], c.Status, c.Reason, c.Message, args[1], args[2])
		}
	}),
}

// acceptHistory is what reconcile accept-history does.
func (h *play) acceptHistory(name, commit string) error {
	last := h.last.Status
	s := trust.AcceptHistory{
		Environment: last.Environment, ID: trust.NewID(), Issued: h.clock.Now(), From: last.Verified.Commit,
		To: h.Repo.Git("rev-parse", commit), Reason: "in a test",
	}
	text, err := s.Encode()
	if err != nil {
		return err
	}
	sealed, err := trust.Sealed{Statement: text, Bundles: [][]byte{h.Keys[name].Bundle(text)}}.Encode()
	if err != nil {
		return err
	}
	return AcceptHistory(filepath.Join(h.dir, "state"), sealed)
}

// forge is what somebody does who can write Redis.
func (h *play) forge(commit, generation string) {
	h.t.Helper()
	hash := h.Repo.Git("rev-parse", commit)
	src := h.Repo.Git("show", hash+":specs/flags.json") + "\n"
	h.Redis.CLI("HSET", h.NS+"meta", "generation", generation, "epoch", "1", "commit", hash, "digest",
		signing.NewArtifact([]byte(src)).Digest(), "version", "forged", "applied_at", h.clock.Now().Format(time.RFC3339))
	h.Redis.CLI("SET", h.NS+"spec", src)
}

func (h *play) wantEntry(name, pct string) error {
	feature, tenant, ok := strings.Cut(name, ":")
	if !ok {
		tenant = "__default__"
	}
	if pct == "-" {
		pct = ""
	}
	if got := h.livePct(feature, tenant); got != pct {
		return fmt.Errorf("%s is live at %q, want %q", name, got, pct)
	}
	return nil
}

func (h *play) wantGeneration(n string) error {
	if got := fmt.Sprint(h.meta().Generation); got != n {
		return fmt.Errorf("generation %s is live, want %s", got, n)
	}
	return nil
}

func (h *play) wantKind(n, kind string) error {
	for _, e := range slices.Backward(h.events) {
		if fmt.Sprint(e.Generation) == n && (e.Outcome == OutcomeApplied || e.Outcome == OutcomeSuperseded) {
			if string(e.Kind) != kind {
				return fmt.Errorf("generation %s is of kind %s, want %s", n, e.Kind, kind)
			}
			return nil
		}
	}
	return fmt.Errorf("there was no generation %s", n)
}

func (h *play) wantHead(args []string) error {
	s := h.last.Status
	state, code := "refused", Code("")
	switch {
	case s.HeadLive:
		state = "live"
	case len(s.Refused) > 0:
		code = s.Refused[len(s.Refused)-1].Code
	case len(s.Deferred) > 0:
		state, code = "deferred", s.Deferred[len(s.Deferred)-1].Code
	}
	if state != args[0] || len(args) > 1 && string(code) != args[1] {
		return fmt.Errorf("head is %s %s, want %s; refused %+v deferred %+v", state, code, strings.Join(args, " "), s.Refused, s.Deferred)
	}
	if state != "live" && len(args) < 2 {
		return errors.New("say the code")
	}
	return nil
}

func (h *play) wantRefused(args []string) error {
	var codes []string
	for _, r := range h.last.Status.Refused {
		codes = append(codes, string(r.Code))
	}
	if got := strings.Join(codes, " "); got != strings.Join(args, " ") {
		return fmt.Errorf("refused are %q, want %q: %+v", got, strings.Join(args, " "), h.last.Status.Refused)
	}
	return nil
}
