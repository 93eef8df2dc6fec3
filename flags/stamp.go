package flags

import (
	"fmt"
	"slices"
)

// stamped judges the feature's own version and ramped, which fit when they
// tell of the changes beside them; what does not fit goes where the feature's
// own changes end.
func (d *differ) stamped(fa, fb *Feature, start, ownEnd int) {
	var unfit []Change
	beside := len(d.out) > start
	if fa.def.Version != fb.def.Version && (!beside || !d.fits(fa.def.Version, fb.def.Version)) {
		unfit = append(unfit, Change{Kind: Meta, Feature: fa.Name, Tenant: DefaultTenant, Field: "version", From: clip(fa.def.Version), To: clip(fb.def.Version)})
	}
	if !rampedFits(fa.Own.Ramped, fb.Own.Ramped, fa.def.Pct, fb.def.Pct) {
		unfit = append(unfit, Change{Kind: Meta, Feature: fa.Name, Tenant: DefaultTenant, Field: "ramped", From: fa.Own.Ramped.summary(), To: fb.Own.Ramped.summary()})
	}
	d.out = slices.Insert(d.out, ownEnd, unfit...)
}

// fits reports whether an entry's version moved as a change of this spec
// stamps it: the same base, the spec's own number.
func (d *differ) fits(from, to string) bool {
	if d.a.Version == d.b.Version {
		return false
	}
	va, errA := ParseVersion(from)
	vb, errB := ParseVersion(to)
	spec, err := ParseVersion(d.b.Version)
	return errA == nil && errB == nil && err == nil && va.Base == vb.Base && vb.N == spec.N
}

// rampedFits reports whether the record of the last step tells of the step
// that is seen beside it.
func rampedFits(a, b *Ramped, from, to Pct) bool {
	switch {
	case a == b || a != nil && b != nil && a.equal(b):
		return true
	case from == to:
		return false
	case b == nil:
		return true // a person's change ends the record
	case b.From != from || b.To != to:
		return false
	case a != nil && b.At.Before(a.At):
		return false
	case a != nil && to > from && b.At.Equal(a.At):
		return false // the same moment is enough for a way down, which nothing may hold up
	case b.Verdict != "" && to > from:
		return b.Verdict == "green"
	}
	return true
}

func (r *Ramped) equal(o *Ramped) bool {
	return r.At.Equal(o.At) && r.From == o.From && r.To == o.To && r.Verdict == o.Verdict && r.Reason == o.Reason && r.Evidence == o.Evidence
}

func (r *Ramped) summary() string {
	if r == nil {
		return ""
	}
	return fmt.Sprintf("%v to %v at %s", r.From, r.To, r.At.UTC().Format("2006-01-02T15:04:05Z"))
}

// stampedTenant judges a tenant's own version and ramped.
func (d *differ) stampedTenant(key Key, oa, ob *Override, before, after Entry, beside bool) {
	unfit := func(field, from, to string) {
		d.out = append(d.out, Change{Kind: Meta, Feature: key.Feature, Tenant: key.Tenant, Field: field, From: clip(from), To: clip(to)})
	}
	if oa.Version != ob.Version && (!beside || ob.Version != "" && !d.fits(before.Version, ob.Version)) {
		unfit("version", oa.Version, ob.Version)
	}
	if !rampedFits(oa.Ramped, ob.Ramped, before.Pct, after.Pct) {
		unfit("ramped", oa.Ramped.summary(), ob.Ramped.summary())
	}
}
