package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits bound a document before anything is made of it. Zero means the
// default.
type Limits struct {
	Bytes int // 32 MiB
	Depth int // of objects and arrays inside each other: 16
	Names int // in one object: 500,000
	Items int // in one array: 100,000

	// Empty is the hint for an empty document: what the least of its kind is, or how one is made. Empty: none.
	Empty string
}

// MaxName is how many bytes a name may have.
const MaxName = 1024

const (
	defaultBytes = 32 << 20
	defaultDepth = 16
	defaultNames = 500_000
	defaultItems = 100_000

	// A number is text until it is needed. Longer ones, and exponents like
	// 1e999, cost memory without bound in whoever makes an exact value of them.
	maxNumber   = 64
	maxExponent = 308
)

func (l Limits) bytes() int { return orElse(l.Bytes, defaultBytes) }
func (l Limits) depth() int { return orElse(l.Depth, defaultDepth) }
func (l Limits) names() int { return orElse(l.Names, defaultNames) }
func (l Limits) items() int { return orElse(l.Items, defaultItems) }

func orElse(n, other int) int {
	if n == 0 {
		return other
	}
	return n
}

// Check holds src to the strict form of JSON: one value of valid UTF-8 without
// byte order mark and without anything after it, no name twice in an object
// however it is spelled, and nothing deeper, longer or wider than lim allows.
// It says nothing about which names belong there. The error is [Errors] with
// the first defect.
func Check(file string, src []byte, lim Limits) error {
	r := NewReport(file, src)
	if len(src) > lim.bytes() {
		r.src = nil // do not count the lines of a monster
		r.Add(0, "", fmt.Sprintf("the document has %d bytes, more than the %d that are allowed", len(src), lim.bytes()), "split it into several specs")
		return r.Err()
	}
	if bytes.HasPrefix(src, []byte("\xef\xbb\xbf")) {
		r.Add(0, "", "the document begins with a byte order mark", "save it as UTF-8 without BOM")
		return r.Err()
	}
	if at, problem, hint := scan(src, lim); problem != "" {
		r.Add(at, pointerAt(src, at), problem, hint)
		return r.Err()
	}
	if at, pointer, problem, hint := parse(src, lim.Empty); problem != "" {
		r.Add(at, pointer, problem, hint)
	}
	return r.Err()
}

// scan looks for what would cost a parser too much: depth, width and numbers.
// It is no parser; src need not be JSON.
func scan(src []byte, lim Limits) (at int, problem, hint string) {
	type level struct {
		start, commas, most int
	}
	levels := make([]level, lim.depth()+1)
	levels[0].most = len(src)
	depth, str := 0, 0 // str is where the last string began
	for i := 0; i < len(src); i++ {
		switch c := src[i]; c {
		case '"':
			str = i
			i = endOfString(src, i) - 1
		case '{', '[':
			depth++
			if depth == len(levels) {
				return i, fmt.Sprintf("nested deeper than %d levels", lim.depth()), ""
			}
			levels[depth] = level{start: i, most: lim.names()}
			if c == '[' {
				levels[depth].most = lim.items()
			}
		case '}', ']':
			depth = max(depth-1, 0)
		case ',':
			l := &levels[depth]
			if l.commas++; l.commas < l.most {
				continue
			}
			if src[l.start] == '[' {
				return l.start, fmt.Sprintf("more than %d items in one list", l.most), ""
			}
			return l.start, fmt.Sprintf("more than %d names in one object", l.most), "split it into several files"
		case ':':
			if n := i - str; n > MaxName && src[i-1] == '"' {
				return str, fmt.Sprintf("a name of %d bytes, more than %d", n-2, MaxName), ""
			}
		case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
			end := i + 1
			for end < len(src) && isNumberByte(src[end]) {
				end++
			}
			if problem := monstrous(src[i:end]); problem != "" {
				return i, problem, "write a plain number, such as 12.5"
			}
			i = end - 1
		}
	}
	return 0, "", ""
}

func isNumberByte(c byte) bool {
	return c >= '0' && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'
}

func monstrous(number []byte) string {
	if len(number) > maxNumber {
		return fmt.Sprintf("a number of %d characters, more than %d", len(number), maxNumber)
	}
	e := bytes.IndexAny(number, "eE")
	if e < 0 {
		return ""
	}
	exp, err := strconv.Atoi(string(number[e+1:]))
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return "" // not a number at all: the parser says it better
	}
	if f, _ := strconv.ParseFloat(string(number), 64); err != nil || exp > maxExponent || exp < -maxExponent || f > 1e308 || f < -1e308 {
		return fmt.Sprintf("the number %s is out of all bounds", number)
	}
	return ""
}

