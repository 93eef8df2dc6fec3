package console

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// chart is a feature's percentage over time, as steps. It is drawn as SVG on the server: no script is needed to see it. Each
// step can be pointed at or reached by the keyboard, and says what decided it; the table below holds the same in words.
type chart struct {
	Points []point
	Path   string // of the line
	Area   string // of what is below it
	Marks  []chartMark
	Ticks  []tick // of the time axis
	Height float64
	From   time.Time
	To     time.Time
}

// point is a percentage that the feature came to, and what decided it.
type point struct {
	No       int
	At       time.Time
	Pct      float64
	Was      float64 // before it; the same for the first
	Verdict  string  // of the proposer: green, amber, red; "" where a person did it, or nothing is told
	Reason   string
	Evidence string // "sha256:…", ""
	By       string // who signed
	What     string // added, up, down, on, off
	happened
}

type chartMark struct {
	X, Y  string
	Class string // the shape's colour
	Shape string // of a path around 0,0
	Label string // for screen readers
	Focus bool   // whether the tab key stops at it
	Tip   tip
	No    int
}

// tip is the box that says what a mark stands for: its place, size and lines.
type tip struct {
	X, Y, Width, Height string
	Lines               []tipLine
}

type tipLine struct{ X, Y, Text string }

type tick struct{ X, Label, Anchor string }

// The drawing's size, in its own units; the page scales it.
const (
	chartWidth  = 1000.0
	chartHeight = 220.0
	maxStops    = 40 // marks that the tab key stops at: the newest
)

func newChart(past []happened, own *flags.Ramped, now flags.Pct, enabled bool, at time.Time) chart {
	c := chart{Height: chartHeight}
	on, pct := true, -1.0
	add := func(h happened, what string, value float64) {
		p := point{No: len(c.Points) + 1, At: h.Receipt.Time, Pct: value, Was: value, What: what, happened: h}
		if n := len(c.Points); n > 0 {
			p.Was = c.Points[n-1].Pct
		}
		var signers []string
		for _, s := range h.Receipt.Signers {
			signers = append(signers, s.Name)
		}
		p.By = strings.Join(signers, ", ")
		p.Verdict, p.Reason, p.Evidence = decidedBy(h)
		c.Points = append(c.Points, p)
	}
	for _, h := range past {
		if h.Tenant != "" && h.Tenant != flags.DefaultTenant {
			continue
		}
		what := ""
		switch flags.Kind(h.Kind) {
		case flags.RampUp, flags.RampDown:
			from, errFrom := strconv.ParseFloat(h.From, 64)
			to, errTo := strconv.ParseFloat(h.To, 64)
			if errFrom != nil || errTo != nil {
				continue
			}
			if pct < 0 && len(c.Points) == 0 {
				add(h, "first seen", from)
			}
			if what = "up"; to < from {
				what = "down"
			}
			pct = to
		case flags.Enable:
			on, what = true, "on"
		case flags.Disable:
			on, what = false, "off"
		case flags.FeatureAdd:
			if _, rest, ok := strings.Cut(h.To, ", "); ok {
				if v, err := strconv.ParseFloat(strings.TrimSuffix(strings.Fields(rest)[0], "%"), 64); err == nil {
					pct = v
				}
			}
			on, what = strings.HasPrefix(h.To, "on"), "added"
		default:
			continue
		}
		value := max(0, pct)
		if !on {
			value = 0
		}
		add(h, what, value)
	}
	if len(c.Points) == 0 {
		return c
	}
	last := &c.Points[len(c.Points)-1]
	if own != nil && last.Verdict == "" && last.Pct == float64(own.To)/1000 && (last.What == "up" || last.What == "down") {
		last.Verdict, last.Reason, last.Evidence = own.Verdict, own.Reason, own.Evidence // the spec's own record of its last step
	}
	end := float64(now) / 1000
	if !enabled {
		end = 0
	}
	c.From, c.To = c.Points[0].At, at
	if !c.To.After(c.From) {
		c.To = c.From.Add(time.Minute)
	}
	c.draw(end)
	return c
}

func (c *chart) draw(last float64) {
	span := c.To.Sub(c.From).Seconds()
	x := func(t time.Time) float64 { return t.Sub(c.From).Seconds() / span * chartWidth }
	y := func(pct float64) float64 { return chartHeight - pct/100*chartHeight }
	var line strings.Builder
	for i, p := range c.Points {
		if i == 0 {
			fmt.Fprintf(&line, "M%s %s", coordinate(x(p.At)), coordinate(y(p.Pct)))
		} else {
			fmt.Fprintf(&line, "H%sV%s", coordinate(x(p.At)), coordinate(y(p.Pct)))
		}
		m := markOf(p, x(p.At), y(p.Pct))
		m.Focus = len(c.Points)-i <= maxStops
		c.Marks = append(c.Marks, m)
	}
	fmt.Fprintf(&line, "H%s", coordinate(chartWidth))
	if last != c.Points[len(c.Points)-1].Pct {
		fmt.Fprintf(&line, "V%s", coordinate(y(last)))
	}
	c.Path = line.String()
	c.Area = c.Path + fmt.Sprintf("V%sH%sZ", coordinate(chartHeight), coordinate(x(c.From)))
	layout := "2 Jan 2006"
	switch d := c.To.Sub(c.From); {
	case d < time.Hour:
		layout = "15:04:05"
	case d < 48*time.Hour:
		layout = "2 Jan 15:04"
	}
	const parts = 4
	for i := range parts {
		t := tick{X: coordinate(chartWidth * float64(i) / parts), Anchor: "middle", Label: c.From.Add(c.To.Sub(c.From) * time.Duration(i) / parts).UTC().Format(layout)}
		if i == 0 {
			t.Anchor = "start"
		}
		c.Ticks = append(c.Ticks, t)
	}
	c.Ticks = append(c.Ticks, tick{X: coordinate(chartWidth), Anchor: "end", Label: "now"})
}

