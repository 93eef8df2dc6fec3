package schema

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
)

// small bounds documents that are read as a whole: policies, evidence, settings.
var small = Limits{Bytes: 4 << 20}

// emptyHints say, by a schema's short name, what to do about an empty document.
var emptyHints = map[string]string{
	"api-keys":   `the least is {"version":1,"keys":[]}, which lets nobody in: evaluate key makes a key`,
	"flag-tests": `the least is {"format":"flag-tests/v1","cases":[…]}, with a case`,
	"override":   "propose override makes one",
	"rampart":    `the least is {"version":1,"environments":{…}}, with an environment: docs/environments.md`,
	"trust":      "propose init makes a first policy; docs/trust.md has examples",
}

// smallValues is how many values such a document may hold.
const smallValues = 200_000

// Decode reads a small document (at most 4 MiB) into v: [Check], then the
// schema of that short name, then v's fields, of which none may be unknown.
// The error is [Errors]; then v is not to be used.
func Decode(name, file string, src []byte, v any) error {
	lim := small
	lim.Empty = emptyHints[name]
	if err := Check(file, src, lim); err != nil {
		return err
	}
	r := NewReport(file, src)
	doc, err := Value(src, smallValues)
	if err != nil {
		r.Add(0, "", err.Error(), "")
		return r.Err()
	}
	r.AddProblems(0, "", Lookup(name, "").Validate(doc))
	if err := r.Err(); err != nil {
		return err
	}
	if err := json.Unmarshal(src, v, json.RejectUnknownMembers(true)); err != nil {
		var se *json.SemanticError
		at, pointer, problem := 0, "", err.Error()
		if errors.As(err, &se) {
			pointer = string(se.JSONPointer)
			unknown := errors.Is(err, json.ErrUnknownName)
			at = locate(src, []Problem{{Pointer: pointer, OnName: unknown}})[0]
			switch {
			case unknown:
				problem = "unknown field " + quote(se.JSONPointer.LastToken())
			case se.Err != nil:
				problem = se.Err.Error()
			default:
				problem = fmt.Sprintf("cannot be read as %v", se.GoType)
			}
		}
		r.Add(at, pointer, problem, "")
	}
	return r.Err()
}
