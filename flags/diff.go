package flags

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Diff names what b does to people who live with a, in the order in which it
// is printed: the spec's own changes, then features by name, in each its own
// entry and then its tenants by name. With a nil everything is added.
//
// Changes are effective: computed on resolved entries, so that what reaches a
// tenant by inheritance or through a segment is named for that tenant. It
// costs little where a and b share parts, as specs of one [Decoder] do. No
// change at all means that both say the same, whatever their bytes.
func Diff(a, b *Spec) []Change {
	d := &differ{a: a, b: b, sets: map[[2]*string][2][]string{}}
	if a == nil {
		for _, name := range b.names {
			d.added(b.Feature(name))
		}
		return d.out
	}
	d.features(func(name string, fa, fb *Feature) {
		switch {
		case fa == nil:
			d.added(fb)
		case fb == nil:
			d.removed(fa)
		default:
			d.feature(fa, fb)
		}
	})
	featureChanges := d.out
	d.out = nil
	d.spec(len(featureChanges) > 0)
	if len(d.out) == 0 {
		return featureChanges
	}
	return append(d.out, featureChanges...)
}

type differ struct {
	a, b *Spec
	out  []Change

	// sets remembers what two lists of members differ by: one segment stands
	// behind many entries.
	sets map[[2]*string][2][]string
}

// features calls do for each name in a or b whose features are not shared.
func (d *differ) features(do func(name string, fa, fb *Feature)) {
	mergeNames(d.a.names, d.b.names, func(name string, inA, inB bool) {
		var fa, fb *Feature
		if inA {
			fa = d.a.Feature(name)
		}
		if inB {
			fb = d.b.Feature(name)
		}
		if fa != fb {
			do(name, fa, fb)
		}
	})
}

// mergeNames walks two sorted lists as one.
func mergeNames(a, b []string, do func(name string, inA, inB bool)) {
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case j == len(b) || i < len(a) && a[i] < b[j]:
			do(a[i], true, false)
			i++
		case i == len(a) || a[i] > b[j]:
			do(b[j], false, true)
			j++
		default:
			do(a[i], true, true)
			i, j = i+1, j+1
		}
	}
}

// spec appends the changes that belong to no feature. beside says that there
// are others, without which a new version has no reason.
func (d *differ) spec(beside bool) {
	a, b := d.a, d.b
	if a.Environment != b.Environment {
		d.field(Other, "", "environment", a.Environment, b.Environment)
	}
	if a.SchemaURI != b.SchemaURI {
		d.field(Meta, "", "$schema", a.SchemaURI, b.SchemaURI)
	}
	d.segments()
	if b.Previous != a.Previous && b.Previous != a.Digest() {
		d.field(Meta, "", "previous", a.Previous, b.Previous)
	}
	if a.Version == b.Version {
		return
	}
	va, errA := ParseVersion(a.Version)
	vb, errB := ParseVersion(b.Version)
	switch {
	case errA != nil || errB != nil: // a spec that was decoded has a version
		d.field(Other, "", "version", a.Version, b.Version)
	case va.Base != vb.Base:
		d.field(Base, "", "version", a.Version, b.Version)
	case vb.N <= va.N || !beside && len(d.out) == 0:
		d.field(Meta, "", "version", a.Version, b.Version)
	}
	slices.SortStableFunc(d.out, func(x, y Change) int { return kindOrder(x.Kind) - kindOrder(y.Kind) })
}

// segments names edits of segments that nobody uses: those of the others show
// as what they do to their entries.
func (d *differ) segments() {
	if d.a.segments == d.b.segments {
		return
	}
	used := map[string]bool{}
	for _, s := range []*Spec{d.a, d.b} {
		for _, row := range s.doc {
			for _, name := range row.feature.uses {
				used[name] = true
			}
		}
	}
	mergeNames(d.a.Segments(), d.b.Segments(), func(name string, inA, inB bool) {
		la, lb := d.a.segments.list[name], d.b.segments.list[name]
		if used[name] || inA && inB && sameMembers(la, lb) {
			return
		}
		from, to := "", ""
		if inA {
			from = plural(len(la), "member")
		}
		if inB {
			to = plural(len(lb), "member")
		}
		d.field(Meta, "", "segment "+name, from, to)
	})
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (d *differ) field(kind Kind, feature, field, from, to string) {
	d.out = append(d.out, Change{Kind: kind, Feature: feature, Field: field, From: clip(from), To: clip(to)})
}

func (d *differ) added(f *Feature) {
	d.out = slices.Grow(d.out, 1+len(f.rows))
	e := f.def
	d.out = append(d.out, Change{Kind: FeatureAdd, Feature: f.Name, Tenant: DefaultTenant, To: e.summary(), Rises: e.reaches(), After: &e})
	for i := range f.rows {
		row := f.row(i)
		e := f.resolve(row.over)
		d.out = append(d.out, Change{Kind: TenantAdd, Feature: f.Name, Tenant: row.name, To: e.summary(), Rises: e.reaches(), After: &e})
	}
}

func (d *differ) removed(f *Feature) {
	d.out = slices.Grow(d.out, 1+len(f.rows))
	e := f.def
	d.out = append(d.out, Change{Kind: FeatureRemove, Feature: f.Name, Tenant: DefaultTenant, From: e.summary(), Before: &e})
	for i := range f.rows {
		row := f.row(i)
		e := f.resolve(row.over)
		d.out = append(d.out, Change{Kind: TenantRemove, Feature: f.Name, Tenant: row.name, From: e.summary(), Before: &e})
	}
}

// feature appends what fb, not the same value as fa, changes.
func (d *differ) feature(fa, fb *Feature) {
	start := len(d.out)
	own := d.entry(Key{fa.Name, DefaultTenant}, fa.def, fb.def)
	d.pinned(Key{fa.Name, DefaultTenant}, fa.Own, fb.Own, true, own)
	for _, m := range [...]struct{ field, from, to string }{
		{"description", fa.Description, fb.Description}, {"owner", fa.Owner, fb.Owner}, {"expires", fa.Expires, fb.Expires},
	} {
		if m.from != m.to {
			d.field(Meta, fa.Name, m.field, m.from, m.to)
		}
	}
	d.guard(fa, fb)
	ownEnd := len(d.out)
	d.tenants(fa, fb)
	d.stamped(fa, fb, start, ownEnd)
}

// tenants walks both features' tenants as one sorted list.
func (d *differ) tenants(fa, fb *Feature) {
	inherit := fa.def.Equal(fb.def)
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
			if ra.over != rb.over || !inherit {
				d.tenant(fa, fb, ra.name, ra.over, rb.over)
			}
			i, j = i+1, j+1
		case rb == nil || ra != nil && ra.name < rb.name:
			d.tenantRemoved(fa, fb, ra)
			i++
		default:
			d.tenantAdded(fa, fb, rb)
			j++
		}
	}
}

