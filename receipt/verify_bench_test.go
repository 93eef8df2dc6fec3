package receipt

import (
	"context"
	"fmt"
	"runtime"
	"testing"
)

// BenchmarkVerify checks a whole ledger, and finds one proof in it.
func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		dir := b.TempDir()
		l := openTest(b, dir)
		for made := 0; made < n; made += 2000 {
			rs := make([]*Receipt, 2000)
			for i := range rs {
				rs[i] = &Receipt{Kind: Generation, Phase: Outcome, Environment: "prod", Generation: uint64(made + i), Result: "applied",
					Signers: []Signer{{Name: "ramp-bot", Roles: []string{"ramp"}}}, Changes: []Change{{Kind: "ramp.up", Feature: "receipts", From: "10", To: "20", Rises: true}}}
			}
			if _, err := l.Append(context.Background(), rs...); err != nil {
				b.Fatal(err)
			}
		}
		closeTest(b, l)
		b.Run(fmt.Sprintf("all/%d", n), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for b.Loop() {
				if rep := verifyTest(b, dir); !rep.OK() || rep.Leaves != uint64(n) {
					b.Fatalf("report %+v", rep)
				}
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.Sys)/(1<<20), "MiB-of-system")
		})
		b.Run(fmt.Sprintf("prove/%d", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, err := Prove(context.Background(), dir, uint64(i*7919%n)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
