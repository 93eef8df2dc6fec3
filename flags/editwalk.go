package flags

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// editMember is one member of an object, or one item of an array.
type editMember struct {
	start, end int // with its name
	valueAt    int
	gone       bool
}

// container is an object or array that edits touch.
type container struct {
	*editNode
	src     []byte
	array   bool
	open    int // offset after the bracket
	close   int // offset of the bracket
	members []editMember
	kept    []editMember // those that stay
	names   []string     // of kept, where something is put in
	sorted  bool         // they are in alphabetical order
}

// value edits the value at the cursor and leaves the cursor behind it.
func (e *editor) value(n *editNode) error {
	c := container{editNode: n, src: e.src, array: e.peek() == '['}
	if !c.array && e.peek() != '{' {
		return fmt.Errorf("editing below %s: it is no object: %w", n.pointer(), ErrEdit)
	}
	closing := byte('}')
	if c.array {
		closing = ']'
	}
	e.i++
	c.open = e.i
	var number []byte
	for i := 0; e.peek() != closing; i++ {
		m := editMember{start: e.i}
		var below *editNode
		if c.array {
			number = strconv.AppendInt(number[:0], int64(i), 10)
			below = n.find(number)
		} else {
			name, _ := e.name()
			below = n.find(name)
		}
		m.valueAt = e.i
		if below == nil {
			e.skip()
		} else if err := e.member(&m, below); err != nil {
			return err
		}
		m.end = e.i
		c.members = append(c.members, m)
		e.take(',')
	}
	c.close = e.i
	e.i++
	return e.finish(&c)
}

// member edits one member that is there.
func (e *editor) member(m *editMember, n *editNode) error {
	n.found = true
	switch {
	case n.op == nil:
		return e.value(n)
	case n.op.Value == nil:
		m.gone = true
		e.skip()
	default:
		e.skip()
		e.cut(m.valueAt, e.i, e.style.replace(e.src, m.valueAt, e.i, n.op.Value))
	}
	return nil
}

// finish takes out what is deleted and puts in what is new.
func (e *editor) finish(c *container) error {
	var fresh []*editNode
	for i, b := range c.below {
		if b.found {
			continue
		}
		if c.array && b.token != "-" {
			return fmt.Errorf("editing %s: the list has no such item: %w", b.pointer(), ErrEdit)
		}
		if !c.array && b.token == "-" && c.find([]byte("-")) != c.below[i] {
			return fmt.Errorf("editing %s: twice: %w", b.pointer(), ErrEdit)
		}
		fresh = append(fresh, b)
	}
	c.delete(e, len(fresh) > 0)
	if len(fresh) == 0 {
		return nil
	}
	values := make(map[*editNode]jsontext.Value, len(fresh))
	for _, b := range fresh {
		v, err := b.build(nil)
		if err != nil {
			return err
		}
		values[b] = v
	}
	c.nameKept()
	if c.sorted {
		slices.SortStableFunc(fresh, func(a, b *editNode) int { return strings.Compare(a.token, b.token) })
	}
	if len(c.kept) == 0 {
		e.cut(c.open, c.close, e.style.fill(e.src, c, fresh, values))
		return nil
	}
	look := e.style.within(e.src, c)
	for _, b := range fresh {
		text := look.member(b.token, values[b], c.array)
		if after := c.place(b.token); after >= 0 {
			at := c.kept[after].end
			e.cut(at, at, slices.Concat([]byte{','}, look.lead, text))
		} else {
			at := c.kept[0].start
			e.cut(at, at, slices.Concat(text, []byte{','}, look.lead))
		}
	}
	return nil
}

// build appends the value that the edits at and below n make out of nothing.
func (n *editNode) build(out jsontext.Value) (jsontext.Value, error) {
	if n.op != nil {
		if n.op.Value == nil {
			return nil, fmt.Errorf("editing %s: there is nothing to delete: %w", n.pointer(), ErrEdit)
		}
		return append(out, n.op.Value...), nil
	}
	out = append(out, '{')
	var err error
	for i, b := range n.below {
		if b.token == "-" && n.find([]byte("-")) != b {
			return nil, fmt.Errorf("editing %s: twice: %w", b.pointer(), ErrEdit)
		}
		if i > 0 {
			out = append(out, ',')
		}
		out, _ = jsontext.AppendQuote(out, b.token)
		if out, err = b.build(append(out, ':')); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

// delete cuts out the members that go, each with the comma that would be left
// over. Where something is put in instead of all of them, that does it.
func (c *container) delete(e *editor, grows bool) {
	c.kept = c.members
	if !slices.ContainsFunc(c.members, func(m editMember) bool { return m.gone }) {
		return
	}
	c.kept = slices.DeleteFunc(slices.Clone(c.members), func(m editMember) bool { return m.gone })
	if len(c.kept) == 0 {
		if !grows {
			e.cut(c.open, c.close, nil)
		}
		return
	}
	last := c.kept[len(c.kept)-1]
	for i, m := range c.members {
		if m.gone && m.start < last.start {
			e.cut(m.start, c.members[i+1].start, nil)
		}
	}
	if end := c.members[len(c.members)-1].end; end > last.end {
		e.cut(last.end, end, nil)
	}
}

// nameKept reads the names of the members that stay.
func (c *container) nameKept() {
	if c.array {
		return
	}
	c.names = make([]string, len(c.kept))
	for i, m := range c.kept {
		name, _ := (&cursor{src: c.src, i: m.start}).name()
		c.names[i] = string(name)
	}
	c.sorted = len(c.names) > 1 && slices.IsSorted(c.names)
}

// The order in which a spec's own members are written when they are new.
var (
	topOrder     = []string{"$schema", "version", "previous", "environment", "segments", "features"}
	featureOrder = []string{"description", "owner", "enabled", "pct", "cohorts", "version", "salt", "expires", "ramp", "ramped", "tenants"}
)

// place is the index of the member after which a new one goes, -1 for the
// front: known members have an order, names in alphabetical order stay so, and
// everything else goes to the end.
func (c *container) place(name string) int {
	end := len(c.kept) - 1
	if c.array {
		return end
	}
	order, pointer := topOrder, c.pointer()
	switch depth := strings.Count(pointer, "/"); {
	case depth == 0:
	case strings.HasPrefix(pointer, "/features/") && (depth == 2 || depth == 4):
		order = featureOrder
	case c.sorted:
		i, _ := slices.BinarySearch(c.names, name)
		return i - 1
	default:
		return end
	}
	rank := slices.Index(order, name)
	if rank < 0 {
		return end
	}
	after := -1
	for i, name := range c.names {
		if r := slices.Index(order, name); r >= 0 && r < rank {
			after = i
		}
	}
	return after
}
