package trust_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

var people = []string{"alice", "bob", "carol", "dan", "bot", "oncall"}

type object = map[string]any

// entryGen makes the fields of a feature or a tenant.
func entryGen() *rapid.Generator[object] {
	return rapid.Custom(func(t *rapid.T) object {
		e := object{}
		if rapid.Bool().Draw(t, "has pct") {
			e["pct"] = rapid.SampledFrom([]int{0, 1, 10, 20, 25, 50, 51, 99, 100}).Draw(t, "pct")
		}
		if rapid.IntRange(0, 3).Draw(t, "has enabled") == 0 {
			e["enabled"] = rapid.Bool().Draw(t, "enabled")
		}
		if rapid.IntRange(0, 3).Draw(t, "has cohorts") == 0 {
			e["cohorts"] = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"A", "B", "@beta"}), 0, 2, rapid.ID).Draw(t, "cohorts")
		}
		if rapid.IntRange(0, 7).Draw(t, "has salt") == 0 {
			e["salt"] = "s"
		}
		return e
	})
}

func featureGen() *rapid.Generator[object] {
	return rapid.Custom(func(t *rapid.T) object {
		f := entryGen().Draw(t, "own")
		if rapid.IntRange(0, 4).Draw(t, "has owner") == 0 {
			f["owner"] = "me"
		}
		if rapid.IntRange(0, 4).Draw(t, "has guard") == 0 {
			f["ramp"] = object{"max": 50}
		}
		if tenants := rapid.MapOfN(rapid.SampledFrom([]string{"acme", "globex"}), entryGen(), 0, 2).Draw(t, "tenants"); len(tenants) > 0 {
			f["tenants"] = tenants
		}
		return f
	})
}

// specsGen makes two specs, the second often a small edit of the first.
func specsGen() *rapid.Generator[[2]*flags.Spec] {
	return rapid.Custom(func(t *rapid.T) [2]*flags.Spec {
		names := rapid.SampledFrom([]string{"x", "y", "pay-card"})
		first := rapid.MapOfN(names, featureGen(), 0, 3).Draw(t, "features")
		second := maps.Clone(first)
		for range rapid.IntRange(0, 2).Draw(t, "edits") {
			name := names.Draw(t, "edited")
			switch f, ok := second[name]; {
			case !ok || rapid.IntRange(0, 3).Draw(t, "anew") == 0:
				second[name] = featureGen().Draw(t, "new feature")
			case rapid.IntRange(0, 7).Draw(t, "removed") == 0:
				delete(second, name)
			default:
				f = maps.Clone(f)
				f["pct"] = rapid.SampledFrom([]int{0, 1, 5, 10, 20, 30, 50, 100}).Draw(t, "new pct")
				second[name] = f
			}
		}
		return [2]*flags.Spec{drawn(t, "v1", first), drawn(t, "v1+ramp.1", second)}
	})
}

func drawn(t *rapid.T, version string, features map[string]object) *flags.Spec {
	src, err := json.Marshal(object{"version": version, "segments": object{"beta": []string{"u1"}}, "features": features})
	if err != nil {
		t.Fatal(err)
	}
	s, err := flags.Decode("flags.json", src)
	if err != nil {
		t.Fatalf("%s\n%v", src, err)
	}
	return s
}

