package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// A merge of specs is by meaning, not by line: the unit is a field of a feature or of a tenant. Who
// stands in cohorts and segments is merged member by member, since both are sets. Versions and the
// previous digest are nobody's opinion: the result gets its own.

// clash is one field that both sides changed, to different values. An empty value means that the
// side removed it.
type clash struct {
	Path   string `json:"path"` // "receipts pct", "receipts acme enabled"
	Base   string `json:"base"`
	Ours   string `json:"ours"`
	Theirs string `json:"theirs"`

	pointer string
	theirs  jsontext.Value
}

func (c clash) String() string {
	return fmt.Sprintf("%s: was %s, ours %s, theirs %s", c.Path, orNothing(c.Base), orNothing(c.Ours), orNothing(c.Theirs))
}

func orNothing(s string) string { return cmp.Or(s, "nothing") }

// members are an object's members, still encoded.
type members map[string]jsontext.Value

// parts takes an object apart; what is no object has no parts.
func parts(v jsontext.Value) members {
	m := members{}
	if len(v) > 0 {
		_ = json.Unmarshal(v, &m)
	}
	return m
}

func has(m members, name string) bool { _, ok := m[name]; return ok }

// merger collects what must be done to ours.
type merger struct {
	edits   []flags.EditOp
	clashes []clash
}

// mergeSpecs finds the edits that bring into ours what theirs changed since base, and what cannot
// be decided. A nil base means that both began from nothing.
func mergeSpecs(base, ours, theirs *flags.Spec) (edits []flags.EditOp, clashes []clash) {
	var m merger
	b, o, t := members{}, parts(ours.Bytes()), parts(theirs.Bytes())
	if base != nil {
		b = parts(base.Bytes())
	}
	for _, name := range names(b, o, t) {
		switch name {
		case "version", "previous":
		case "features":
			m.children("/features", "", b[name], o[name], t[name], m.feature)
		case "segments":
			m.segments(b, o, t)
		default:
			m.field(pointerTo(name), name, b[name], o[name], t[name])
		}
	}
	return m.edits, m.clashes
}

func names(all ...members) []string {
	set := map[string]bool{}
	for _, m := range all {
		for name := range m {
			set[name] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// children merges the objects that stand under one object, such as features or tenants. Each is
// taken whole where one side added or removed it, and merged by one where both have it.
func (m *merger) children(pointer, path string, base, ours, theirs jsontext.Value, one func(pointer, path string, b, o, t jsontext.Value)) {
	b, o, t := parts(base), parts(ours), parts(theirs)
	for _, name := range names(b, o, t) {
		at, label := pointer+pointerTo(name), join(path, name)
		if has(o, name) && has(t, name) {
			one(at, label, b[name], o[name], t[name])
			continue
		}
		m.whole(at, label, b[name], o[name], t[name])
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + " " + name
}

func (m *merger) feature(pointer, path string, base, ours, theirs jsontext.Value) {
	b, o, t := parts(base), parts(ours), parts(theirs)
	for _, name := range names(b, o, t) {
		if name != "tenants" {
			m.entryField(pointer, path, name, b, o, t)
			continue
		}
		if !has(o, name) && has(t, name) && len(parts(b[name])) == 0 {
			m.edit(pointer+"/tenants", t[name])
			continue
		}
		m.children(pointer+"/tenants", path, b[name], o[name], t[name], func(pointer, path string, b, o, t jsontext.Value) {
			bm, om, tm := parts(b), parts(o), parts(t)
			for _, name := range names(bm, om, tm) {
				m.entryField(pointer, path, name, bm, om, tm)
			}
		})
	}
}

func (m *merger) entryField(pointer, path, name string, b, o, t members) {
	switch name {
	case "version":
	case "cohorts":
		m.list(pointer+pointerTo(name), join(path, name), b[name], o[name], t[name])
	default:
		m.field(pointer+pointerTo(name), join(path, name), b[name], o[name], t[name])
	}
}

func (m *merger) segments(b, o, t members) {
	const name = "segments"
	if !has(o, name) && has(t, name) && !has(b, name) {
		m.edit("/segments", t[name])
		return
	}
	bm, om, tm := parts(b[name]), parts(o[name]), parts(t[name])
	for _, s := range names(bm, om, tm) {
		m.list(pointerTo("segments", s), "segment "+s, bm[s], om[s], tm[s])
	}
}

// field merges one value as a whole.
func (m *merger) field(pointer, path string, base, ours, theirs jsontext.Value) {
	switch {
	case same(theirs, base), same(ours, theirs):
	case same(ours, base):
		m.edit(pointer, theirs)
	default:
		m.clashes = append(m.clashes, clash{path, short(base), short(ours), short(theirs), pointer, theirs})
	}
}

// whole is field for a feature or a tenant, whose versions do not count as content.
func (m *merger) whole(pointer, path string, base, ours, theirs jsontext.Value) {
	if theirs == nil && base != nil && sameContent(ours, base) || ours == nil && base != nil && sameContent(theirs, base) {
		if ours != nil {
			m.edit(pointer, nil)
		}
		return
	}
	m.field(pointer, path, base, ours, theirs)
}

// list merges two lists of members as sets, keeping the order of ours.
func (m *merger) list(pointer, path string, base, ours, theirs jsontext.Value) {
	if base == nil || ours == nil || theirs == nil || same(ours, base) {
		m.field(pointer, path, base, ours, theirs)
		return
	}
	b, o, t := listOf(base), listOf(ours), listOf(theirs)
	merged := slices.DeleteFunc(slices.Clone(o), func(s string) bool { return slices.Contains(b, s) && !slices.Contains(t, s) })
	for _, s := range t {
		if !slices.Contains(b, s) && !slices.Contains(merged, s) {
			merged = append(merged, s)
		}
	}
	if !slices.Equal(merged, o) {
		m.edit(pointer, texts(merged))
	}
}

func (m *merger) edit(pointer string, value jsontext.Value) {
	m.edits = append(m.edits, flags.EditOp{Pointer: pointer, Value: value})
}

func listOf(v jsontext.Value) (out []string) {
	_ = json.Unmarshal(v, &out) // a decoded spec has lists of strings only
	return out
}

// same compares two values by what they mean: nil is "not there".
func same(a, b jsontext.Value) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return bytes.Equal(canonical(a), canonical(b))
}

func canonical(v jsontext.Value) jsontext.Value {
	v = slices.Clone(v)
	_ = v.Canonicalize() // of a decoded spec
	return v
}

// sameContent is same for a feature or tenant, versions left out at each level.
func sameContent(a, b jsontext.Value) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return same(withoutVersions(a), withoutVersions(b))
}

func withoutVersions(v jsontext.Value) jsontext.Value {
	m := parts(v)
	delete(m, "version")
	if tenants, ok := m["tenants"]; ok {
		ts := parts(tenants)
		for name, t := range ts {
			ts[name] = withoutVersions(t)
		}
		m["tenants"] = encode(ts)
	}
	return encode(m)
}

// encode puts an object together again.
func encode(m members) jsontext.Value {
	v, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		panic(fmt.Sprintf("encoding what was decoded: %v", err))
	}
	return v
}

// short is a value for people.
func short(v jsontext.Value) string {
	if v == nil {
		return ""
	}
	s := string(canonical(v))
	if len(s) > 60 {
		return s[:57] + "…"
	}
	return s
}
