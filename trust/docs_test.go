package trust_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/trust"
)

// Every JSON example in the documents is one that parses.
func TestDocumentedExamples(t *testing.T) {
	parse := map[string]func([]byte) error{
		`"roles"`:                       func(b []byte) error { _, err := trust.Parse("trust.json", b); return err },
		`{"format":"override/v1"`:       func(b []byte) error { _, err := trust.ParseOverride("override.json", b); return err },
		`{"format":"accept-history/v1"`: func(b []byte) error { _, err := trust.ParseAcceptHistory("statement.json", b); return err },
		`{"format":"sealed/v1"`:         func(b []byte) error { _, err := trust.ParseSealed("sealed.json", b); return err },
	}
	seen := 0
	for _, page := range []string{"trust.md", "override.md"} {
		text, err := os.ReadFile(filepath.Join("..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		for i, part := range strings.Split(string(text), "```json\n") {
			if i == 0 {
				continue
			}
			example, _, _ := strings.Cut(part, "```")
			found := false
			for mark, f := range parse {
				if strings.HasPrefix(example, mark) || strings.HasPrefix(mark, `"`) && strings.Contains(example, mark) {
					found = true
					seen++
					if err := f([]byte(example)); err != nil {
						t.Errorf("docs/%s: %v", page, err)
					}
				}
			}
			if !found {
				t.Errorf("docs/%s: nobody knows what this is:\n%s", page, example)
			}
		}
	}
	if seen != 4 {
		t.Errorf("%d examples were tried, want 4", seen)
	}
}
