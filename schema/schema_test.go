package schema_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/schema"
)

// names are the short names of all schemas.
func names(t testing.TB) []string {
	files, err := filepath.Glob("*.schema.json")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(f, ".schema.json")
	}
	return files
}

// Editors show what stands in a schema, so every field of every document says
// what it is for, closed objects are closed, and each example is one.
func TestSchemasServeEditors(t *testing.T) {
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			src, err := schema.Source(name)
			if err != nil {
				t.Fatal(err)
			}
			onDisk, err := os.ReadFile(name + ".schema.json")
			if err != nil || string(onDisk) != string(src) {
				t.Fatal("what is built in is not what editors read", err)
			}
			if err := schema.Check(name, src, schema.Limits{}); err != nil {
				t.Fatal(err)
			}
			var doc map[string]any
			if err := json.Unmarshal(src, &doc); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"$schema", "$id", "title", "description"} {
				if s, _ := doc[key].(string); s == "" {
					t.Errorf("no %s", key)
				}
			}
			if doc["$schema"] != "https://json-schema.org/draft/2020-12/schema" || !strings.HasSuffix(fmt.Sprint(doc["$id"]), "/schema/"+name+".schema.json") {
				t.Errorf("$schema %v, $id %v", doc["$schema"], doc["$id"])
			}
			visit(t, name, "", doc)
		})
	}
}

