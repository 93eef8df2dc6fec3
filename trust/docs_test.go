package trust_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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
		`{"format":"ramp-evidence/v1"`: func(b []byte) error {
			proof, err := trust.ParseEvidence("evidence.json", b, "prod")
			if err == nil && len(proof.Moves) == 0 {
				err = errors.New("no moves were read")
			}
			return err
		},
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
	if seen != 5 {
		t.Errorf("%d examples were tried, want 5", seen)
	}
}

// Every test that the threat model names is there.
func TestThreatModelNamesRealTests(t *testing.T) {
	text, err := os.ReadFile("../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllSubmatch(text, -1)
	if len(names) < 20 {
		t.Fatalf("only %d tests are named", len(names))
	}
	var all bytes.Buffer
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		all.Write(src)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if !bytes.Contains(all.Bytes(), append([]byte("func "), append(n[1], '(')...)) {
			t.Errorf("there is no test %s", n[1])
		}
	}
}
