package flags

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// cursor steps over JSON text without making anything of it. It knows only
// where names and values begin and end: that they are well formed is for the
// parser to say, before or after.
type cursor struct {
	src []byte
	i   int
}

func (c *cursor) space() {
	for c.i < len(c.src) {
		switch c.src[c.i] {
		case ' ', '\n', '\r', '\t':
			c.i++
		default:
			return
		}
	}
}

// peek is the next byte after white space, 0 at the end.
func (c *cursor) peek() byte {
	c.space()
	if c.i < len(c.src) {
		return c.src[c.i]
	}
	return 0
}

func (c *cursor) take(b byte) bool {
	if c.peek() != b {
		return false
	}
	c.i++
	return true
}

// object steps into an object. At the start of each member it calls member,
// which must leave the cursor behind the member's value. It is false when the
// text is not an object or member is false.
func (c *cursor) object(member func() bool) bool {
	if !c.take('{') {
		return false
	}
	if c.take('}') {
		return true
	}
	for {
		c.space()
		if !member() {
			return false
		}
		if c.take(',') {
			continue
		}
		return c.take('}')
	}
}

// name reads a member's name and the colon after it; what it returns is valid
// until src changes.
func (c *cursor) name() (name []byte, ok bool) {
	if c.peek() != '"' {
		return nil, false
	}
	start := c.i
	c.skipString()
	raw := c.src[start:c.i]
	if !c.take(':') {
		return nil, false
	}
	c.space()
	if plainString(raw) {
		return raw[1 : len(raw)-1], true
	}
	name, err := jsontext.AppendUnquote(nil, raw)
	return name, err == nil
}

// plainString reports whether raw is a string that stands for itself: printable
// ASCII without escapes.
func plainString(raw []byte) bool {
	if len(raw) < 2 || raw[len(raw)-1] != '"' {
		return false
	}
	for _, b := range raw[1 : len(raw)-1] {
		if b < 0x20 || b >= 0x7f || b == '\\' || b == '"' {
			return false
		}
	}
	return true
}

// skipString moves behind the string that begins here.
func (c *cursor) skipString() {
	for j := c.i + 1; j < len(c.src); {
		k := bytes.IndexByte(c.src[j:], '"')
		if k < 0 {
			break
		}
		end, back := j+k, j+k
		for back > j && c.src[back-1] == '\\' {
			back--
		}
		if (end-back)%2 == 0 {
			c.i = end + 1
			return
		}
		j = end + 1
	}
	c.i = len(c.src)
}

// skip moves behind the value that begins here.
func (c *cursor) skip() {
	depth := 0
	for c.i < len(c.src) {
		switch c.src[c.i] {
		case '"':
			c.skipString()
			if depth == 0 {
				return
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth <= 0 {
				c.i++
				return
			}
		case ',', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return
			}
		}
		c.i++
		if depth == 0 && c.i < len(c.src) {
			switch c.src[c.i] {
			case '}', ']', ',':
				return
			}
		}
	}
}
