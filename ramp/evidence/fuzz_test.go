package evidence_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

// FuzzDecideOnAnything holds the law that matters to bytes from anywhere: whatever two files say, the
// decision is one step at most, and up only where both files can be read and are dated. What a record
// keeps of them says the same again.
func FuzzDecideOnAnything(f *testing.F) {
	f.Add([]byte(`{"generated_at":"2026-11-22T11:50:00Z","tenants":{"__default__":{"pct":97.2,"samples":12000}}}`),
		[]byte(`{"generated_at":"2026-11-22T11:50:00Z","anchor_p95_ms":21,"divergence":0,"samples":12000,"alerts":[]}`))
	f.Add([]byte(`{"default":97}`), []byte(`{"anchor_p95_ms":21,"divergence":0,"alerts":[{"severity":"critical"}]}`))
	f.Add([]byte(`{"generated_at":"2026-11-22T11:50:00Z","tenants":{"__default__":1e999}}`),
		[]byte(`{"generated_at":"2026-11-22T11:50:00Z","features":{"receipts":{"treated":{"requests":1,"errors":1},"control":{"requests":9,"errors":0},"tenants":{"acme":{"x":1}}}},"alerts":[{},{"severity":""}]}`))
	g, err := ramp.ParseGuard(jsontext.Value(`{"guards":{"error_rate":{"green":1,"red":2}}}`), ramp.DefaultSettings())
	if err != nil {
		f.Fatal(err)
	}
	e := ramp.Entry{Key: flags.Key{Feature: "receipts", Tenant: flags.DefaultTenant}, Pct: 20_000, Enabled: true, Tenants: []string{flags.DefaultTenant}}
	f.Fuzz(func(t *testing.T, coverage, slo []byte) {
		c, s := evidence.Coverage(coverage), evidence.SLO(slo)
		d := ramp.Decide(&e, g, ramp.NewEvidence(c, s), &ramp.History{}, noon)
		if d.To > d.From && (c.Problem != "" || s.Problem != "" || s.At.IsZero() || s.NoAlerts) {
			t.Fatalf("up on %q and %q: %v", coverage, slo, d)
		}
		if d.To > 30_000 || d.To < 10_000 {
			t.Fatalf("more than a step: %v", d)
		}
		rec := evidence.Record{Now: noon, Coverage: coverage, SLO: slo, Guards: map[string]jsontext.Value{}}
		src, err := rec.Bytes()
		if err != nil {
			t.Fatalf("cannot be kept: %v", err)
		}
		again, err := evidence.ParseRecord(src)
		if err != nil {
			t.Fatalf("cannot be read again: %v", err)
		}
		if got := ramp.Decide(&e, g, again.Evidence(), &ramp.History{}, noon); got.Action != d.Action || got.Code != d.Code {
			t.Fatalf("the record says %v, the files %v", got, d)
		}
	})
}
