package schema

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

// maxErrors is how many defects are collected before a reader gives up: a
// hostile file has a million, a person mends a few at a time.
const maxErrors = 100

// Report collects the defects of one document and gives them back sorted by
// position, with lines and columns.
type Report struct {
	file string
	src  []byte
	errs Errors
}

// NewReport is an empty report on src.
func NewReport(file string, src []byte) *Report { return &Report{file: file, src: src} }

// Add notes a defect at a byte offset.
func (r *Report) Add(offset int, pointer, problem, hint string) {
	if !r.Full() {
		r.errs = append(r.errs, &Error{File: r.file, Pointer: pointer, Problem: problem, Hint: hint, offset: offset})
	}
}

// AddProblems notes what [Part.Validate] found in the JSON value that begins at
// offset and has this pointer. The value's text is only looked through here,
// when something is wrong with it.
func (r *Report) AddProblems(offset int, pointer string, found []Problem) {
	if len(found) == 0 {
		return
	}
	at := locate(r.src[offset:], found)
	order := make([]int, len(found))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		return cmp.Or(at[i]-at[j], strings.Compare(found[i].Problem, found[j].Problem))
	})
	for _, i := range order {
		r.Add(offset+at[i], pointer+found[i].Pointer, found[i].Problem, found[i].Hint)
	}
}

// Full reports whether enough was collected: what is added from now on is
// dropped.
func (r *Report) Full() bool { return len(r.errs) >= maxErrors }

// Err is nil when nothing was added, else [Errors].
func (r *Report) Err() error {
	if len(r.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(r.errs, func(a, b *Error) int {
		return cmp.Or(a.offset-b.offset, strings.Compare(a.Problem, b.Problem))
	})
	line, start, done := 1, 0, 0
	for _, e := range r.errs {
		e.offset = min(e.offset, len(r.src))
		line += bytes.Count(r.src[done:e.offset], []byte{'\n'})
		if i := bytes.LastIndexByte(r.src[done:e.offset], '\n'); i >= 0 {
			start = done + i + 1
		}
		done = e.offset
		e.Line, e.Column = line, e.offset-start+1
	}
	return slices.CompactFunc(r.errs, func(a, b *Error) bool { return *a == *b })
}