func policyGen(keys *testing.T) *rapid.Generator[*trust.Policy] {
	kinds := []string{"*", "feature.add", "feature.remove", "tenant.add", "tenant.remove", "enable", "disable", "ramp.up", "ramp.down", "cohort.add", "cohort.remove", "salt", "guard", "meta", "base", "evidence"}
	return rapid.Custom(func(t *rapid.T) *trust.Policy {
		signers := ""
		for i, name := range people {
			if i > 0 {
				signers += ","
			}
			expires := ""
			if rapid.IntRange(0, 4).Draw(t, "expires") == 0 {
				expires = `,"expires":"2026-11-22"`
			}
			signers += fmt.Sprintf(`%q:{"key":«%s»%s}`, name, name, expires)
		}
		roles := object{}
		for i := range rapid.IntRange(1, 4).Draw(t, "roles") {
			who := rapid.SliceOfNDistinct(rapid.SampledFrom(people), 1, 4, rapid.ID).Draw(t, "signers")
			r := object{
				"signers": who, "threshold": rapid.IntRange(1, len(who)).Draw(t, "threshold"),
				"may": rapid.SliceOfNDistinct(rapid.SampledFrom(kinds), 1, 8, rapid.ID).Draw(t, "may"),
			}
			maybe := func(field string, v any) {
				if rapid.IntRange(0, 3).Draw(t, field) == 0 {
					r[field] = v
				}
			}
			maybe("features", []string{"x", "pay-*"})
			maybe("tenants", []string{"acme", "__default__"})
			maybe("max_step", 10)
			maybe("max_pct", 50)
			maybe("min_interval", "1h")
			roles[fmt.Sprintf("r%d", i)] = r
		}
		enc, err := json.Marshal(roles)
		if err != nil {
			t.Fatal(err)
		}
		return policy(keys, fmt.Sprintf(`{"version":1,"signers":{%s},"roles":%s}`, signers, enc))
	})
}

func whoGen() *rapid.Generator[[]string] {
	return rapid.SliceOfN(rapid.SampledFrom(append([]string{"mallory"}, people...)), 0, 4)
}

// More valid signers never authorize less, in whatever order and however often.
func TestMoreSignersNeverAuthorizeLess(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := policyGen(t).Draw(rt, "policy")
		specs := specsGen().Draw(rt, "specs")
		few, more := whoGen().Draw(rt, "few"), whoGen().Draw(rt, "more")
		many := append(slices.Clone(more), few...)
		ago := rapid.SampledFrom([]time.Duration{0, 30 * time.Minute, 2 * time.Hour}).Draw(rt, "last up")
		ask := func(who []string) trust.Answer {
			return p.Authorize(trust.Request{Previous: specs[0], Next: specs[1], Signers: who, Now: now, LastUp: func(flags.Key) time.Time { return now.Add(-ago) }})
		}
		a, b := ask(few), ask(many)
		if b.Verdict < a.Verdict || b.Verdict == trust.Deferred && a.Verdict == trust.Deferred && b.NotBefore.After(a.NotBefore) {
			rt.Fatalf("%q: %v (%s)\n%q: %v (%s)", few, a.Verdict, a.Sentence(), many, b.Verdict, b.Sentence())
		}
		if len(a.Covered) > len(b.Covered) {
			rt.Fatalf("%q covers %d changes, %q %d", few, len(a.Covered), many, len(b.Covered))
		}
		back := func(who []string) trust.Verdict {
			return p.AuthorizeRollback(trust.RollbackRequest{Previous: specs[0], Next: specs[1], Signers: who, Now: now, Roles: a.Roles, Generations: 1, LastLive: now}).Verdict
		}
		if back(many) < back(few) {
			rt.Fatalf("a rollback by %q is refused, by %q not", many, few)
		}
	})
}

// A ramp role never gets anything but a bounded percentage through, whatever the diff.
// This looks at the specs themselves and not at the diff.
func TestRampRoleIsBounded(t *testing.T) {
	const step, top = 10_000, 50_000
	p := policyWith(t, `{"ramp":{"signers":["bot"],"may":["ramp.up","ramp.down"],"max_step":10,"max_pct":50},"maintainer":{"signers":["alice"],"may":["*"]}}`)
	allowed := 0
	rapid.Check(t, func(rt *rapid.T) {
		specs := specsGen().Draw(rt, "specs")
		a := p.Authorize(trust.Request{Previous: specs[0], Next: specs[1], Signers: []string{"bot"}, Now: now})
		if a.Verdict != trust.Allowed {
			return
		}
		allowed++
		if !slices.Equal(specs[0].Features(), specs[1].Features()) {
			rt.Fatalf("features %q became %q", specs[0].Features(), specs[1].Features())
		}
		// A tenant may have got an entry of its own, but only to lower it.
		keys := maps.Collect(specs[0].Entries())
		maps.Copy(keys, maps.Collect(specs[1].Entries()))
		for key := range keys {
			was, _ := specs[0].Entry(key.Feature, key.Tenant)
			is, _ := specs[1].Entry(key.Feature, key.Tenant)
			if is.Enabled != was.Enabled || is.Salt != was.Salt || !slices.Equal(is.Cohorts, was.Cohorts) {
				rt.Fatalf("%s: %+v became %+v", key, was, is)
			}
			if is.Pct > was.Pct && (is.Pct-was.Pct > step || is.Pct > top) {
				rt.Fatalf("%s: %s became %s", key, was.Pct, is.Pct)
			}
		}
		for _, name := range specs[0].Features() {
			f, g := specs[0].Feature(name), specs[1].Feature(name)
			if f.Owner != g.Owner || string(f.Ramp) != string(g.Ramp) {
				rt.Fatalf("%s: owner %q guard %s became %q %s", name, f.Owner, f.Ramp, g.Owner, g.Ramp)
			}
		}
	})
	if allowed == 0 {
		t.Error("no case was allowed: the property says nothing")
	}
}

