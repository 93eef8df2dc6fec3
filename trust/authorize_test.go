package trust_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/trust"
)

const roles = `{
	"maintainer": {"signers": ["alice", "bob"], "may": ["*"]},
	"ramp": {"signers": ["bot"], "may": ["ramp.up", "ramp.down"], "max_step": 10, "max_pct": 50},
	"brake": {"signers": ["oncall", "bob"], "may": ["ramp.down", "disable"]},
	"acme": {"signers": ["carol"], "may": ["ramp.up", "ramp.down", "meta", "tenant.add", "enable"], "features": ["pay-*", "x"], "tenants": ["acme", "globex-?"]},
	"pair": {"signers": ["dan", "eve", "fay"], "threshold": 2, "may": ["cohort.add", "ramp.up"]}
}`

func TestAuthorize(t *testing.T) {
	p := policyWith(t, roles)
	const base = `{"x":{"pct":20,"cohorts":["A"],"tenants":{"acme":{"pct":50},"globex-1":{"enabled":false},"other":{}}},"pay-card":{"pct":0}}`
	// edit is base with one piece replaced.
	edit := func(old, with string) string {
		if !strings.Contains(base, old) {
			t.Fatalf("%q is not in the base", old)
		}
		return strings.Replace(base, old, with, 1)
	}
	for _, tc := range []struct {
		name, next string
		signers    string
		want       trust.Verdict
		reason     trust.Reason
		says       string
	}{
		{"a maintainer may anything", edit(`"pct":20`, `"pct":100,"salt":"s"`), "alice", trust.Allowed, trust.Authorized, "maintainer"},
		{"a step within bounds", edit(`"pct":20`, `"pct":30`), "bot", trust.Allowed, trust.Authorized, "ramp"},
		{"the weakest role is named", edit(`"pct":20`, `"pct":30`), "alice bot", trust.Allowed, trust.Authorized, "by ramp"},
		{"a step too far", edit(`"pct":20`, `"pct":31`), "bot", trust.Refused, trust.NotAuthorized, "x ramp.up 20 -> 31: by bot, whose role ramp may step 10 at most"},
		{"a step too high", edit(`"acme":{"pct":50}`, `"acme":{"pct":51}`), "bot", trust.Refused, trust.NotAuthorized, "may go up to 50 at most"},
		{"any way down", edit(`"acme":{"pct":50}`, `"acme":{"pct":0}`), "bot", trust.Allowed, trust.Authorized, "ramp"},
		{"removing an override that held it off", edit(`"globex-1":{"enabled":false},`, ``), "bot", trust.Refused, trust.NotAuthorized, "x globex-1 tenant.remove"},
		{"a bot and a cohort", edit(`["A"]`, `["A","B"]`), "bot", trust.Refused, trust.NotAuthorized, "no role of bot covers it"},
		{"the brake brakes", edit(`"pct":20`, `"enabled":false,"pct":20`), "oncall", trust.Allowed, trust.Authorized, "brake"},
		{"the brake does not speed up", edit(`"pct":20`, `"pct":21`), "oncall", trust.Refused, trust.NotAuthorized, "no role of oncall covers it"},
		{"in scope", edit(`"acme":{"pct":50}`, `"acme":{"pct":90}`), "carol", trust.Allowed, trust.Authorized, "acme"},
		{"another tenant", edit(`"other":{}`, `"other":{"pct":30}`), "carol", trust.Refused, trust.NotAuthorized, "role acme does not reach there"},
		{"a feature's own entry is no tenant of the scope", edit(`"pay-card":{"pct":0}`, `"pay-card":{"pct":1}`), "carol", trust.Refused, trust.NotAuthorized, "does not reach"},
		{"a new tenant in scope", edit(`"pay-card":{"pct":0}`, `"pay-card":{"pct":0,"tenants":{"acme":{"pct":5}}}`), "carol", trust.Allowed, trust.Authorized, "acme"},
		{"a feature's owner belongs to no tenant", edit(`"pay-card":{"pct":0}`, `"pay-card":{"pct":0,"owner":"me"}`), "carol", trust.Refused, trust.NotAuthorized, "does not reach"},
		{"one of two", edit(`["A"]`, `["A","B"]`), "dan", trust.Refused, trust.NotAuthorized, "needs 2 signers and has 1"},
		{"one of two, twice", edit(`["A"]`, `["A","B"]`), "dan dan dan", trust.Refused, trust.NotAuthorized, "needs 2 signers and has 1"},
		{"two of three", edit(`["A"]`, `["A","B"]`), "fay dan", trust.Allowed, trust.Authorized, "pair"},
		{"two roles together", edit(`"pct":20,"cohorts":["A"]`, `"pct":0,"cohorts":["A","B"]`), "fay dan oncall", trust.Allowed, trust.Authorized, "brake, pair"},
		{"nobody", edit(`"pct":20`, `"pct":0`), "", trust.Refused, trust.Unsigned, "nobody"},
		{"a stranger", edit(`"pct":20`, `"pct":0`), "mallory", trust.Refused, trust.Unsigned, "nobody"},
		{"a guard", edit(`"pct":20`, `"pct":20,"ramp":{"max":10}`), "bot", trust.Refused, trust.NotAuthorized, "no role of bot covers it"},
		{"a forged record", edit(`"pct":20`, `"pct":20,"ramped":{"at":"2026-11-22T04:07:00Z","from":10,"to":20,"verdict":"green","reason":"r"}`), "bot", trust.Refused, trust.NotAuthorized, "meta"},
		{"a feature removed", edit(`,"pay-card":{"pct":0}`, ``), "bot oncall carol", trust.Refused, trust.NotAuthorized, "no role of bot, carol, oncall covers it"},
		{"other white space, signed by one who counts", edit(`"pct":20`, `"pct": 20`), "oncall", trust.Allowed, trust.Authorized, ""},
		{"other white space, signed by half a threshold", edit(`"pct":20`, `"pct": 20`), "dan", trust.Refused, trust.NotAuthorized, ""},
		{"other white space, unsigned", edit(`"pct":20`, `"pct": 20`), "", trust.Refused, trust.Unsigned, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			version := "flags-v1+ramp.1"
			if strings.HasPrefix(tc.name, "other white space") {
				version = "flags-v1"
			}
			r := trust.Request{Previous: spec(t, "flags-v1", base), Next: spec(t, version, tc.next), Signers: strings.Fields(tc.signers), Now: now}
			a := p.Authorize(r)
			if a.Verdict != tc.want || a.Reason != tc.reason || !strings.Contains(a.Sentence(), tc.says) {
				t.Errorf("%v %s: %s\nwant %v %s: %s", a.Verdict, a.Reason, a.Sentence(), tc.want, tc.reason, tc.says)
			}
			if n := len(a.Covered) + len(a.Uncovered); a.Reason != trust.Unsigned && n < len(flags.Diff(r.Previous, r.Next)) {
				t.Errorf("%d rulings for %d changes", n, len(flags.Diff(r.Previous, r.Next)))
			}
			if (a.Verdict == trust.Refused) == (a.Hint == "") {
				t.Errorf("verdict %v with hint %q", a.Verdict, a.Hint)
			}
		})
	}
}

