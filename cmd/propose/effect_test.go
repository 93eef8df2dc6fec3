package main

import (
	"fmt"
	"testing"

	"github.com/rampart-flags/rampart/flags"
)

func entry(enabled bool, pct float64, salt string, cohorts ...string) *flags.Entry {
	return &flags.Entry{Version: "v1", Enabled: enabled, Pct: flags.Pct(pct * 1000), Salt: salt, Cohorts: cohorts}
}

const hashOfAlice = "sha256:2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90" // printf alice | sha256sum

func TestEffect(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after *flags.Entry
		want          string
	}{
		{"up", entry(true, 10, ""), entry(true, 30, ""), "20 % of users turned on"},
		{"down to nothing", entry(true, 30, ""), entry(true, 0, ""), "30 % of users turned off"},
		{"added", nil, entry(true, 5, ""), "5 % of users turned on"},
		{"added for all", nil, entry(true, 100, ""), "everyone turned on"},
		{"added, off", nil, entry(false, 100, "", "alice"), "nobody"},
		{"removed", entry(true, 100, ""), nil, "everyone turned off"},
		{"disabled", entry(true, 40, "", "alice"), entry(false, 40, "", "alice"), "40 % of users turned off; alice turned off"},
		{"a fraction", entry(true, 0.1, "s"), entry(true, 0.3, "s"), "0.2 % of users turned on"},
		{"salt", entry(true, 20, ""), entry(true, 20, "s"), "everyone is drawn anew; about 16 % of users turned on; about 16 % of users turned off"},
		{"salt at 0 and at 100 draws nobody", entry(true, 100, ""), entry(true, 100, "s"), "nobody"},
		{"salt with a way up from nothing", entry(true, 0, "a"), entry(true, 10, "b"), "10 % of users turned on"},
		{"a member", entry(true, 0, ""), entry(true, 0, "", "alice"), "alice turned on"},
		{"a member whom the percentage had on", entry(true, 100, ""), entry(true, 100, "", "alice"), "nobody"},
		{"members go", entry(true, 0, "", "f", "e", "d", "c", "b", "a"), entry(true, 0, ""), "a, b, c, d, e and 1 more turned off"},
		{"a name becomes its hash", entry(true, 0, "", "alice"), entry(true, 0, "", hashOfAlice), "nobody"},
		{"a hash goes", entry(true, 50, "", hashOfAlice), entry(true, 50, ""), hashOfAlice + " turned off"},
		{"a new version only", entry(true, 50, ""), &flags.Entry{Version: "v2", Enabled: true, Pct: 50000}, "nobody"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEffect(flags.Key{Feature: "f", Tenant: "t"}, c.before, c.after)
			if got := e.String(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if e.none() != (c.want == "nobody") {
				t.Errorf("none() = %v for %q", e.none(), c.want)
			}
		})
	}
}

// The shares that an effect gives are what really happens to many users.
func TestEffectAgainstDecisions(t *testing.T) {
	const users = 20_000
	for _, c := range [][2]*flags.Entry{
		{entry(true, 10, ""), entry(true, 35, "")},
		{entry(true, 60, "x"), entry(true, 25.5, "x")},
		{entry(true, 30, ""), entry(true, 30, "x")},
		{entry(true, 70, "x"), entry(true, 20, "y")},
		{entry(false, 70, "x"), entry(true, 20, "y")},
	} {
		var on, off float64
		for i := range users {
			user := fmt.Sprintf("user-%d", i)
			was, is := flags.Decide(c[0], "t", user).On, flags.Decide(c[1], "t", user).On
			if is && !was {
				on++
			}
			if was && !is {
				off++
			}
		}
		e := newEffect(flags.Key{}, c[0], c[1])
		// Six standard deviations of a share among 20,000 are below 2.2 %.
		if d := e.On - on/users; d > .022 || d < -.022 {
			t.Errorf("%v -> %v: says %.3f turned on, %.3f are", c[0], c[1], e.On, on/users)
		}
		if d := e.Off - off/users; d > .022 || d < -.022 {
			t.Errorf("%v -> %v: says %.3f turned off, %.3f are", c[0], c[1], e.Off, off/users)
		}
	}
}
