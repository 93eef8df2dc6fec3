package trust_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/trust"
)

func TestEvidence(t *testing.T) {
	p := policyWith(t, `{
		"ramp": {"signers": ["bot"], "may": ["ramp.up", "ramp.down"], "evidence": "required", "max_evidence_age": "1h"},
		"maintainer": {"signers": ["alice"], "may": ["*"]},
		"evidence": {"signers": ["collector", "second"], "threshold": 1},
		"other": {"signers": ["prom"], "may": ["evidence"]},
		"pair": {"signers": ["dan", "eve"], "threshold": 2, "may": ["evidence"]}}`)
	digest := "sha256:" + strings.Repeat("ab", 32)
	record := func(at time.Time, from, to int, evidence string) string {
		return fmt.Sprintf(`"ramped":{"at":%q,"from":%d,"to":%d,"verdict":"green","reason":"r","evidence":%q}`, at.Format(time.RFC3339), from, to, evidence)
	}
	decided := now.Add(-time.Hour)
	step := trust.Move{From: 10_000, To: 20_000}
	proof := func(signers string, measured time.Time) func(string) (trust.Proof, error) {
		return func(d string) (trust.Proof, error) {
			if d != digest {
				return trust.Proof{}, fmt.Errorf("no file for %s", d)
			}
			return trust.Proof{
				Signers: strings.Fields(signers), Measured: measured, Decided: decided,
				Moves: map[flags.Key]trust.Move{{Feature: "x", Tenant: "__default__"}: step, {Feature: "x", Tenant: "acme"}: step},
			}, nil
		}
	}
	good := proof("collector", decided.Add(-10*time.Minute))
	before := spec(t, "v1", `{"x":{"pct":10,"tenants":{"acme":{"pct":10},"follows":{"cohorts":["A"]}}}}`)
	up := func(rec string) *flags.Spec {
		return spec(t, "v1+ramp.1", fmt.Sprintf(`{"x":{"pct":20,%s,"tenants":{"acme":{"pct":10},"follows":{"cohorts":["A"]}}}}`, rec))
	}
	for _, tc := range []struct {
		name  string
		next  *flags.Spec
		proof func(string) (trust.Proof, error)
		says  string // "" when it is allowed
	}{
		{"all in order, for those who follow too", up(record(decided, 10, 20, digest)), good, ""},
		{"signed by one who may evidence", up(record(decided, 10, 20, digest)), proof("prom", decided), ""},
		{"signed by a maintainer", up(record(decided, 10, 20, digest)), proof("alice", decided), ""},
		{"signed by a pair", up(record(decided, 10, 20, digest)), proof("dan eve", decided), ""},
		{"a tenant's own record", spec(t, "v1+ramp.1", fmt.Sprintf(`{"x":{"pct":10,"tenants":{"acme":{"pct":20,%s},"follows":{"cohorts":["A"]}}}}`, record(decided, 10, 20, digest))), good, ""},
		{"a way down needs none", spec(t, "v1+ramp.1", `{"x":{"pct":5,"tenants":{"acme":{"pct":10},"follows":{"cohorts":["A"]}}}}`), nil, ""},
		{"no record", up(`"description":""`), good, "no ramped record"},
		{"a record without evidence", up(strings.Replace(record(decided, 10, 20, digest), `,"evidence":"`+digest+`"`, "", 1)), good, "names none"},
		{"nobody looked", up(record(decided, 10, 20, digest)), nil, "nobody looked"},
		{"no such file", up(record(decided, 10, 20, "sha256:"+strings.Repeat("00", 32))), good, "no file for"},
		{"unreadable", up(record(decided, 10, 20, digest)), func(string) (trust.Proof, error) { return trust.Proof{}, errors.New("it is no JSON") }, "it is no JSON"},
		{"signed by the bot itself", up(record(decided, 10, 20, digest)), proof("bot", decided), "nobody of them may sign evidence"},
		{"signed by half a pair", up(record(decided, 10, 20, digest)), proof("dan dan", decided), "nobody of them may sign evidence"},
		{"unsigned", up(record(decided, 10, 20, digest)), proof("", decided), "nobody known"},
		{"stale when the step was decided", up(record(decided, 10, 20, digest)), proof("collector", decided.Add(-61*time.Minute)), "more than 1h0m0s before the decision"},
		{"measured afterwards", up(record(decided, 10, 20, digest)), proof("collector", decided.Add(6*time.Minute)), "after the decision"},
		{"decided eight days ago", up(record(now.Add(-8*24*time.Hour), 10, 20, digest)), proof("collector", now.Add(-8*24*time.Hour)), "seven days"},
		{"decided tomorrow", up(record(now.Add(time.Hour), 10, 20, digest)), proof("collector", now), "after the commit"},
		{"a tenant without a record beside a feature with one", spec(t, "v1+ramp.1", fmt.Sprintf(`{"x":{"pct":20,%s,"tenants":{"acme":{"pct":20},"follows":{"cohorts":["A"]}}}}`, record(decided, 10, 20, digest))), good, "no ramped record"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := p.Authorize(trust.Request{Previous: before, Next: tc.next, Signers: []string{"bot"}, Now: now, Proof: tc.proof})
			if (a.Verdict == trust.Allowed) != (tc.says == "") || !strings.Contains(a.Sentence(), tc.says) {
				t.Errorf("%v: %s, want %q", a.Verdict, a.Sentence(), tc.says)
			}
			r := trust.Request{Previous: before, Next: tc.next, Signers: []string{"bot", "alice"}, Now: now, Proof: tc.proof}
			if a := p.Authorize(r); a.Verdict != trust.Allowed {
				t.Errorf("with a maintainer: %s", a.Sentence())
			}
		})
	}
	t.Run("replayed at its commit's date", func(t *testing.T) {
		r := trust.Request{Previous: before, Next: up(record(decided, 10, 20, digest)), Signers: []string{"bot"}, Now: now.Add(30 * 24 * time.Hour), Committed: now, Proof: good}
		if a := p.Authorize(r); a.Verdict != trust.Allowed {
			t.Error(a.Sentence())
		}
	})
	t.Run("the record of an earlier step", func(t *testing.T) {
		rec := record(decided, 10, 20, digest)
		was := spec(t, "v1", fmt.Sprintf(`{"x":{"pct":10,%s}}`, rec))
		is := spec(t, "v1+ramp.1", fmt.Sprintf(`{"x":{"pct":20,%s}}`, rec))
		if a := p.Authorize(trust.Request{Previous: was, Next: is, Signers: []string{"bot"}, Now: now, Proof: good}); a.Verdict != trust.Refused {
			t.Errorf("%v: %s", a.Verdict, a.Sentence())
		}
	})
}
