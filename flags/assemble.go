package flags

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/rampart-flags/rampart/schema"
)

// read makes the spec, or notes in the report why there is none. In a reading
// by comparison it may be false without a note.
func (r *reader) read() bool {
	if !r.walk() {
		return false
	}
	r.validate()
	table := r.table()
	r.checkTop()
	l := &linker{old: r.old, table: table, memo: map[*Override]*Override{}}
	for i := range r.drafts {
		if r.report.Full() || r.old != nil && r.report.Err() != nil {
			return false
		}
		r.finish(r.drafts[i], l)
	}
	if r.report.Err() != nil {
		return false
	}
	return r.assemble(table, l)
}

func (r *reader) checkTop() {
	for name, v := range r.shell {
		if v == (null{}) {
			r.shell[name] = nil
		}
	}
	r.report.AddProblems(0, "", parts().whole.Validate(r.shell))
	if v, ok := r.shell["version"].(string); ok {
		if _, err := ParseVersion(v); err != nil && r.report.Err() == nil {
			r.report.AddProblems(0, "", []schema.Problem{{Pointer: "/version", Problem: err.Error()}})
		}
	}
}

// table is the segments by name, old's where nothing changed.
func (r *reader) table() *segmentTable {
	if r.old != nil && (r.segKept || len(r.segRaw) == 0 && len(r.old.segments.raw) == 0) {
		return r.old.segments
	}
	t := &segmentTable{raw: bytes.Clone(r.segRaw), list: make(map[string][]string, len(r.segments))}
	for _, s := range r.segments {
		pointer := "/segments/" + escape(s.name)
		if !validName(s.name, "._-", false) {
			r.naming(s.nameAt, pointer, s.name, parts().segmentName)
		}
		r.report.AddProblems(s.start, pointer, s.problems)
		if r.old != nil {
			// The same members are the same list, so that whoever names the
			// segment need not be resolved again.
			if was := r.old.segments.list[s.name]; was != nil && slices.Equal(was, s.list) {
				s.list = was
			}
		}
		if s.list == nil {
			s.list = []string{}
		}
		t.list[s.name] = s.list
	}
	return t
}

// naming reports a name that its schema does not allow.
func (r *reader) naming(at int, pointer, name string, part *schema.Part) {
	hint := ""
	for _, p := range part.Validate(name) {
		hint = p.Hint
	}
	r.report.Add(at, pointer, fmt.Sprintf("the name %q is not allowed", clip(name)), hint)
}

func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

// finish makes a feature of its draft, or reports what is wrong with it.
func (r *reader) finish(d *featureDraft, l *linker) {
	if d.kept != nil {
		d.made = l.relink(d.kept)
		if l.failed {
			r.report.Add(d.at, "", "changed segments do not fit", "") // only with old: the whole is read anew
		}
		return
	}
	pointer := "/features/" + escape(d.name)
	if !validName(d.name, "._-", true) {
		r.naming(d.nameAt, pointer, d.name, parts().featureName)
	}
	r.report.AddProblems(d.start, pointer, d.problems)
	f := d.made
	if f == nil {
		f = &Feature{Name: d.name, Own: &Override{Salt: "unknown"}} // the rows are still checked
	}
	if len(d.problems) == 0 {
		own, problem := l.link(f.Own)
		r.report.AddProblems(d.start, pointer, problem)
		if own != nil {
			f.Own = own
		}
	}
	f.def = f.Own.over(Entry{Version: defaultVersion, Enabled: true, Pct: Full})
	f.rows, f.byName = d.rows, d.byName
	r.finishRows(d, f, pointer+"/tenants/", l)
	if !d.ordered && !f.sort() {
		r.report.Add(d.at, pointer+"/tenants", "duplicate name", "") // only with old
	}
	f.count()
}

// finishRows gives each row its override and holds it to the rules that need
// its feature.
func (r *reader) finishRows(d *featureDraft, f *Feature, above string, l *linker) {
	for _, p := range d.pending {
		row, piece := &f.rows[p.row], &r.pieces[p.piece]
		row.over = piece.over
		if !validName(row.name, "._@-", false) {
			r.nameTenant(d.at+int(row.start), above, row.name)
		}
		if len(piece.problems) > 0 {
			row.over = nil
			r.report.AddProblems(r.valueOf(d, row), above+escape(row.name), piece.problems)
		}
	}
	for i := range f.rows {
		row := &f.rows[i]
		o := row.over
		if o == nil {
			continue // reported, or past the point where reporting ends
		}
		if o.Pct != nil && !o.Pct.Whole() && o.Salt == "" && f.Own.Salt == "" {
			r.report.AddProblems(r.valueOf(d, row), above+escape(row.name),
				[]schema.Problem{fraction(*o.Pct, "/pct", "add a salt to the tenant or to the feature, or write a whole number")})
		}
		if o.refs == nil {
			continue
		}
		linked, problem := l.link(o)
		if problem != nil {
			r.report.AddProblems(r.valueOf(d, row), above+escape(row.name), problem)
			continue
		}
		row.over = linked
	}
}

