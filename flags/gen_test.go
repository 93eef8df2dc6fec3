package flags_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pgregory.net/rapid"
)

// doc is a spec as an author has it in mind; text writes it down in one of
// many ways.
type doc struct {
	schema, version, previous, env string
	segments                       []segment
	features                       []feature
	featuresFirst                  bool
}

type segment struct {
	name    string
	members []string
}

type feature struct {
	name, description, owner, ramp string
	own                            over
	tenants                        []tenant
}

type tenant struct {
	name string
	over
}

// over is what a feature or tenant says for itself; "" and -1 say nothing.
type over struct {
	enabled string
	pct     int // thousandths
	cohorts []string
	version string
	salt    string
	ramped  string
}

var (
	someNames   = []string{"attest", "receipts", "a", "a.b-c_d", "0"}
	someTenants = []string{"acme", "globex", "Acme", "t@example.com", "initech", "umbrella"}
	someMembers = []string{"A", "u1", "u2", "ü", "user \"x\"", "acme", "sha256:" + strings.Repeat("0a", 32)}
	someSegs    = []string{"beta", "staff"}
)

func draw[T any](t *rapid.T, label string, from ...T) T {
	return rapid.SampledFrom(from).Draw(t, label)
}

func chance(t *rapid.T, oneIn int) bool { return rapid.IntRange(1, oneIn).Draw(t, "chance") == 1 }

// subset draws some of list, in any order, each at most once.
func subset(t *rapid.T, list []string) []string {
	p := rapid.Permutation(list).Draw(t, "order")
	return p[:len(p)-rapid.IntRange(0, len(p)).Draw(t, "left out")] // small draws are the likely ones
}

func drawDoc(t *rapid.T) doc {
	d := doc{version: draw(t, "version", "flags-v1", "flags-v1+ramp.1", "flags-v1+ramp.7", "flags-v2+ramp+ramp"), featuresFirst: chance(t, 4)}
	d.env = draw(t, "env", "", "", "prod")
	d.schema = draw(t, "schema", "", "../schema/flags.schema.json")
	for _, name := range someSegs {
		d.segments = append(d.segments, segment{name, subset(t, someMembers)})
	}
	for _, name := range subset(t, someNames) {
		d.features = append(d.features, drawFeature(t, name))
	}
	return d
}

func drawFeature(t *rapid.T, name string) feature {
	f := feature{name: name, own: drawOver(t), description: draw(t, "description", "", "", "What it is for", "Ünïcode \"quoted\"\n")}
	f.owner = draw(t, "owner", "", "team-a", "team-b")
	if f.own.salt != "" || chance(t, 2) {
		f.ramp = draw(t, "ramp", "", "{}", `{"steps":[1,10,100]}`, `{"step_up":5,"bake":"1h","guards":{"x":1}}`)
	}
	for _, name := range subset(t, someTenants) {
		f.tenants = append(f.tenants, tenant{name, drawOver(t)})
	}
	return f
}

func drawOver(t *rapid.T) over {
	o := over{enabled: draw(t, "enabled", "", "", "true", "false"), pct: -1}
	o.salt = draw(t, "salt", "", "", "", "s1", "s2")
	switch rapid.IntRange(0, 3).Draw(t, "pct kind") {
	case 0, 1:
		o.pct = 1000 * draw(t, "pct", 0, 1, 10, 20, 50, 99, 100)
	case 2:
		if o.salt != "" {
			o.pct = rapid.IntRange(0, 100_000).Draw(t, "fine pct")
		}
	}
	if chance(t, 2) {
		o.cohorts = append([]string{}, subset(t, append(slices.Clone(someMembers), "@beta", "@staff"))...)
		if chance(t, 6) && len(o.cohorts) > 0 {
			o.cohorts = append(o.cohorts, o.cohorts[0])
		}
	}
	o.version = draw(t, "version", "", "", "v1", "v1+ramp.3", "v2")
	if chance(t, 6) {
		o.ramped = `{"at":"2026-11-2` + strconv.Itoa(rapid.IntRange(0, 9).Draw(t, "day")) + `T04:07:00Z","from":10,"to":20,"verdict":"green"}`
	}
	return o
}

