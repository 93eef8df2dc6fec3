package migrate

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// olderEntry is what the older clients keep under <namespace><flag>:<tenant>.
type olderEntry struct {
	Version string     `json:"version"`
	Enabled *bool      `json:"enabled"`
	Pct     *flags.Pct `json:"ramp_pct"`
	Cohorts []string   `json:"cohorts"`
	Salt    string     `json:"salt"`
}

// importSeed reads the older controller's {"version", "features": {name: {pct, cohorts}}}, its features alone, and the older
// clients' FLAGS_JSON, a map of "flag:tenant" to its configuration.
func importSeed(b *builder, data []byte) error {
	var doc struct {
		Version  string  `json:"version"`
		Features members `json:"features"`
	}
	var all members
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	isEntry := func(m member) bool { return strings.Contains(m.name, ":") }
	switch {
	case slices.ContainsFunc(all, func(m member) bool { return m.name == "features" }):
		if err := json.Unmarshal(data, &doc); err != nil {
			return err
		}
	case slices.ContainsFunc(all, isEntry):
		return b.olderEntries(all)
	default:
		doc.Features = all
	}
	b.version = doc.Version
	for _, m := range doc.Features {
		var f struct {
			Pct     *flags.Pct `json:"pct"`
			Cohorts []string   `json:"cohorts"`
			Enabled *bool      `json:"enabled"`
		}
		if err := json.Unmarshal(m.value, &f); err != nil {
			return fmt.Errorf("feature %s: %w", m.name, err)
		}
		// The older controller reads a missing percentage as 0.
		r := rule{enabled: f.Enabled == nil || *f.Enabled, cohorts: f.Cohorts}
		if f.Pct != nil {
			r.pct = *f.Pct
		}
		b.add(m.name, feature{rule: r})
	}
	return nil
}

// importRedisDump reads keys with their values: one JSON object {"key": "value"}, or one JSON object a line with "key" and
// "value", as dump tools write. Whatever stands before "<flag>:<tenant>" is the namespace.
func importRedisDump(b *builder, data []byte) error {
	var all members
	if err := json.Unmarshal(data, &all); err == nil && !(len(all) > 0 && slices.ContainsFunc(all, func(m member) bool { return m.name == "key" })) {
		return b.olderEntries(all)
	}
	all = nil
	in := bufio.NewScanner(bytes.NewReader(data))
	in.Buffer(nil, 4<<20)
	for n := 1; in.Scan(); n++ {
		if len(bytes.TrimSpace(in.Bytes())) == 0 {
			continue
		}
		var line struct {
			Key   string         `json:"key"`
			Value jsontext.Value `json:"value"`
		}
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		all = append(all, member{line.Key, line.Value})
	}
	if err := in.Err(); err != nil {
		return err
	}
	return b.olderEntries(all)
}

func (b *builder) olderEntries(all members) error {
	byFlag := map[string]*feature{}
	var order []string
	for _, m := range all {
		parts := strings.Split(m.name, ":")
		if len(parts) < 2 {
			b.note(m.name, Lost, "no key of an entry: want <flag>:<tenant>")
			continue
		}
		flag, tenantName := parts[len(parts)-2], parts[len(parts)-1]
		raw := m.value
		if raw.Kind() == '"' { // a JSON document in a string
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			raw = jsontext.Value(text)
		}
		var e olderEntry
		if err := json.Unmarshal(raw, &e); err != nil || e.Enabled == nil {
			b.note(m.name, Lost, "its value is no entry: it does not say enabled")
			continue
		}
		f := byFlag[flag]
		if f == nil {
			f = &feature{rule: rule{enabled: false}}
			byFlag[flag] = f
			order = append(order, flag)
		}
		r := rule{enabled: *e.Enabled, cohorts: e.Cohorts, salt: e.Salt, pct: flags.Full} // a missing percentage is 100
		if e.Pct != nil {
			r.pct = *e.Pct
		}
		if tenantName == flags.DefaultTenant {
			f.rule, f.version = r, e.Version
		} else {
			f.tenants = append(f.tenants, tenant{tenantName, r})
		}
	}
	for _, flag := range order {
		b.add(flag, *byFlag[flag])
	}
	return nil
}

// Targets are the formats that [Export] writes.
func Targets() []string { return []string{"flagd", "seed"} }

// Export writes a spec in another system's format, with notes on what could not be carried.
func Export(to string, s *flags.Spec) ([]byte, []Note, error) {
	switch to {
	case "flagd":
		return exportFlagd(s)
	case "seed":
		return exportSeed(s)
	}
	return nil, nil, fmt.Errorf("%w %q: want one of %s", ErrUnknown, to, strings.Join(Targets(), ", "))
}

// exportSeed writes the older {"version", "features": {name: {pct, cohorts}}}.
func exportSeed(s *flags.Spec) ([]byte, []Note, error) {
	var notes []Note
	out := object{}
	for _, name := range s.Features() {
		e, _ := s.Entry(name, flags.DefaultTenant)
		if n := s.Feature(name).TenantCount(); n > 0 {
			notes = append(notes, Note{name, Lost, fmt.Sprintf("%d tenants: the older format has none", n)})
		}
		pct := e.Pct
		if !e.Enabled {
			notes = append(notes, Note{name, Changed, "it is off: the older format says so with 0 % and no cohorts"})
			pct, e.Cohorts = 0, nil
		}
		if !pct.Whole() {
			pct -= pct % 1000
			notes = append(notes, Note{name, Changed, fmt.Sprintf("%s %% became %s %%: the older format has whole numbers", e.Pct, pct)})
		}
		if e.Salt != "" {
			notes = append(notes, Note{name, Changed, "its salt is gone: the percentage draws other users"})
		}
		cohorts := e.Cohorts
		if cohorts == nil {
			cohorts = []string{}
		}
		out = append(out, field{name, object{{"pct", pct}, {"cohorts", cohorts}}})
	}
	data, err := json.Marshal(object{{"version", s.Version}, {"features", out}}, jsontext.Multiline(true), jsontext.WithIndent("  "))
	if err != nil {
		return nil, nil, fmt.Errorf("writing the older format: %w", err)
	}
	return append(data, '\n'), notes, nil
}
