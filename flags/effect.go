package flags

import (
	"fmt"
	"slices"
	"strings"
)

// fields says of which of an entry's fields a change was seen.
type fields struct{ enabled, pct, cohorts, salt bool }

// reaches reports whether the entry turns anybody on.
func (e Entry) reaches() bool { return e.Enabled && (e.Pct > 0 || len(e.Cohorts) > 0) }

// entry appends what turns before into after. Rises is exact where one change
// stands alone: it is false only if nobody who was off can be on.
func (d *differ) entry(key Key, before, after Entry) (seen fields) {
	if before.Enabled == after.Enabled && before.Pct == after.Pct && before.Salt == after.Salt && sameMembers(before.Cohorts, after.Cohorts) {
		return seen
	}
	e := &entryDiff{differ: d, key: key, before: &before, after: &after}
	everybody := before.Enabled && before.Pct >= Full
	seen.enabled = before.Enabled != after.Enabled
	if seen.enabled {
		if after.Enabled {
			e.add(Enable, "off", "on", after.reaches())
		} else {
			e.add(Disable, "on", "off", false)
		}
	}
	if seen.pct = before.Pct != after.Pct; seen.pct {
		if after.Pct > before.Pct {
			e.add(RampUp, before.Pct.String(), after.Pct.String(), after.Enabled)
		} else {
			e.add(RampDown, before.Pct.String(), after.Pct.String(), false)
		}
	}
	if !sameMembers(before.Cohorts, after.Cohorts) {
		seen.cohorts = true
		e.cohorts(everybody)
	}
	if seen.salt = before.Salt != after.Salt; seen.salt {
		e.add(Salt, before.Salt, after.Salt, after.Enabled && after.Pct > 0 && !everybody)
	}
	return seen
}

type entryDiff struct {
	*differ
	key           Key
	before, after *Entry
}

func (e *entryDiff) add(kind Kind, from, to string, rises bool) {
	e.out = append(e.out, Change{Kind: kind, Feature: e.key.Feature, Tenant: e.key.Tenant,
		From: clip(from), To: clip(to), Rises: rises, Before: e.before, After: e.after})
}

func (e *entryDiff) cohorts(everybody bool) {
	gone, come := e.memberSets(e.before.Cohorts, e.after.Cohorts)
	if len(come) > 0 {
		e.add(CohortAdd, "", list(come), e.after.Enabled && !everybody)
		e.out[len(e.out)-1].Members = come
	}
	if len(gone) > 0 {
		e.add(CohortRemove, list(gone), "", false)
		e.out[len(e.out)-1].Members = gone
	}
	if len(come)+len(gone) == 0 {
		e.add(Meta, "one order", "another order", false)
		e.out[len(e.out)-1].Field = "cohorts"
	}
}

// memberSets are the members that only a has, and those that only b has.
func (d *differ) memberSets(a, b []string) (gone, come []string) {
	var key [2]*string
	if len(a) > 0 {
		key[0] = &a[0]
	}
	if len(b) > 0 {
		key[1] = &b[0]
	}
	if s, ok := d.sets[key]; ok {
		return s[0], s[1]
	}
	gone, come = missingFrom(b, a), missingFrom(a, b)
	d.sets[key] = [2][]string{gone, come}
	return gone, come
}

// missingFrom are the members of list that are not in set, each once.
func missingFrom(set, list []string) (out []string) {
	const few = 16
	if len(set) <= few {
		for _, m := range list {
			if !slices.Contains(set, m) && (len(out) > few || !slices.Contains(out, m)) {
				out = append(out, m)
			}
		}
	} else {
		in := make(map[string]struct{}, len(set))
		for _, m := range set {
			in[m] = struct{}{}
		}
		for _, m := range list {
			if _, ok := in[m]; !ok {
				out = append(out, m)
			}
		}
	}
	if len(out) > few {
		slices.Sort(out)
		out = slices.Compact(out)
	}
	return out
}