// mutate is d with a few things changed.
func mutate(t *rapid.T, d doc) doc {
	d.features = slices.Clone(d.features)
	d.segments = slices.Clone(d.segments)
	for range draw(t, "mutations", 1, 2, 3, 0) {
		switch draw(t, "mutation", 4, 4, 4, 0, 1, 2, 3) {
		case 0:
			d.version = draw(t, "version", "flags-v1", "flags-v1+ramp.2", "flags-v1+ramp.8", "flags-v3")
		case 1:
			d.features = append(d.features, drawFeature(t, "fresh"))
			d.features = slices.CompactFunc(d.features, func(a, b feature) bool { return a.name == b.name })
		case 2:
			d.env = draw(t, "env", "", "prod", "staging")
			d.schema = draw(t, "schema", "", "x")
		case 3:
			i := rapid.IntRange(0, len(d.segments)-1).Draw(t, "segment")
			d.segments[i].members = subset(t, someMembers)
		default:
			if len(d.features) > 0 {
				mutateFeature(t, &d.features, rapid.IntRange(0, len(d.features)-1).Draw(t, "feature"))
			}
		}
	}
	seen := map[string]bool{}
	d.features = slices.DeleteFunc(d.features, func(f feature) bool {
		was := seen[f.name]
		seen[f.name] = true
		return was
	})
	return d
}

func mutateFeature(t *rapid.T, list *[]feature, i int) {
	f := &(*list)[i]
	f.tenants = slices.Clone(f.tenants)
	switch draw(t, "in feature", 7, 7, 7, 6, 5, 4, 3, 2, 1, 0) {
	case 0:
		*list = slices.Delete(*list, i, i+1)
	case 1:
		f.own = drawOver(t)
	case 2:
		f.description = draw(t, "description", "", "changed")
	case 3:
		f.ramp = draw(t, "ramp", "", "{}", `{"steps":[1,10,50]}`)
	case 4:
		if !slices.ContainsFunc(f.tenants, func(x tenant) bool { return x.name == "newcomer" }) {
			f.tenants = slices.Insert(f.tenants, rapid.IntRange(0, len(f.tenants)).Draw(t, "at"), tenant{"newcomer", drawOver(t)})
		}
	case 5:
		if n := len(f.tenants); n > 0 {
			j := rapid.IntRange(0, n-1).Draw(t, "tenant")
			f.tenants = slices.Delete(f.tenants, j, j+1)
		}
	case 6:
		if n := len(f.tenants); n > 0 {
			f.tenants[rapid.IntRange(0, n-1).Draw(t, "tenant")].over = drawOver(t)
		}
	default:
		if n := len(f.tenants); n > 0 && chance(t, 2) {
			o := &f.tenants[rapid.IntRange(0, n-1).Draw(t, "tenant")].over
			*o = tweak(t, *o, f.own.salt != "")
		} else {
			f.own = tweak(t, f.own, false)
		}
	}
}

// tweak is o with one field changed.
func tweak(t *rapid.T, o over, salted bool) over {
	fresh := drawOver(t)
	switch draw(t, "field", "pct", "enabled", "cohorts", "salt", "version", "ramped") {
	case "pct":
		if o.pct = draw(t, "pct", 20, 0, 1, 50, 99, 100, -1); o.pct > 0 {
			o.pct *= 1000
		}
		if salted && o.pct > 0 {
			o.pct -= 1
		}
	case "enabled":
		o.enabled = draw(t, "enabled", "true", "false", "")
	case "cohorts":
		o.cohorts = fresh.cohorts
	case "salt":
		if o.pct%1000 == 0 {
			o.salt = draw(t, "salt", "", "s1", "s2")
		} else {
			o.salt = draw(t, "salt", "s1", "s2")
		}
	case "version":
		o.version = fresh.version
	case "ramped":
		o.ramped = fresh.ramped
	}
	return o
}