// A role that may enable or add is bounded on what people see, not on what it is called.
func TestBoundsHoldWhateverTheKind(t *testing.T) {
	p := policyWith(t, `{"wide": {"signers": ["bot"], "may": ["ramp.up","ramp.down","enable","disable","feature.add","feature.remove","tenant.add","tenant.remove"], "max_step": 10}}`)
	for name, tc := range map[string]struct {
		from, to string
		want     trust.Verdict
	}{
		"a small feature":              {`{}`, `{"x":{"pct":10}}`, trust.Allowed},
		"a large feature":              {`{}`, `{"x":{"pct":11}}`, trust.Refused},
		"a feature at the default":     {`{}`, `{"x":{}}`, trust.Refused},
		"a feature that is off":        {`{}`, `{"x":{"enabled":false}}`, trust.Allowed},
		"a large tenant in it":         {`{}`, `{"x":{"pct":1,"tenants":{"acme":{"pct":100}}}}`, trust.Refused},
		"a large new tenant":           {`{"x":{"pct":1}}`, `{"x":{"pct":1,"tenants":{"acme":{"pct":12}}}}`, trust.Refused},
		"a tenant a little above":      {`{"x":{"pct":50}}`, `{"x":{"pct":50,"tenants":{"acme":{"pct":60}}}}`, trust.Allowed},
		"switching on a large one":     {`{"x":{"enabled":false,"pct":50}}`, `{"x":{"pct":50}}`, trust.Refused},
		"raising in the dark":          {`{"x":{"enabled":false,"pct":1}}`, `{"x":{"enabled":false,"pct":50}}`, trust.Refused},
		"removing a low override":      {`{"x":{"pct":90,"tenants":{"acme":{"pct":1}}}}`, `{"x":{"pct":90}}`, trust.Refused},
		"a default that lifts tenants": {`{"x":{"pct":10,"tenants":{"acme":{"cohorts":["A"]}}}}`, `{"x":{"pct":20,"tenants":{"acme":{"cohorts":["A"]}}}}`, trust.Allowed},
	} {
		a := p.Authorize(trust.Request{Previous: spec(t, "v1", tc.from), Next: spec(t, "v1+ramp.1", tc.to), Signers: []string{"bot"}, Now: now})
		if a.Verdict != tc.want {
			t.Errorf("%s: %v: %s", name, a.Verdict, a.Sentence())
		}
	}
}

