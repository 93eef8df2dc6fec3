package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// maxWorded is how many defects of one value are worded. It lies far above
// what is reported, so that those that come first in the text are among them.
const maxWorded = 10_000

// wording turns a validator's tree of errors into sentences for people.
type wording struct {
	instance any
	found    []Problem
}

func (w *wording) walk(e *jsonschema.ValidationError) {
	if len(w.found) >= maxWorded {
		return
	}
	keyword := lastToken(e.KeywordLocation)
	if keyword == "anyOf" || keyword == "oneOf" {
		w.choice(e)
		return
	}
	if len(e.Causes) == 0 {
		w.leaf(e, keyword)
		return
	}
	for _, cause := range e.Causes {
		w.walk(cause)
	}
}

// choice words a value that fits none of several forms: by the form that the
// author seems to have meant, which is the one whose type fits.
func (w *wording) choice(e *jsonschema.ValidationError) {
	var meant, missing []*jsonschema.ValidationError
	for _, branch := range e.Causes {
		leaf := firstLeaf(branch)
		switch {
		case lastToken(leaf.KeywordLocation) == "required" && leaf.InstanceLocation == e.InstanceLocation:
			missing = append(missing, branch)
		case lastToken(leaf.KeywordLocation) != "type" || leaf.InstanceLocation != e.InstanceLocation:
			meant = append(meant, branch)
		}
	}
	if len(meant) > 0 {
		w.walk(meant[0])
		return
	}
	_, around := schemaAt(e.AbsoluteKeywordLocation)
	pointer := unescapeURL(e.InstanceLocation)
	if len(e.Causes) == 0 { // more than one form fits
		w.add(pointer, "only one of "+strings.Join(forms(around), ", ")+" can stand here", "", false)
		return
	}
	if len(missing) > 0 {
		var names []string
		for _, m := range missing {
			names = append(names, strings.Join(required(firstLeaf(m).AbsoluteKeywordLocation), " with "))
		}
		w.add(pointer, "missing "+strings.Join(names, " or "), description(around), false)
		return
	}
	w.add(pointer, found(at(w.instance, pointer))+" does not fit here", description(around), false)
}

// forms are the forms of a oneOf, by the fields that they require.
func forms(around map[string]any) []string {
	list, _ := around["oneOf"].([]any)
	var out []string
	for _, form := range list {
		m, _ := form.(map[string]any)
		fields, _ := m["required"].([]any)
		for _, field := range fields {
			out = append(out, fmt.Sprint(field))
		}
	}
	return out
}

func firstLeaf(e *jsonschema.ValidationError) *jsonschema.ValidationError {
	for len(e.Causes) > 0 {
		e = e.Causes[0]
	}
	return e
}

func (w *wording) add(pointer, problem, hint string, onName bool) {
	w.found = append(w.found, Problem{Pointer: pointer, Problem: problem, Hint: hint, OnName: onName})
}

func (w *wording) leaf(e *jsonschema.ValidationError, keyword string) {
	pointer := unescapeURL(e.InstanceLocation)
	_, around := schemaAt(e.AbsoluteKeywordLocation)
	if strings.Contains(e.KeywordLocation, "/propertyNames") {
		w.add(pointer, "the name "+quote(lastToken(pointer))+" is not allowed", description(around), true)
		return
	}
	v := at(w.instance, pointer)
	switch keyword {
	case "additionalProperties":
		w.unknown(pointer, v, around)
	case "required":
		for _, name := range required(e.AbsoluteKeywordLocation) {
			if m, ok := v.(map[string]any); ok {
				if _, ok := m[name]; !ok {
					w.add(pointer, "missing field "+quote(name), "", false)
				}
			}
		}
	default:
		problem, hint := phrase(keyword, v, around)
		if pointer == "" && v == nil {
			hint = ""
		}
		if problem == "" {
			problem = e.Message
		}
		if hint == "" {
			hint = description(around)
		}
		w.add(pointer, problem, hint, false)
	}
}

