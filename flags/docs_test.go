package flags_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/schema"
)

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks are the code blocks of a language.
func blocks(text, language string) []string {
	var out []string
	for _, part := range strings.Split(text, "```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		out = append(out, block)
	}
	return out
}

// The page of the format shows specs that are specs, an entry as it lands in
// Redis, errors as they are printed, and names every field there is.
func TestFormatPage(t *testing.T) {
	text := page(t, "flags.json.md")
	examples := blocks(text, "json")
	if len(examples) != 3 {
		t.Fatalf("%d examples", len(examples))
	}
	spec := mustDecode(t, []byte(examples[0]))
	mustDecode(t, []byte(examples[1]))
	entry, _ := spec.Entry("receipts", "acme")
	if got := string(entry.AppendJSON(nil)) + "\n"; got != examples[2] {
		t.Errorf("the entry is\n%s, the page says\n%s", got, examples[2])
	}
	_, err := flags.Decode("flags.json", []byte("{\n  \"version\": \"flags-v1\",\n  \"features\": {\n    \"receipts\": {\n      \"pct\": 120,\n      \"percent\": 10\n    }\n  }\n}\n"))
	if shown := blocks(text, "text"); len(shown) != 1 || err.Error()+"\n" != shown[0] {
		t.Errorf("the errors are\n%v\nthe page says\n%s", err, shown)
	}
	for _, name := range []string{"flags", "ramp"} {
		src, err := schema.Source(name)
		if err != nil {
			t.Fatal(err)
		}
		var doc any
		if err := json.Unmarshal(src, &doc); err != nil {
			t.Fatal(err)
		}
		for _, field := range fieldsOf(doc) {
			if !strings.Contains(text, "`"+field+"`") && !strings.Contains(text, `"`+field+`"`) {
				t.Errorf("the page does not tell of %q (%s schema)", field, name)
			}
		}
	}
}

// fieldsOf lists the properties of all objects of a schema.
func fieldsOf(node any) []string {
	var out []string
	switch node := node.(type) {
	case []any:
		for _, v := range node {
			out = append(out, fieldsOf(v)...)
		}
	case map[string]any:
		props, _ := node["properties"].(map[string]any)
		for name := range props {
			out = append(out, name)
		}
		for _, v := range node {
			out = append(out, fieldsOf(v)...)
		}
	}
	return out
}

// The page of the changes tells of every kind, and shows what a diff prints.
func TestChangesPage(t *testing.T) {
	text := page(t, "changes.md")
	for _, kind := range flags.Kinds {
		if !strings.Contains(text, "| `"+string(kind)+"` |") {
			t.Errorf("the table does not tell of %s", kind)
		}
	}
	before := mustDecode(t, []byte(`{"version":"flags-v1+ramp.6","features":{"receipts":{"pct":10,"tenants":{"acme":{"pct":10},"globex":{"enabled":false}}}}}`))
	after := mustDecode(t, []byte(`{"version":"flags-v2","features":{"receipts":{"pct":20,"tenants":{"acme":{"pct":10,"cohorts":["user-789"]}}}}}`))
	have := map[string]bool{}
	for _, c := range flags.Diff(before, after) {
		mark := "  "
		if c.Rises {
			mark = "+ "
		}
		have[mark+c.String()] = true
		if c.Kind == flags.CohortAdd {
			got, err := json.Marshal(c)
			if shown := blocks(text, "json"); err != nil || len(shown) != 1 || string(got)+"\n" != shown[0] {
				t.Errorf("a change is written %s, the page says %s", got, shown)
			}
		}
	}
	for line := range strings.Lines(blocks(text, "text")[0]) {
		if !have[strings.TrimSuffix(line, "\n")] {
			t.Errorf("no diff prints %q, only %v", line, have)
		}
	}
}
