package pii

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// maxTold bounds the findings of one document: a file of a million addresses is told of as well by a hundred.
const maxTold = 100

// Document looks through a document such as a file of evidence: the names and texts of JSON, at any depth, or all of it where
// it is none. Numbers are measurements and are passed over. What is found twice is told once, and no more than a hundred are.
func Document(where string, src []byte, r Rules) []Hit {
	var hits []Hit
	seen := map[string]bool{}
	look := func(text string) {
		if seen[text] || len(hits) == maxTold {
			return
		}
		seen[text] = true
		if h, ok := r.find(text); ok {
			h.Where, h.Document = where, true
			hits = append(hits, h)
		}
	}
	dec := jsontext.NewDecoder(bytes.NewReader(src))
	for len(hits) < maxTold {
		tok, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return hits
		}
		if err != nil { // no JSON: each line of what it says
			hits, seen = nil, map[string]bool{}
			for line := range strings.Lines(strings.ToValidUTF8(string(src), "\uFFFD")) {
				look(strings.TrimSpace(line))
			}
			return hits
		}
		if tok.Kind() == '"' {
			if text := tok.String(); utf8.ValidString(text) {
				look(text)
			}
		}
	}
	return hits
}

// Evidence are the digests of the evidence that a spec's ramps name, each once, in order. Those that before names already are
// left out; before may be nil.
func Evidence(s, before *flags.Spec) []string {
	known := map[string]bool{}
	if before != nil {
		for _, d := range Evidence(before, nil) {
			known[d] = true
		}
	}
	var out []string
	add := func(r *flags.Ramped) {
		if r != nil && r.Evidence != "" && !known[r.Evidence] {
			known[r.Evidence] = true
			out = append(out, r.Evidence)
		}
	}
	for _, name := range s.Features() {
		f := s.Feature(name)
		if f.Own != nil {
			add(f.Own.Ramped)
		}
		for _, o := range f.Tenants() {
			add(o.Ramped)
		}
	}
	slices.Sort(out)
	return out
}
