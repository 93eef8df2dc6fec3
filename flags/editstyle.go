package flags

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// style is how a document is written: seen once at its first objects and
// lists, and again at the neighbours of whatever is new.
type style struct {
	newline string // "\n" or "\r\n"; "" for a document on one line
	unit    string // one level of indentation
	colon   string // ":" or ": "
	comma   string // between members on one line: "," or ", "
	pad     string // inside the braces of an object on one line
	padList string // inside the brackets of a list on one line
	lists   bool   // lists of plain values have a line for each
	leaves  bool   // objects of plain values do not

	ends []int // where the document's lines end; nil until somebody asks
}

// lineIndent is the white space that the line around offset i begins with. All
// line ends are found once: each edit of a document on one long line would
// search it anew.
func (s *style) lineIndent(src []byte, i int) string {
	if s.ends == nil {
		s.ends = []int{-1}
		for at, c := range src {
			if c == '\n' {
				s.ends = append(s.ends, at)
			}
		}
	}
	n, _ := slices.BinarySearch(s.ends, i)
	start := s.ends[n-1] + 1
	end := start
	for end < len(src) && (src[end] == ' ' || src[end] == '\t') {
		end++
	}
	return string(src[start:end])
}

// styleOf looks at the document until it has seen everything that it looks for.
func styleOf(src []byte) *style {
	s := &style{colon: ":", comma: ","}
	c := &cursor{src: src}
	if c.peek() == '{' {
		c.i++
		start := c.i
		c.space()
		s.newline, s.unit = lineBreak(src[start:c.i])
	}
	if s.newline == "" {
		if nl, _ := lineBreak(bytes.TrimSpace(src)); nl != "" { // an open brace and its first member share a line
			s.newline, s.unit = nl, "  "
		}
	}
	var sawColon, sawComma, sawPad, sawList bool
	for i := 0; i < len(src) && !(sawColon && sawComma && sawPad && sawList); i++ {
		rest := src[i+1:]
		switch src[i] {
		case '"':
			c.i = i
			c.skipString()
			i = c.i - 1
		case ':':
			if !sawColon {
				sawColon, s.colon = true, ":"+gap(rest)
			}
		case ',':
			if g := gap(rest); !sawComma && !breaks(rest) {
				sawComma, s.comma = true, ","+g
			}
		case '{':
			if !sawPad && i > 0 && !breaks(rest) && len(rest) > 0 && rest[0] != '}' {
				sawPad, s.pad, s.leaves = true, gap(rest), true
			}
		case '[':
			if !sawList && len(rest) > 0 && rest[0] != ']' {
				sawList, s.lists = true, breaks(rest)
				if !s.lists {
					s.padList = gap(rest)
				}
			}
		}
	}
	if !sawComma && s.colon != ":" {
		s.comma = ", "
	}
	if !sawPad && s.newline != "" {
		s.pad = " "
	}
	return s
}

// gap is the white space that text begins with, on one line.
func gap(text []byte) string {
	n := 0
	for n < len(text) && (text[n] == ' ' || text[n] == '\t') {
		n++
	}
	return string(text[:n])
}

// breaks reports whether the white space that text begins with ends a line.
func breaks(text []byte) bool {
	text = text[len(gap(text)):]
	return len(text) > 0 && (text[0] == '\n' || text[0] == '\r')
}

// lineBreak is the line end in text and the indentation after the last one.
func lineBreak(text []byte) (newline, indent string) {
	i := bytes.LastIndexByte(text, '\n')
	if i < 0 {
		return "", ""
	}
	if i > 0 && text[i-1] == '\r' {
		return "\r\n", gap(text[i+1:])
	}
	return "\n", gap(text[i+1:])
}

// look is how one value is written at one place.
type look struct {
	*style
	lead    []byte // white space before a member, after the comma
	indent  string // of the line that the member stands on
	objects bool   // an object has a line for each member
	lists   bool   // and a list for each item
	leaves  bool   // but an object of plain values has not
}

// replace writes value in place of src[start:end]: on one line if the old one
// was, and otherwise as the document does it.
func (s *style) replace(src []byte, start, end int, value jsontext.Value) []byte {
	l := look{style: s, indent: s.lineIndent(src, start), objects: s.newline != "", lists: s.lists, leaves: s.leaves}
	if old := src[start:end]; len(old) > 2 && (old[0] == '{' || old[0] == '[') {
		multi := bytes.IndexByte(old, '\n') >= 0
		l.objects, l.lists = multi, multi && (s.lists || old[0] == '[' && breaks(old[1:]))
		l.leaves = s.leaves && !(multi && isLeaf(old))
	}
	return l.value(nil, value, l.indent)
}

