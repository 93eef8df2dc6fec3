package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"

	"github.com/rampart-flags/rampart/flags"
)

// fliptExport is what "flipt export" writes (docs.flipt.io, "Export"): one document a namespace.
type fliptExport struct {
	Namespace any `yaml:"namespace"`
	Flags     []struct {
		Key         string `yaml:"key"`
		Description string `yaml:"description"`
		Type        string `yaml:"type"`
		Enabled     bool   `yaml:"enabled"`
		Rollouts    []struct {
			Segment *struct {
				Key   string   `yaml:"key"`
				Keys  []string `yaml:"keys"`
				Value bool     `yaml:"value"`
			} `yaml:"segment"`
			Threshold *struct {
				Percentage float64 `yaml:"percentage"`
				Value      bool    `yaml:"value"`
			} `yaml:"threshold"`
		} `yaml:"rollouts"`
	} `yaml:"flags"`
	Segments []fliptSegment `yaml:"segments"`
}

type fliptSegment struct {
	Key         string `yaml:"key"`
	MatchType   string `yaml:"match_type"`
	Constraints []struct {
		Type     string `yaml:"type"`
		Property string `yaml:"property"`
		Operator string `yaml:"operator"`
		Value    any    `yaml:"value"`
	} `yaml:"constraints"`
}

func importFlipt(b *builder, data []byte) error {
	doc, err := fliptNamespace(b, data)
	if err != nil {
		return err
	}
	segments := map[string]fliptSegment{}
	for _, s := range doc.Segments {
		segments[s.Key] = s
	}
	for _, f := range doc.Flags {
		if f.Type != "BOOLEAN_FLAG_TYPE" {
			b.note(f.Key, Lost, "it has variants; only boolean flags have a place here")
			continue
		}
		// A boolean flag answers by its first rollout that matches, else by "enabled".
		out := feature{description: f.Description, rule: rule{enabled: true}}
		if f.Enabled {
			out.pct = flags.Full
		}
		for i, r := range slices.Backward(f.Rollouts) {
			switch {
			case r.Threshold != nil:
				p, err := percent(r.Threshold.Percentage)
				if err != nil {
					return fmt.Errorf("flag %s, rollout %d: %w", f.Key, i+1, err)
				}
				fliptThreshold(b, f.Key, p, r.Threshold.Value, &out)
			case r.Segment != nil:
				keys := r.Segment.Keys
				if r.Segment.Key != "" {
					keys = append(keys, r.Segment.Key)
				}
				for _, key := range keys {
					fliptSegmentRule(b, f.Key, segments[key], key, r.Segment.Value, len(keys) == 1, &out)
				}
			}
		}
		b.redrawn(f.Key, out.pct)
		b.add(f.Key, out)
	}
	return nil
}

// fliptNamespace is the namespace to read: the only one, or the one that was asked for.
func fliptNamespace(b *builder, data []byte) (one fliptExport, err error) {
	found := 0
	var names []string
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc fliptExport
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return one, err
		}
		name := "default"
		switch n := doc.Namespace.(type) {
		case string:
			name = n
		case map[string]any:
			name = fmt.Sprint(n["key"])
		}
		names = append(names, name)
		if b.opt.Environment == "" || b.opt.Environment == name {
			one = doc
			found++
		}
	}
	switch {
	case found > 1:
		return one, fmt.Errorf("it has several namespaces: say which with --source-environment: it has %s", strings.Join(names, ", "))
	case found == 0:
		return one, fmt.Errorf("it has no namespace %q: it has %s", b.opt.Environment, strings.Join(names, ", "))
	case len(one.Flags) == 0:
		return one, errors.New(`no "flags" in it`)
	}
	return one, nil
}

// fliptThreshold: p percent get value, the others what follows.
func fliptThreshold(b *builder, flag string, p flags.Pct, value bool, out *feature) {
	switch {
	case value && out.pct == 0:
		out.pct = p
	case !value && out.pct == flags.Full:
		out.pct = flags.Full - p
	case p > 0:
		b.note(flag, Lost, "one percentage inside another; the smallest share that they can give came along")
		if value {
			out.pct = max(out.pct, p) // whoever one of them turns on is on
		} else {
			out.pct = max(0, out.pct-p) // p percent are off first, perhaps the same people
		}
	}
}

func fliptSegmentRule(b *builder, flag string, s fliptSegment, key string, value, alone bool, out *feature) {
	var property, kind string
	var values []string
	if alone && len(s.Constraints) == 1 {
		c := s.Constraints[0]
		property, kind, values = c.Property, c.Type, fliptValues(c.Operator, c.Value)
	}
	switch {
	case values != nil && value && (isUser(property) || kind == "ENTITY_ID_COMPARISON_TYPE"):
		out.listFirst(values)
	case values != nil && isTenant(property):
		for _, v := range values {
			t := rule{enabled: true}
			if value {
				t.pct = flags.Full
			}
			out.tenants = append([]tenant{{v, t}}, slices.DeleteFunc(out.tenants, func(t tenant) bool { return t.name == v })...)
		}
	case !value && out.above(0):
		b.keptOff(flag, out, "segment %q keeps some users off", key)
	default:
		b.note(flag, Lost, "segment %q: a list of users or a tenant cannot say it", key)
	}
}

func fliptValues(operator string, value any) []string {
	text, ok := value.(string)
	switch {
	case operator == "eq" && ok:
		return []string{text}
	case operator == "isoneof" && ok: // a JSON list in a string
		var list []string
		if err := json.Unmarshal([]byte(text), &list); err != nil {
			return nil
		}
		return list
	case operator == "isoneof":
		var list []string
		items, _ := value.([]any)
		for _, v := range items {
			list = append(list, fmt.Sprint(v))
		}
		return list
	}
	return nil
}
