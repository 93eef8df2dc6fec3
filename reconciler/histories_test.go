package reconciler

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/signing"
)

// TestHistories plays internal/flagtest/histories/*.txtar: git histories, most of them
// attacks, each a file that says what happens and what the reconciler must answer. Git
// and Redis are real. A script knows these words beside testscript's own:
//
//	policy FILE [NAME…]         the trust policy: FILE's members, and the keys of these or of alice, bob and bot
//	spec VERSION [FEATURE=PCT]… write the spec; "env=NAME" and "previous=live" set those fields
//	copy FILE                   write FILE as the spec
//	sign NAME [SUFFIX]          sign the spec in the work tree (mallory is nobody's signer)
//	unsign [SUFFIX]             remove a bundle
//	link-spec PATH TARGET       make a symbolic link in the work tree
//	land [MESSAGE]              commit everything and push
//	git ARGS…                   stock git in the clone; "! git" must fail
//	revert COMMIT…, merge BRANCH, squash BRANCH, push, force
//	pass                        one pass of the reconciler; "! pass" meets trouble
//	clock DURATION              time goes by, for the reconciler and for git
//	restart, forget, flush      a new process; a lost state folder; an emptied namespace
//	forge-meta COMMIT N         write into Redis that N is live, at COMMIT
//	accept-cold-start COMMIT    what the flag of that name does, from the next start on
//	live FEATURE[:TENANT] PCT   what Redis has; "-" for no such entry
//	generation N                what meta says
//	kind N KIND                 how generation N came to be
//	head live|refused|deferred [CODE]
//	refused CODE…               the codes of the commits between the last accepted one and HEAD
//	condition TYPE STATUS REASON
func TestHistories(t *testing.T) {
	flagtest.Need(t, "git", "redis-server")
	redis := flagtest.Redis(t)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "internal", "flagtest", "histories"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			h := &play{world: newWorld(env.T().(testing.TB), redis, maintainer)}
			h.ns = filepath.Base(filepath.Dir(env.WorkDir)) + filepath.Base(env.WorkDir) + ":"
			env.Values["play"] = h
			return nil
		},
		Cmds: words,
	})
}

// play is a world with the last pass' answer.
type play struct {
	*world
	last Result
}

type word = func(ts *testscript.TestScript, neg bool, args []string)

func on(f func(ts *testscript.TestScript, h *play, neg bool, args []string)) word {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		f(ts, ts.Value("play").(*play), neg, args)
	}
}