// endOfString is the offset after the closing quote of the string that begins
// at i, or len(src).
func endOfString(src []byte, i int) int {
	for j := i + 1; j < len(src); {
		k := bytes.IndexByte(src[j:], '"')
		if k < 0 {
			break
		}
		end := j + k
		back := end
		for back > j && src[back-1] == '\\' {
			back--
		}
		if (end-back)%2 == 0 {
			return end + 1
		}
		j = end + 1
	}
	return len(src)
}

// parse reads all of src by the grammar of JSON.
func parse(src []byte, empty string) (at int, pointer, problem, hint string) {
	d := jsontext.NewDecoder(bytes.NewBuffer(src))
	_, err := d.ReadValue()
	if err == nil {
		end := int(d.InputOffset())
		rest := bytes.TrimLeft(src[end:], " \t\r\n")
		if len(rest) == 0 {
			return 0, "", "", ""
		}
		return len(src) - len(rest), "", "data after the end of the document", "a file holds one JSON object"
	}
	at, pointer = int(d.InputOffset()), ""
	var se *jsontext.SyntacticError
	if errors.As(err, &se) {
		at, pointer = int(se.ByteOffset), string(se.JSONPointer)
	}
	at = min(at, len(src))
	switch {
	case len(bytes.TrimLeft(src, " \t\r\n")) == 0:
		return 0, "", "the document is empty", empty
	case errors.Is(err, jsontext.ErrDuplicateName):
		first := locate(src, []Problem{{Pointer: pointer, OnName: true}})[0]
		line := 1 + bytes.Count(src[:first], []byte{'\n'})
		return at, pointer, fmt.Sprintf("duplicate name %s, first on line %d", quote(jsontext.Pointer(pointer).LastToken()), line), "keep one of the two"
	case errors.Is(err, jsontext.ErrNonStringName):
		return at, pointer, "a name must be a string in double quotes", ""
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return len(src), pointer, "the document ends too early", "is the file cut off?"
	case !utf8.Valid(src[at:min(at+utf8.UTFMax, len(src))]) && strings.Contains(err.Error(), "UTF-8"):
		return at, pointer, "invalid UTF-8", "save the file as UTF-8"
	}
	return at, pointer, plain(se, err), syntaxHint(src, at)
}

// plain takes the parser's own name and position off its message, and what it
// quotes from further on.
func plain(se *jsontext.SyntacticError, err error) string {
	if se == nil || se.Err == nil {
		return err.Error()
	}
	text := strings.TrimPrefix(se.Err.Error(), "jsontext: ")
	if strings.HasPrefix(text, "invalid surrogate pair") {
		return "half of a surrogate pair"
	}
	if strings.HasPrefix(text, "invalid escape sequence") {
		return "invalid escape sequence in a string"
	}
	return text
}

// syntaxHint says what people usually mean who write such a character.
func syntaxHint(src []byte, at int) string {
	switch c := src[min(at, len(src)-1)]; {
	case c == '\'':
		return "strings stand in double quotes"
	case c == '/' || c == '#':
		return "JSON has no comments"
	case c == '}' || c == ']':
		return "is there a comma too many before it?"
	case c == '+' || c == '.' || c == 'N' || c == 'I' || c == 'x' || c == 'X' || at > 0 && src[at-1] == '0' && c >= '0' && c <= '9':
		return "write a plain number, such as 12.5"
	case c >= 0x80:
		return "save the file as UTF-8"
	case len(bytes.TrimSpace(src[:at])) == 0:
		return "the document must be a JSON object, beginning with {"
	}
	return ""
}

// pointerAt is the pointer of what stands at the offset, as far as src can be
// read.
func pointerAt(src []byte, at int) string {
	d := jsontext.NewDecoder(bytes.NewBuffer(src[:at]), jsontext.AllowDuplicateNames(true))
	for {
		if _, err := d.ReadToken(); err != nil {
			return string(d.StackPointer())
		}
	}
}

// quote is s in double quotes, cut to a length that fits on a line.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		cut := most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		return strconv.Quote(s[:cut]) + "…"
	}
	return strconv.Quote(s)
}
