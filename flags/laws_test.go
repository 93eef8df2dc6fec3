package flags_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/rampart-flags/rampart/flags"
)

// meaning is all that a spec says, in one form whatever its bytes.
func meaning(s *flags.Spec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s %s\n", s.SchemaURI, s.Version, s.Previous, s.Environment)
	for _, name := range s.Segments() {
		members, _ := s.Segment(name)
		fmt.Fprintf(&b, "segment %s %q\n", name, members)
	}
	for _, name := range s.Features() {
		f := s.Feature(name)
		fmt.Fprintf(&b, "%s %q %q %q %s\n own %s\n", name, f.Description, f.Owner, f.Expires, f.Ramp, said(f.Own))
		for tenant, o := range f.Tenants() {
			fmt.Fprintf(&b, " %s %s\n", tenant, said(o))
		}
	}
	for key, e := range s.Entries() {
		fmt.Fprintf(&b, "%s %s\n", key, e.AppendJSON(nil))
	}
	return b.String()
}

func said(o *flags.Override) string {
	text := fmt.Sprintf("%q %q", o.Version, o.Salt)
	if o.Enabled != nil {
		text += fmt.Sprint(" enabled ", *o.Enabled)
	}
	if o.Pct != nil {
		text += fmt.Sprint(" pct ", *o.Pct)
	}
	if o.Cohorts != nil {
		text += fmt.Sprintf(" cohorts %q", o.Cohorts)
	}
	if o.Ramped != nil {
		text += fmt.Sprintf(" ramped %+v", *o.Ramped)
	}
	return text
}

// What a spec says does not depend on how it is written, and reading it after
// another one gives what reading it alone gives.
func TestReadingAfterAnotherIsReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d flags.Decoder
		doc := drawDoc(t)
		for range rapid.IntRange(1, 4).Draw(t, "specs") {
			src := doc.text(drawLayout(t))
			alone, err := flags.Decode("flags.json", src)
			if err != nil {
				skipUnsalted(t, err)
				t.Fatalf("%v\n%s", err, src)
			}
			after, err := d.Decode("flags.json", src)
			if err != nil {
				t.Fatalf("%v\n%s", err, src)
			}
			if got, want := meaning(after), meaning(alone); got != want {
				t.Fatalf("read after another:\n%s\nalone:\n%s", got, want)
			}
			if after.Digest() != alone.Digest() || after.Len() != alone.Len() || !bytes.Equal(after.Bytes(), src) {
				t.Fatal("digest, length or bytes differ")
			}
			if other := mustText(t, doc, layout{"\n", " ", ": ", ",", "", true}); meaning(other) != meaning(alone) {
				t.Fatalf("another layout:\n%s\nwant:\n%s", meaning(other), meaning(alone))
			}
			doc = mutate(t, doc)
		}
	})
}

// skipUnsalted passes over mutations that took the salt from under a fraction.
func skipUnsalted(t *rapid.T, err error) {
	if strings.Contains(err.Error(), "is a fraction") {
		t.Skip(err)
	}
}

func mustText(t *rapid.T, d doc, l layout) *flags.Spec {
	s, err := flags.Decode("flags.json", d.text(l))
	if err != nil {
		t.Fatalf("%v\n%s", err, d.text(l))
	}
	return s
}

// pair draws two specs, the second made from the first, read by one Decoder.
func pair(t *rapid.T) (a, b *flags.Spec) {
	var d flags.Decoder
	doc := drawDoc(t)
	a, err := d.Decode("flags.json", doc.text(drawLayout(t)))
	if err != nil {
		t.Fatal(err)
	}
	next := mutate(t, doc)
	if chance(t, 2) {
		next.previous = a.Digest()
	}
	b, err = d.Decode("flags.json", next.text(drawLayout(t)))
	if err != nil {
		skipUnsalted(t, err)
		t.Fatal(err)
	}
	return a, b
}

// The laws of a diff, for specs that share parts and for specs that do not.
func TestDiffLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := pair(t)
		changes := flags.Diff(a, b)
		apart, err := flags.Decode("flags.json", b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if got := flags.Diff(a, apart); fmt.Sprint(got) != fmt.Sprint(changes) {
			t.Fatalf("specs that share parts differ by %v, specs that do not by %v", changes, got)
		}
		if got := flags.Diff(b, apart); len(got) != 0 {
			t.Fatalf("the same spec read twice: %v", got)
		}
		if len(changes) == 0 && content(a) != content(b) {
			t.Fatalf("no change between\n%s\nand\n%s", content(a), content(b))
		}
		if !slices.IsSortedFunc(changes, compareChanges) {
			t.Fatalf("not in order: %v", changes)
		}
		for _, c := range changes {
			if !slices.Contains(flags.Kinds, c.Kind) || c.String() == "" {
				t.Fatalf("%+v", c)
			}
		}
		checkEffects(t, a, b, changes)
		checkPlan(t, a, b)
	})
}