var words = map[string]word{
	"policy": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) {
		var keys []*flagtest.Key
		for _, name := range args[1:] {
			keys = append(keys, h.keys[name])
		}
		h.policy(ts.ReadFile(args[0]), keys...)
	}),
	"spec": on(func(_ *testscript.TestScript, h *play, _ bool, args []string) { h.spec(args) }),
	"copy": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) {
		h.repo.Write("specs/flags.json", ts.ReadFile(args[0]))
	}),
	"link-spec": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) {
		ts.Check(os.Symlink(args[1], filepath.Join(h.repo.Dir, args[0])))
	}),
	"forge-meta": on(func(_ *testscript.TestScript, h *play, _ bool, args []string) { h.forge(args[0], args[1]) }),
	"sign":       on(func(_ *testscript.TestScript, h *play, _ bool, args []string) { h.sign(args[0], args[1:]...) }),
	"unsign":     on(func(ts *testscript.TestScript, h *play, _ bool, args []string) { ts.Check(h.unsign(args)) }),
	"land": on(func(_ *testscript.TestScript, h *play, _ bool, args []string) {
		h.land(strings.Join(append(args, "."), " "))
	}),
	"git": on(func(ts *testscript.TestScript, h *play, neg bool, args []string) {
		out, err := h.repo.TryGit(args...)
		if (err != nil) != neg {
			ts.Fatalf("git %v: %v\n%s", args, err, out)
		}
		ts.Logf("%s", out)
	}),
	"revert": on(func(_ *testscript.TestScript, h *play, _ bool, args []string) { h.repo.Revert(args...); h.repo.Push() }),
	"merge":  on(func(_ *testscript.TestScript, h *play, _ bool, args []string) { h.repo.Merge(args[0]); h.repo.Push() }),
	"squash": on(func(_ *testscript.TestScript, h *play, _ bool, args []string) {
		h.repo.Squash(args[0], "squash "+args[0])
		h.repo.Push()
	}),
	"push":  on(func(_ *testscript.TestScript, h *play, _ bool, _ []string) { h.repo.Push() }),
	"force": on(func(_ *testscript.TestScript, h *play, _ bool, _ []string) { h.repo.ForcePush() }),
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
		h.repo.Now = h.repo.Now.Add(d)
	}),
	"restart": on(func(_ *testscript.TestScript, h *play, _ bool, _ []string) { h.close() }),
	"forget":  on(func(_ *testscript.TestScript, h *play, _ bool, _ []string) { h.forget() }),
	"flush":   on(func(ts *testscript.TestScript, h *play, _ bool, _ []string) { h.flush() }),
	"accept-cold-start": on(func(_ *testscript.TestScript, h *play, _ bool, args []string) {
		h.cfg.AcceptColdStart = h.repo.Git("rev-parse", args[0])
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
	"condition": on(func(ts *testscript.TestScript, h *play, _ bool, args []string) {
		c := h.last.Status.Condition(ConditionType(args[0]))
		if string(c.Status) != args[1] || string(c.Reason) != args[2] {
			ts.Fatalf("condition %s is %s %s (%s), want %s %s", args[0], c.Status, c.Reason, c.Message, args[1], args[2])
		}
	}),
}

func (h *play) spec(args []string) {
	h.t.Helper()
	doc := fmt.Sprintf("{\n  \"version\": %q,\n", args[0])
	features := ""
	for _, kv := range args[1:] {
		k, v, _ := strings.Cut(kv, "=")
		switch {
		case k == "env":
			doc += fmt.Sprintf("  \"environment\": %q,\n", v)
		case k == "previous" && v == "live":
			doc += fmt.Sprintf("  \"previous\": %q,\n", h.meta().Digest)
		case k == "previous":
			doc += fmt.Sprintf("  \"previous\": %q,\n", v)
		default:
			if features != "" {
				features += ",\n"
			}
			if v == "off" {
				features += fmt.Sprintf("    %q: {\"enabled\": false}", k)
			} else {
				features += fmt.Sprintf("    %q: {\"pct\": %s}", k, v)
			}
		}
	}
	h.repo.Write("specs/flags.json", doc+"  \"features\": {\n"+features+"\n  }\n}\n")
}

func (h *play) unsign(args []string) error {
	name := "flags.json.sigstore.json"
	if len(args) > 0 {
		name = "flags.json." + args[0] + ".sigstore.json"
	}
	return os.Remove(filepath.Join(h.repo.Dir, "specs", name))
}

// flush empties the namespace; other scripts share the server.
func (h *play) flush() {
	h.t.Helper()
	for _, key := range strings.Fields(h.redis.CLI("--scan", "--pattern", h.ns+"*")) {
		h.redis.CLI("DEL", key)
	}
}

// forge is what somebody does who can write Redis.
func (h *play) forge(commit, generation string) {
	h.t.Helper()
	hash := h.repo.Git("rev-parse", commit)
	src := h.repo.Git("show", hash+":specs/flags.json") + "\n"
	h.redis.CLI("HSET", h.ns+"meta", "generation", generation, "epoch", "1", "commit", hash, "digest",
		signing.NewArtifact([]byte(src)).Digest(), "version", "forged", "applied_at", h.clock.Now().Format(time.RFC3339))
	h.redis.CLI("SET", h.ns+"spec", src)
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
