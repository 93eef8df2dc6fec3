package flags

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rampart-flags/rampart/schema"
)

// linker expands segments.
type linker struct {
	old      *Spec
	table    *segmentTable
	memo     map[*Override]*Override
	expanded int

	failed bool
}

// link is o with its segments expanded: o itself where it needs none, or where
// the segments are what they were.
func (l *linker) link(o *Override) (*Override, []schema.Problem) {
	if len(o.refs) == 0 {
		return o, nil
	}
	if done := l.memo[o]; done != nil {
		return done, nil
	}
	total := len(o.Cohorts) - len(o.refs)
	same := o.members != nil && l.old != nil
	for _, name := range o.refs {
		list, ok := l.table.list[name]
		if !ok {
			return nil, l.missing(o)
		}
		same = same && sameList(list, l.old.segments.list[name])
		total += len(list)
	}
	if total > MaxCohort {
		l.failed = true
		return nil, []schema.Problem{{Pointer: "/cohorts", Problem: fmt.Sprintf("%d members with the segments expanded, more than %d", total, MaxCohort), Hint: "use a percentage, or tenants"}}
	}
	if same {
		l.memo[o] = o
		return o, nil
	}
	if l.expanded += total; l.expanded > maxExpanded {
		l.failed = true
		return nil, []schema.Problem{{Pointer: "/cohorts", Problem: fmt.Sprintf("segments bring more than %d members in all", maxExpanded), Hint: "use percentages, or tenants"}}
	}
	linked := o
	if o.members != nil { // it belongs to an older spec
		clone := *o
		linked = &clone
	}
	linked.members = make([]string, 0, total)
	for _, m := range o.Cohorts {
		if name, ok := strings.CutPrefix(m, "@"); ok {
			linked.members = append(linked.members, l.table.list[name]...)
		} else {
			linked.members = append(linked.members, m)
		}
	}
	l.memo[o], l.memo[linked] = linked, linked
	return linked, nil
}

func sameList(a, b []string) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// missing says which of o's segments there is not.
func (l *linker) missing(o *Override) []schema.Problem {
	var found []schema.Problem
	for i, m := range o.Cohorts {
		name, ok := strings.CutPrefix(m, "@")
		if _, known := l.table.list[name]; !ok || known || len(found) == maxFound {
			continue
		}
		hint := `segments are defined at the top, under "segments"`
		if len(l.table.list) > 0 {
			hint = "segments here are " + someNames(l.table.list)
		}
		found = append(found, schema.Problem{Pointer: fmt.Sprintf("/cohorts/%d", i), Problem: fmt.Sprintf("unknown segment %q", m), Hint: hint})
	}
	l.failed = true
	return found
}

func someNames(m map[string][]string) string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) > 5 {
		names = append(names[:5], "…")
	}
	return strings.Join(names, ", ")
}

// relink is a feature of old under the new segments: itself, unless one that
// it uses changed.
func (l *linker) relink(f *Feature) *Feature {
	changed := false
	for _, name := range f.uses {
		list, ok := l.table.list[name]
		changed = changed || !ok || !sameList(list, l.old.segments.list[name])
	}
	if !changed {
		return f
	}
	clone := *f
	clone.rows = slices.Clone(f.rows)
	own, problem := l.link(f.Own)
	if problem != nil {
		return f
	}
	clone.Own = own
	clone.def = own.over(Entry{Version: defaultVersion, Enabled: true, Pct: Full})
	for i := range clone.rows {
		linked, problem := l.link(clone.rows[i].over)
		if problem != nil {
			return f
		}
		clone.rows[i].over = linked
	}
	clone.count()
	return &clone
}
