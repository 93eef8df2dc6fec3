package migrate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/rampart-flags/rampart/flags"
)

// unleashExport is what Unleash's project export writes (docs.getunleash.io, "Environment import and export").
type unleashExport struct {
	Features []struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Archived    bool   `json:"archived"`
	} `json:"features"`
	Strategies []struct {
		FeatureName string            `json:"featureName"`
		Name        string            `json:"name"`
		Parameters  map[string]string `json:"parameters"`
		Disabled    bool              `json:"disabled"`
		Segments    []any             `json:"segments"`
		Constraints []struct {
			Context  string   `json:"contextName"`
			Operator string   `json:"operator"`
			Values   []string `json:"values"`
			Inverted bool     `json:"inverted"`
		} `json:"constraints"`
	} `json:"featureStrategies"`
	Dependencies []struct {
		Feature string `json:"feature"`
		Parents []any  `json:"dependencies"`
	} `json:"dependencies"`
	ReleasePlans []struct {
		FeatureName string `json:"featureName"`
	} `json:"releasePlans"`
	Environments []struct {
		FeatureName string `json:"featureName"`
		Environment string `json:"environment"`
		Name        string `json:"name"`
		Enabled     bool   `json:"enabled"`
	} `json:"featureEnvironments"`
}

func importUnleash(b *builder, data []byte) error {
	var doc unleashExport
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	if doc.Features == nil {
		return fmt.Errorf(`no "features" in it`)
	}
	if len(doc.Features) > 0 && doc.Environments == nil {
		return fmt.Errorf(`no "featureEnvironments" in it: is it an environment's export?`)
	}
	enabled, seen, there := map[string]bool{}, map[string]bool{}, []string{}
	for _, e := range doc.Environments {
		env := e.Environment
		if env == "" {
			env = e.Name
		}
		if !slices.Contains(there, env) {
			there = append(there, env)
		}
		if b.opt.Environment == "" || env == b.opt.Environment {
			enabled[e.FeatureName], seen[env] = e.Enabled, true
		}
	}
	if len(seen) > 1 {
		return fmt.Errorf("it has several environments: say which with --source-environment: it has %s", strings.Join(there, ", "))
	}
	if len(seen) == 0 && len(there) > 0 {
		return fmt.Errorf("it has no environment %q: it has %s", b.opt.Environment, strings.Join(there, ", "))
	}
	for _, f := range doc.Features {
		if f.Archived {
			b.note(f.Name, Lost, "it is archived")
			continue
		}
		// Strategies are joined by or: whoever one of them turns on is on.
		out := feature{description: f.Description, rule: rule{enabled: enabled[f.Name]}}
		for _, s := range doc.Strategies {
			if s.FeatureName != f.Name || s.Disabled {
				continue
			}
			if by := s.Parameters["stickiness"]; by != "" && by != "default" && by != "random" && !isUser(by) {
				b.note(f.Name, Changed, "its percentages are dealt by %q there, and by user here", by)
			}
			served, err := unleashStrategy(s.Name, s.Parameters)
			if err != nil {
				b.note(f.Name, Lost, "strategy %s: %v", s.Name, err)
				continue
			}
			switch {
			case len(s.Segments) > 0 || len(s.Constraints) > 1:
				b.note(f.Name, Lost, "strategy %s: segments or several constraints at once", s.Name)
			case len(s.Constraints) == 0:
				if out.pct > 0 && served.pct > 0 {
					b.note(f.Name, Changed, "several percentages; the largest came along")
				}
				out.pct = max(out.pct, served.pct)
				out.cohorts = append(out.cohorts, served.cohorts...)
			default:
				c := s.Constraints[0]
				switch {
				case c.Inverted || c.Operator != "IN":
					b.note(f.Name, Lost, "strategy %s: a constraint by %s", s.Name, c.Operator)
				case isUser(c.Context) && served.pct == flags.Full:
					out.cohorts = append(out.cohorts, c.Values...)
				case isTenant(c.Context):
					for _, v := range c.Values {
						out.tenants = append(out.tenants, tenant{v, served})
					}
				default:
					b.note(f.Name, Lost, "strategy %s: a constraint on %s", s.Name, c.Context)
				}
			}
		}
		for _, d := range doc.Dependencies {
			if d.Feature == f.Name && len(d.Parents) > 0 {
				b.keptOff(f.Name, &out, "it depends on another feature")
			}
		}
		for _, p := range doc.ReleasePlans {
			if p.FeatureName == f.Name {
				b.note(f.Name, Lost, "its release plan; a ramp can take it up")
				break
			}
		}
		for i := range out.tenants { // or: a tenant is never below what everybody has
			t := &out.tenants[i]
			t.enabled, t.pct = out.enabled, max(t.pct, out.pct)
			t.cohorts = append(slices.Clone(out.cohorts), t.cohorts...)
		}
		b.redrawn(f.Name, out.pct)
		b.add(f.Name, out)
	}
	return nil
}

func unleashStrategy(name string, parameters map[string]string) (rule, error) {
	r := rule{enabled: true}
	share := func(key string) error {
		n, err := strconv.ParseFloat(parameters[key], 64)
		if err != nil {
			return fmt.Errorf("its %s is no number", key)
		}
		r.pct, err = percent(n)
		return err
	}
	switch name {
	case "default":
		r.pct = flags.Full
		return r, nil
	case "userWithId":
		for id := range strings.SplitSeq(parameters["userIds"], ",") {
			r.cohorts = append(r.cohorts, strings.TrimSpace(id))
		}
		return r, nil
	case "flexibleRollout":
		if s := parameters["stickiness"]; s == "random" {
			return r, fmt.Errorf("it draws at random at each request")
		}
		return r, share("rollout")
	case "gradualRolloutUserId":
		return r, share("percentage")
	}
	return r, fmt.Errorf("no such strategy here")
}
