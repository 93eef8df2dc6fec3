package evidence_test

import (
	"testing"

	"github.com/rampart-flags/rampart/ramp/evidence"
)

// What reconcile coverage --json prints is coverage evidence as it stands.
func TestCoverageOfTheLedger(t *testing.T) {
	c := evidence.Coverage([]byte(`{"format":"receipt-coverage/v1","generated_at":"2026-11-22T09:40:25Z",
		"tenants":{"acme":{"complete":1,"samples":2,"pct":50}},"features":{"receipts":{"complete":1,"samples":2,"pct":50}},
		"overall":{"complete":1,"samples":2,"pct":50},"generations":[{"generation":1,"receipt":true,"inclusion":true,"lineage":true}]}`))
	if len(c.Tenants) != 1 || c.Problem != "" || c.At.IsZero() {
		t.Fatalf("read as %+v", c)
	}
	if m := c.Tenants["acme"]; m.Pct != 50 || m.Samples != 2 || m.Problem != "" {
		t.Errorf("acme %+v", m)
	}
	// An older report may have a tenant of such a name.
	if c := evidence.Coverage([]byte(`{"overall":97,"format":12}`)); c.Tenants["overall"].Pct != 97 || c.Tenants["format"].Pct != 12 {
		t.Errorf("read as %+v", c)
	}
}