// However many keys a person signs with, it is one vote.
func TestTwoKeysOneVote(t *testing.T) {
	p := policy(t, `{"version":1,"signers":{"alice":{"keys":[«alice»,«alice2»,«alice3»]},"bob":{"key":«bob»}},
		"roles":{"maintainer":{"signers":["alice","bob"],"threshold":2,"may":["*"]}}}`)
	before, after := spec(t, "v1", `{"x":{"pct":10}}`), spec(t, "v1+ramp.1", `{"x":{"pct":20}}`)
	keys := []string{"alice", "alice2", "alice3", "bob", "mallory"}
	bundles := map[string][]byte{}
	for _, k := range keys {
		b, err := signer(t, k).Sign(context.Background(), after.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		bundles[k] = b
	}
	rapid.Check(t, func(rt *rapid.T) {
		var named []signing.NamedBundle
		hands := map[bool]bool{}
		for _, k := range rapid.SliceOfN(rapid.SampledFrom(keys), 0, 6).Draw(rt, "keys") {
			named = append(named, signing.NamedBundle{Path: k, Data: bundles[k]})
			if k != "mallory" {
				hands[k == "bob"] = true
			}
		}
		r := signing.Verify(signing.NewArtifact(after.Bytes()), named, p.Identities(), signing.Options{})
		a := p.Authorize(trust.Request{Previous: before, Next: after, Signers: r.Signers(), Now: now})
		if (a.Verdict == trust.Allowed) != (len(hands) == 2) || p.HasFull(r.Signers(), now) != (len(hands) == 2) {
			rt.Fatalf("%v by %q: %s", a.Verdict, r.Signers(), a.Sentence())
		}
	})
}

// An override never turns anybody on, whatever it says.
func TestOverrideOnlyLowers(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		live := specsGen().Draw(rt, "specs")[0]
		o := &trust.Override{}
		for range rapid.IntRange(1, 3).Draw(rt, "items") {
			it := trust.OverrideItem{Feature: rapid.SampledFrom([]string{"x", "y", "gone"}).Draw(rt, "feature"), Tenant: rapid.SampledFrom([]string{"", "acme", "new", "__default__"}).Draw(rt, "tenant")}
			if rapid.Bool().Draw(rt, "down") {
				it.Pct = pct(flags.Pct(rapid.IntRange(0, 100).Draw(rt, "pct") * 1000))
			}
			o.Set = append(o.Set, it)
		}
		for key, is := range o.Entries(live) {
			was, ok := live.Entry(key.Feature, key.Tenant)
			if !ok || is.Enabled && !was.Enabled || is.Pct > was.Pct || !slices.Equal(is.Cohorts, was.Cohorts) || is.Salt != was.Salt {
				rt.Fatalf("%s: %+v became %+v", key, was, is)
			}
			if again := o.Entry(key, is); again.Enabled != is.Enabled || again.Pct != is.Pct {
				rt.Fatalf("%s: applied twice it is %+v", key, again)
			}
		}
	})
}
