package cli

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

type exitError struct {
	code int
	err  error // nil: the code says it all
}

func (e *exitError) Error() string {
	if e.err == nil {
		return "exit " + strconv.Itoa(e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// Exit gives err an exit code. The outermost code in a chain wins; an error without one exits 1.
// With a nil err the code is an answer (diff found changes, say) and nothing is printed.
func Exit(code int, err error) error { return &exitError{code, err} }

// Code is the exit code that err asks for: ExitOK for nil.
func Code(err error) int {
	if err == nil {
		return ExitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return ExitError
}

type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string   { return e.err.Error() }
func (e *hintError) Unwrap() error   { return e.err }
func (e *hintError) Hints() []string { return []string{e.hint} }

// Hint adds a next step to err, printed on a line of its own. A nil err stays nil.
func Hint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// Hints lists the next steps that err and all it wraps carry, each once, innermost first. An error
// of another package takes part by having a method Hints() []string.
func Hints(err error) []string {
	var out []string
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				walk(inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner)
			}
		}
		if h, ok := err.(interface{ Hints() []string }); ok {
			out = append(out, h.Hints()...)
		}
	}
	if err != nil {
		walk(err)
	}
	seen := map[string]bool{"": true}
	n := 0
	for _, h := range out {
		if !seen[h] {
			seen[h] = true
			out[n] = h
			n++
		}
	}
	return out[:n]
}

// Report prints err and its hints the way every command does, and returns the exit code.
func Report(w io.Writer, name string, err error) int {
	code := Code(err)
	if e, ok := errors.AsType[*exitError](err); err == nil || (ok && e.err == nil) {
		return code
	}
	for line := range strings.Lines(Printable(err.Error())) {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintf(w, "%s: error: %s\n", name, line)
		}
	}
	for _, h := range Hints(err) {
		fmt.Fprintf(w, "%s: hint: %s\n", name, strings.ReplaceAll(Printable(h), "\n", " "))
	}
	return code
}

// Printable is s without what could steer a terminal: control characters other than newline and
// tab, direction marks and the like appear escaped. Error texts quote bytes that others wrote.
func Printable(s string) string {
	clean := func(r rune) bool { return r == '\n' || r == '\t' || unicode.IsPrint(r) }
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if clean(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