// Shapes tell verdicts apart without their colours.
var shapes = map[string]string{
	"up": "M0 -7L7 6H-7Z", "down": "M0 7L7 -6H-7Z", "amber": "M0 -7L7 0L0 7L-7 0Z", "other": "M-5 -5H5V5H-5Z",
}

func markOf(p point, x, y float64) chartMark {
	m := chartMark{No: p.No, X: coordinate(x), Y: coordinate(y), Class: p.Verdict, Shape: shapes["other"]}
	switch {
	case p.Verdict == "amber":
		m.Shape = shapes["amber"]
	case p.What == "up", p.What == "down":
		m.Shape = shapes[p.What]
	}
	if !known(m.Class) {
		m.Class = "person"
	}
	lines := []string{p.Move() + ", " + p.At.UTC().Format("2 Jan 2006 15:04 UTC"), p.Why()}
	if p.Evidence != "" {
		lines = append(lines, "evidence "+shortDigest(p.Evidence))
	}
	if p.By != "" {
		lines = append(lines, "signed by "+p.By+generationText(p.Receipt.Generation))
	}
	m.Label = strings.Join(lines, "; ")
	m.Tip = tipOf(lines, x, y)
	return m
}

func known(verdict string) bool {
	return verdict == "green" || verdict == "amber" || verdict == "red" || verdict == "unknown"
}

func generationText(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", generation %d", n)
}

// tipOf places a box beside its mark, inside the drawing.
func tipOf(lines []string, x, y float64) tip {
	const letter, line, most = 7.3, 17.0, 74
	longest := 0
	for i, l := range lines {
		if r := []rune(l); len(r) > most {
			lines[i] = string(r[:most-1]) + "…"
		}
		longest = max(longest, len([]rune(lines[i])))
	}
	w, h := float64(longest)*letter+20, float64(len(lines))*line+14
	left := min(max(0, x-w/2), chartWidth-w)
	top := y - h - 14
	if top < -12 {
		top = y + 14
	}
	t := tip{X: coordinate(left), Y: coordinate(top), Width: coordinate(w), Height: coordinate(h)}
	for i, l := range lines {
		t.Lines = append(t.Lines, tipLine{coordinate(left + 10), coordinate(top + 19 + float64(i)*line), l})
	}
	return t
}

// Move is the step in a few words.
func (p point) Move() string {
	switch p.What {
	case "up", "down":
		return fmt.Sprintf("%g → %g %%", p.Was, p.Pct)
	case "on", "off":
		return "turned " + p.What + fmt.Sprintf(", %g %%", p.Pct)
	}
	return fmt.Sprintf("%s, %g %%", p.What, p.Pct)
}

// Why is the verdict with its reason, or that a person decided.
func (p point) Why() string {
	switch {
	case p.Verdict != "" && p.Reason != "":
		return p.Verdict + ": " + p.Reason
	case p.Verdict != "":
		return p.Verdict
	}
	return "by hand: no verdict is recorded"
}

func shortDigest(d string) string {
	algorithm, hex, ok := strings.Cut(d, ":")
	if !ok || len(hex) < 12 {
		return d
	}
	return algorithm + ":" + hex[:12] + "…"
}

var nextStep = regexp.MustCompile(`; [a-z0-9][a-z0-9._-]* [A-Za-z0-9_][A-Za-z0-9._@-]* [a-z0-9-]+: `)

// decidedBy is what the commit's trailers say of this change: "Ramp-Decision: receipts __default__ 10 -> 20 up green" and
// "Ramp-Reason: receipts __default__ green: coverage 97.2 >= 95", which a receipt holds joined by "; ".
func decidedBy(h happened) (verdict, reason, evidence string) {
	note := h.Receipt.Ramp
	if note == nil {
		return "", "", ""
	}
	tenant := h.Tenant
	if tenant == "" {
		tenant = flags.DefaultTenant
	}
	entry := h.Feature + " " + tenant + " "
	for _, d := range strings.Split(note.Decision, "; ") {
		if words := strings.Fields(d); strings.HasPrefix(d, entry) && known(words[len(words)-1]) {
			verdict = words[len(words)-1]
		}
	}
	if verdict == "" {
		return "", "", ""
	}
	if _, rest, ok := strings.Cut("; "+note.Reason, "; "+entry); ok {
		if at := nextStep.FindStringIndex(rest); at != nil {
			rest = rest[:at[0]]
		}
		_, reason, _ = strings.Cut(rest, ": ")
	}
	return verdict, reason, note.Evidence
}

func coordinate(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
