package trust_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/trust"
)

func TestRollback(t *testing.T) {
	const roles = `{
		"maintainer": {"signers": ["alice", "bob"], "may": ["*"]},
		"ramp": {"signers": ["bot"], "may": ["ramp.up", "ramp.down"]},
		"pair": {"signers": ["dan", "eve"], "threshold": 2, "may": ["meta"]}}`
	p := policyWith(t, roles)
	raise := policyWith(t, roles, `"rollback":{"raise":true}`, `"require_previous":true`)
	never := policyWith(t, roles, `"rollback":{"max_generations":0}`)
	short := policyWith(t, roles, `"rollback":{"max_generations":2,"max_age":"1h"}`)
	limited := policyWith(t, roles, `"limits":{"max_removed":0}`)
	prod := policyWith(t, roles, `"environment":"prod"`)
	low, high := spec(t, "v1", `{"x":{"pct":10}}`), spec(t, "v1+ramp.1", `{"x":{"pct":20}}`)
	ok := trust.RollbackRequest{Previous: high, Next: low, Signers: []string{"alice"}, Now: now, Roles: []string{"maintainer"}, Generations: 1, LastLive: now.Add(-time.Minute)}
	with := func(change func(*trust.RollbackRequest)) trust.RollbackRequest { r := ok; change(&r); return r }
	salted := func(r *trust.RollbackRequest) {
		r.Previous, r.Next = spec(t, "v1+ramp.1", `{"x":{"pct":10}}`), spec(t, "v1", `{"x":{"pct":10,"salt":"s"}}`)
	}
	for _, tc := range []struct {
		name string
		p    *trust.Policy
		r    trust.RollbackRequest
		want trust.Reason
	}{
		{"the newest, lower", p, ok, trust.Authorized},
		{"at the window's end", p, with(func(r *trust.RollbackRequest) { r.Generations, r.LastLive = 20, now.Add(-720*time.Hour) }), trust.Authorized},
		{"a generation beyond", p, with(func(r *trust.RollbackRequest) { r.Generations = 21 }), trust.Replayed},
		{"a moment beyond", p, with(func(r *trust.RollbackRequest) { r.LastLive = now.Add(-720*time.Hour - 1) }), trust.Replayed},
		{"a narrower window", short, with(func(r *trust.RollbackRequest) { r.LastLive = now.Add(-2 * time.Hour) }), trust.Replayed},
		{"fewer generations", short, with(func(r *trust.RollbackRequest) { r.Generations = 3 }), trust.Replayed},
		{"switched off", never, ok, trust.Replayed},
		{"nobody knows when", p, with(func(r *trust.RollbackRequest) { r.Generations = 0 }), trust.Replayed},
		{"raises", p, with(func(r *trust.RollbackRequest) { r.Previous, r.Next = low, high }), trust.RaisesExposure},
		{"raises, and may", raise, with(func(r *trust.RollbackRequest) { r.Previous, r.Next = low, high }), trust.Authorized},
		{"re-buckets people", p, with(salted), trust.RaisesExposure},
		{"its signer is gone", p, with(func(r *trust.RollbackRequest) { r.Signers = nil }), trust.SignersRevoked},
		{"a bot's signature does not stand for a maintainer's", p, with(func(r *trust.RollbackRequest) { r.Signers = []string{"bot"} }), trust.SignersRevoked},
		{"a maintainer's stands for a bot's", p, with(func(r *trust.RollbackRequest) { r.Roles = []string{"ramp"} }), trust.Authorized},
		{"the bot's own", p, with(func(r *trust.RollbackRequest) { r.Signers, r.Roles = []string{"bot"}, []string{"ramp"} }), trust.Authorized},
		{"half of a pair", p, with(func(r *trust.RollbackRequest) { r.Signers, r.Roles = []string{"dan"}, []string{"pair"} }), trust.SignersRevoked},
		{"a role that is no more", p, with(func(r *trust.RollbackRequest) { r.Signers, r.Roles = []string{"bot"}, []string{"ramp", "robot"} }), trust.SignersRevoked},
		{"roles not known, a signer that counts", p, with(func(r *trust.RollbackRequest) { r.Signers, r.Roles = []string{"bot"}, nil }), trust.Authorized},
		{"roles not known, half of a pair", p, with(func(r *trust.RollbackRequest) { r.Signers, r.Roles = []string{"eve"}, nil }), trust.SignersRevoked},
		{"another environment's", prod, ok, trust.WrongEnvironment},
		{"more leaves than may", limited, with(func(r *trust.RollbackRequest) { r.Previous, r.Next = high, spec(t, "v0", `{}`) }), trust.TooManyRemoved},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := tc.p.AuthorizeRollback(tc.r)
			if a.Reason != tc.want || (a.Verdict == trust.Allowed) != (tc.want == trust.Authorized) {
				t.Errorf("%v %s: %s, want %s", a.Verdict, a.Reason, a.Sentence(), tc.want)
			}
			if a.Verdict == trust.Refused && a.Hint == "" {
				t.Error("no hint")
			}
			if a.Reason == trust.RaisesExposure && !strings.Contains(a.Hint, "propose rollback --key") {
				t.Errorf("hint %q", a.Hint)
			}
		})
	}
}

