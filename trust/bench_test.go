package trust_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/trust"
)

func tenants(n int, pct func(i int) int) string {
	var b strings.Builder
	b.WriteString(`{"x":{"pct":1,"tenants":{`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"t%06d":{"pct":%d}`, i, pct(i))
	}
	b.WriteString(`}}}`)
	return b.String()
}

// One change among 100,000 entries is the everyday case; all of them at once the worst.
func BenchmarkAuthorize(b *testing.B) {
	p := policyWith(b, `{"ramp":{"signers":["bot"],"may":["ramp.up","ramp.down"],"max_step":10},"maintainer":{"signers":["alice"],"may":["*"]}}`, `"limits":{"max_removed":10}`)
	before := spec(b, "v1", tenants(100_000, func(int) int { return 1 }))
	for name, after := range map[string]*flags.Spec{
		"1 of 100000":   spec(b, "v1+ramp.1", tenants(100_000, func(i int) int { return 1 + max(0, 1-i) })),
		"all of 100000": spec(b, "v1+ramp.1", tenants(100_000, func(int) int { return 2 })),
	} {
		changes := flags.Diff(before, after)
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				a := p.Authorize(trust.Request{Previous: before, Next: after, Changes: changes, Signers: []string{"bot"}, Now: now})
				if a.Verdict != trust.Allowed {
					b.Fatal(a.Sentence())
				}
			}
		})
	}
}
