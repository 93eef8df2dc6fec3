package schema

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v5"
)

//go:embed *.schema.json
var files embed.FS

const (
	baseURL   = "https://raw.githubusercontent.com/rampart-flags/rampart/main/schema/"
	extension = ".schema.json"
)

// Source is the text of a schema by its short name ("flags", "trust", …), as
// editors use it.
func Source(name string) ([]byte, error) { return files.ReadFile(name + extension) }

// Part is a schema, or a part of one, ready to validate values.
type Part struct{ compiled *jsonschema.Schema }

// Lookup is the part of the schema of that short name ("flags", "trust",
// "coverage", "slo_health", …) at the pointer; "" is all of it. A name that
// does not exist is a mistake in the program and panics.
func Lookup(name, pointer string) *Part {
	p, err := lookup(name, pointer)
	if err != nil {
		panic(fmt.Sprintf("schema: %v", err))
	}
	return p
}

var parts struct {
	sync.Mutex
	compiler *jsonschema.Compiler
	docs     map[string]any // by URL, for the words of an error
	made     map[string]*Part
}

func lookup(name, pointer string) (*Part, error) {
	parts.Lock()
	defer parts.Unlock()
	if parts.compiler == nil {
		if err := load(); err != nil {
			return nil, err
		}
	}
	url := baseURL + name + extension + "#" + pointer
	if p := parts.made[url]; p != nil {
		return p, nil
	}
	compiled, err := parts.compiler.Compile(url)
	if err != nil {
		return nil, err
	}
	p := &Part{compiled: compiled}
	parts.made[url] = p
	return p, nil
}

func load() error {
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft2020
	c.AssertFormat = true
	c.LoadURL = func(url string) (io.ReadCloser, error) {
		return nil, fmt.Errorf("%s is not built in", url)
	}
	docs := map[string]any{}
	list, err := files.ReadDir(".")
	if err != nil {
		return err
	}
	for _, f := range list {
		src, err := files.ReadFile(f.Name())
		if err != nil {
			return err
		}
		var doc map[string]any
		if err := json.Unmarshal(src, &doc); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		flat := inline(doc, doc, nil)
		if src, err = json.Marshal(flat); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		if err := c.AddResource(baseURL+f.Name(), bytes.NewReader(src)); err != nil {
			return err
		}
		docs[baseURL+f.Name()] = flat
	}
	parts.compiler, parts.docs, parts.made = c, docs, map[string]*Part{}
	return nil
}

// inline puts the definition in place of each reference to one of the same
// file. The files stay free of repetition for their readers; the validator
// allocates much for each reference that it follows. within are the names of
// the definitions around the node, which may contain themselves.
func inline(node any, doc map[string]any, within []string) any {
	switch node := node.(type) {
	case []any:
		out := make([]any, len(node))
		for i, v := range node {
			out[i] = inline(v, doc, within)
		}
		return out
	case map[string]any:
		ref, _ := node["$ref"].(string)
		if name, ok := strings.CutPrefix(ref, "#/$defs/"); ok && !slices.Contains(within, name) && onlyWords(node) {
			defs, _ := doc["$defs"].(map[string]any)
			return inline(defs[name], doc, append(slices.Clone(within), name))
		}
		out := make(map[string]any, len(node))
		for key, v := range node {
			out[key] = inline(v, doc, within)
		}
		return out
	}
	return node
}

// onlyWords reports whether a reference stands beside words for people only.
func onlyWords(node map[string]any) bool {
	for key := range node {
		if key != "$ref" && key != "description" && key != "examples" {
			return false
		}
	}
	return true
}

// Problem is one defect of a value, its pointer counted from that value.
type Problem struct {
	Pointer string
	Problem string
	Hint    string
	OnName  bool // the defect is the member's name, or that it is there at all
}

// Validate holds v to the schema. v is what [Value] makes. The problems come
// in no particular order; none means that v is valid.
func (p *Part) Validate(v any) []Problem {
	err := p.compiled.Validate(v)
	if err == nil {
		return nil
	}
	ve, ok := err.(*jsonschema.ValidationError)
	if !ok {
		return []Problem{{Problem: err.Error()}}
	}
	w := wording{instance: v}
	w.walk(ve)
	if len(w.found) == 0 { // whatever could not be worded is a defect all the same
		return []Problem{{Problem: ve.Error()}}
	}
	return w.found
}

// MaxArray is how many items of an array a validator gets to see. The schemas
// bound every array below it, but for those that are checked item by item
// elsewhere.
const MaxArray = 1000

// Value makes of one JSON text what [Part.Validate] takes: maps, slices,
// strings, bools, nil, and json.Number. The text must have passed [Check].
// Of arrays with more than 1000 items only the first 1001 are kept, and a text
// of more than most values is an error.
func Value(src []byte, most int) (any, error) {
	r := readers.Get().(*valueReader)
	defer readers.Put(r)
	r.buffer = *bytes.NewBuffer(src)
	r.decoder.Reset(&r.buffer, jsontext.AllowDuplicateNames(true))
	left := most
	v, err := value(r.decoder, &left)
	if left < 0 {
		err = fmt.Errorf("more than %d values", most)
	}
	r.buffer = bytes.Buffer{}
	r.decoder.Reset(&r.buffer) // keep nobody's bytes
	return v, err
}

// valueReader is what reading a value needs, used again: a spec has a hundred
// thousand small ones.
type valueReader struct {
	buffer  bytes.Buffer
	decoder *jsontext.Decoder
}

var readers = sync.Pool{New: func() any { return &valueReader{decoder: jsontext.NewDecoder(&bytes.Buffer{})} }}

var errTooMany = errors.New("too many values")

func value(d *jsontext.Decoder, left *int) (any, error) {
	if *left--; *left < 0 {
		return nil, errTooMany
	}
	tok, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch tok.Kind() {
	case '{':
		m := map[string]any{}
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			key := name.String()
			if m[key], err = value(d, left); err != nil {
				return nil, err
			}
		}
		_, err := d.ReadToken()
		return m, err
	case '[':
		list := []any{}
		for d.PeekKind() != ']' {
			if len(list) > MaxArray {
				if err := d.SkipValue(); err != nil {
					return nil, err
				}
				continue
			}
			v, err := value(d, left)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.ReadToken()
		return list, err
	case '0':
		return json.Number(tok.String()), nil
	case '"':
		return tok.String(), nil
	case 'n':
		return nil, nil
	}
	return tok.Kind() == 't', nil
}

// schemaAt is the object of the schema documents at an absolute keyword
// location, and the object around it.
func schemaAt(location string) (node, around map[string]any) {
	url, pointer, _ := strings.Cut(location, "#")
	cur := parts.docs[url] // written once, before the first Part exists
	for _, token := range splitPointer(unescapeURL(pointer)) {
		m, ok := cur.(map[string]any)
		if !ok {
			if list, isList := cur.([]any); isList {
				cur = item(list, token)
				continue
			}
			return nil, nil
		}
		around = m
		cur = m[token]
	}
	node, _ = cur.(map[string]any)
	return node, around
}