// What is live is verified anew when the policy changes: a revoked key takes effect
// at unchanged content.
func TestHolds(t *testing.T) {
	p := policy(t, `{"version":1,"signers":{"alice":{"key":«alice»,"expires":"2026-11-22"},"bob":{"key":«bob»},"bot":{"key":«bot»}},
		"roles":{"maintainer":{"signers":["alice","bob"],"may":["*"]},"ramp":{"signers":["bot"],"may":["ramp.up"]}}}`)
	for _, tc := range []struct {
		roles, signers string
		at             time.Time
		holds          bool
	}{
		{"maintainer", "alice", now.Add(-24 * time.Hour), true},
		{"maintainer", "alice", now, false},
		{"maintainer", "alice bob", now, true},
		{"ramp", "bot", now, true},
		{"ramp maintainer", "bot", now, false},
		{"ramp", "alice", now, false},
		{"", "bot", now, true},
		{"", "", now, false},
		{"", "mallory", now, false},
	} {
		why := p.Holds(strings.Fields(tc.roles), strings.Fields(tc.signers), tc.at)
		if (why == "") != tc.holds {
			t.Errorf("Holds(%q, %q) = %q", tc.roles, tc.signers, why)
		}
	}
}

func TestSucceeds(t *testing.T) {
	const first = `{"version":1,"environment":"prod","signers":{"alice":{"key":«alice»},"bob":{"key":«bob»},"bot":{"key":«bot»}},
		"roles":{"maintainer":{"signers":["alice","bob"],"threshold":2,"may":["*"]},"ramp":{"signers":["bot"],"may":["ramp.up"]}}}`
	old := policy(t, first)
	second := func(change ...string) *trust.Policy {
		src := fmt.Sprintf(`{"version":2,"previous":%q,"environment":"prod","signers":{"alice":{"key":«alice»},"carol":{"key":«carol»}},
			"roles":{"maintainer":{"signers":["alice","carol"],"threshold":1,"may":["*"]}}}`, old.Digest())
		return policy(t, strings.NewReplacer(change...).Replace(src))
	}
	for _, tc := range []struct {
		name     string
		next     *trust.Policy
		old, new string
		says     string
	}{
		{"both agree", second(), "alice bob", "alice", ""},
		{"the new one's other maintainer", second(), "alice bob", "carol", ""},
		{"one of the old two", second(), "alice", "alice carol", "the one in force have not signed"},
		{"one of the old two, twice", second(), "alice alice", "alice", "the one in force have not signed"},
		{"the bot", second(), "bot alice", "alice", "the one in force have not signed"},
		{"none of the new", second(), "alice bob", "", "its own maintainers"},
		{"a number skipped", second(`"version":2`, `"version":3`), "alice bob", "alice", "number 3"},
		{"the same number", second(`"version":2`, `"version":1`), "alice bob", "alice", "number 1"},
		{"it follows nothing", second(`"previous":`, `"description":`), "alice bob", "alice", "names no previous"},
		{"it follows another", second(old.Digest(), "sha256:"+strings.Repeat("0", 64)), "alice bob", "alice", "the one in force is"},
		{"another environment", second(`"prod"`, `"staging"`), "alice bob", "alice", "staging"},
		{"nobody in charge", second(`["*"]`, `["meta"]`), "alice bob", "alice", "nobody could change"},
		{"a star with a bound is nobody in charge", second(`["*"]`, `["*"],"max_pct":50`), "alice bob", "alice", "nobody could change"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := trust.Succeeds(old, tc.next, strings.Fields(tc.old), strings.Fields(tc.new), now)
			if tc.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, trust.ErrRotation) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("err = %v, want %q", err, tc.says)
			}
		})
	}
}
