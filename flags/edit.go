package flags

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
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
	if len(edits) == 0 {
		return src, nil
	}
	root := &editNode{}
	for i := range edits {
		if err := root.plan(&edits[i]); err != nil {
			return nil, err
		}
	}
	e := &editor{cursor: cursor{src: src}, style: styleOf(src), splices: make([]splice, 0, len(edits))}
	e.peek()
	if err := e.value(root); err != nil {
		return nil, err
	}
	return e.apply(), nil
}

// editNode is a place in the document that edits lead to or go through.
type editNode struct {
	token string // unescaped
	path  string // the pointer of an edit that leads here, and how much of it
	upTo  int
	op    *EditOp
	below []*editNode
	index map[string]*editNode // of below, where it is long
	found bool                 // the document has it
}

// pointer is where the node is, for errors.
func (n *editNode) pointer() string { return n.path[:n.upTo] }

const longList = 8

// find is the node below n for a member's name, or nil.
func (n *editNode) find(name []byte) *editNode {
	if n.index != nil {
		return n.index[string(name)]
	}
	for _, b := range n.below {
		if b.token == string(name) {
			return b
		}
	}
	return nil
}

func (n *editNode) add(b *editNode) {
	n.below = append(n.below, b)
	switch {
	case n.index != nil:
		n.index[b.token] = b
	case len(n.below) > longList:
		n.index = make(map[string]*editNode, 4*longList)
		for _, b := range n.below {
			n.index[b.token] = b
		}
	}
}

// plan puts an edit into the tree.
func (n *editNode) plan(op *EditOp) error {
	bad := func(why string) error { return fmt.Errorf("editing %s: %s: %w", op.Pointer, why, ErrEdit) }
	if !strings.HasPrefix(op.Pointer, "/") || !jsontext.Pointer(op.Pointer).IsValid() || !utf8.ValidString(op.Pointer) {
		return bad("want a JSON pointer below the document, such as /features/receipts/pct")
	}
	left := 1 + depthTop - strings.Count(op.Pointer, "/")
	if left < 1 {
		return bad("it lies too deep")
	}
	if op.Value != nil && !isPlain(op.Value) {
		if err := schema.Check("value", op.Value, schema.Limits{Depth: left}); err != nil {
			return fmt.Errorf("editing %s: %w", op.Pointer, err)
		}
	}
	end := 0
	for rest := op.Pointer; rest != ""; {
		token, after, more := strings.Cut(rest[1:], "/")
		end += 1 + len(token)
		if rest = ""; more {
			rest = "/" + after
		}
		token = unescape(token)
		if n.op != nil {
			return bad("another edit is on the way to it")
		}
		if tooLong(token) {
			return bad("the name is too long")
		}
		next := n.find([]byte(token))
		if next == nil || token == "-" { // each "-" appends to a list
			next = &editNode{token: token, path: op.Pointer, upTo: end}
			n.add(next)
		}
		n = next
	}
	if n.op != nil || len(n.below) > 0 {
		return bad("another edit is at the same place or below it")
	}
	n.op = op
	return nil
}

// isPlain reports whether v is a value that needs no parser: a small whole
// number, a plain short string, true or false.
func isPlain(v jsontext.Value) bool {
	switch s := string(v); s {
	case "true", "false", "0":
		return true
	default:
		if len(s) > 1 && s[0] == '"' {
			return len(s) < 256 && plainString(v)
		}
		return len(s) < 7 && s != "" && s[0] != '0' && strings.Trim(s, "0123456789") == ""
	}
}

func tooLong(name string) bool {
	if len(name) <= schema.MaxName/6 { // even if each byte is escaped
		return false
	}
	quoted, _ := jsontext.AppendQuote(nil, name)
	return len(quoted) > schema.MaxName+2
}

func unescape(token string) string {
	if strings.IndexByte(token, '~') < 0 {
		return token
	}
	return strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
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