// phrase words a single keyword's complaint about v.
func phrase(keyword string, v any, around map[string]any) (problem, hint string) {
	limit := around[keyword]
	switch keyword {
	case "type":
		return "want " + article(fmt.Sprint(limit)) + ", found " + found(v), typeHint(fmt.Sprint(limit), v)
	case "minimum":
		return fmt.Sprintf("%v is less than %v", v, limit), ""
	case "maximum":
		return fmt.Sprintf("%v is more than %v", v, limit), ""
	case "exclusiveMinimum":
		return fmt.Sprintf("%v is not more than %v", v, limit), ""
	case "multipleOf":
		if limit == 0.001 {
			return fmt.Sprintf("%v has more than three decimals", v), ""
		}
		return fmt.Sprintf("%v is not a multiple of %v", v, limit), ""
	case "minLength":
		return "must not be empty", ""
	case "maxLength":
		s, _ := v.(string)
		return fmt.Sprintf("%d characters, more than %v", utf8.RuneCountInString(s), limit), ""
	case "minItems", "minProperties":
		return "must not be empty", ""
	case "maxItems":
		return fmt.Sprintf("more than %v items", limit), ""
	case "maxProperties":
		return fmt.Sprintf("more than %v names", limit), ""
	case "uniqueItems":
		return "the same item twice", "keep one of the two"
	case "pattern":
		return found(v) + " is not allowed here", ""
	case "format":
		return found(v) + " is not a valid " + map[string]string{"date": "date", "date-time": "date with time"}[fmt.Sprint(limit)], ""
	case "const":
		return "want " + choices([]any{limit}) + ", found " + found(v), ""
	case "enum":
		return found(v) + " is not one of " + choices(limit), ""
	}
	return "", ""
}

func choices(limit any) string {
	list, _ := limit.([]any)
	var words []string
	for _, c := range list {
		b, _ := json.Marshal(c)
		words = append(words, string(b))
	}
	return strings.Join(words, ", ")
}

// typeHint says how to write the value of the type that was wanted.
func typeHint(want string, v any) string {
	s, isString := v.(string)
	switch {
	case v == nil:
		return "leave it out"
	case isString && (want == "number" || want == "integer") && isNumber(s), isString && want == "boolean" && (s == "true" || s == "false"):
		return "write it without quotes: " + s
	case want == "array" && isString:
		b, _ := json.Marshal([]string{s})
		return "write a list: " + string(b)
	case want == "string" && isNumeric(v):
		return fmt.Sprintf("write it in quotes: %q", fmt.Sprint(v))
	}
	return ""
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

func isNumeric(v any) bool {
	_, ok := v.(json.Number)
	return ok
}

func article(kind string) string {
	switch kind {
	case "object", "array", "integer":
		return "an " + kind
	case "boolean":
		return "true or false"
	}
	return "a " + kind
}

// found names a value: what it is, and for small ones which.
func found(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return "the number " + v.String()
	case string:
		return "the string " + quote(v)
	case []any:
		return "an array"
	}
	return "an object"
}

// unknown words the members of v that the schema does not know.
func (w *wording) unknown(pointer string, v any, around map[string]any) {
	m, _ := v.(map[string]any)
	known, _ := around["properties"].(map[string]any)
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if _, ok := known[name]; ok {
			continue
		}
		if len(w.found) >= maxWorded {
			return
		}
		w.add(pointer+"/"+escapePointer(name), "unknown field "+quote(name), suggest(name, names), true)
	}
}

// description is the first sentence of what the schema says about a value.
func description(node map[string]any) string {
	s, _ := node["description"].(string)
	s, _, _ = strings.Cut(s, ". ")
	s = strings.TrimSuffix(s, ".")
	if len(s) > 1 && s[0] >= 'A' && s[0] <= 'Z' && (s[1] == ' ' || s[1] >= 'a' && s[1] <= 'z') {
		s = strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

// required are the names of a "required" keyword.
func required(location string) []string {
	_, around := schemaAt(location)
	list, _ := around["required"].([]any)
	var names []string
	for _, name := range list {
		names = append(names, fmt.Sprint(name))
	}
	return names
}

// The validator's locations are JSON pointers with URL escapes over them.
func unescapeURL(s string) string {
	out, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return out
}

func splitPointer(p string) []string {
	if p == "" {
		return nil
	}
	tokens := strings.Split(strings.TrimPrefix(p, "/"), "/")
	for i, t := range tokens {
		tokens[i] = unescapePointer(t)
	}
	return tokens
}

func lastToken(pointer string) string {
	return unescapePointer(pointer[strings.LastIndexByte(pointer, '/')+1:])
}

func unescapePointer(t string) string {
	return strings.ReplaceAll(strings.ReplaceAll(t, "~1", "/"), "~0", "~")
}

func escapePointer(t string) string {
	return strings.ReplaceAll(strings.ReplaceAll(t, "~", "~0"), "/", "~1")
}

// at is the value at the pointer, nil where there is none.
func at(v any, pointer string) any {
	for _, token := range splitPointer(pointer) {
		switch c := v.(type) {
		case map[string]any:
			v = c[token]
		case []any:
			v = item(c, token)
		default:
			return nil
		}
	}
	return v
}

func item(list []any, token string) any {
	i, err := strconv.Atoi(token)
	if err != nil || i < 0 || i >= len(list) {
		return nil
	}
	return list[i]
}
