package pii

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
)

func TestDocument(t *testing.T) {
	clean := `{"format":"ramp-evidence/v1","now":"2026-11-22T04:00:00Z","spec":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"coverage":{"generated_at":"2026-11-22T04:00:00.123Z","tenants":{"__default__":{"pct":97.2,"samples":4111111111111111},"acme":99.1}},
		"slo":{"anchor_p95_ms":21,"alerts":[{"severity":"warning","name":"HighLatency","feature":"receipts","tenant":"acme"}]},"guards":{"receipts":{"bake":"24h"}}}`
	if hits := Document("e.json", []byte(clean), Rules{}); len(hits) != 0 {
		t.Errorf("found %v", hits)
	}
	for doc, want := range map[string]Kind{
		`{"tenants":{"bob@example.com":97}}`:                                           Email, // a name
		`{"alerts":[{"name":"slow for +49 30 901820"}]}`:                               Phone,
		`{"deep":[[{"a":"x"},{"b":["card 4111 1111 1111 1111"]}]]}`:                    Card,
		"coverage for bob@example.com: 97\nunreadable":                                 Email, // no JSON at all
		`{"tenants":{"bob\u0040example.com":97}}`:                                      Email, // spelled with escapes
		`{"a":1,"b":"bob@example.com"`:                                                 Email, // cut short
		`{"labels":{"subject":"internal-subject-17"}}`:                                 Denied,
		"\xff\xfe bob@example.com":                                                     Email,
		`{"x":"` + strings.Repeat("y", 1<<16) + `","mail":"bob@example.com","z":"ok"}`: Email,
	} {
		hits := Document("e.json", []byte(doc), Rules{Deny: []string{"internal-*"}})
		if len(hits) != 1 || hits[0].Kind != want {
			t.Errorf("%.80q: found %v, want one %s", doc, hits, want)
			continue
		}
		if said := hits[0].String(); strings.Contains(said, "example.com") || !strings.Contains(said, "in e.json: ") {
			t.Errorf("said %q", said)
		}
	}
	if hits := Document("e.json", []byte(`{"tenants":{"bob@example.com":97}}`), Rules{Allow: []string{"*@example.com"}}); len(hits) != 0 {
		t.Errorf("what is allowed was found: %v", hits)
	}
	var many strings.Builder
	for i := range 500 {
		fmt.Fprintf(&many, "[\"user%d@example.com\",\"user%d@example.com\"]", i, i)
	}
	if hits := Document("e.json", []byte(many.String()), Rules{}); len(hits) != maxTold {
		t.Errorf("%d findings were told", len(hits))
	}
}

func TestEvidenceOfASpec(t *testing.T) {
	spec := func(own, tenant string) *flags.Spec {
		t.Helper()
		ramped := `"ramped":{"at":"2026-11-22T04:00:00Z","from":10,"to":20,"verdict":"green","reason":"r","evidence":"sha256:%s"}`
		s, err := flags.Decode("flags.json", fmt.Appendf(nil, `{"version":"v1","features":{"a":{"pct":20,`+ramped+`,"tenants":{"acme":{"pct":20,`+ramped+`}}},"b":{}}}`,
			strings.Repeat(own, 64), strings.Repeat(tenant, 64)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if got := Evidence(spec("a", "b"), nil); len(got) != 2 {
		t.Errorf("evidence %v", got)
	}
	if got := Evidence(spec("a", "b"), spec("a", "c")); len(got) != 1 || got[0] != "sha256:"+strings.Repeat("b", 64) {
		t.Errorf("new evidence %v", got)
	}
}