// content is the meaning without what has no effect: spelled-out defaults of a
// feature, and where a version, previous or ramped stands.
func content(s *flags.Spec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", s.SchemaURI, s.Environment)
	for _, name := range s.Segments() {
		members, _ := s.Segment(name)
		fmt.Fprintf(&b, "segment %s %q\n", name, members)
	}
	for key, e := range s.Entries() {
		f := s.Feature(key.Feature)
		fmt.Fprintf(&b, "%s %s %q %q %s", key, e.AppendJSON(nil), f.Description, f.Owner, f.Ramp)
		if o := f.Tenant(key.Tenant); o != nil {
			fmt.Fprintf(&b, " %v %v %v %v", o.Enabled != nil, o.Pct != nil, o.Cohorts, o.Salt)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func compareChanges(x, y flags.Change) int {
	rank := func(c flags.Change) string {
		tenant := c.Tenant
		if tenant == "" || tenant == flags.DefaultTenant {
			tenant = ""
		}
		return c.Feature + "\x00" + tenant
	}
	return strings.Compare(rank(x), rank(y))
}

// checkEffects asks the decision itself: who is on afterwards and was not
// before must be announced by a change that rises, who is off by one that
// does not, and an entry that decides anew for nobody by none.
func checkEffects(t *rapid.T, a, b *flags.Spec, changes []flags.Change) {
	type seen struct{ any, rises bool }
	said := map[flags.Key]seen{}
	for _, c := range changes {
		s := said[c.Key()]
		said[c.Key()] = seen{true, s.rises || c.Rises}
	}
	users := append(slices.Clone(someMembers), "", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8")
	names := append(slices.Clone(a.Features()), b.Features()...)
	for _, name := range names {
		for _, tenant := range append(slices.Clone(someTenants), "newcomer", "unlisted") {
			var ea, eb *flags.Entry
			if e, ok := a.Entry(name, tenant); ok {
				ea = &e
			}
			if e, ok := b.Entry(name, tenant); ok {
				eb = &e
			}
			key := flags.Key{Feature: name, Tenant: tenant}
			if listed(a, key) || listed(b, key) {
			} else {
				key.Tenant = flags.DefaultTenant
			}
			for _, user := range users {
				before, after := flags.Decide(ea, tenant, user).On, flags.Decide(eb, tenant, user).On
				s := said[key]
				if !before && after && !s.rises {
					t.Fatalf("%s %s %q comes on, and no change of %v rises", name, tenant, user, changes)
				}
				if before && !after && !s.any {
					t.Fatalf("%s %s %q goes off without a change in %v", name, tenant, user, changes)
				}
			}
		}
	}
}

func listed(s *flags.Spec, key flags.Key) bool {
	f := s.Feature(key.Feature)
	return f != nil && f.Tenant(key.Tenant) != nil
}

// checkPlan compares the plan with what two full listings differ by.
func checkPlan(t *rapid.T, a, b *flags.Spec) {
	values := func(s *flags.Spec) map[flags.Key]string {
		m := map[flags.Key]string{}
		for key, e := range s.Entries() {
			m[key] = string(e.AppendJSON(nil))
		}
		return m
	}
	before, after := values(a), values(b)
	var set, deleted []string
	for key, v := range after {
		if before[key] != v {
			set = append(set, key.String())
		}
	}
	for key := range before {
		if _, ok := after[key]; !ok {
			deleted = append(deleted, key.String())
		}
	}
	slices.Sort(set)
	slices.Sort(deleted)
	gotSet, gotDeleted := flags.ChangedEntries(a, b)
	if got := sortedStrings(gotSet); !slices.Equal(got, set) {
		t.Fatalf("set %v, want %v", got, set)
	}
	if got := sortedStrings(gotDeleted); !slices.Equal(got, deleted) {
		t.Fatalf("deleted %v, want %v", got, deleted)
	}
}

func sortedStrings(keys []flags.Key) []string {
	var out []string
	for _, k := range keys {
		out = append(out, k.String())
	}
	slices.Sort(out)
	return out
}
