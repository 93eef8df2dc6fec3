package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

// wish is what a command line of set asks for. Nil and empty fields ask for nothing.
type wish struct {
	feature, tenant, segment string

	create, remove bool
	removeTenants  []string
	enabled        *bool
	pct            *string
	addCohort      []string
	removeCohort   []string
	salt           *string
	inherit        []string
	texts          map[string]*string // description, owner, expires
	environment    *string
}

// field is one member of a feature or tenant: a nil value means that it goes.
type field struct {
	name  string
	value jsontext.Value
}

// edits are the changes to the document that w asks for.
func (w wish) edits(spec *flags.Spec) ([]flags.EditOp, error) {
	var edits []flags.EditOp
	if w.environment != nil && (*w.environment != "" || spec.Environment != "") {
		edits = append(edits, flags.EditOp{Pointer: "/environment", Value: textOrNothing(*w.environment)})
	}
	if w.segment != "" {
		op, err := w.segmentEdit(spec)
		return append(edits, op), err
	}
	if w.feature == "" {
		return edits, nil
	}
	f := spec.Feature(w.feature)
	switch {
	case f == nil && !w.create:
		return nil, cli.Hint(noFeature(spec, w.feature), "to make it: propose set %s --new", w.feature)
	case f != nil && w.create:
		return nil, usage(cli.Hint(fmt.Errorf("feature %q exists", w.feature), "leave --new away to change it"))
	case w.remove:
		return append(edits, flags.EditOp{Pointer: pointerTo("features", w.feature)}), nil
	case w.create && w.tenant != "":
		return nil, usage(cli.Hint(errors.New("--new makes a feature, and --tenant speaks of a tenant of one that exists"), "make the feature first, then set its tenant"))
	case w.create:
		fields, err := w.fields(&flags.Feature{}, &flags.Override{}, nil)
		if err != nil {
			return nil, err
		}
		return append(edits, flags.EditOp{Pointer: pointerTo("features", w.feature), Value: object(withStart(fields))}), nil
	}
	more, err := w.featureEdits(f)
	return append(edits, more...), err
}

func (w wish) featureEdits(f *flags.Feature) (edits []flags.EditOp, err error) {
	pointer := pointerTo("features", f.Name)
	if edits, err = w.tenantRemovals(f); err != nil {
		return nil, err
	}
	own, inherited := f.Own, []string(nil)
	if w.tenant != "" {
		own, inherited = f.Tenant(w.tenant), f.Own.Cohorts
	}
	if own == nil {
		own = &flags.Override{}
	}
	fields, err := w.fields(f, own, inherited)
	if w.tenant != "" {
		pointer += pointerTo("tenants", w.tenant)
	}
	for _, fd := range fields {
		edits = append(edits, flags.EditOp{Pointer: pointer + "/" + fd.name, Value: fd.value})
	}
	return edits, err
}

func (w wish) tenantRemovals(f *flags.Feature) ([]flags.EditOp, error) {
	var edits []flags.EditOp
	for _, tenant := range w.removeTenants {
		if f.Tenant(tenant) == nil {
			var names []string
			for name := range f.Tenants() {
				names = append(names, name)
			}
			return nil, usage(nearHint(fmt.Errorf("feature %q has no entry for tenant %q", f.Name, tenant), tenant, names))
		}
		edits = append(edits, flags.EditOp{Pointer: pointerTo("features", f.Name, "tenants", tenant)})
	}
	if len(edits) > 0 && len(edits) == f.TenantCount() && w.tenant == "" {
		return []flags.EditOp{{Pointer: pointerTo("features", f.Name, "tenants")}}, nil
	}
	return edits, nil
}

