package flags_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
)

func TestPct(t *testing.T) {
	for s, want := range map[string]flags.Pct{
		"0": 0, "-0": 0, "0.001": 1, "1": 1000, "12.5": 12_500, "99.999": 99_999, "100": flags.Full,
		"1e2": flags.Full, "1E1": 10_000, "1000e-1": flags.Full, "0.1e-2": 1, "20.000000": 20_000, "0.00000e9": 0,
	} {
		if got, err := flags.ParsePct(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "-", "-1", "100.001", "101", "0.0001", "1.2345", "1e999", "1e-9", "99.9999", "1e300", "abc", "1.", "0x1", " 1", "1e", "1e+"} {
		if got, err := flags.ParsePct(s); err == nil {
			t.Errorf("%q: %v", s, got)
		}
	}
	for p, want := range map[flags.Pct]string{0: "0", 1: "0.001", 10: "0.01", 12_500: "12.5", 12_050: "12.05", flags.Full: "100", -1500: "-1.5"} {
		if got := p.String(); got != want {
			t.Errorf("%d: %s, want %s", int(p), got, want)
		}
		if b, err := json.Marshal(p); err != nil || string(b) != want {
			t.Errorf("%d: %s, %v", int(p), b, err)
		}
	}
	var p flags.Pct
	if err := json.Unmarshal([]byte("12.5"), &p); err != nil || p != 12_500 {
		t.Error(p, err)
	}
	if err := json.Unmarshal([]byte("120"), &p); err == nil {
		t.Error("120 was read")
	}
	if flags.Pct(12_500).Whole() || !flags.Pct(12_000).Whole() {
		t.Error("Whole")
	}
}

// Whatever is read is exactly what stands there.
func FuzzPct(f *testing.F) {
	for _, s := range []string{"0", "12.5", "1e2", "0.0010", "-0", "100.001", "1e-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := flags.ParsePct(s)
		if len(s) > 64 || !json.Valid([]byte(s)) {
			return
		}
		if e := strings.IndexAny(s, "eE"); e >= 0 && len(s)-e > 4 {
			return // exponents this long never get this far
		}
		r, ok := new(big.Rat).SetString(s)
		if !ok {
			return
		}
		thousandths := new(big.Rat).Mul(r, big.NewRat(1000, 1))
		exact := thousandths.IsInt() && r.Sign() >= 0 && r.Cmp(big.NewRat(100, 1)) <= 0
		if exact != (err == nil) {
			t.Fatalf("%s: %v, %v", s, p, err)
		}
		if exact && thousandths.Num().Int64() != int64(p) {
			t.Fatalf("%s is %v", s, p)
		}
		if exact {
			if again, err := flags.ParsePct(p.String()); err != nil || again != p {
				t.Fatalf("%s is written %s, which reads %v, %v", s, p, again, err)
			}
		}
	})
}
