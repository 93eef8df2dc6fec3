package ramp

import (
	"testing"
	"time"
)

func TestFreezeWindows(t *testing.T) {
	weekend := windowJSON{Days: []string{"fri"}, From: "16:00", To: "08:00", Zone: "Europe/Berlin"}
	newYear := windowJSON{First: "2026-12-20", Last: "2027-01-03", Zone: "America/New_York"}
	spring := windowJSON{Days: []string{"sun"}, From: "02:00", To: "04:00", Zone: "Europe/Berlin"}
	for _, c := range []struct {
		name string
		w    windowJSON
		at   string
		open bool
	}{
		{"before", weekend, "2026-11-20T15:59:59+01:00", false},
		{"begins", weekend, "2026-11-20T16:00:00+01:00", true},
		{"at midnight", weekend, "2026-11-21T00:00:00+01:00", true},
		{"belongs to the day it began on", weekend, "2026-11-21T07:59:59+01:00", true},
		{"ends", weekend, "2026-11-21T08:00:00+01:00", false},
		{"another morning", weekend, "2026-11-20T07:00:00+01:00", false},
		{"in another zone's words", weekend, "2026-11-20T15:00:00Z", true},
		{"first day", newYear, "2026-12-20T00:00:00-05:00", true},
		{"the day before, there", newYear, "2026-12-20T04:59:59Z", false},
		{"last day", newYear, "2027-01-03T23:59:59-05:00", true},
		{"after", newYear, "2027-01-04T00:00:00-05:00", false},
		{"an hour that the clocks skip", spring, "2027-03-28T00:59:59Z", false}, // 01:59:59
		{"what is left of it", spring, "2027-03-28T01:00:00Z", true},            // 03:00
		{"an hour that comes twice: once", spring, "2027-10-31T00:30:00Z", true},
		{"twice", spring, "2027-10-31T01:30:00Z", true},
		{"every day, all day", windowJSON{}, "2026-11-22T12:00:00Z", true},
		{"from and to the same: a whole day", windowJSON{Days: []string{"sat"}, From: "12:00", To: "12:00"}, "2026-11-22T11:59:00Z", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := c.w.window()
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, c.at)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.covers(at); got != c.open {
				t.Errorf("%s at %s: open %v, want %v", w.text, c.at, got, c.open)
			}
		})
	}
	for _, bad := range []windowJSON{{Days: []string{"Friday"}}, {From: "25:00"}, {To: "9:00"}, {Zone: "Local"}, {First: "soon"}, {Kind: "maybe"}} {
		if _, err := bad.window(); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}
