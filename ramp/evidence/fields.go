package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// MaxBytes is the longest evidence file that is read.
const MaxBytes = 32 << 20

// object reads a JSON object's members. Duplicate names, invalid UTF-8 and trailing data make the whole
// unreadable; what a member holds is not looked at.
func object(src []byte) (map[string]jsontext.Value, error) {
	if len(src) > MaxBytes {
		return nil, fmt.Errorf("longer than %d MiB", MaxBytes>>20)
	}
	if kind := jsontext.Value(src).Kind(); kind != '{' {
		return nil, errors.New("not a JSON object")
	}
	var m map[string]jsontext.Value
	if err := json.Unmarshal(src, &m); err != nil {
		return nil, tidy(err)
	}
	return m, nil
}

// tidy is an error of the JSON library in the words of this project, on one line.
func tidy(err error) error {
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Errorf("not JSON: %s at byte %d", printable(syntactic.Err.Error()), syntactic.ByteOffset)
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("%s does not hold what belongs there", cmp.Or(printable(string(semantic.JSONPointer)), "the document"))
	}
	return errors.New(printable(err.Error()))
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// members are an object's names, sorted, so that what is reported does not depend on a map's order.
func members(m map[string]jsontext.Value) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func moment(raw jsontext.Value) (time.Time, error) {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return time.Time{}, errors.New("not a time such as \"2026-11-22T04:00:00Z\"")
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.IsZero() {
		return time.Time{}, fmt.Errorf("%.40q is not a time such as \"2026-11-22T04:00:00Z\"", s)
	}
	return t, nil
}

func number(raw jsontext.Value) (float64, error) {
	if raw.Kind() != '0' {
		return 0, fmt.Errorf("%s where a number belongs", kindName(raw))
	}
	var v float64
	if err := json.Unmarshal(raw, &v); err != nil {
		return 0, errors.New("a number beyond all bounds")
	}
	return v, nil
}

// count reads a number of things: whole, not negative, far from overflow.
func count(raw jsontext.Value) (int64, error) {
	v, err := number(raw)
	if err != nil {
		return 0, err
	}
	if v < 0 || v > 1e15 || v != float64(int64(v)) {
		return 0, fmt.Errorf("%.40s where a count belongs", raw)
	}
	return int64(v), nil
}

func percent(raw jsontext.Value) (float64, error) {
	v, err := number(raw)
	if err == nil && !(v >= 0 && v <= 100) {
		err = fmt.Errorf("%.40s, which is not between 0 and 100", raw)
	}
	return v, err
}

func kindName(raw jsontext.Value) string {
	switch raw.Kind() {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 'n':
		return "null"
	default:
		return "a boolean"
	}
}

// tenant is the name under which a tenant's numbers are kept: older reports say "default".
func tenant(name string) string {
	if name == "default" {
		return flags.DefaultTenant
	}
	return name
}

// Dated is a source with a generated_at, where it is an object that has none.
func Dated(src []byte, at time.Time) []byte {
	fields, err := object(src)
	if err != nil || fields["generated_at"] != nil {
		return src
	}
	at = at.UTC()
	out := fmt.Appendf(nil, "{\"generated_at\": %q", at.Format(time.RFC3339))
	rest := strings.TrimSpace(string(src))[1:]
	if len(fields) > 0 {
		out = append(out, ',')
	}
	return append(out, rest...)
}
