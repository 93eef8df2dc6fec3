package pii

import (
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
)

func decode(t *testing.T, src string) *flags.Spec {
	t.Helper()
	s, err := flags.Decode("flags.json", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSpecAndChanges(t *testing.T) {
	before := decode(t, `{"version":"flags-v1","segments":{"beta":["old@example.org"]},"features":{"a":{"cohorts":["x@example.org"]}}}`)
	after := decode(t, `{"version":"flags-v2","segments":{"beta":["old@example.org"]},"features":{
		"a":{"description":"ask y@example.org","cohorts":["x@example.org","z@example.org","user-123","`+Hashed("w@example.org")+`"],
		     "tenants":{"anna@example.org":{"pct":5},"acme":{"cohorts":["212-555-0123"]}}}}}`)
	all := Spec(after, Rules{})
	if len(all) != 6 {
		t.Errorf("%d hits in the spec, want 6: %v", len(all), all)
	}
	brought := Changes(flags.Diff(before, after), Rules{})
	said := make([]string, len(brought))
	for i, h := range brought {
		said[i] = h.String()
		if strings.Contains(h.String(), "example") {
			t.Errorf("%q names somebody", h)
		}
	}
	text := strings.Join(said, "\n")
	for _, w := range []string{"email in the cohorts of a: z", "email in the tenant name of a: a", "phone in the cohorts of a for acme", "email in the description of a"} {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%s", w, text)
		}
	}
	if strings.Contains(text, "x*") {
		t.Errorf("what was there before is held against the change:\n%s", text)
	}
	for _, h := range brought {
		if h.Where == "cohorts" && h.Suggestion != Hashed(h.Value) {
			t.Errorf("%v suggests %q", h, h.Suggestion)
		}
	}
	if hits := Changes(flags.Diff(before, after), Rules{Allow: []string{"*@example.org", "212-*"}}); len(hits) != 0 {
		t.Errorf("allowed, and found: %v", hits)
	}
	if hits := Spec(before, Rules{Allow: []string{"*@example.org"}, Deny: []string{"x@*"}}); len(hits) != 1 || hits[0].Kind != Denied {
		t.Errorf("denied, and found: %v", hits)
	}
}

// The quick look never passes over what the whole one finds.
func TestDullMissesNothing(t *testing.T) {
	for _, l := range corpus(t) {
		if dull(l.text) && len(Find(l.text)) > 0 {
			t.Errorf("%q is passed over, and holds %v", l.text, Find(l.text))
		}
	}
}
