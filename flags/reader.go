package flags

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"slices"
	"sort"

	"github.com/rampart-flags/rampart/schema"
)

// reader makes one spec. With old it reads by comparison, trusts nothing that
// it did not compare or check, and gives up at the first thing that is wrong;
// without, src is known to be well-formed JSON and every defect is reported.
type reader struct {
	src    []byte
	old    *Spec
	report *schema.Report
	spec   *Spec

	shell    map[string]any // the document without what features and segments hold
	segments []segmentDraft
	segRaw   []byte // the value of "segments"
	segKept  bool   // and it is old's
	drafts   []*featureDraft
	spans    []span  // of all drafts' fields
	pieces   []piece // distinct overrides by their bytes
	byHash   map[uint64]int32
	seed     maphash.Seed
	entries  int
}

// span is a value's place, with the name of its member.
type span struct {
	name       string
	nameAt     int
	start, end int
}

type segmentDraft struct {
	span
	list     []string
	problems []schema.Problem
}

// featureDraft is a feature on its way: kept as it was in old, or the places
// of its fields and rows.
type featureDraft struct {
	span
	at      int // of the member
	kept    *Feature
	from    int // its fields are spans[from:to]
	to      int
	tenants bool // "tenants" is there and an object
	rows    []tenantRow
	byName  []int32 // old's, when ordered
	ordered bool    // the rows have the same names as in old, in the same order
	pending []pending

	made     *Feature
	problems []schema.Problem
}

// pending is a row that waits for its piece.
type pending struct{ row, piece int32 }

// piece is the text of one override, which may stand in many places.
type piece struct {
	raw      []byte
	over     *Override
	problems []schema.Problem
}

// walk finds every member that counts and notes where it stands.
func (r *reader) walk() bool {
	r.shell, r.byHash, r.seed = map[string]any{}, map[uint64]int32{}, maphash.MakeSeed()
	c := &cursor{src: r.src}
	if r.old == nil && c.peek() != '{' {
		v, _ := schema.Value(r.src, maxValues)
		r.report.AddProblems(c.i, "", parts().whole.Validate(v))
		return false
	}
	ok := c.object(func() bool {
		nameAt := c.i
		name, ok := c.name()
		if !ok || r.shell[string(name)] != nil {
			return false
		}
		s := span{name: string(name), nameAt: nameAt, start: c.i}
		if len(r.shell) >= maxFields && !slices.Contains(topOrder, s.name) {
			c.skip()
			return r.old == nil
		}
		switch {
		case s.name == "segments" && c.peek() == '{':
			ok = r.walkSegments(c)
			r.shell[s.name] = map[string]any{}
		case s.name == "features" && c.peek() == '{':
			ok = r.walkFeatures(c)
			r.shell[s.name] = map[string]any{}
		default:
			c.skip()
			s.end = c.i
			r.shell[s.name], ok = r.value(s, "", depthTop)
		}
		return ok
	})
	c.space()
	return ok && c.i == len(r.src)
}

// value reads one small value; above says the pointer of the object around it.
func (r *reader) value(s span, above string, depth int) (any, bool) {
	raw := r.src[s.start:s.end]
	if r.old != nil && schema.Check("", raw, schema.Limits{Depth: depth}) != nil {
		return nil, false
	}
	v, err := schema.Value(raw, maxValues)
	if err != nil {
		r.report.Add(s.start, above+"/"+escape(s.name), err.Error(), "")
		return nil, false
	}
	if v == nil {
		v = null{} // told apart from a name that is not there
	}
	return v, true
}

type null struct{}

func (r *reader) walkSegments(c *cursor) bool {
	start := c.i
	if r.old != nil && len(r.old.segments.raw) > 0 && bytes.HasPrefix(r.src[start:], r.old.segments.raw) {
		r.segKept, r.segRaw = true, r.old.segments.raw
		c.i += len(r.segRaw)
		return true
	}
	ok := c.object(func() bool {
		s := segmentDraft{span: span{nameAt: c.i}}
		name, ok := c.name()
		s.name, s.start = string(name), c.i
		c.skip()
		s.end = c.i
		r.segments = append(r.segments, s)
		if len(r.segments) > maxSegments {
			r.report.Add(s.nameAt, "/segments", fmt.Sprintf("more than %d segments", maxSegments), "")
			return false
		}
		return ok
	})
	r.segRaw = r.src[start:c.i]
	if r.old != nil && ok {
		ok = schema.Check("", r.segRaw, schema.Limits{Depth: depthTop}) == nil
	}
	return ok
}

// count counts entries against the limits.
func (r *reader) count(at, n int) bool {
	r.entries += n
	switch {
	case len(r.drafts) > MaxFeatures:
		r.report.Add(at, "/features", fmt.Sprintf("more than %d features", MaxFeatures), "split it into several specs")
	case r.entries > MaxEntries:
		r.report.Add(at, "/features", fmt.Sprintf("more than %d features and tenants", MaxEntries), "split it into several specs")
	default:
		return true
	}
	return false
}

