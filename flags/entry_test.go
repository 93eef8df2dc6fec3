package flags_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
)

func TestEntryJSON(t *testing.T) {
	for _, c := range []struct {
		entry flags.Entry
		want  string
	}{
		{flags.Entry{Version: "v1+ramp.7", Enabled: true, Pct: 20_000, Cohorts: []string{"A", "user-123", "user-456"}},
			`{"version":"v1+ramp.7","enabled":true,"ramp_pct":20,"cohorts":["A","user-123","user-456"]}`},
		{flags.Entry{Version: "v1"}, `{"version":"v1","enabled":false,"ramp_pct":0,"cohorts":[]}`},
		{flags.Entry{Version: "v1", Pct: 12_500, Salt: "s\"1"}, `{"version":"v1","enabled":false,"ramp_pct":12.5,"cohorts":[],"salt":"s\"1"}`},
		{flags.Entry{Cohorts: []string{"ü", "a\\b", "\x01", "<>&"}}, `{"version":"","enabled":false,"ramp_pct":0,"cohorts":["ü","a\\b","\u0001","<>&"]}`},
	} {
		got := string(c.entry.AppendJSON([]byte("x")))
		if got != "x"+c.want {
			t.Errorf("got  %s\nwant x%s", got, c.want)
		}
		back, err := flags.ParseEntry([]byte(c.want))
		if err != nil || !back.Equal(c.entry) {
			t.Errorf("%s reads %+v, %v", c.want, back, err)
		}
	}
	entry := flags.Entry{Version: "v1", Cohorts: []string{"A", "B"}, Salt: "s"}
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buf = entry.AppendJSON(buf[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What the older clients wrote decides in our hands as it did in theirs.
func TestOlderEntries(t *testing.T) {
	for text, want := range map[string]flags.Entry{
		`{"version":"v1","enabled":true}`:                                           {Version: "v1", Enabled: true, Pct: flags.Full},
		`{"version":"v1","enabled":true,"ramp_pct":50}`:                             {Version: "v1", Enabled: true, Pct: 50_000},
		`{"version":"v1","enabled":true,"ramp_pct":null,"cohorts":null}`:            {Version: "v1", Enabled: true, Pct: flags.Full},
		`{"enabled":true,"ramp_pct":250}`:                                           {Enabled: true, Pct: flags.Full},
		`{"enabled":true,"ramp_pct":-3}`:                                            {Enabled: true},
		`{"enabled":true,"ramp_pct":1e30}`:                                          {Enabled: true, Pct: flags.Full},
		`{"ramp_pct":10}`:                                                           {Pct: 10_000},
		`{"version":"v1","enabled":true,"note":{"x":[1]},"cohorts":["A"]}`:          {Version: "v1", Enabled: true, Pct: flags.Full, Cohorts: []string{"A"}},
		`{"version": "v1", "enabled": true, "ramp_pct": 10, "cohorts": ["\u0041"]}`: {Version: "v1", Enabled: true, Pct: 10_000, Cohorts: []string{"A"}},
		` {"version":"v1","enabled":true,"ramp_pct":1e1,"cohorts":[]} `:             {Version: "v1", Enabled: true, Pct: 10_000},
		`{"enabled":true,"ramp_pct":12.0001}`:                                       {Enabled: true, Pct: 12_001}, // 12 < 12.0001: bucket 12 is on
		`{"enabled":true,"ramp_pct":0.3333333333333333}`:                            {Enabled: true, Pct: 334},
	} {
		got, err := flags.ParseEntry([]byte(text))
		if err != nil || !got.Equal(want) {
			t.Errorf("%s reads %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{``, `null`, `[]`, `1`, `"x"`, `{`, `{"enabled":"true"}`, `{"enabled":1}`, `{"ramp_pct":"10"}`, `{"ramp_pct":true}`,
		`{"cohorts":"A"}`, `{"cohorts":[1]}`, `{"version":1}`, `{"enabled":true}{}`, `{"enabled":true,"enabled":false}`, `{"ramp_pct":1e9999}`, "{\"version\":\"\xff\"}"} {
		if got, err := flags.ParseEntry([]byte(text)); !errors.Is(err, flags.ErrEntry) {
			t.Errorf("%s reads %+v, %v", text, got, err)
		}
	}
}

// An entry that is read is written so that it reads the same.
func FuzzParseEntry(f *testing.F) {
	f.Add(`{"version":"v1+ramp.7","enabled":true,"ramp_pct":20,"cohorts":["A","user-123"]}`)
	f.Add(`{"version":"v1","enabled":false,"ramp_pct":12.5,"cohorts":[],"salt":"s"}`)
	f.Add(`{"enabled":true,"ramp_pct":null}`)
	f.Add(`{"version":"v1","enabled":true,"ramp_pct":0.001,"cohorts":["A"]}`)
	f.Add(`{"version":"v1","enabled":true,"ramp_pct":100,"cohorts":["A",]}`)
	f.Add(`{"version":"v1","enabled":true,"ramp_pct":020,"cohorts":["A"],"salt":"x"}`)
	f.Fuzz(func(t *testing.T, text string) {
		e, err := flags.ParseEntry([]byte(text))
		// A space in front takes the long way.
		if long, longErr := flags.ParseEntry([]byte(" " + text)); (err == nil) != (longErr == nil) || !e.Equal(long) {
			t.Fatalf("%q reads %+v, %v, the long way %+v, %v", text, e, err, long, longErr)
		}
		if err != nil {
			return
		}
		if e.Pct < 0 || e.Pct > flags.Full {
			t.Fatalf("%q reads %+v", text, e)
		}
		out := e.AppendJSON(nil)
		if !json.Valid(out) {
			t.Fatalf("%q is written %q", text, out)
		}
		again, err := flags.ParseEntry(out)
		if err != nil || !again.Equal(e) {
			t.Fatalf("%q is written %q, which reads %+v, %v", text, out, again, err)
		}
		if strings.Count(string(out), "\n") > 0 {
			t.Fatalf("%q has lines", out)
		}
	})
}