// fields are the members to write for an entry of f that says own, and that without cohorts of its
// own has the inherited ones. What is not there is not removed.
func (w wish) fields(f *flags.Feature, own *flags.Override, inherited []string) (out []field, err error) {
	put := func(name string, was bool, value jsontext.Value) {
		if was || value != nil {
			out = append(out, field{name, value})
		}
	}
	for _, m := range []struct{ name, was string }{{"description", f.Description}, {"owner", f.Owner}, {"expires", f.Expires}} {
		if s := w.texts[m.name]; s != nil {
			put(m.name, m.was != "", textOrNothing(*s))
		}
	}
	if w.enabled != nil {
		put("enabled", true, jsontext.Value(fmt.Sprint(*w.enabled)))
	}
	if w.pct != nil {
		pct, err := flags.ParsePct(strings.TrimSuffix(*w.pct, "%"))
		if err != nil {
			return nil, usage(cli.Hint(fmt.Errorf("--pct %s: %w", *w.pct, err), "0 to 100, at most three decimals"))
		}
		put("pct", true, jsontext.Value(pct.String()))
		if own.Ramped != nil && (own.Pct == nil || *own.Pct != pct) {
			put("ramped", true, nil) // it tells of a step that is no longer the last
		}
	}
	if len(w.addCohort)+len(w.removeCohort) > 0 {
		cohorts := own.Cohorts
		if cohorts == nil {
			cohorts = inherited
		}
		if cohorts, err = editMembers(cohorts, w.addCohort, w.removeCohort); err != nil {
			return nil, err
		}
		put("cohorts", true, texts(cohorts))
	}
	if w.salt != nil {
		put("salt", own.Salt != "", textOrNothing(*w.salt))
	}
	owns := map[string]bool{"enabled": own.Enabled != nil, "pct": own.Pct != nil, "cohorts": own.Cohorts != nil, "salt": own.Salt != ""}
	for _, name := range w.inherit {
		was, known := owns[name]
		if !known {
			return nil, usage(cli.Hint(fmt.Errorf("--inherit %s: no such field of a tenant", name), "one of enabled, pct, cohorts, salt"))
		}
		put(name, was, nil)
	}
	return out, nil
}

// withStart makes a new feature reach nobody unless the command line said otherwise: left out, pct
// would mean everyone.
func withStart(fields []field) []field {
	if !slices.ContainsFunc(fields, func(f field) bool { return f.name == "pct" }) {
		fields = append(fields, field{"pct", jsontext.Value("0")})
	}
	return fields
}

func (w wish) segmentEdit(spec *flags.Spec) (flags.EditOp, error) {
	members, _ := spec.Segment(w.segment)
	edited, err := editMembers(members, w.addCohort, w.removeCohort)
	if err != nil {
		return flags.EditOp{}, err
	}
	return flags.EditOp{Pointer: pointerTo("segments", w.segment), Value: texts(edited)}, nil
}

// editMembers adds what is not there and takes away what must be there, keeping the order.
func editMembers(list, add, remove []string) ([]string, error) {
	list = slices.Clone(list)
	for _, m := range remove {
		i := slices.Index(list, m)
		if i < 0 {
			return nil, usage(nearHint(fmt.Errorf("%q is not among the cohorts", m), m, list))
		}
		list = slices.Delete(list, i, i+1)
	}
	for _, m := range add {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list, nil
}

// object is the fields that have a value as a JSON object, in their order.
func object(fields []field) jsontext.Value {
	var b bytes.Buffer
	b.WriteByte('{')
	for _, f := range fields {
		if f.value == nil {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(text(f.name))
		b.WriteByte(':')
		b.Write(f.value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

// pointerTo is the JSON pointer (RFC 6901) that leads through these names, whatever is in them.
func pointerTo(names ...string) string {
	var b strings.Builder
	for _, name := range names {
		b.WriteString("/" + pointerEscape.Replace(name))
	}
	return b.String()
}

func textOrNothing(s string) jsontext.Value {
	if s == "" {
		return nil
	}
	return text(s)
}

func usage(err error) error { return cli.Exit(cli.ExitUsage, err) }

func noFeature(spec *flags.Spec, name string) error {
	return usage(nearHint(fmt.Errorf("the spec has no feature %q", name), name, spec.Features()))
}

func nearHint(err error, word string, names []string) error {
	if near := cli.Nearest(word, names); near != "" {
		return cli.Hint(err, "did you mean %q?", near)
	}
	if len(names) == 0 || len(names) > 20 {
		return err
	}
	return cli.Hint(err, "there is: %s", strings.Join(names, ", "))
}