// within is how a new member of c is written, by the members that stay.
func (s *style) within(src []byte, c *container) look {
	kept := c.kept
	l := look{style: s, objects: s.newline != "", lists: s.lists, leaves: s.leaves}
	last := kept[len(kept)-1]
	before := c.open
	for _, m := range c.members {
		if m.start >= last.start {
			break
		}
		before = m.end
	}
	lead := bytes.TrimLeft(src[before:last.start], ", \t")
	if nl, indent := lineBreak(lead); nl != "" {
		l.lead, l.indent = []byte(nl+indent), indent
	} else {
		l.indent = s.lineIndent(src, last.start)
		l.lead = []byte(strings.TrimPrefix(s.comma, ","))
		if before != c.open {
			text := src[before:last.start]
			l.lead = []byte(gap(text[bytes.IndexByte(text, ',')+1:]))
		}
		l.objects, l.lists = false, false
	}
	var sawLeaf, sawOther bool
	for i := len(kept) - 1; i >= 0 && i >= len(kept)-16; i-- {
		text := src[kept[i].valueAt:kept[i].end]
		if len(text) < 3 || text[0] != '{' {
			continue
		}
		multi := bytes.IndexByte(text, '\n') >= 0
		if isLeaf(text) {
			if !sawLeaf {
				sawLeaf, l.leaves = true, !multi
			}
		} else if !sawOther {
			sawOther, l.objects = true, multi
		}
	}
	return l
}

// fill writes the members of a container that holds nothing else.
func (s *style) fill(src []byte, c *container, fresh []*editNode, values map[*editNode]jsontext.Value) []byte {
	indent := s.lineIndent(src, c.open)
	l := look{style: s, indent: indent, objects: s.newline != "", lists: s.lists, leaves: s.leaves}
	multi := l.objects
	if c.array {
		multi = l.lists
	}
	if len(c.members) > 0 { // all of them go: keep their look
		multi = bytes.IndexByte(src[c.open:c.close], '\n') >= 0 && s.newline != ""
	}
	var out []byte
	for i, b := range fresh {
		if i > 0 {
			out = append(out, ',')
		}
		switch {
		case multi:
			out = append(out, s.newline+indent+s.unit...)
		case i > 0:
			out = append(out, s.comma[1:]...)
		}
		l.indent = indent
		if multi {
			l.indent += s.unit
		}
		out = append(out, l.member(b.token, values[b], c.array)...)
	}
	switch {
	case multi:
		return append(out, s.newline+indent...)
	case c.array:
		return append(append([]byte(s.padList), out...), s.padList...)
	}
	return append(append([]byte(s.pad), out...), s.pad...)
}

// member writes a member, or an item where the container is an array.
func (l look) member(name string, value jsontext.Value, array bool) []byte {
	var out []byte
	if !array {
		out, _ = jsontext.AppendQuote(out, name)
		out = append(out, l.colon...)
	}
	return l.value(out, value, l.indent)
}

// isLeaf reports whether an object holds neither objects nor lists and is
// short: long ones are easier to read with a line for each member.
func isLeaf(object []byte) bool {
	const short = 80
	if len(object) > short {
		return false
	}
	c := &cursor{src: object}
	return c.object(func() bool {
		_, ok := c.name()
		next := c.peek()
		c.skip()
		return ok && next != '{' && next != '['
	})
}

// value appends value, whose line begins with indent.
func (l look) value(dst []byte, value jsontext.Value, indent string) []byte {
	c := &cursor{src: value}
	kind := c.peek()
	if kind != '{' && kind != '[' {
		return append(dst, bytes.TrimSpace(value)...)
	}
	closing, multi, pad := byte('}'), l.objects && !(l.leaves && isLeaf(value)), l.pad
	if kind == '[' {
		closing, multi, pad = ']', l.lists, l.padList
	}
	c.i++
	dst = append(dst, kind)
	if c.peek() == closing {
		return append(dst, closing)
	}
	inner := indent + l.unit
	for i := 0; c.peek() != closing; i++ {
		if i > 0 {
			dst = append(dst, ',')
		}
		switch {
		case multi:
			dst = append(dst, l.newline+inner...)
		case i > 0:
			dst = append(dst, l.comma[1:]...)
		default:
			dst = append(dst, pad...)
		}
		if kind == '{' {
			start := c.i
			c.skipString()
			dst = append(dst, c.src[start:c.i]...)
			dst = append(dst, l.colon...)
			c.take(':')
			c.space()
		}
		start := c.i
		c.skip()
		dst = l.value(dst, value[start:c.i], inner)
		c.take(',')
	}
	if multi {
		return append(append(dst, l.newline+indent...), closing)
	}
	return append(append(dst, pad...), closing)
}
