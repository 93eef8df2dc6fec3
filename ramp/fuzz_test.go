package ramp_test

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
)

// FuzzGuard holds the bounds to guards from anywhere: what ParseGuard takes never makes a decision that
// leaves the guard's own bounds, whatever the percentage and the history.
func FuzzGuard(f *testing.F) {
	f.Add(`{"steps":[1,5,10,20,50,100],"bake":["1h","24h"],"greens":2,"cooldown":"6h","max_aborts":2,"on_critical":"abort","gates":[50]}`, int32(20_000), 3, int64(-3600))
	f.Add(`{"step_up":0.001,"step_down":100,"min":1,"max":99,"bake":["1ns"],"freeze":[{"kind":"allow","from":"22:00","to":"06:00","zone":"Asia/Kathmandu"}]}`, int32(0), 0, int64(0))
	f.Add(`{"guards":{"anchor_p95_ms":{"green":9,"red":1,"better":"higher"}},"waves":[{"tenants":["a"]}],"not_before":"2026-11-22T12:00:00Z","cooldown":"2540400h"}`, int32(100_000), 64, int64(1))
	ev := []*ramp.Evidence{good(`{"__default__":99}`), ramp.NewEvidence(ramp.Coverage{}, ramp.SLO{
		Source: ramp.Source{At: noon.Add(-time.Minute)}, Alerts: []ramp.Alert{{Severity: "critical"}},
	})}
	f.Fuzz(func(t *testing.T, raw string, pct int32, downs int, ago int64) {
		g, err := ramp.ParseGuard(jsontext.Value(raw), ramp.DefaultSettings())
		if err != nil || pct < 0 || pct > int32(flags.Full) {
			return
		}
		at := noon.Add(time.Duration(ago) * time.Second)
		h := ramp.History{SteppedAt: at, DownAt: at, Downs: downs, Greens: downs}
		for _, ev := range ev {
			for _, salted := range []bool{true, false} {
				e := ramp.Entry{Key: receipts, Pct: flags.Pct(pct), Enabled: true, Salted: salted, Tenants: []string{flags.DefaultTenant}}
				d := ramp.Decide(&e, g, ev, &h, noon)
				if d.Action != ramp.Hold && (d.To > g.Max && d.To > 0 || d.To < g.Min && d.To%1000 != 0 || d.To < 0 || d.To > flags.Full) {
					t.Fatalf("%s at %s: %v", raw, e.Pct, d)
				}
				if !salted && d.Action != ramp.Hold && !d.To.Whole() {
					t.Fatalf("%s at %s: %v has a fraction and no salt", raw, e.Pct, d)
				}
			}
		}
	})
}
