package schema

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// place is a node of the tree of pointers that are looked for.
type place struct {
	below   map[string]*place
	onName  []int // problems that want the offset of the name
	onValue []int
}

// locate finds the byte offsets of problems in the JSON value that src begins
// with, in one reading that steps over everything else. What is not found
// gets the offset of the value.
func locate(src []byte, problems []Problem) []int {
	root := &place{}
	for i, p := range problems {
		node := root
		for _, token := range splitPointer(p.Pointer) {
			next := node.below[token]
			if next == nil {
				if node.below == nil {
					node.below = map[string]*place{}
				}
				next = &place{}
				node.below[token] = next
			}
			node = next
		}
		if p.OnName {
			node.onName = append(node.onName, i)
		} else {
			node.onValue = append(node.onValue, i)
		}
	}
	l := locator{src: src, offsets: make([]int, len(problems)), found: make([]bool, len(problems))}
	l.d = jsontext.NewDecoder(bytes.NewBuffer(src), jsontext.AllowDuplicateNames(true))
	_ = l.value(root) // what cannot be read keeps offset 0
	return l.offsets
}

type locator struct {
	src     []byte
	d       *jsontext.Decoder
	offsets []int
	found   []bool // the first of two names counts
}

// next is the offset of the token that comes.
func (l *locator) next() int {
	i := int(l.d.InputOffset())
	for i < len(l.src) {
		switch l.src[i] {
		case ' ', '\t', '\r', '\n', ',', ':':
			i++
			continue
		}
		break
	}
	return i
}

func (l *locator) set(list []int, offset int) {
	for _, i := range list {
		if !l.found[i] {
			l.offsets[i], l.found[i] = offset, true
		}
	}
}

func (l *locator) value(p *place) error {
	l.set(p.onValue, l.next())
	kind := l.d.PeekKind()
	if len(p.below) == 0 || kind != '{' && kind != '[' {
		return l.d.SkipValue()
	}
	if _, err := l.d.ReadToken(); err != nil {
		return err
	}
	for i := 0; l.d.PeekKind() != '}' && l.d.PeekKind() != ']'; i++ {
		key, start := strconv.Itoa(i), l.next()
		if kind == '{' {
			name, err := l.d.ReadToken()
			if err != nil {
				return err
			}
			key = name.String()
		}
		below := p.below[key]
		if below == nil {
			if err := l.d.SkipValue(); err != nil {
				return err
			}
			continue
		}
		l.set(below.onName, start)
		if err := l.value(below); err != nil {
			return err
		}
	}
	_, err := l.d.ReadToken()
	return err
}
