package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// JSONLine writes v, which must encode as a JSON object, on one line, with "format" as its first
// member. A format is a promise: while it is "diff/v1", members may be added but are never renamed,
// removed or given a new meaning.
func JSONLine(w io.Writer, format string, v any) error {
	body, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encoding %s: %w", format, err)
	}
	if len(body) < 2 || body[0] != '{' {
		return fmt.Errorf("encoding %s: %w", format, errors.New("not a JSON object"))
	}
	line := append(make([]byte, 0, len(body)+len(format)+16), `{"format":`...)
	if line, err = jsontext.AppendQuote(line, format); err != nil {
		return fmt.Errorf("encoding format %q: %w", format, err)
	}
	if len(body) > 2 {
		line = append(line, ',')
	}
	line = append(append(line, body[1:]...), '\n')
	_, err = w.Write(line)
	return err
}

// Palette paints text, or leaves it alone. The zero Palette leaves it alone.
type Palette struct{ on bool }

func (e Env) palette(tty bool) Palette {
	return Palette{on: tty && e.getenv("NO_COLOR") == "" && e.getenv("TERM") != "dumb"}
}

// OutPalette is for stdout, ErrPalette for stderr: on where that is a terminal, NO_COLOR is empty
// and TERM is not "dumb".
func (e Env) OutPalette() Palette { return e.palette(e.StdoutTTY) }

// ErrPalette is OutPalette for stderr.
func (e Env) ErrPalette() Palette { return e.palette(e.StderrTTY) }

func (p Palette) paint(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// Red, Green, Bold and Dim are the four styles there are.
func (p Palette) Red(s string) string   { return p.paint("31", s) }
func (p Palette) Green(s string) string { return p.paint("32", s) }
func (p Palette) Bold(s string) string  { return p.paint("1", s) }
func (p Palette) Dim(s string) string   { return p.paint("2", s) }

// Talk writes one line to stderr: what is being done, or what to do next.
func (e Env) Talk(format string, args ...any) {
	fmt.Fprintln(e.Stderr, strings.TrimRight(Printable(fmt.Sprintf(format, args...)), "\n"))
}

// Warn is [Env.Talk] of what a person should look at before going on, with what to do about it on a line of its own; "" for
// nothing.
func (e Env) Warn(todo, format string, args ...any) {
	e.Talk("warning: "+format, args...)
	if todo != "" {
		e.Talk("hint: %s", todo)
	}
}

// Progress shows one line on stderr that the next call replaces, on a terminal only. An empty text
// wipes it: do that before writing anything else.
func (e Env) Progress(text string) {
	if e.StderrTTY && e.getenv("TERM") != "dumb" {
		fmt.Fprintf(e.Stderr, "\r\x1b[K%s", Printable(text))
	}
}

// Lookup is a variable's value and whether it is set at all.
func (e Env) Lookup(name string) (string, bool) {
	if e.LookupEnv != nil {
		return e.LookupEnv(name)
	}
	value := e.getenv(name)
	return value, value != ""
}

func (e Env) getenv(name string) string {
	if e.Getenv == nil {
		return ""
	}
	return e.Getenv(name)
}
