package trust

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Renumber gives a policy another number and another predecessor, and leaves every other byte of it as it was. file is only
// used in errors. What it returns reads as a policy; where src does not, the error is that of [Parse].
func Renumber(file string, src []byte, version int, previous string) ([]byte, error) {
	if _, err := Parse(file, src); err != nil {
		return nil, err
	}
	number, after := span{}, span{}
	d := jsontext.NewDecoder(bytes.NewReader(src))
	if _, err := d.ReadToken(); err != nil { // the opening brace: it was parsed above
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		key := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		at := span{int(d.InputOffset()) - len(value), int(d.InputOffset())}
		switch key {
		case "version":
			number = at
		case "previous":
			after = at
		}
	}
	text := fmt.Sprintf("%d", version)
	if after == (span{}) {
		text += ", \"previous\": " + fmt.Sprintf("%q", previous)
		return check(file, splice(src, number, text))
	}
	// The later of the two first, so that the other's place stays.
	if after.from > number.from {
		return check(file, splice(splice(src, after, fmt.Sprintf("%q", previous)), number, text))
	}
	return check(file, splice(splice(src, number, text), after, fmt.Sprintf("%q", previous)))
}

type span struct{ from, to int }

func splice(src []byte, at span, text string) []byte {
	out := append([]byte(nil), src[:at.from]...)
	return append(append(out, text...), src[at.to:]...)
}

func check(file string, src []byte) ([]byte, error) {
	if _, err := Parse(file, src); err != nil {
		return nil, err
	}
	return src, nil
}
