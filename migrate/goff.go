package migrate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/rampart-flags/rampart/flags"
)

// goffFlag is a flag of GO Feature Flag's configuration file (gofeatureflag.org, "Create flags").
type goffFlag struct {
	Variations  map[string]any `yaml:"variations"`
	Targeting   []goffRule     `yaml:"targeting"`
	DefaultRule *goffRule      `yaml:"defaultRule"`
	Disable     bool           `yaml:"disable"`
	Metadata    map[string]any `yaml:"metadata"`
	Version     any            `yaml:"version"`
	Scheduled   []any          `yaml:"scheduledRollout"`
	Experiment  any            `yaml:"experimentation"`
	BucketBy    string         `yaml:"bucketingKey"`
}

type goffRule struct {
	Name        string             `yaml:"name"`
	Query       string             `yaml:"query"`
	Variation   string             `yaml:"variation"`
	Percentage  map[string]float64 `yaml:"percentage"`
	Progressive any                `yaml:"progressiveRollout"`
	Disable     bool               `yaml:"disable"`
}

func importGoff(b *builder, data []byte) error {
	return eachYAML(data, nil, func(name string, node *yaml.Node) error {
		var f goffFlag
		if err := node.Decode(&f); err != nil {
			return fmt.Errorf("flag %s: %w", name, err)
		}
		on := map[string]bool{}
		for v, value := range f.Variations {
			yes, boolean := value.(bool)
			if !boolean {
				b.note(name, Lost, "its variations are not true and false")
				return nil
			}
			on[v] = yes
		}
		var out feature
		if text, ok := f.Metadata["description"].(string); ok {
			out.description = text
		}
		if f.DefaultRule == nil {
			b.note(name, Lost, "it has no default rule; it is off here")
		} else {
			out.rule = goffServe(b, name, on, *f.DefaultRule)
		}
		out.enabled = true
		for _, r := range f.Targeting {
			if !r.Disable {
				goffTarget(b, name, on, r, &out)
			}
		}
		if f.Disable {
			out.offForAll()
		}
		if len(f.Scheduled) > 0 || f.Experiment != nil {
			b.note(name, Lost, "its schedule or experiment: what it serves now came along, what it would serve later did not")
		}
		if f.BucketBy != "" {
			b.note(name, Changed, "its percentages are dealt by %q there, and by user here", f.BucketBy)
		}
		b.redrawn(name, out.pct)
		b.add(name, out)
		return nil
	})
}

func goffServe(b *builder, flag string, on map[string]bool, r goffRule) rule {
	out := rule{enabled: true}
	switch {
	case r.Progressive != nil:
		b.note(flag, Lost, "its progressive rollout; it is off here, and a ramp can take it up")
	case len(r.Percentage) > 0:
		share := 0.0
		for v, p := range r.Percentage {
			if on[v] {
				share += p
			}
		}
		p, err := percent(share)
		if err != nil {
			b.note(flag, Lost, "its percentages: %v; it is off here", err)
		}
		out.pct = p
	case on[r.Variation]:
		out.pct = flags.Full
	}
	return out
}

var (
	// key eq "a", key == 'a', key in ["a", "b"]: what lists users or names one tenant.
	goffQuery = regexp.MustCompile(`^\s*([A-Za-z_][A-Za-z0-9_.]*)\s+(?:eq|==|in)\s+(\[[^\]]*\]|\([^)]*\)|"[^"]*"|'[^']*')\s*$`)
	quoted    = regexp.MustCompile(`"([^"]*)"|'([^']*)'`)
)

func goffTarget(b *builder, flag string, on map[string]bool, r goffRule, out *feature) {
	served := goffServe(b, flag, on, r)
	m := goffQuery.FindStringSubmatch(r.Query)
	if m == nil {
		m = []string{"", "", ""}
	}
	var values []string
	for _, q := range quoted.FindAllStringSubmatch(m[2], -1) {
		values = append(values, q[1]+q[2])
	}
	switch {
	case isUser(m[1]) && served.pct == flags.Full:
		b.turnsOn(flag, out)
		out.cohorts = append(out.cohorts, values...)
	case isTenant(m[1]):
		if served.pct > 0 {
			b.turnsOn(flag, out)
		}
		for _, v := range values {
			t := served
			t.cohorts = slices.Clone(out.cohorts) // what was listed before this rule
			if !slices.ContainsFunc(out.tenants, func(t tenant) bool { return t.name == v }) {
				out.tenants = append(out.tenants, tenant{v, t})
			}
		}
	case served.pct < out.pct:
		b.keptOff(flag, out, "rule %q (%s) keeps some users off", r.Name, strings.TrimSpace(r.Query))
	default:
		out.masked = out.masked || served.pct < flags.Full
		b.note(flag, Lost, "rule %q (%s): a list of users or a tenant cannot say it", r.Name, strings.TrimSpace(r.Query))
	}
}

// eachYAML calls fn for each member of a YAML (or JSON) mapping, in order; below the path where one is given.
func eachYAML(data []byte, path []string, fn func(name string, node *yaml.Node) error) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return err
	}
	if len(doc.Content) != 1 {
		return fmt.Errorf("the file is empty")
	}
	node := doc.Content[0]
	for _, key := range path {
		node = child(node, key)
		if node == nil {
			return fmt.Errorf("no %q in it", key)
		}
	}
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: want a mapping of flags", node.Line)
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if err := fn(node.Content[i].Value, node.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func child(node *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}
