package flags

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/schema"
)

// EditOp sets or deletes one value of a document.
type EditOp struct {
	Pointer string         // RFC 6901: "/features/receipts/pct"; "-" appends to an array
	Value   jsontext.Value // what to put there; nil deletes
}

// ErrEdit is what [Edit] wraps when an operation does not fit the document.
var ErrEdit = errors.New("the document cannot be edited so")

// Edit makes the changes and keeps every byte that they do not touch: order,
// indentation and line ends stay the author's, and what is new is written like
// its neighbours. Objects on the way to a value that is set are made where
// they are missing; deleting what is not there is an error. No two operations
// may meet in the same value. It takes time in proportion to the document and
// the operations, however many there are.
//
// src must be strict JSON ([schema.Check]); it need not be a valid spec.
func Edit(src []byte, edits []EditOp) ([]byte, error) {
	if err := schema.Check("document", src, schema.Limits{}); err != nil {
		return nil, fmt.Errorf("editing: %w", err)
	}
	root := &editNode{}
	for i := range edits {
		if err := root.plan(&edits[i]); err != nil {
			return nil, err
		}
	}
	if len(root.names) == 0 {
		return src, nil
	}
	e := &editor{cursor: cursor{src: src}, style: styleOf(src)}
	e.peek()
	if err := e.value(root, ""); err != nil {
		return nil, err
	}
	return e.apply(), nil
}

// editNode is a place in the document that edits lead to or go through.
type editNode struct {
	op    *EditOp
	below map[string]*editNode
	names []string // of below, in the order of the edits
}

func (n *editNode) plan(op *EditOp) error {
	bad := func(why string) error { return fmt.Errorf("editing %s: %s: %w", op.Pointer, why, ErrEdit) }
	if !strings.HasPrefix(op.Pointer, "/") || !jsontext.Pointer(op.Pointer).IsValid() || !utf8.ValidString(op.Pointer) {
		return bad("want a JSON pointer below the document, such as /features/receipts/pct")
	}
	if left := 1 + depthTop - strings.Count(op.Pointer, "/"); op.Value != nil {
		if left < 1 {
			return bad("it lies too deep")
		}
		if err := schema.Check("value", op.Value, schema.Limits{Depth: left}); err != nil {
			return fmt.Errorf("editing %s: %w", op.Pointer, err)
		}
	}
	for token := range jsontext.Pointer(op.Pointer).Tokens() {
		if n.op != nil {
			return bad("another edit is on the way to it")
		}
		if quoted, _ := jsontext.AppendQuote(nil, token); len(quoted) > schema.MaxName+2 {
			return bad("the name is too long")
		}
		next := n.below[token]
		if next == nil || token == "-" {
			next = &editNode{}
			if n.below == nil {
				n.below = map[string]*editNode{}
			}
			if token == "-" { // each one appends
				token += strconv.Itoa(len(n.names))
			}
			n.below[token] = next
			n.names = append(n.names, token)
		}
		n = next
	}
	if n.op != nil || len(n.names) > 0 {
		return bad("another edit is at the same place or below it")
	}
	n.op = op
	return nil
}

// splice replaces src[start:end].
type splice struct {
	start, end int
	text       []byte
}

type editor struct {
	cursor
	style   *style
	splices []splice
}

func (e *editor) cut(start, end int, text []byte) {
	e.splices = append(e.splices, splice{start, end, text})
}

func (e *editor) apply() []byte {
	// What is put in at a place comes before what is taken out from there on.
	slices.SortStableFunc(e.splices, func(a, b splice) int { return cmp.Or(a.start-b.start, a.end-b.end) })
	size := len(e.src)
	for _, s := range e.splices {
		size += len(s.text) - (s.end - s.start)
	}
	out, done := make([]byte, 0, size), 0
	for _, s := range e.splices {
		out = append(out, e.src[done:s.start]...)
		out = append(out, s.text...)
		done = s.end
	}
	return append(out, e.src[done:]...)
}

// editMember is one member of an object, or one item of an array.
type editMember struct {
	name       string
	start, end int // with its name
	valueAt    int
	gone       bool
}

// container is an object or array that edits touch.
type container struct {
	node    *editNode
	pointer string
	array   bool
	open    int // offset after the bracket
	close   int // offset of the bracket
	members []editMember
	sorted  bool // the members that stay are in alphabetical order
}

// value edits the value at the cursor and leaves the cursor behind it.
func (e *editor) value(n *editNode, pointer string) error {
	c := container{node: n, pointer: pointer, array: e.peek() == '['}
	if !c.array && e.peek() != '{' {
		return fmt.Errorf("editing below %s: it is no object: %w", pointer, ErrEdit)
	}
	closing := byte('}')
	if c.array {
		closing = ']'
	}
	e.i++
	c.open = e.i
	found := 0
	for i := 0; e.peek() != closing; i++ {
		m := editMember{name: strconv.Itoa(i), start: e.i}
		if !c.array {
			name, _ := e.name()
			m.name = string(name)
		}
		m.valueAt = e.i
		if below := n.below[m.name]; below == nil {
			e.skip()
		} else {
			found++
			if err := e.member(&c, &m, below); err != nil {
				return err
			}
		}
		m.end = e.i
		c.members = append(c.members, m)
		e.take(',')
	}
	c.close = e.i
	e.i++
	return e.finish(&c, found)
}

// member edits one member that is there.
func (e *editor) member(c *container, m *editMember, n *editNode) error {
	pointer := c.pointer + "/" + escape(m.name)
	switch {
	case n.op == nil:
		return e.value(n, pointer)
	case n.op.Value == nil:
		m.gone = true
		e.skip()
	default:
		e.skip()
		text := e.style.replace(e.src, m.valueAt, e.i, n.op.Value)
		e.cut(m.valueAt, e.i, text)
	}
	return nil
}