// list is a few members in words.
func list(members []string) string {
	const few = 3
	if len(members) <= few {
		return strings.Join(members, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(members[:few-1], ", "), len(members)-few+1)
}

// pinned names fields that are written down or no longer written down without
// any effect today. They matter tomorrow: a tenant with an "enabled" of its
// own does not follow when its feature is switched off. For a feature's own
// fields, which inherit from nowhere, only the way a cohort is written counts.
func (d *differ) pinned(key Key, oa, ob *Override, own bool, seen fields) {
	note := func(kind Kind, field string, was, is bool) {
		words := map[bool]string{false: "inherited", true: "its own"}
		d.out = append(d.out, Change{Kind: kind, Feature: key.Feature, Tenant: key.Tenant, Field: field, From: words[was], To: words[is]})
	}
	if !own {
		if (oa.Enabled != nil) != (ob.Enabled != nil) && !seen.enabled {
			note(Other, "enabled", oa.Enabled != nil, ob.Enabled != nil)
		}
		if (oa.Pct != nil) != (ob.Pct != nil) && !seen.pct {
			note(Other, "pct", oa.Pct != nil, ob.Pct != nil)
		}
		if (oa.Cohorts != nil) != (ob.Cohorts != nil) && !seen.cohorts {
			note(Other, "cohorts", oa.Cohorts != nil, ob.Cohorts != nil)
		}
		if (oa.Salt != "") != (ob.Salt != "") && !seen.salt {
			note(Other, "salt", oa.Salt != "", ob.Salt != "")
		}
	}
	if !seen.cohorts && len(oa.refs)+len(ob.refs) > 0 && oa.Cohorts != nil && ob.Cohorts != nil && !slices.Equal(oa.Cohorts, ob.Cohorts) {
		d.out = append(d.out, Change{Kind: Meta, Feature: key.Feature, Tenant: key.Tenant, Field: "cohorts", From: list(oa.Cohorts), To: list(ob.Cohorts)})
	}
}

// ChangedEntries are the entries that b sets anew and those that it no longer
// has, each sorted as [Spec.Entries] yields them. With a nil all are set. It is
// about the bytes in Redis, so that a version alone counts as well.
func ChangedEntries(a, b *Spec) (set, deleted []Key) {
	if a == nil {
		set = make([]Key, 0, b.entries)
		for key := range b.Entries() {
			set = append(set, key)
		}
		return set, nil
	}
	d := &differ{a: a, b: b}
	d.features(func(name string, fa, fb *Feature) {
		switch {
		case fa == nil:
			set = append(set, fb.keys()...)
		case fb == nil:
			deleted = append(deleted, fa.keys()...)
		default:
			set, deleted = changedIn(fa, fb, set, deleted)
		}
	})
	return set, deleted
}

func (f *Feature) keys() []Key {
	keys := make([]Key, 0, 1+len(f.rows))
	keys = append(keys, Key{f.Name, DefaultTenant})
	for i := range f.rows {
		keys = append(keys, Key{f.Name, f.row(i).name})
	}
	return keys
}

func changedIn(fa, fb *Feature, set, deleted []Key) ([]Key, []Key) {
	inherit := fa.def.Equal(fb.def)
	if !inherit {
		set = append(set, Key{fb.Name, DefaultTenant})
	}
	i, j := 0, 0
	for i < len(fa.rows) || j < len(fb.rows) {
		var ra, rb *tenantRow
		if i < len(fa.rows) {
			ra = fa.row(i)
		}
		if j < len(fb.rows) {
			rb = fb.row(j)
		}
		switch {
		case ra != nil && rb != nil && ra.name == rb.name:
			if (ra.over != rb.over || !inherit) && !fa.resolve(ra.over).Equal(fb.resolve(rb.over)) {
				set = append(set, Key{fb.Name, rb.name})
			}
			i, j = i+1, j+1
		case rb == nil || ra != nil && ra.name < rb.name:
			deleted = append(deleted, Key{fa.Name, ra.name})
			i++
		default:
			set = append(set, Key{fb.Name, rb.name})
			j++
		}
	}
	return set, deleted
}