// Changes that lost their entries on the way (through JSON) are bounded all the same.
func TestBoundsWithoutEntries(t *testing.T) {
	p := policyWith(t, roles)
	before, after := spec(t, "v1", `{"x":{"pct":0}}`), spec(t, "v1+ramp.1", `{"x":{"pct":50}}`)
	changes := flags.Diff(before, after)
	for i := range changes {
		changes[i].Before, changes[i].After = nil, nil
	}
	if a := p.Authorize(trust.Request{Previous: before, Next: after, Changes: changes, Signers: []string{"bot"}, Now: now}); a.Verdict != trust.Refused {
		t.Errorf("%v: %s", a.Verdict, a.Sentence())
	}
}

func TestOnlyAStarCoversTheUnknown(t *testing.T) {
	p := policyWith(t, `{
		"all": {"signers": ["alice"], "may": ["*"]},
		"most": {"signers": ["bot"], "may": ["feature.add","feature.remove","tenant.add","tenant.remove","enable","disable","ramp.up","ramp.down","cohort.add","cohort.remove","salt","guard","meta","base","evidence"]}}`)
	s := spec(t, "v1", `{"x":{}}`)
	for _, kind := range []flags.Kind{flags.Other, "ramp.sideways", "", "evidence", "*"} {
		r := trust.Request{Previous: s, Next: s, Changes: []flags.Change{{Kind: kind, Feature: "x", Tenant: flags.DefaultTenant}}, Signers: []string{"bot"}, Now: now}
		if a := p.Authorize(r); a.Verdict != trust.Refused {
			t.Errorf("kind %q by a role that may everything by name: %v", kind, a.Verdict)
		}
		r.Signers = []string{"alice"}
		if a := p.Authorize(r); a.Verdict != trust.Allowed {
			t.Errorf("kind %q by *: %v: %s", kind, a.Verdict, a.Sentence())
		}
	}
}

func TestEnvironmentAndPrevious(t *testing.T) {
	const role = `{"maintainer": {"signers": ["alice"], "may": ["*"]}}`
	prod := policyWith(t, role, `"environment":"prod"`)
	strict := policyWith(t, role, `"require_previous":true`)
	legacy := policyWith(t, role, `"legacy_readers":true`)
	first := spec(t, "v1", `{"x":{}}`)
	link := func(digest string) string { return fmt.Sprintf(`"previous":%q`, digest) }
	for _, tc := range []struct {
		name   string
		policy *trust.Policy
		prev   *flags.Spec
		next   *flags.Spec
		want   trust.Reason
	}{
		{"its own", prod, nil, spec(t, "v1", `{}`, `"environment":"prod"`), trust.Authorized},
		{"another's", prod, nil, spec(t, "v1", `{}`, `"environment":"staging"`), trust.WrongEnvironment},
		{"none", prod, nil, spec(t, "v1", `{}`), trust.WrongEnvironment},
		{"any, without a policy's word", strict, nil, spec(t, "v1", `{}`, `"environment":"staging"`), trust.Authorized},
		{"the first has nothing before it", strict, nil, first, trust.Authorized},
		{"made from the last", strict, first, spec(t, "v1+ramp.1", `{"x":{"pct":1}}`, link(first.Digest())), trust.Authorized},
		{"made from another", strict, first, spec(t, "v1+ramp.1", `{"x":{"pct":1}}`, link("sha256:"+strings.Repeat("0", 64))), trust.WrongPrevious},
		{"made from who knows what", strict, first, spec(t, "v1+ramp.1", `{"x":{"pct":1}}`), trust.WrongPrevious},
		{"nobody asks", prod, spec(t, "v1", `{}`, `"environment":"prod"`), spec(t, "v1+ramp.1", `{"x":{}}`, `"environment":"prod"`, link("sha256:"+strings.Repeat("0", 64))), trust.Authorized},
		{"no salt for older clients", legacy, nil, spec(t, "v1", `{"x":{"salt":"s"}}`), trust.LegacyReaders},
		{"no salt of a tenant", legacy, nil, spec(t, "v1", `{"x":{"tenants":{"acme":{"salt":"s"}}}}`), trust.LegacyReaders},
		{"no hashed member", legacy, nil, spec(t, "v1", `{"x":{"cohorts":["sha256:`+strings.Repeat("0", 64)+`"]}}`), trust.LegacyReaders},
		{"plain for older clients", legacy, nil, spec(t, "v1", `{"x":{"cohorts":["a"]}}`), trust.Authorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := tc.policy.Authorize(trust.Request{Previous: tc.prev, Next: tc.next, Signers: []string{"alice"}, Now: now})
			if a.Reason != tc.want || (a.Verdict == trust.Allowed) != (tc.want == trust.Authorized) {
				t.Errorf("%v %s: %s", a.Verdict, a.Reason, a.Sentence())
			}
		})
	}
}