func (r *reader) nameTenant(at int, above, name string) {
	if name == DefaultTenant {
		r.report.Add(at, above+name, `the name "__default__" is reserved`, "the feature's own fields are its default entry: write them beside tenants")
		return
	}
	r.naming(at, above+escape(name), name, parts().tenantName)
}

// valueOf is the offset of a row's value.
func (r *reader) valueOf(d *featureDraft, row *tenantRow) int {
	c := &cursor{src: r.src, i: d.at + int(row.start)}
	_, _ = c.name()
	return c.i
}

// sort orders the rows by name; it is false when a name stands there twice.
func (f *Feature) sort() bool {
	byName := func(a, b int32) int { return strings.Compare(f.rows[a].name, f.rows[b].name) }
	f.byName = nil
	if !slices.IsSortedFunc(f.rows, func(a, b tenantRow) int { return strings.Compare(a.name, b.name) }) {
		f.byName = make([]int32, len(f.rows))
		for i := range f.byName {
			f.byName[i] = int32(i)
		}
		slices.SortFunc(f.byName, byName)
	}
	for i := 1; i < len(f.rows); i++ {
		if f.row(i-1).name == f.row(i).name {
			return false
		}
	}
	return true
}

// count sums what limits need, and which segments the feature depends on.
func (f *Feature) count() {
	f.members, f.uses = len(f.def.Cohorts), slices.Clone(f.Own.refs)
	var last *Override
	for i := range f.rows {
		o := f.rows[i].over
		switch {
		case o == nil:
			continue
		case o.Cohorts == nil:
			f.members += len(f.def.Cohorts)
			continue
		}
		f.members += len(o.members)
		if o != last {
			for _, name := range o.refs {
				if !slices.Contains(f.uses, name) {
					f.uses = append(f.uses, name)
				}
			}
			last = o
		}
	}
}

// assemble puts the spec together.
func (r *reader) assemble(table *segmentTable, _ *linker) bool {
	s := &Spec{src: r.src, segments: table, doc: make([]featureRow, len(r.drafts)), entries: r.entries}
	s.SchemaURI, _ = r.shell["$schema"].(string)
	s.Version, _ = r.shell["version"].(string)
	s.Previous, _ = r.shell["previous"].(string)
	s.Environment, _ = r.shell["environment"].(string)
	members, same := 0, r.old != nil && len(r.old.doc) == len(r.drafts)
	for i := range r.drafts {
		d := r.drafts[i]
		s.doc[i] = featureRow{feature: d.made, start: d.at, end: d.end}
		members += d.made.members
		same = same && r.old.doc[i].feature.Name == d.made.Name
	}
	if members > maxMembers {
		r.report.Add(0, "/features", fmt.Sprintf("the entries hold %d cohort members in all, more than %d", members, maxMembers), "use percentages, or tenants")
		return false
	}
	if same {
		s.index, s.names = r.old.index, r.old.names
		r.spec = s
		return true
	}
	s.index, s.names = make(map[string]int32, len(s.doc)), make([]string, 0, len(s.doc))
	for i, row := range s.doc {
		s.index[row.feature.Name] = int32(i)
		s.names = append(s.names, row.feature.Name)
	}
	if len(s.index) != len(s.doc) {
		return false // a name twice; a reading of the whole says where
	}
	if !slices.IsSorted(s.names) {
		slices.Sort(s.names)
	}
	r.spec = s
	return true
}

// validName is a letter or digit, then at most 127 letters, digits and bytes
// of marks. A test holds it against the patterns of the schema.
func validName(s, marks string, lower bool) bool {
	if s == "" || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c >= 'A' && c <= 'Z' && !lower:
		case i > 0 && strings.IndexByte(marks, c) >= 0:
		default:
			return false
		}
	}
	return true
}

// escape makes a token of a JSON pointer.
func escape(s string) string {
	if !strings.ContainsAny(s, "~/") {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

func newBuffer(b []byte) *bytes.Buffer { return bytes.NewBuffer(b) }
