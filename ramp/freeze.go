package ramp

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // zones must mean the same on a machine without a zone database
)

// Window is a recurring time in which ramps are frozen, or, with Allow, outside all of which they are.
// A window that ends at or before its start runs into the next day and belongs to the day it starts on.
type Window struct {
	Days     [7]bool // by time.Weekday; none set: every day
	From, To int     // minutes since midnight, To up to 24:00
	Zone     *time.Location
	Allow    bool
	// First and Last bound the window to dates, both included; zero: no bound.
	First, Last civil
	text        string
}

type windowJSON struct {
	Kind   string   `json:"kind"`
	Days   []string `json:"days"`
	From   string   `json:"from"`
	To     string   `json:"to"`
	Zone   string   `json:"zone"`
	First  string   `json:"first"`
	Last   string   `json:"last"`
	Reason string   `json:"reason"`
}

// civil is a date without a zone: year, month and day in one comparable number.
type civil int

func civilOf(t time.Time) civil {
	y, m, d := t.Date()
	return civil(y*10000 + int(m)*100 + d)
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (j *windowJSON) window() (Window, error) {
	w := Window{Allow: j.Kind == "allow", To: endOfDay, Zone: time.UTC}
	if j.Kind != "" && j.Kind != "allow" && j.Kind != "deny" {
		return w, fmt.Errorf("kind %q: want \"deny\" or \"allow\"", j.Kind)
	}
	for _, d := range j.Days {
		i := slices.Index(dayNames, d)
		if i < 0 {
			return w, fmt.Errorf("day %q: want one of mon, tue, wed, thu, fri, sat, sun", d)
		}
		w.Days[i] = true
	}
	if len(j.Days) == 0 {
		w.Days = [7]bool{true, true, true, true, true, true, true}
	}
	var err error
	if j.From != "" {
		if w.From, err = clock(j.From); err != nil {
			return w, err
		}
	}
	if j.To != "" {
		if w.To, err = clock(j.To); err != nil {
			return w, err
		}
	}
	if j.Zone != "" {
		// "Local" would make the same inputs mean different things on different machines.
		if w.Zone, err = time.LoadLocation(j.Zone); err != nil || j.Zone == "Local" {
			return w, fmt.Errorf("zone %q: want an IANA name such as \"Europe/Berlin\"", j.Zone)
		}
	}
	if w.First, err = date(j.First); err != nil {
		return w, err
	}
	if w.Last, err = date(j.Last); err != nil {
		return w, err
	}
	w.text = j.describe()
	return w, nil
}

// describe is the window for people: "fri,sat 16:00-08:00 Europe/Berlin (weekend)".
func (j *windowJSON) describe() string {
	parts := []string{}
	if len(j.Days) > 0 {
		parts = append(parts, strings.Join(j.Days, ","))
	}
	if j.From != "" || j.To != "" {
		parts = append(parts, cmp.Or(j.From, "00:00")+"-"+cmp.Or(j.To, "24:00"))
	}
	if j.First != "" || j.Last != "" {
		parts = append(parts, j.First+".."+j.Last)
	}
	parts = append(parts, cmp.Or(j.Zone, "UTC"))
	if j.Reason != "" {
		parts = append(parts, "("+j.Reason+")")
	}
	return strings.Join(parts, " ")
}

const endOfDay = 24 * 60

// clock reads "09:30" as minutes since midnight.
func clock(s string) (int, error) {
	t, err := time.Parse("15:04", s)
	if err != nil || len(s) != len("15:04") {
		return 0, fmt.Errorf("time %q: want HH:MM, 00:00 to 23:59", s)
	}
	return t.Hour()*60 + t.Minute(), nil
}

func date(s string) (civil, error) {
	if s == "" {
		return 0, nil
	}
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, fmt.Errorf("date %q: want YYYY-MM-DD", s)
	}
	return civilOf(t), nil
}

// covers reports whether the window is open at now. It goes by what a clock on the wall in that zone
// shows, so a day on which clocks change is as long as that day is.
func (w *Window) covers(now time.Time) bool {
	local := now.In(w.Zone)
	h, m, _ := local.Clock()
	minute := h*60 + m
	if w.From < w.To {
		return minute >= w.From && minute < w.To && w.on(local)
	}
	return minute >= w.From && w.on(local) || minute < w.To && w.on(local.AddDate(0, 0, -1))
}

// on reports whether the window may start on this day.
func (w *Window) on(day time.Time) bool {
	c := civilOf(day)
	return w.Days[day.Weekday()] && (w.First == 0 || c >= w.First) && (w.Last == 0 || c <= w.Last)
}

// frozen is the window that forbids a step up now, or "". A deny wins over every allow; where there are
// allow windows, everything outside them is frozen.
func frozen(windows []Window, now time.Time) string {
	allows, allowed := 0, false
	for i := range windows {
		w := &windows[i]
		if !w.Allow {
			if w.covers(now) {
				return w.text
			}
			continue
		}
		allows++
		allowed = allowed || w.covers(now)
	}
	if allows == 0 || allowed {
		return ""
	}
	var texts []string
	for _, w := range windows {
		if w.Allow {
			texts = append(texts, w.text)
		}
	}
	return "outside " + strings.Join(texts, " or ")
}
