package migrate

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// flagdFlag is a flag of flagd's definition (flagd.dev, "Flag definitions").
type flagdFlag struct {
	State          string                    `json:"state"`
	Variants       map[string]jsontext.Value `json:"variants"`
	DefaultVariant string                    `json:"defaultVariant"`
	Targeting      any                       `json:"targeting"`
	Metadata       map[string]any            `json:"metadata"`
}

func importFlagd(b *builder, data []byte) error {
	var doc struct {
		Flags      jsontext.Value `json:"flags"`
		Evaluators map[string]any `json:"$evaluators"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	all, err := flagdFlags(doc.Flags)
	if err != nil {
		return err
	}
	for _, m := range all {
		var f flagdFlag
		if err := json.Unmarshal(m.value, &f); err != nil {
			return fmt.Errorf("flag %s: %w", m.name, err)
		}
		on := map[string]bool{}
		boolean := true
		for name, v := range f.Variants {
			switch string(v) {
			case "true", "false":
				on[name] = string(v) == "true"
			default:
				boolean = false
			}
		}
		if !boolean || len(on) == 0 {
			b.note(m.name, Lost, "its variants are not true and false")
			continue
		}
		g := flagd{b: b, flag: m.name, on: on, evaluators: doc.Evaluators}
		out := feature{rule: g.fallback(f.DefaultVariant)}
		if f.DefaultVariant == "" {
			b.note(m.name, Lost, "it has no default variant: the value in the code decided; here it is off where no rule decides")
		}
		if text, ok := f.Metadata["description"].(string); ok {
			out.description = text
		}
		if targeting, ok := f.Targeting.(map[string]any); ok && len(targeting) > 0 {
			g.targeting(targeting, &out)
		}
		if f.State == "DISABLED" {
			out.offForAll()
		} else {
			out.enabled = true
		}
		b.redrawn(m.name, out.pct)
		b.add(m.name, out)
	}
	return nil
}

// flagdFlags are the flags of a definition, which has them by name or in a list with keys.
func flagdFlags(raw jsontext.Value) (all members, err error) {
	switch raw.Kind() {
	case '{':
		return all, json.Unmarshal(raw, &all)
	case '[':
		var list []jsontext.Value
		if err := json.Unmarshal(raw, &list); err != nil {
			return nil, err
		}
		for i, value := range list {
			var f struct {
				Key string `json:"key"`
			}
			if err := json.Unmarshal(value, &f); err != nil {
				return nil, fmt.Errorf("flag %d: %w", i+1, err)
			}
			if f.Key == "" {
				return nil, fmt.Errorf("flag %d: it has no key", i+1)
			}
			all = append(all, member{f.Key, value})
		}
		return all, nil
	}
	return nil, fmt.Errorf(`no "flags" in it`)
}

type flagd struct {
	b          *builder
	flag       string
	on         map[string]bool
	evaluators map[string]any
}

func (g flagd) fallback(variant string) rule {
	if g.on[variant] {
		return rule{enabled: true, pct: flags.Full}
	}
	return rule{enabled: true}
}

// targeting reads JsonLogic: a chain of ifs over lists of users and tenants that ends in a fractional, a variant or nothing.
func (g flagd) targeting(t any, out *feature) {
	switch t := t.(type) {
	case nil: // the default variant
	case string:
		out.rule = g.fallback(t)
	case bool:
		out.rule = rule{enabled: true}
		if t {
			out.pct = flags.Full
		}
	case map[string]any:
		for op, arg := range t { // one operator an object
			args, _ := arg.([]any)
			switch {
			case op == "if" && len(args) >= 2:
				g.chain(args, out)
			case op == "fractional":
				g.fractional(args, out)
			case op == "$ref":
				name, _ := arg.(string)
				g.targeting(g.evaluators[name], out)
			default:
				g.lost(op, out)
			}
		}
	default:
		g.lost(fmt.Sprint(t), out)
	}
}

func (g flagd) lost(what string, out *feature) {
	g.b.note(g.flag, Lost, "its targeting by %q; it is off here for those whom that decided", what)
	out.pct = 0
}

// chain is condition, result, condition, result and so on, with what else where their number is odd.
func (g flagd) chain(args []any, out *feature) {
	n := len(args)
	if n%2 == 1 {
		n--
		g.targeting(args[n], out)
	}
	for i := n - 2; i >= 0; i -= 2 {
		g.branch(args[i], args[i+1], out)
	}
}

// branch is "if condition then": the condition is read where it lists users or names a tenant.
func (g flagd) branch(condition, then any, out *feature) {
	attribute, values := comparison(condition)
	served := feature{}
	switch t := then.(type) {
	case string, bool, map[string]any:
		g.targeting(t, &served)
	}
	served.enabled = true
	switch {
	case isUser(attribute) && served.pct == flags.Full:
		out.listFirst(values)
	case isTenant(attribute):
		for _, v := range values {
			r := served.rule
			r.cohorts = slices.Clone(served.cohorts)
			out.tenants = append([]tenant{{v, r}}, slices.DeleteFunc(out.tenants, func(t tenant) bool { return t.name == v })...)
		}
	case out.above(served.pct):
		g.b.keptOff(g.flag, out, "a rule of its targeting keeps some users off")
	default:
		g.b.note(g.flag, Lost, "a rule of its targeting that a list of users or a tenant cannot say")
	}
}

func (g flagd) fractional(args []any, out *feature) {
	total, share := 0.0, 0.0
	for _, a := range args {
		pair, ok := a.([]any)
		if !ok || len(pair) == 0 {
			continue // what it buckets by
		}
		name, plain := pair[0].(string)
		weight := 1.0
		if len(pair) > 1 {
			number, ok := pair[1].(float64)
			weight, plain = number, plain && ok
		}
		if !plain { // a rule inside: any share could come of it
			g.lost("fractional with rules in it", out)
			return
		}
		total += weight
		if g.on[name] {
			share += weight
		}
	}
	if total <= 0 {
		g.lost("fractional", out)
		return
	}
	p, err := percent(100 * share / total)
	if err != nil {
		g.lost("fractional", out)
		return
	}
	out.pct, out.enabled = p, true
}

// comparison reads {"in":[{"var":"x"},[…]]} and {"==":[{"var":"x"},"v"]}, either way round.
func comparison(c any) (attribute string, values []string) {
	m, ok := c.(map[string]any)
	if !ok || len(m) != 1 {
		return "", nil
	}
	for op, arg := range m {
		args, _ := arg.([]any)
		if len(args) != 2 || (op != "in" && op != "==" && op != "===") {
			return "", nil
		}
		for i, a := range args {
			v, ok := a.(map[string]any)
			if !ok {
				continue
			}
			attribute, _ = v["var"].(string)
			if path, ok := v["var"].([]any); ok && len(path) > 0 {
				attribute, _ = path[0].(string)
			}
			switch other := args[1-i].(type) {
			case string:
				if op == "in" {
					return "", nil // part of a string
				}
				values = []string{other}
			case []any:
				for _, x := range other {
					if s, ok := x.(string); ok {
						values = append(values, s)
					}
				}
			}
			return attribute, values
		}
	}
	return "", nil
}

func isUser(attribute string) bool {
	return slices.Contains([]string{"targetingKey", "key", "userId", "userID", "user_id", "user", "id", "entityId"}, attribute)
}

func isTenant(attribute string) bool {
	return slices.Contains([]string{"tenant", "tenantId", "tenantID", "tenant_id", "organization", "org", "orgId", "account", "accountId"}, attribute)
}

// members is a JSON object in the order of the document.
type members []member

type member struct {
	name  string
	value jsontext.Value
}

func (m *members) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() != '{' {
		return fmt.Errorf("want an object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	*m = members{}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return err
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		*m = append(*m, member{key, slices.Clone(value)})
	}
	_, err := dec.ReadToken()
	return err
}

// exportFlagd writes a definition that flagd and its providers read. flagd buckets by its own hash.
func exportFlagd(s *flags.Spec) ([]byte, []Note, error) {
	var notes []Note
	out := object{}
	for _, name := range s.Features() {
		entry, _ := s.Entry(name, flags.DefaultTenant)
		f := object{{"state", state(entry.Enabled)}, {"variants", object{{"on", true}, {"off", false}}}, {"defaultVariant", "off"}}
		targeting, ns := flagdRule(name, entry)
		notes = append(notes, ns...)
		for tenantName := range s.Feature(name).Tenants() {
			e, _ := s.Entry(name, tenantName)
			then, ns := flagdRule(name, e)
			notes = append(notes, ns...)
			switch {
			case !e.Enabled:
				then = "off"
			case !entry.Enabled:
				notes = append(notes, Note{name, Lost, "tenant " + tenantName + " is on while the feature is off: flagd switches a flag off for everybody"})
			}
			targeting = object{{"if", []any{object{{"==", []any{object{{"var", "tenant"}}, tenantName}}}, then, targeting}}}
		}
		f = append(f, field{"targeting", targetingObject(targeting)})
		out = append(out, field{name, f})
	}
	doc := object{{"$schema", "https://flagd.dev/schema/v0/flags.json"}, {"flags", out}}
	data, err := json.Marshal(doc, jsontext.Multiline(true), jsontext.WithIndent("  "))
	if err != nil {
		return nil, nil, fmt.Errorf("writing flagd's definition: %w", err)
	}
	return append(data, '\n'), notes, nil
}

// targetingObject: flagd wants an object, so a bare variant becomes a rule that always holds.
func targetingObject(t any) any {
	if variant, ok := t.(string); ok {
		return object{{"if", []any{true, variant}}}
	}
	return t
}

func state(enabled bool) string {
	if enabled {
		return "ENABLED"
	}
	return "DISABLED"
}

// flagdRule is one entry as JsonLogic: listed users are on, the others by percentage.
func flagdRule(name string, e flags.Entry) (any, []Note) {
	var notes []Note
	var rest any = "off"
	switch {
	case e.Pct >= flags.Full:
		rest = "on"
	case e.Pct > 0:
		notes = append(notes, Note{name, Changed, fmt.Sprintf("%s %% stay %s %%, but of other users: flagd buckets its own way", e.Pct, e.Pct)})
		rest = object{{"fractional", []any{
			[]any{"on", int(e.Pct)}, []any{"off", int(flags.Full - e.Pct)},
		}}}
	}
	var plain []string
	hashed := 0
	for _, c := range e.Cohorts {
		if len(c) > 7 && c[:7] == "sha256:" {
			hashed++
			continue
		}
		plain = append(plain, c)
	}
	if hashed > 0 {
		notes = append(notes, Note{name, Lost, fmt.Sprintf("%d hashed members: flagd cannot match them", hashed)})
	}
	if len(plain) > 0 && rest != "on" {
		rest = object{{"if", []any{object{{"in", []any{object{{"var", "targetingKey"}}, plain}}}, "on", rest}}}
	}
	return rest, notes
}
