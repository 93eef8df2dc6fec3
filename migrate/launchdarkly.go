package migrate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// ldFlag is a flag of LaunchDarkly's REST API (apidocs.launchdarkly.com, "List feature flags", with summary=0).
type ldFlag struct {
	Key          string                      `json:"key"`
	Name         string                      `json:"name"`
	Description  string                      `json:"description"`
	Archived     bool                        `json:"archived"`
	Variations   []struct{ Value any }       `json:"variations"`
	Environments map[string]ldEnvironment    `json:"environments"`
	Maintainer   *struct{ FirstName string } `json:"_maintainer"`
}

type ldEnvironment struct {
	On             bool       `json:"on"`
	OffVariation   *int       `json:"offVariation"`
	Targets        []ldTarget `json:"targets"`
	ContextTargets []ldTarget `json:"contextTargets"`
	Rules          []struct {
		ldServe
		Clauses []struct {
			Attribute string `json:"attribute"`
			Op        string `json:"op"`
			Values    []any  `json:"values"`
			Negate    bool   `json:"negate"`
		} `json:"clauses"`
	} `json:"rules"`
	Fallthrough   ldServe `json:"fallthrough"`
	Prerequisites []any   `json:"prerequisites"`
}

type ldTarget struct {
	ContextKind string   `json:"contextKind"`
	Values      []string `json:"values"`
	Variation   int      `json:"variation"`
}

type ldServe struct {
	Variation *int `json:"variation"`
	Rollout   *struct {
		Variations []struct {
			Variation int     `json:"variation"`
			Weight    float64 `json:"weight"` // of 100,000
		} `json:"variations"`
	} `json:"rollout"`
}

func importLaunchDarkly(b *builder, data []byte) error {
	var list struct {
		Items []jsontext.Value `json:"items"`
		Total int              `json:"totalCount"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	if list.Items == nil {
		list.Items = []jsontext.Value{data} // one flag alone
	}
	if n := len(list.Items); list.Total > n {
		b.note("", Lost, "%d flags: the list is one page of %d; ask for all with limit and offset", list.Total-n, list.Total)
	}
	for _, raw := range list.Items {
		var f ldFlag
		if err := json.Unmarshal(raw, &f, json.MatchCaseInsensitiveNames(true)); err != nil {
			return err
		}
		if f.Key == "" {
			return fmt.Errorf(`no "items" in it, and no "key" of one flag: is it the REST API's answer?`)
		}
		if f.Archived {
			b.note(f.Key, Lost, "it is archived")
			continue
		}
		on := map[int]bool{}
		boolean := len(f.Variations) > 0
		for i, v := range f.Variations {
			yes, ok := v.Value.(bool)
			on[i] = yes
			boolean = boolean && ok
		}
		if !boolean {
			b.note(f.Key, Lost, "its variations are not true and false")
			continue
		}
		env, err := ldPick(b, f)
		if err != nil {
			return err
		}
		out := ldFeature(b, f, env, on)
		b.redrawn(f.Key, out.pct)
		b.add(f.Key, out)
	}
	return nil
}

func ldPick(b *builder, f ldFlag) (ldEnvironment, error) {
	if env, ok := f.Environments[b.opt.Environment]; ok {
		return env, nil
	}
	var names []string
	for n := range f.Environments {
		names = append(names, n)
	}
	slices.Sort(names)
	if b.opt.Environment == "" && len(names) == 1 {
		return f.Environments[names[0]], nil
	}
	return ldEnvironment{}, fmt.Errorf("flag %s: say which environment with --source-environment: it has %s", f.Key, strings.Join(names, ", "))
}

func ldFeature(b *builder, f ldFlag, env ldEnvironment, on map[int]bool) feature {
	out := feature{description: f.Description}
	if out.description == "" {
		out.description = f.Name
	}
	out.rule = ldRule(b, f.Key, on, env.Fallthrough)
	out.enabled = env.On
	if !env.On && env.OffVariation != nil && on[*env.OffVariation] {
		b.note(f.Key, Lost, "while it is off it serves true; here a feature that is off is off")
	}
	if len(env.Prerequisites) > 0 {
		b.note(f.Key, Lost, "its prerequisites; it is off here until somebody has looked")
		out.enabled = false
	}
	for _, t := range slices.Concat(env.Targets, env.ContextTargets) {
		ldTargets(b, f.Key, on, t, &out)
	}
	for i, r := range env.Rules {
		served, attribute := ldRule(b, f.Key, on, r.ldServe), ""
		var values []string
		if len(r.Clauses) == 1 && !r.Clauses[0].Negate && r.Clauses[0].Op == "in" {
			attribute = r.Clauses[0].Attribute
			for _, v := range r.Clauses[0].Values {
				values = append(values, fmt.Sprint(v))
			}
		}
		switch {
		case isUser(attribute) && served.pct == flags.Full:
			b.turnsOn(f.Key, &out)
			out.cohorts = append(out.cohorts, values...)
		case isTenant(attribute):
			if served.pct > 0 {
				b.turnsOn(f.Key, &out)
			}
			for _, v := range values {
				served.cohorts = slices.Clone(out.cohorts) // what was listed before this rule
				if !slices.ContainsFunc(out.tenants, func(t tenant) bool { return t.name == v }) {
					out.tenants = append(out.tenants, tenant{v, served})
				}
			}
		case served.pct < out.pct:
			b.keptOff(f.Key, &out, "rule %d keeps some users off", i+1)
		default:
			out.masked = out.masked || served.pct < flags.Full
			b.note(f.Key, Lost, "rule %d: a list of users or a tenant cannot say it", i+1)
		}
	}
	if !out.enabled {
		out.offForAll()
	}
	return out
}

func ldTargets(b *builder, flag string, on map[int]bool, t ldTarget, out *feature) {
	switch {
	case len(t.Values) == 0:
	case isTenant(t.ContextKind):
		for _, v := range t.Values {
			r := rule{enabled: true, cohorts: slices.Clone(out.cohorts)}
			if on[t.Variation] {
				b.turnsOn(flag, out)
				r.pct = flags.Full
			}
			out.tenants = append(out.tenants, tenant{v, r})
		}
	case (t.ContextKind == "" || t.ContextKind == "user") && on[t.Variation]:
		out.cohorts = append(out.cohorts, t.Values...)
	case !on[t.Variation] && out.pct > 0:
		b.keptOff(flag, out, "its targets keep some users off")
	case !on[t.Variation]:
		out.masked = true // those users are off, whatever a later rule says
	case on[t.Variation]:
		b.note(flag, Lost, "its targets of kind %s", t.ContextKind)
	}
}

func ldRule(b *builder, flag string, on map[int]bool, s ldServe) rule {
	r := rule{enabled: true}
	switch {
	case s.Variation != nil && on[*s.Variation]:
		r.pct = flags.Full
	case s.Rollout != nil:
		share := 0.0
		for _, v := range s.Rollout.Variations {
			if on[v.Variation] {
				share += v.Weight
			}
		}
		p, err := percent(share / 1000)
		if err != nil {
			b.note(flag, Lost, "its rollout: %v; it is off here", err)
		}
		r.pct = p
	}
	return r
}