func (r *reader) walkFeatures(c *cursor) bool {
	next := 0 // in old.doc: the feature that comes if nothing changed
	return c.object(func() bool {
		at := c.i
		if r.old != nil && next < len(r.old.doc) {
			row := r.old.doc[next]
			if bytes.HasPrefix(r.src[at:], r.old.src[row.start:row.end]) {
				next++
				c.i += row.end - row.start
				r.drafts = append(r.drafts, &featureDraft{span: span{name: row.feature.Name, end: c.i}, at: at, kept: row.feature})
				return r.count(at, 1+len(row.feature.rows))
			}
		}
		name, ok := c.name()
		if !ok {
			return false
		}
		d := &featureDraft{span: span{name: string(name), nameAt: at, start: c.i}, at: at, from: len(r.spans), to: len(r.spans)}
		var was *featureRow
		if r.old != nil {
			if i, ok := r.old.index[d.name]; ok {
				was, next = &r.old.doc[i], int(i)+1
			}
		}
		if c.peek() == '{' {
			ok = r.walkFeature(c, d, was)
		} else {
			c.skip()
		}
		d.end = c.i
		r.drafts = append(r.drafts, d)
		return ok && r.count(at, 1)
	})
}

func (r *reader) walkFeature(c *cursor, d *featureDraft, was *featureRow) bool {
	return c.object(func() bool {
		at := c.i
		name, ok := c.name()
		if !ok {
			return false
		}
		s := span{name: string(name), nameAt: at, start: c.i}
		if s.name == "tenants" && c.peek() == '{' {
			if d.tenants {
				return false
			}
			d.tenants = true
			return r.walkTenants(c, d, was)
		}
		c.skip()
		s.end = c.i
		if d.to-d.from >= maxFields && !slices.Contains(featureOrder, s.name) {
			return r.old == nil
		}
		r.spans = append(r.spans, s)
		d.to++
		return true
	})
}

// maxFields is more than any object of ours has. Of further unknown names an
// author need not hear.
const maxFields = 64

func (r *reader) walkTenants(c *cursor, d *featureDraft, was *featureRow) bool {
	var rows []tenantRow // old's
	if was != nil {
		rows = was.feature.rows
		d.rows = make([]tenantRow, 0, len(rows)+1)
	}
	next, ordered := 0, was != nil
	ok := c.object(func() bool {
		at := c.i
		if next < len(rows) {
			row := &rows[next]
			if text := r.old.src[was.start+int(row.start) : was.start+int(row.end)]; bytes.HasPrefix(r.src[at:], text) {
				next++
				c.i += len(text)
				d.rows = append(d.rows, tenantRow{row.name, row.over, uint32(at - d.at), uint32(c.i - d.at)})
				return r.count(at, 1)
			}
		}
		name, ok := c.name()
		if !ok {
			return false
		}
		var row tenantRow
		row, next, ordered = r.row(c, name, was, next, ordered)
		start := c.i
		c.skip()
		row.start, row.end = uint32(at-d.at), uint32(c.i-d.at)
		if row.over != nil { // moved: the same only if its bytes are
			old := rows[next-1]
			if !bytes.Equal(r.old.src[was.start+int(old.start):was.start+int(old.end)], r.src[at:c.i]) {
				row.over = nil
			}
		}
		if row.over == nil {
			d.pending = append(d.pending, pending{int32(len(d.rows)), r.piece(r.src[start:c.i])})
		}
		d.rows = append(d.rows, row)
		return r.count(at, 1)
	})
	if d.ordered = ordered && len(d.rows) == len(rows); d.ordered && was != nil {
		d.byName = was.feature.byName
	}
	return ok
}

// row begins the row of a tenant that does not stand where it stood. When old
// has that tenant, its override comes along and next follows it.
func (r *reader) row(_ *cursor, name []byte, was *featureRow, next int, ordered bool) (tenantRow, int, bool) {
	if was == nil {
		return tenantRow{name: string(name)}, next, false
	}
	rows := was.feature.rows
	if next < len(rows) && rows[next].name == string(name) {
		return tenantRow{name: rows[next].name, over: rows[next].over}, next + 1, ordered
	}
	if i := was.feature.find(string(name)); i >= 0 {
		return tenantRow{name: rows[i].name, over: rows[i].over}, i + 1, false
	}
	return tenantRow{name: string(name)}, next, false
}

// piece is the number of the piece with these bytes.
func (r *reader) piece(raw []byte) int32 {
	hash := maphash.Bytes(r.seed, raw)
	if i, ok := r.byHash[hash]; ok && bytes.Equal(r.pieces[i].raw, raw) {
		return i
	}
	i := int32(len(r.pieces))
	r.byHash[hash] = i
	r.pieces = append(r.pieces, piece{raw: raw})
	return i
}

// find is the place of a tenant among rows, or -1.
func (f *Feature) find(name string) int {
	n := len(f.rows)
	i := sort.Search(n, func(i int) bool { return f.row(i).name >= name })
	switch {
	case i == n || f.row(i).name != name:
		return -1
	case f.byName != nil:
		return int(f.byName[i])
	}
	return i
}
