// Package migrate carries flags from other systems into a spec, and out of one again, and says what could not be carried.
//
// Only boolean flags have a place in a spec. Nobody else's bucketing is ours, so a percentage keeps its size and draws other
// people; every import of one says so. What a rule asks beyond lists of users and one tenant is named, never approximated
// upwards: where a rule is lost, nobody is turned on who was off.
package migrate

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// ErrUnknown says that no such format is known. The message lists those that are.
var ErrUnknown = errors.New("unknown format")

// Note is one thing that the reader of an import must know.
type Note struct {
	Flag string `json:"flag,omitempty"` // as the other system names it
	Kind Kind   `json:"kind"`
	Text string `json:"text"`
}

// Kind says how grave a note is.
type Kind string

// The kinds of notes.
const (
	Lost    Kind = "lost"    // could not be carried; nobody is turned on by that
	Changed Kind = "changed" // carried in another form
)

func (n Note) String() string {
	if n.Flag == "" {
		return fmt.Sprintf("%s: %s", n.Kind, n.Text)
	}
	return fmt.Sprintf("%s: %s: %s", n.Kind, n.Flag, n.Text)
}

// Options shape an import.
type Options struct {
	// Environment is which of the source's environments is read, where it has several. Empty: the only one.
	Environment string
	// Bind is the environment that the new spec is bound to. Empty: none.
	Bind string
	// Version is the new spec's version. Empty: flags-v1.
	Version string
}

type importer func(*builder, []byte) error

var importers = map[string]importer{
	"flagd": importFlagd, "goff": importGoff, "flipt": importFlipt, "unleash": importUnleash,
	"launchdarkly": importLaunchDarkly, "redis-dump": importRedisDump, "seed": importSeed,
}

