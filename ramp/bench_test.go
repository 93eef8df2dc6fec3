package ramp_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

func benchmarkInputs(tb testing.TB) (*ramp.Entry, *ramp.Guard, *ramp.Evidence, *ramp.History) {
	g, err := ramp.ParseGuard(jsontext.Value(`{"steps":[1,5,10,20,50,100],"bake":"24h","greens":2,"cooldown":"6h","max_aborts":3,"gates":[100],"freeze":[{"days":["mon"],"from":"16:00","to":"08:00","zone":"Europe/Berlin"}],"guards":{"error_rate":{"green":0.01,"red":0.05}}}`), ramp.DefaultSettings())
	if err != nil {
		tb.Fatal(err)
	}
	c := newCase()
	if c.slo, err = overlay(c.slo, `{"error_rate":0.002}`); err != nil {
		tb.Fatal(err)
	}
	e := &ramp.Entry{Key: flags.Key{Feature: "receipts", Tenant: "acme"}, Pct: 20_000, Enabled: true, Tenants: []string{"acme"}}
	ev := ramp.NewEvidence(evidence.Coverage([]byte(c.coverage)), evidence.SLO([]byte(c.slo)))
	h := &ramp.History{Greens: 1}
	if d := ramp.Decide(e, g, ev, h, noon); d.Action != ramp.Up {
		tb.Fatalf("measuring a hold tells little: %v", d)
	}
	return e, g, ev, h
}

func BenchmarkDecide(b *testing.B) {
	e, g, ev, h := benchmarkInputs(b)
	b.ReportAllocs()
	for b.Loop() {
		ramp.Decide(e, g, ev, h, noon)
	}
}

// Deciding happens for every entry of a spec: only the sentence is allocated.
func TestDecideAllocatesOnlyItsReason(t *testing.T) {
	e, g, ev, h := benchmarkInputs(t)
	if n := testing.AllocsPerRun(100, func() { ramp.Decide(e, g, ev, h, noon) }); n > 2 {
		t.Errorf("%v allocations a decision, want the reason and its buffer", n)
	}
}