// layout is a way of writing JSON.
type layout struct {
	newline, indent, colon, comma, pad string
	escape                             bool // names with needless escapes
}

func drawLayout(t *rapid.T) layout {
	return draw(t, "layout",
		layout{"\n", "  ", ": ", ",", "", false},
		layout{"\n", "\t", ":", ",", "", false},
		layout{"\r\n", "    ", " : ", ",", "", false},
		layout{"", "", ":", ",", "", false},
		layout{"", "", ": ", ", ", " ", false},
		layout{"\n", "  ", ": ", ",", "", true},
		layout{"\n\n", "", ":", ",", "", false})
}

type writer struct {
	layout
	b     bytes.Buffer
	depth int
	first bool
}

func (w *writer) open(c byte) { w.b.WriteByte(c); w.depth++; w.first = true }

func (w *writer) next() {
	if !w.first {
		w.b.WriteString(w.comma)
	}
	w.line()
	w.first = false
}

func (w *writer) line() {
	if w.newline != "" {
		w.b.WriteString(w.newline + strings.Repeat(w.indent, w.depth))
	} else if w.first {
		w.b.WriteString(w.pad)
	}
}

func (w *writer) close(c byte) {
	w.depth--
	if !w.first {
		w.first = true
		w.line()
	}
	w.first = false
	w.b.WriteByte(c)
}

func (w *writer) name(name string) {
	w.next()
	if w.escape && name != "" && name[0] < 0x80 {
		fmt.Fprintf(&w.b, `"\u%04x%s"`, name[0], name[1:])
	} else {
		w.b.WriteString(quote(name))
	}
	w.b.WriteString(w.colon)
}

func quote(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`)
	return `"` + strings.ReplaceAll(s, "\n", `\n`) + `"`
}

func (w *writer) text(name, value string) {
	if value != "" {
		w.name(name)
		w.b.WriteString(quote(value))
	}
}

func (w *writer) raw(name, value string) {
	if value != "" {
		w.name(name)
		w.b.WriteString(value)
	}
}

func (w *writer) list(name string, items []string) {
	w.name(name)
	w.open('[')
	for _, item := range items {
		w.next()
		w.b.WriteString(quote(item))
	}
	w.close(']')
}

func (w *writer) over(o over) {
	w.raw("enabled", o.enabled)
	if o.pct >= 0 {
		w.raw("pct", strconv.FormatFloat(float64(o.pct)/1000, 'f', -1, 64))
	}
	if o.cohorts != nil {
		w.list("cohorts", o.cohorts)
	}
	w.text("version", o.version)
	w.text("salt", o.salt)
	w.raw("ramped", o.ramped)
}

// text writes the spec.
func (d doc) text(l layout) []byte {
	w := &writer{layout: l}
	w.open('{')
	if d.featuresFirst {
		w.features(d.features)
	}
	w.text("$schema", d.schema)
	w.text("version", d.version)
	w.text("previous", d.previous)
	w.text("environment", d.env)
	if len(d.segments) > 0 {
		w.name("segments")
		w.open('{')
		for _, s := range d.segments {
			w.list(s.name, s.members)
		}
		w.close('}')
	}
	if !d.featuresFirst {
		w.features(d.features)
	}
	w.close('}')
	w.b.WriteString(l.newline)
	return w.b.Bytes()
}

func (w *writer) features(list []feature) {
	w.name("features")
	w.open('{')
	for _, f := range list {
		w.name(f.name)
		w.open('{')
		w.text("description", f.description)
		w.text("owner", f.owner)
		w.over(f.own)
		w.raw("ramp", f.ramp)
		if len(f.tenants) > 0 {
			w.name("tenants")
			w.open('{')
			for _, x := range f.tenants {
				w.name(x.name)
				w.open('{')
				w.over(x.over)
				w.close('}')
			}
			w.close('}')
		}
		w.close('}')
	}
	w.close('}')
}