func (d *differ) tenant(fa, fb *Feature, name string, oa, ob *Override) {
	key := Key{fa.Name, name}
	before, after := fa.resolve(oa), fb.resolve(ob)
	start := len(d.out)
	seen := d.entry(key, before, after)
	d.pinned(key, oa, ob, false, seen)
	d.stampedTenant(key, oa, ob, before, after, len(d.out) > start)
}

func (d *differ) tenantAdded(fa, fb *Feature, row *tenantRow) {
	key := Key{fa.Name, row.name}
	before, after := fa.def, fb.resolve(row.over)
	start := len(d.out)
	seen := d.entry(key, before, after)
	d.stampedTenant(key, &Override{}, row.over, before, after, true)
	if onlyLowers(d.out[start:], row.over, seen) {
		return
	}
	c := Change{Kind: TenantAdd, Feature: key.Feature, Tenant: key.Tenant, To: after.summary(), Before: &before, After: &after}
	d.out = slices.Insert(d.out, start, c)
}

// onlyLowers reports whether a new override does nothing but what its changes
// say, and these only turn people off: then an on-call person who may disable
// needs no right to list tenants as well.
func onlyLowers(changes []Change, o *Override, seen fields) bool {
	for _, c := range changes {
		if c.Kind != Disable && c.Kind != RampDown {
			return false
		}
	}
	return len(changes) > 0 && o.Cohorts == nil && o.Salt == "" &&
		(o.Enabled == nil || seen.enabled) && (o.Pct == nil || seen.pct)
}

func (d *differ) tenantRemoved(fa, fb *Feature, row *tenantRow) {
	key := Key{fa.Name, row.name}
	before, after := fa.resolve(row.over), fb.def
	d.out = append(d.out, Change{Kind: TenantRemove, Feature: key.Feature, Tenant: key.Tenant, From: before.summary(), Before: &before, After: &after})
	d.entry(key, before, after)
}

// guard names each field of the ramp block that changed.
func (d *differ) guard(fa, fb *Feature) {
	if bytes.Equal(fa.Ramp, fb.Ramp) {
		return
	}
	if fa.Ramp == nil || fb.Ramp == nil {
		d.field(Guard, fa.Name, "ramp", compact(fa.Ramp), compact(fb.Ramp))
		return
	}
	ma, mb := memberTexts(fa.Ramp), memberTexts(fb.Ramp)
	names := make([]string, 0, len(ma))
	for name := range ma {
		names = append(names, name)
	}
	for name := range mb {
		if _, ok := ma[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if ma[name] != mb[name] {
			d.field(Guard, fa.Name, name, ma[name], mb[name])
		}
	}
}

// memberTexts are an object's members in canonical form, so that spacing and
// order make no difference.
func memberTexts(v jsontext.Value) map[string]string {
	out := map[string]string{}
	c := &cursor{src: v}
	c.object(func() bool {
		name, ok := c.name()
		key, start := string(name), c.i
		c.skip()
		out[key] = compact(v[start:c.i])
		return ok
	})
	return out
}

func compact(v jsontext.Value) string {
	c := v.Clone()
	if len(c) == 0 {
		return ""
	}
	if c.Canonicalize() != nil {
		return string(v)
	}
	return string(c)
}

var order = func() map[Kind]int {
	m := make(map[Kind]int, len(Kinds))
	for i, k := range Kinds {
		m[k] = i
	}
	return m
}()

func kindOrder(k Kind) int { return order[k] }

// summary is an entry in a few words: "on, 20 %, 3 members".
func (e Entry) summary() string {
	buf := make([]byte, 0, 40)
	buf = append(buf, "off, "...)
	if e.Enabled {
		buf = append(buf[:0], "on, "...)
	}
	buf = append(e.Pct.append(buf), " %"...)
	if n := len(e.Cohorts); n > 0 {
		buf = append(buf, ", "...)
		buf = strconv.AppendInt(buf, int64(n), 10)
		buf = append(buf, " member"...)
		if n > 1 {
			buf = append(buf, 's')
		}
	}
	return string(buf)
}