func TestLimits(t *testing.T) {
	const role = `{"maintainer": {"signers": ["alice"], "may": ["*"]}}`
	ten := `{"a":{},"b":{},"c":{},"d":{},"e":{"tenants":{"t1":{"pct":1},"t2":{"pct":1},"t3":{"pct":1},"t4":{"pct":1},"t5":{"pct":1}}}}`
	before := spec(t, "v1", ten)
	for _, tc := range []struct {
		name, limits, next string
		want               trust.Reason
	}{
		{"no limits", `{}`, `{}`, trust.Authorized},
		{"two may leave", `{"max_removed":2}`, `{"c":{},"d":{},"e":{"tenants":{"t1":{"pct":1},"t2":{"pct":1},"t3":{"pct":1},"t4":{"pct":1},"t5":{"pct":1}}}}`, trust.Authorized},
		{"three may not", `{"max_removed":2}`, `{"d":{},"e":{"tenants":{"t1":{"pct":1},"t2":{"pct":1},"t3":{"pct":1},"t4":{"pct":1},"t5":{"pct":1}}}}`, trust.TooManyRemoved},
		{"a feature counts with its tenants", `{"max_removed":5}`, `{"a":{},"b":{},"c":{},"d":{}}`, trust.TooManyRemoved},
		{"a half may leave", `{"max_removed_fraction":0.5}`, `{"a":{},"b":{},"c":{},"d":{},"e":{}}`, trust.Authorized},
		{"more may not", `{"max_removed_fraction":0.5}`, `{"a":{},"b":{},"c":{},"e":{}}`, trust.TooManyRemoved},
		{"adding is no removing", `{"max_removed":0}`, strings.Replace(ten, `{"a":{}`, `{"f":{},"a":{}`, 1), trust.Authorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := policyWith(t, role, `"limits":`+tc.limits)
			a := p.Authorize(trust.Request{Previous: before, Next: spec(t, "v1+ramp.1", tc.next), Signers: []string{"alice"}, Now: now})
			if a.Reason != tc.want {
				t.Errorf("%v %s: %s", a.Verdict, a.Reason, a.Sentence())
			}
		})
	}
}

