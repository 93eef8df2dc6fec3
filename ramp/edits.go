package ramp

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// Edits are the changes to the document that the outcomes ask for: each percentage that moves, the
// record of the step beside it, and ramp number n on every entry that it touches. evidence is the
// digest of the record that the run leaves, or "". The document's own version is not among them.
//
// A run that moves a hundred thousand entries leaves shorter records on tenants, so that the document
// stays within its limit: first without words, then without the evidence's digest, then none. The
// words are in the evidence and follow from it.
func Edits(spec *flags.Spec, all []Outcome, n int, now time.Time, evidence string) []flags.EditOp {
	var ops []flags.EditOp
	moved := make(map[flags.Key]bool, len(all))
	steps := 0
	for i := range all {
		if o := &all[i]; o.Moves() {
			moved[o.Key()] = o.Action != Hold
			steps++
		}
	}
	form := formFor(spec.Bytes(), all)
	ops = make([]flags.EditOp, 0, 3*steps)
	for i := range all {
		o := &all[i]
		if !o.Moves() {
			continue
		}
		f := spec.Feature(o.Feature)
		pointer := "/features/" + o.Feature
		kept := wordy
		if o.Tenant != flags.DefaultTenant {
			pointer += "/tenants/" + o.Tenant
			kept = form
		}
		if o.Action != Hold {
			ops = append(ops,
				flags.EditOp{Pointer: pointer + "/pct", Value: jsontext.Value(o.To.String())},
				flags.EditOp{Pointer: pointer + "/version", Value: stampOf(f.Entry(o.Tenant).Version, n)})
			if o.Tenant == flags.DefaultTenant {
				ops = append(ops, followers(f, n, moved)...)
			}
		}
		if kept != unrecorded || o.Resumed {
			ops = append(ops, flags.EditOp{Pointer: pointer + "/ramped", Value: o.record(o.moment(f, now), evidence, kept)})
		}
	}
	return ops
}

// moment is when the step was decided. A way down is never dated before the step that it takes back: where this clock is behind the
// one of that step, its record would not fit, and the lowering would be refused.
func (o *Outcome) moment(f *flags.Feature, now time.Time) time.Time {
	own := f.Own
	if o.Tenant != flags.DefaultTenant {
		own = f.Tenant(o.Tenant)
	}
	if o.Action.Lowers() && own != nil && own.Ramped != nil && own.Ramped.At.After(now) {
		return own.Ramped.At
	}
	return now
}

// form is how much of a step a tenant's `ramped` record keeps.
type form int

const (
	unrecorded form = iota
	bare            // when, from and to
	brief           // and the evidence
	wordy           // and verdict and reason
)

// formFor is the fullest form that the document has room for. It adds up what the records will take,
// laid out as the document is.
func formFor(src []byte, all []Outcome) form {
	const (
		limit   = 32<<20 - 128<<10 // flags.Decode's, and some room for what else changes
		version = len(`"version": "v1+ramp.12345",`)
		record  = len(`"ramped": { },`) + len(`"at": "2026-11-22T04:07:00Z",`) + len(`"from": 12.345,`) + len(`"to": 12.345`)
		digest  = len(`,"evidence": "sha256:`) + 64 + len(`"`)
		words   = len(`,"verdict": "green","reason": ""`)
	)
	margin := indentOf(src)
	room := limit - len(src)
	tenants, said := 0, 0
	for i := range all {
		switch o := &all[i]; {
		case !o.Moves():
		case o.Tenant == flags.DefaultTenant:
			room -= version + record + digest + words + len(o.Reason) + 9*margin
		default:
			tenants++
			said += len(o.Reason)
		}
	}
	switch {
	case tenants*(version+record+digest+words+9*margin)+said <= room:
		return wordy
	case tenants*(version+record+digest+7*margin) <= room:
		return brief
	case tenants*(version+record+6*margin) <= room:
		return bare
	}
	return unrecorded
}

// indentOf is how much a line of the document is indented where it is indented most.
func indentOf(src []byte) int {
	const sample = 64 << 10
	most, run, lineStart := 0, 0, false
	for _, c := range src[:min(len(src), sample)] {
		switch {
		case c == '\n':
			run, lineStart = 1, true
		case lineStart && (c == ' ' || c == '\t'):
			run++
		default:
			if lineStart {
				most = max(most, run)
			}
			lineStart = false
		}
	}
	if most == 0 {
		return 0
	}
	return most
}

// followers stamps the tenants that follow the feature's percentage under a version of their own.
func followers(f *flags.Feature, n int, moved map[flags.Key]bool) (ops []flags.EditOp) {
	for tenant, own := range f.Tenants() {
		if own.Pct == nil && own.Version != "" && !moved[flags.Key{Feature: f.Name, Tenant: tenant}] {
			ops = append(ops, flags.EditOp{Pointer: "/features/" + f.Name + "/tenants/" + tenant + "/version", Value: stampOf(own.Version, n)})
		}
	}
	return ops
}

func stampOf(version string, n int) jsontext.Value {
	v, err := flags.ParseVersion(version)
	if err != nil { // a decoded spec has no such version
		v = flags.Version{Base: "v1"}
	}
	return quoted(nil, v.With(n).String())
}

// record is the `ramped` object of a step, members in the order of the documentation. Aborts and
// resumes always say so, because histories are read by it.
func (o *Outcome) record(now time.Time, evidence string, kept form) jsontext.Value {
	room := make([]byte, 0, 200+len(o.Reason))
	v := append(quoted(append(room, `{ "at": `...), stamp(now)), `, "from": `...)
	v = append(append(v, o.From.String()...), `, "to": `...)
	v = append(v, o.To.String()...)
	switch {
	case kept == wordy || o.Resumed:
		v = quoted(append(v, `, "verdict": `...), o.Verdict.String())
		v = quoted(append(v, `, "reason": `...), o.Reason)
	case o.Action == Abort:
		v = quoted(append(v, `, "reason": `...), abortedPrefix+o.To.String())
	}
	if evidence != "" && kept >= brief {
		v = quoted(append(v, `, "evidence": `...), evidence)
	}
	return append(v, " }"...)
}

func quoted(dst []byte, s string) jsontext.Value {
	out, _ := jsontext.AppendQuote(dst, s) // invalid UTF-8 becomes U+FFFD
	return out
}
