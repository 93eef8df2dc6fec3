package trust_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/trust"
)

func TestParseEvidence(t *testing.T) {
	const good = `{"format":"ramp-evidence/v1","now":"2026-11-22T04:07:00Z","environment":"prod","slo":{"generated_at":"2026-11-22T04:05:00Z"},
		"coverage":{"generated_at":"2026-11-22T04:00:00Z"},"moves":{"x":{"__default__":{"from":0.5,"to":10,"code":"up"},"acme":{"from":1,"to":2}}}}`
	p, err := trust.ParseEvidence("e.json", []byte(good), "prod")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time { v, _ := time.Parse(time.RFC3339, s); return v }
	if !p.Measured.Equal(at("2026-11-22T04:00:00Z")) || !p.Decided.Equal(at("2026-11-22T04:07:00Z")) || len(p.Moves) != 2 ||
		p.Moves[flags.Key{Feature: "x", Tenant: flags.DefaultTenant}] != (trust.Move{From: 500, To: 10_000}) {
		t.Errorf("read %+v", p)
	}
	for _, tc := range []struct{ name, old, new, says string }{
		{"another environment", `"prod"`, `"staging"`, `about environment "staging"`},
		{"no environment", `"environment":"prod",`, ``, `about environment ""`},
		{"not dated", `generated_at`, `generated`, "does not say when it was measured"},
		{"a date that is none", `2026-11-22T04:05:00Z`, `yesterday`, "generated_at"},
		{"a decision without a time", `2026-11-22T04:07:00Z`, `noon`, "reading e.json"},
		{"moves of another form", `{"from":1,"to":2}`, `7`, "reading e.json"},
		{"a doubled member", `"format"`, `"now":"2026-11-22T04:06:00Z","format"`, "now"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := trust.ParseEvidence("e.json", []byte(strings.ReplaceAll(good, tc.old, tc.new)), "prod")
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("err = %v, want %q", err, tc.says)
			}
		})
	}
}

// FuzzParseEvidence: whatever is read has a date, and every step in it is between percentages.
func FuzzParseEvidence(f *testing.F) {
	f.Add([]byte(`{"generated_at":"2026-11-22T04:00:00Z"}`), "")
	f.Add([]byte(`{"format":"ramp-evidence/v1","now":"2026-11-22T04:07:00Z","environment":"prod","slo":{"generated_at":"2026-11-22T04:05:00Z"},"moves":{"x":{"acme":{"from":1,"to":2}}}}`), "prod")
	f.Fuzz(func(t *testing.T, src []byte, environment string) {
		p, err := trust.ParseEvidence("e.json", src, environment)
		if err != nil {
			return
		}
		if p.Measured.IsZero() {
			t.Error("evidence without a date was read")
		}
		for k, m := range p.Moves {
			if m.From < 0 || m.From > 100_000 || m.To < 0 || m.To > 100_000 {
				t.Errorf("%s moves %s -> %s", k, m.From, m.To)
			}
		}
	})
}