// Sources are the formats that [Import] reads, sorted.
func Sources() []string {
	names := make([]string, 0, len(importers))
	for n := range importers {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Import reads an export of another system and returns a valid spec, in the order of the source where it has one, and notes on
// what did not come along as it was. On error there is no spec.
func Import(from string, data []byte, opt Options) ([]byte, []Note, error) {
	read, ok := importers[from]
	if !ok {
		return nil, nil, fmt.Errorf("%w %q: want one of %s", ErrUnknown, from, strings.Join(Sources(), ", "))
	}
	b := &builder{opt: opt, names: map[string]string{}}
	if err := read(b, data); err != nil {
		return nil, nil, fmt.Errorf("reading a %s export: %w", from, err)
	}
	spec, err := b.spec()
	if err != nil {
		return nil, nil, err
	}
	if _, err := flags.Decode("imported flags.json", spec); err != nil {
		return nil, nil, fmt.Errorf("what came out of the %s export is not valid: %w", from, err)
	}
	return spec, b.notes, nil
}

// feature is what a flag becomes. Zero values of pct mean nobody.
type feature struct {
	name        string
	description string
	owner       string
	version     string
	rule
	tenants []tenant
	locked  bool // see keptOff
	masked  bool // a rule that was lost may keep somebody off whom a later rule turns on
}

type rule struct {
	enabled bool
	pct     flags.Pct
	cohorts []string
	salt    string
}

type tenant struct {
	name string
	rule
}

// listFirst turns users on before everything read so far is asked, for tenants as well.
func (f *feature) listFirst(users []string) {
	f.cohorts = append(f.cohorts, users...)
	for i := range f.tenants {
		f.tenants[i].cohorts = append(f.tenants[i].cohorts, users...)
	}
}

// above says whether anybody is on beyond a share: by the percentage, a list, or a tenant's own rule.
func (f *feature) above(p flags.Pct) bool {
	return p < flags.Full && (f.pct > p || len(f.cohorts) > 0 ||
		slices.ContainsFunc(f.tenants, func(t tenant) bool { return t.enabled && (t.pct > p || len(t.cohorts) > 0) }))
}

// offForAll is for a switch that stands above every rule: no tenant's rule turns anybody on.
func (f *feature) offForAll() {
	f.enabled = false
	for i := range f.tenants {
		f.tenants[i].enabled = false
	}
}

// keptOff is for a rule that keeps somebody off whom a spec would turn on. Off is the only safe reading.
func (b *builder) keptOff(flag string, f *feature, format string, args ...any) {
	b.note(flag, Lost, format+"; so that nobody is turned on by this import, it is off here until somebody has looked", args...)
	f.locked = true
}

// turnsOn is for a rule that turns somebody on, in formats where the first rule that fits decides. After
// one that was lost and may have kept the same people off, off is the only safe reading.
func (b *builder) turnsOn(flag string, f *feature) {
	if f.masked && !f.locked {
		b.keptOff(flag, f, "a later rule turns on whom an earlier one may keep off")
	}
}

type builder struct {
	opt      Options
	features []feature
	notes    []Note
	names    map[string]string // ours → theirs
	version  string
}

func (b *builder) note(flag string, k Kind, format string, args ...any) {
	b.notes = append(b.notes, Note{flag, k, fmt.Sprintf(format, args...)})
}

var notInName = regexp.MustCompile(`[^a-z0-9._-]+`)

// add gives the feature a valid, unused name and keeps it.
func (b *builder) add(theirs string, f feature) {
	name := ourName(theirs)
	if name == "" {
		b.note(theirs, Lost, "no letter or digit in its name is one that a feature may have")
		return
	}
	for n := 2; b.names[name] != ""; n++ {
		name = fmt.Sprintf("%s-%d", ourName(theirs), n)
	}
	b.names[name] = theirs
	if name != theirs {
		b.note(theirs, Changed, "is named %s here: feature names are lower case", name)
	}
	f.name = name
	if f.version != "" {
		if _, err := flags.ParseVersion(f.version); err != nil {
			b.note(theirs, Changed, "its version %q is none here and was dropped", f.version)
			f.version = ""
		}
	}
	f.rule = b.settle(theirs, name, f.rule)
	if f.locked {
		f.offForAll()
	}
	kept := f.tenants[:0]
	for _, t := range f.tenants {
		if !tenantName.MatchString(t.name) || t.name == flags.DefaultTenant {
			b.note(theirs, Lost, "tenant %q has no valid name", t.name)
			continue
		}
		if t.salt == "" && f.salt != "" {
			t.salt = f.salt
		}
		t.rule = b.settle(theirs, name, t.rule)
		kept = append(kept, t)
	}
	f.tenants = kept
	b.features = append(b.features, f)
}

var tenantName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$`)

// settle makes a rule one that a spec may hold.
func (b *builder) settle(theirs, name string, r rule) rule {
	if !r.pct.Whole() && r.salt == "" {
		r.salt = name // fractions need the finer, salted rule
	}
	cohorts := make([]string, 0, len(r.cohorts))
	for _, c := range r.cohorts {
		switch {
		case c == "" || len(c) > 256 || strings.HasPrefix(c, "@"):
			b.note(theirs, Lost, "%q can be no member of a cohort", c)
		case !slices.Contains(cohorts, c):
			cohorts = append(cohorts, c)
		}
	}
	r.cohorts = cohorts
	return r
}

// ourName is newCheckoutFlow → new-checkout-flow, kept as it is where it is valid.
func ourName(theirs string) string {
	var out strings.Builder
	var last rune
	for _, r := range theirs {
		if unicode.IsUpper(r) && (unicode.IsLower(last) || unicode.IsDigit(last)) {
			out.WriteByte('-')
		}
		out.WriteRune(unicode.ToLower(r))
		last = r
	}
	name := strings.Trim(notInName.ReplaceAllString(out.String(), "-"), "-._")
	return name[:min(len(name), 120)]
}

// percent turns a share into ours, rounded down: an import turns nobody on who need not be.
func percent(share float64) (flags.Pct, error) {
	if math.IsNaN(share) || share < 0 || share > 100 {
		return 0, fmt.Errorf("%v is no percentage", share)
	}
	return flags.Pct(math.Floor(share*1000 + 1e-6)), nil
}

// redrawn notes that a percentage draws other people than before.
func (b *builder) redrawn(flag string, p flags.Pct) {
	if p > 0 && p < flags.Full {
		b.note(flag, Changed, "%s %% stay %s %%, but of other users: every system buckets its own way", p, p)
	}
}

func (b *builder) spec() ([]byte, error) {
	version := b.opt.Version
	if _, err := flags.ParseVersion(b.version); version == "" && err == nil {
		version = b.version
	}
	if version == "" {
		version = "flags-v1"
	}
	doc := object{{"version", version}}
	if b.opt.Bind != "" {
		doc = append(doc, field{"environment", b.opt.Bind})
	}
	features := object{}
	for _, f := range b.features {
		o := object{}
		o = o.text("description", f.description).text("owner", f.owner)
		o = o.rule(f.rule, rule{enabled: true, pct: -1}).text("version", f.version)
		tenants := object{}
		for _, t := range f.tenants {
			tenants = append(tenants, field{t.name, object{}.rule(t.rule, f.rule)})
		}
		if len(tenants) > 0 {
			o = append(o, field{"tenants", tenants})
		}
		features = append(features, field{f.name, o})
	}
	doc = append(doc, field{"features", features})
	out, err := json.Marshal(doc, jsontext.Multiline(true), jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("writing the spec: %w", err)
	}
	return append(out, '\n'), nil
}

// object is a JSON object that keeps its order.
type object []field

type field struct {
	name  string
	value any
}

func (o object) MarshalJSONTo(enc *jsontext.Encoder) error {
	if err := enc.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, f := range o {
		if err := enc.WriteToken(jsontext.String(f.name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(enc, f.value); err != nil {
			return err
		}
	}
	return enc.WriteToken(jsontext.EndObject)
}

func (o object) text(name, value string) object {
	if value != "" {
		o = append(o, field{name, strings.ToValidUTF8(value, "�")})
	}
	return o
}

// rule writes what differs from the rule that is inherited.
func (o object) rule(r, from rule) object {
	if r.enabled != from.enabled {
		o = append(o, field{"enabled", r.enabled})
	}
	if r.pct != from.pct {
		o = append(o, field{"pct", r.pct})
	}
	if !slices.Equal(r.cohorts, from.cohorts) {
		o = append(o, field{"cohorts", r.cohorts})
	}
	if r.salt != from.salt {
		o = append(o, field{"salt", r.salt})
	}
	return o
}