func visit(t *testing.T, name, pointer string, node any) {
	switch node := node.(type) {
	case []any:
		for i, v := range node {
			visit(t, name, fmt.Sprintf("%s/%d", pointer, i), v)
		}
	case map[string]any:
		props, isObject := node["properties"].(map[string]any)
		if isObject {
			if _, says := node["additionalProperties"]; !says && name != "slo_health" {
				t.Errorf("%s: an object that does not say what else may be in it", pointer)
			}
			for field, v := range props {
				m, _ := v.(map[string]any)
				_, described := m["description"].(string)
				if ref, _ := m["$ref"].(string); !described && ref == "" {
					t.Errorf("%s/properties/%s: no description", pointer, field)
				}
			}
		}
		if examples, ok := node["examples"].([]any); ok {
			part := schema.Lookup(name, pointer)
			for _, e := range examples {
				text, _ := json.Marshal(e)
				v, err := schema.Value(text, 1000)
				if err != nil {
					t.Fatal(err)
				}
				if problems := part.Validate(v); problems != nil && !strings.Contains(string(text), "...") {
					t.Errorf("%s: the example %s is none: %v", pointer, text, problems)
				}
			}
		}
		for key, v := range node {
			if key != "examples" && key != "enum" && key != "const" {
				visit(t, name, pointer+"/"+strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1"), v)
			}
		}
	}
}

func TestLookupPanicsOnAMistake(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	schema.Lookup("flags", "/$defs/nothing")
}

func TestCheck(t *testing.T) {
	lim := schema.Limits{Bytes: 1000, Depth: 4, Names: 5, Items: 5}
	for _, c := range []struct{ src, want string }{
		{`{}`, ""},
		{` [1, 2.5e3, -0, "x", [true, false, null]] `, ``},
		{`{"a":[[[1]]]}`, ""},
		{`[[[[1]]]]`, ""},
		{`[[[[[1]]]]]`, `x:1:5: /0/0/0: nested deeper than 4 levels`},
		{`{"a":{"b":{"c":{"d":{}}}}}`, `x:1:21: /a/b/c/d: nested deeper than 4 levels`},
		{`["[[[[[", "\"[[[[[", "\\"]`, ""},
		{`[1,2,3,4,5]`, ""},
		{`[1,2,3,4,5,6]`, `x:1:1: more than 5 items in one list`},
		{`{"a":1,"b":2,"c":3,"d":4,"e":5}`, ""},
		{"{\n \"z\": {\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"f\":6}}", `x:2:7: /z: more than 5 names in one object (split it into several files)`},
		{`"` + strings.Repeat("x", 2000) + `"`, `x:1:1: the document has 2002 bytes, more than the 1000 that are allowed (split it into several specs)`},
		{`[` + strings.Repeat("1", 64) + `]`, ""},
		{`[` + strings.Repeat("1", 65) + `]`, `x:1:2: a number of 65 characters, more than 64 (write a plain number, such as 12.5)`},
		{`[1, 1e999]`, `x:1:5: /0: the number 1e999 is out of all bounds (write a plain number, such as 12.5)`},
		{`[1E-309]`, `x:1:2: the number 1E-309 is out of all bounds (write a plain number, such as 12.5)`},
		{`[9e308]`, `x:1:2: the number 9e308 is out of all bounds (write a plain number, such as 12.5)`},
		{`[1e99999999999999999999]`, `x:1:2: the number 1e99999999999999999999 is out of all bounds (write a plain number, such as 12.5)`},
		{`{"a":1,"a":2}`, `x:1:8: /a: duplicate name "a", first on line 1 (keep one of the two)`},
		{"{\"a\":1,\n\"b\":{\"c\":1,\n\"\\u0063\":2}}", `x:3:1: /b/c: duplicate name "c", first on line 2 (keep one of the two)`},
		{`{"` + strings.Repeat("n", 900) + `":1}`, ""},
		{"\xef\xbb\xbf{}", `x:1:1: the document begins with a byte order mark (save it as UTF-8 without BOM)`},
		{"{\"a\":\"\xff\"}", `x:1:7: /a: invalid UTF-8 (save the file as UTF-8)`},
		{``, `x:1:1: the document is empty`},
		{`{} {}`, `x:1:4: data after the end of the document (a file holds one JSON object)`},
		{`{"a":`, `x:1:6: /a: the document ends too early (is the file cut off?)`},
		{`{a:1}`, `x:1:2: invalid character 'a' at start of string (expecting '"')`},
		{"\x00", `x:1:1: invalid character '\x00' at start of value (the document must be a JSON object, beginning with {)`},
	} {
		err := schema.Check("x", []byte(c.src), lim)
		if got := fmt.Sprint(err); err == nil && c.want != "" || err != nil && got != c.want {
			t.Errorf("%.60q\ngot  %s\nwant %s", c.src, got, c.want)
		}
	}
	long := `{"` + strings.Repeat("n", 1100) + `":1}`
	if err := schema.Check("x", []byte(long), schema.Limits{}); err == nil || !strings.Contains(err.Error(), "a name of 1100 bytes") {
		t.Error(err)
	}
}

func TestDecode(t *testing.T) {
	var got map[string]any
	if err := schema.Decode("coverage", "c.json", []byte(`{"generated_at":"2026-11-22T04:00:00Z","tenants":{"__default__":{"pct":97.2,"samples":12000},"acme":99}}`), &got); err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	for _, c := range []struct{ name, src, want string }{
		{"coverage", `{"tenants":{"acme":"99"}}`, `c.json:1:20: /tenants/acme: the string "99" does not fit here (a number, or an object with pct)`},
		{"coverage", `{"tenants":{"acme":{"pct":101}}}`, `c.json:1:27: /tenants/acme/pct: 101 is more than 100 (percent, 0 to 100)`},
		{"coverage", `{"tenants":{"acme":{"samples":1}}}`, `c.json:1:20: /tenants/acme: missing pct (a number, or an object with pct)`},
		{"coverage", `{"tenants":{"a b":1}}`, `c.json:1:13: /tenants/a b: the name "a b" is not allowed (a tenant's name, or "__default__")`},
		{"coverage", `{"generated_at":"now"}`, `c.json:1:17: /generated_at: the string "now" is not a valid date with time (when it was measured, such as "2026-11-22T04:00:00Z")`},
		{"slo_health", `{"alerts":[{"name":"x"}]}`, `c.json:1:12: /alerts/0: missing field "severity"`},
		{"slo_health", `{"error_rate":"high"}`, `c.json:1:15: /error_rate: want a number, found the string "high" (an indicator: a number)`},
		{"override", `{"format":"x","environment":"","id":"00000000000000000000000000000000","issued":"2026-11-22T04:00:00Z","expires":"2026-11-22T04:00:00Z","reason":"r","set":[{"feature":"a","off":true,"pct":1},{"feature":"b"}]}`,
			`c.json:1:11: /format: want "override/v1", found the string "x" (what kind of document this is)` + "\n" +
				`c.json:1:157: /set/0: only one of off, pct can stand here` + "\n" + `c.json:1:192: /set/1: missing off or pct`},
		{"slo_health", `[]`, `c.json:1:1: want an object, found an array (how the services are: indicators and alerts)`},
	} {
		var v map[string]any
		if err := schema.Decode(c.name, "c.json", []byte(c.src), &v); fmt.Sprint(err) != c.want {
			t.Errorf("%s\ngot  %v\nwant %s", c.src, err, c.want)
		}
	}
	// What the schema allows and the type cannot hold is named with its place.
	var narrow struct {
		Tenants map[string]int `json:"tenants"`
	}
	err := schema.Decode("coverage", "c.json", []byte(`{"tenants":{"acme":{"pct":1}}}`), &narrow)
	if err == nil || !strings.HasPrefix(err.Error(), "c.json:1:20: /tenants/acme: ") {
		t.Error(err)
	}
	// Nor may a field be left over.
	err = schema.Decode("coverage", "c.json", []byte(`{"tenants":{},"acme":5}`), &narrow)
	if err == nil || err.Error() != `c.json:1:15: /acme: unknown field "acme"` {
		t.Error(err)
	}
}

// A million mistakes make a short message.
func TestErrorsAreFew(t *testing.T) {
	src := `{"alerts":[` + strings.TrimSuffix(strings.Repeat(`{},`, 800), ",") + `]}`
	var v map[string]any
	err := schema.Decode("slo_health", "s.json", []byte(src), &v)
	list, ok := err.(schema.Errors)
	if !ok || len(list) != 100 || len(list.Unwrap()) != 100 {
		t.Fatalf("%T with %d errors", err, len(list))
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 21 || lines[20] != "and 80 more" || lines[0] != `s.json:1:12: /alerts/0: missing field "severity"` {
		t.Errorf("%d lines, from %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
}

func TestSuggestions(t *testing.T) {
	for field, want := range map[string]string{
		"PCT":         `did you mean "pct"?`,
		"percentage":  `did you mean "pct"?`,
		"enabld":      `did you mean "enabled"?`,
		"enbaled":     `did you mean "enabled"?`,
		"tennants":    `did you mean "tenants"?`,
		"users":       `did you mean "cohorts"?`,
		"discription": `did you mean "description"?`,
		"q":           `known here are cohorts, description, enabled`,
		"zzzzzzzz":    `known here are cohorts, description, enabled`,
	} {
		v, err := schema.Value([]byte(fmt.Sprintf(`{%q:1}`, field)), 10)
		if err != nil {
			t.Fatal(err)
		}
		problems := schema.Lookup("flags", "/$defs/feature").Validate(v)
		if len(problems) != 1 || !strings.Contains(problems[0].Hint, want) || problems[0].Problem != fmt.Sprintf("unknown field %q", field) {
			t.Errorf("%s: %+v", field, problems)
		}
	}
}

// Whatever a small document holds, it is decoded or refused with words and a
// place, within bounds, and what is decoded is what stands there.
func FuzzDecode(f *testing.F) {
	all := names(f)
	for _, name := range all {
		src, err := schema.Source(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(name, string(src))
		f.Add(name, `{"version":1,"signers":{"a":{"keys":[1]}},"roles":{"r":{"signers":[],"may":["x"]}},"pii":{"mode":1}}`)
		f.Add(name, `{"generated_at":"x","tenants":{"a":{"pct":-1}},"alerts":[{}],"features":{"x":{"tenants":{"y":{"treated":1}}}}}`)
	}
	f.Fuzz(func(t *testing.T, name, src string) {
		if i := len(name) % len(all); true {
			name = all[i]
		}
		var v any
		err := schema.Decode(name, "doc.json", []byte(src), &v)
		if err == nil {
			var want any
			if err := json.Unmarshal([]byte(src), &want); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(v) != fmt.Sprint(want) {
				t.Fatalf("%v\n%v", v, want)
			}
			return
		}
		list, ok := err.(schema.Errors)
		if !ok || len(list) == 0 || len(list) > 100 {
			t.Fatalf("%T: %v", err, err)
		}
		for i, e := range list {
			if e.Line < 1 || e.Column < 1 || e.Problem == "" || e.File != "doc.json" {
				t.Fatalf("%+v", e)
			}
			if i > 0 && (list[i-1].Line > e.Line || list[i-1].Line == e.Line && list[i-1].Column > e.Column) {
				t.Fatalf("not in order: %v", err)
			}
		}
	})
}

// An empty document gets the hint of its own kind, never that of a spec.
func TestDecodeOfAnEmptyDocument(t *testing.T) {
	for name, want := range map[string]string{
		"api-keys": `"keys":[]`, "flag-tests": "flag-tests/v1", "override": "propose override", "rampart": "environments", "trust": "propose init",
		"receipt": "the document is empty",
	} {
		var v any
		err := schema.Decode(name, "x", nil, &v)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "flags-v1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