// finish takes out what is deleted and puts in what is new.
func (e *editor) finish(c *container, found int) error {
	var fresh []editMember
	var values []jsontext.Value
	if found < len(c.node.names) {
		have := make(map[string]bool, len(c.members))
		for i := range c.members {
			have[c.members[i].name] = true
		}
		for _, name := range c.node.names {
			if have[name] {
				continue
			}
			v, err := c.fresh(name)
			if err != nil {
				return err
			}
			fresh, values = append(fresh, editMember{name: name}), append(values, v)
		}
	}
	if len(fresh) > 0 && !c.array && sortedNames(c.members) {
		sortFresh(fresh, values)
	}
	kept := c.delete(e)
	if len(fresh) == 0 {
		return nil
	}
	if len(kept) == 0 {
		e.cut(c.open, c.close, e.style.fill(e.src, c, fresh, values))
		return nil
	}
	c.sorted = sortedNames(kept)
	look := e.style.within(e.src, c, kept)
	for i, m := range fresh {
		text := look.member(m.name, values[i], c.array)
		if after := c.place(m.name, kept); after >= 0 {
			at := kept[after].end
			e.cut(at, at, slices.Concat([]byte{','}, look.lead, text))
		} else {
			at := kept[0].start
			e.cut(at, at, slices.Concat(text, []byte{','}, look.lead))
		}
	}
	return nil
}

// fresh is the value of a member that is not there yet.
func (c *container) fresh(name string) (jsontext.Value, error) {
	n := c.node.below[name]
	if c.array && !strings.HasPrefix(name, "-") {
		return nil, fmt.Errorf("editing %s/%s: the array has no such item: %w", c.pointer, name, ErrEdit)
	}
	return n.build(c.pointer + "/" + escape(name))
}

// build is the value that the edits at and below n make out of nothing.
func (n *editNode) build(pointer string) (jsontext.Value, error) {
	if n.op != nil {
		if n.op.Value == nil {
			return nil, fmt.Errorf("editing %s: there is nothing to delete: %w", pointer, ErrEdit)
		}
		return n.op.Value, nil
	}
	out := []byte{'{'}
	for i, name := range n.names {
		v, err := n.below[name].build(pointer + "/" + escape(name))
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out, _ = jsontext.AppendQuote(out, name)
		out = append(append(out, ':'), v...)
	}
	return append(out, '}'), nil
}

// delete cuts out the members that go, each with the comma that would be left
// over, and returns those that stay.
func (c *container) delete(e *editor) []editMember {
	kept := make([]editMember, 0, len(c.members))
	for _, m := range c.members {
		if !m.gone {
			kept = append(kept, m)
		}
	}
	if len(kept) == len(c.members) {
		return kept
	}
	if len(kept) == 0 {
		if !c.grows() {
			e.cut(c.open, c.close, nil)
		}
		return nil
	}
	last := kept[len(kept)-1]
	for i, m := range c.members {
		switch {
		case !m.gone || m.start > last.start:
		default:
			e.cut(m.start, c.members[i+1].start, nil)
		}
	}
	if end := c.members[len(c.members)-1].end; end > last.end {
		e.cut(last.end, end, nil)
	}
	return kept
}

// grows reports whether something is put into the container.
func (c *container) grows() bool {
	have := 0
	for i := range c.members {
		if c.node.below[c.members[i].name] != nil {
			have++
		}
	}
	return have < len(c.node.names)
}

// The order in which a spec's own members are written when they are new.
var (
	topOrder     = []string{"$schema", "version", "previous", "environment", "segments", "features"}
	featureOrder = []string{"description", "owner", "enabled", "pct", "cohorts", "version", "salt", "expires", "ramp", "ramped", "tenants"}
)

// place is the index of the member after which a new one goes, -1 for the
// front: known members have an order, names in alphabetical order stay so, and
// everything else goes to the end.
func (c *container) place(name string, kept []editMember) int {
	if c.array {
		return len(kept) - 1
	}
	order := featureOrder
	switch depth := strings.Count(c.pointer, "/"); {
	case depth == 0:
		order = topOrder
	case strings.HasPrefix(c.pointer, "/features/") && (depth == 2 || depth == 4):
	case c.sorted:
		i, _ := slices.BinarySearchFunc(kept, name, func(m editMember, name string) int { return strings.Compare(m.name, name) })
		return i - 1
	default:
		return len(kept) - 1
	}
	rank := slices.Index(order, name)
	if rank < 0 {
		return len(kept) - 1
	}
	after := -1
	for i, m := range kept {
		if r := slices.Index(order, m.name); r >= 0 && r < rank {
			after = i
		}
	}
	return after
}

// sortedNames reports whether at least two names stand in rising order.
func sortedNames(list []editMember) bool {
	return len(list) > 1 && slices.IsSortedFunc(list, func(a, b editMember) int { return strings.Compare(a.name, b.name) })
}

func sortFresh(fresh []editMember, values []jsontext.Value) {
	by := make([]int, len(fresh))
	for i := range by {
		by[i] = i
	}
	slices.SortStableFunc(by, func(a, b int) int { return strings.Compare(fresh[a].name, fresh[b].name) })
	f, v := slices.Clone(fresh), slices.Clone(values)
	for i, j := range by {
		fresh[i], values[i] = f[j], v[j]
	}
}

// lineIndent is the white space that the line around offset i begins with.
func lineIndent(src []byte, i int) string {
	start := bytes.LastIndexByte(src[:i], '\n') + 1
	end := start
	for end < len(src) && (src[end] == ' ' || src[end] == '\t') {
		end++
	}
	return string(src[start:end])
}
