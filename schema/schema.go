// Package schema says whether a document is well formed: the JSON Schemas of
// the project's file formats, and strict decoding with errors that name file,
// line, column and JSON pointer and say what to do.
package schema

import (
	"fmt"
	"strings"
)

// Error is one defect of a document.
type Error struct {
	File         string
	Line, Column int    // from 1; a column counts bytes
	Pointer      string // RFC 6901; "" is the whole document
	Problem      string
	Hint         string // what to do, or ""

	offset int
}

// Error is "file:line:col: pointer: problem (hint)".
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Line, e.Column)
	if e.Pointer != "" {
		b.WriteString(e.Pointer + ": ")
	}
	b.WriteString(e.Problem)
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Errors are all defects that were found, sorted by position.
type Errors []*Error

// maxShown is how many errors are printed before "and N more".
const maxShown = 20

// Error is one error a line, the first twenty of them.
func (es Errors) Error() string {
	var b strings.Builder
	for i, e := range es {
		if i == maxShown {
			fmt.Fprintf(&b, "\nand %d more", len(es)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.Error())
	}
	return b.String()
}

// Unwrap gives each error to errors.As.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}
