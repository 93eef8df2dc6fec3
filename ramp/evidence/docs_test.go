package evidence_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

// The documentation's examples are what the readers read.
func TestDocumentedExamples(t *testing.T) {
	blocks := func(name string) []string {
		src, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, m := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(src), -1) {
			out = append(out, m[1])
		}
		return out
	}
	docs := blocks("evidence.md")
	if len(docs) != 5 {
		t.Fatalf("docs/evidence.md has %d examples, want five", len(docs))
	}
	c := evidence.Coverage([]byte(docs[0]))
	for name, m := range c.Tenants {
		if m.Problem != "" {
			t.Errorf("coverage of %s: %s", name, m.Problem)
		}
	}
	if c.Problem != "" || c.At.IsZero() || len(c.Tenants) != 3 {
		t.Errorf("coverage: %+v", c)
	}
	s := evidence.SLO([]byte(docs[1]))
	for _, sc := range s.Scopes {
		if sc.Broken != nil {
			t.Errorf("%s %s: %v", sc.Feature, sc.Tenant, sc.Broken)
		}
	}
	if s.Problem != "" || s.NoAlerts || len(s.Scopes) != 3 {
		t.Errorf("SLO: %+v", s)
	}
	if _, err := evidence.ParseQueries([]byte(docs[2])); err != nil {
		t.Error(err)
	}
	if rec, err := evidence.ParseRecord([]byte(docs[3])); err != nil || len(rec.Moves) != 1 {
		t.Errorf("record: %+v, %v", rec, err)
	}

	guards := blocks("ramps.md")
	guard, ok := strings.CutPrefix(strings.TrimSpace(guards[0]), `"ramp": `)
	if !ok {
		t.Fatalf("docs/ramps.md begins with another example: %s", guards[0])
	}
	if _, err := ramp.ParseGuard(jsontext.Value(guard), ramp.DefaultSettings()); err != nil {
		t.Error(err)
	}
}