func TestMinInterval(t *testing.T) {
	p := policyWith(t, `{
		"ramp": {"signers": ["bot"], "may": ["ramp.up", "ramp.down"], "max_step": 10, "min_interval": "1h"},
		"slow": {"signers": ["bot"], "may": ["ramp.up"], "min_interval": "3h"},
		"maintainer": {"signers": ["alice"], "may": ["*"]}}`)
	before := spec(t, "v1", `{"x":{"pct":10},"y":{"pct":10}}`)
	up := spec(t, "v1+ramp.1", `{"x":{"pct":20},"y":{"pct":20}}`)
	lastUp := func(x, y time.Time) func(flags.Key) time.Time {
		return func(k flags.Key) time.Time {
			if k.Tenant != flags.DefaultTenant {
				t.Errorf("asked for %v", k)
			}
			return map[string]time.Time{"x": x, "y": y}[k.Feature]
		}
	}
	for _, tc := range []struct {
		name      string
		lastUp    func(flags.Key) time.Time
		next      *flags.Spec
		signers   []string
		want      trust.Verdict
		notBefore time.Time
	}{
		{"never rose", lastUp(time.Time{}, time.Time{}), up, []string{"bot"}, trust.Allowed, time.Time{}},
		{"long ago", lastUp(now.Add(-time.Hour), now.Add(-time.Hour)), up, []string{"bot"}, trust.Allowed, time.Time{}},
		{"both too soon: the later counts", lastUp(now.Add(-10*time.Minute), now.Add(-20*time.Minute)), up, []string{"bot"}, trust.Deferred, now.Add(50 * time.Minute)},
		{"a maintainer does not wait", lastUp(now, now), up, []string{"bot", "alice"}, trust.Allowed, time.Time{}},
		{"a way down does not wait", lastUp(now, now), spec(t, "v1+ramp.1", `{"x":{"pct":0},"y":{"pct":10}}`), []string{"bot"}, trust.Allowed, time.Time{}},
		{"nobody knows when", nil, up, []string{"bot"}, trust.Refused, time.Time{}},
		{"another change is never covered: no use waiting", lastUp(now, now), spec(t, "v1+ramp.1", `{"x":{"pct":20},"y":{"pct":20,"cohorts":["A"]}}`), []string{"bot"}, trust.Refused, time.Time{}},
		{"a role that waits longer and steps further", lastUp(now.Add(-2*time.Hour), time.Time{}), spec(t, "v1+ramp.1", `{"x":{"pct":50},"y":{"pct":10}}`), []string{"bot"}, trust.Deferred, now.Add(time.Hour)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := p.Authorize(trust.Request{Previous: before, Next: tc.next, Signers: tc.signers, Now: now, LastUp: tc.lastUp})
			if a.Verdict != tc.want || !a.NotBefore.Equal(tc.notBefore) {
				t.Errorf("%v until %v: %s", a.Verdict, a.NotBefore, a.Sentence())
			}
			if (a.Verdict == trust.Deferred) != (a.Reason == trust.TooSoon) {
				t.Errorf("reason %s", a.Reason)
			}
		})
	}
}

func TestExpiredSigner(t *testing.T) {
	p := policy(t, `{"version":1,"signers":{"alice":{"key":«alice»,"expires":"2026-11-22T12:00:00Z"},"bob":{"key":«bob»}},
		"roles":{"maintainer":{"signers":["alice","bob"],"may":["*"]}}}`)
	before, after := spec(t, "v1", `{"x":{"pct":10}}`), spec(t, "v1+ramp.1", `{"x":{"pct":20}}`)
	ask := func(at time.Time) trust.Answer {
		return p.Authorize(trust.Request{Previous: before, Next: after, Signers: []string{"alice"}, Now: at})
	}
	if a := ask(now.Add(-time.Nanosecond)); a.Verdict != trust.Allowed {
		t.Errorf("before the end: %s", a.Sentence())
	}
	if a := ask(now); a.Verdict != trust.Refused || !strings.Contains(a.Sentence(), "alice's signature expired on 2026-11-22") {
		t.Errorf("at the end: %v: %s", a.Verdict, a.Sentence())
	}
	if p.HasFull([]string{"alice"}, now) || !p.HasFull([]string{"alice"}, now.Add(-1)) {
		t.Error("HasFull does not heed the end")
	}
	if len(p.Maintainers([]string{"alice"}, now)) > 0 || len(p.Maintainers([]string{"alice"}, now.Add(-1))) != 1 {
		t.Error("Maintainers does not heed the end")
	}
}

func TestMaintainersAreWhoseSignaturesCount(t *testing.T) {
	p := policyWith(t, `{"maintainer":{"signers":["alice","bob"],"threshold":2,"may":["*"]},"shop":{"signers":["carol"],"may":["*"],"features":["shop-*"]},"ramp":{"signers":["bot"],"may":["ramp.up"]}}`)
	got := p.Maintainers([]string{"bot", "bob", "carol", "mallory", "bob", "alice"}, now)
	if want := []string{"bob", "alice"}; !slices.Equal(got, want) {
		t.Errorf("maintainers are %q, want %q", got, want)
	}
}
