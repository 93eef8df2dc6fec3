package console

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/receipt"
)

// chart is a feature's percentage over time, as steps. It is drawn as SVG on the server: no script is needed to see it, and the
// points stand in a table beside it for whoever does not see it.
type chart struct {
	Points []point
	Path   string // of the line
	Area   string // of what is below it
	Marks  []chartMark
	From   time.Time
	To     time.Time
}

type point struct {
	At      time.Time
	Pct     float64
	Receipt *receipt.Receipt
	Up      bool
}

type chartMark struct {
	X, Y  string
	Class string
	Label string
}

// The drawing's size, in its own units; the page scales it.
const (
	chartWidth  = 720.0
	chartHeight = 180.0
)

func newChart(past []happened, now flags.Pct, enabled bool, at time.Time) chart {
	var c chart
	on, pct := true, -1.0
	add := func(h happened, value float64) {
		c.Points = append(c.Points, point{At: h.Receipt.Time, Pct: value, Receipt: h.Receipt, Up: len(c.Points) > 0 && value > c.Points[len(c.Points)-1].Pct})
	}
	for _, h := range past {
		if h.Tenant != "" && h.Tenant != flags.DefaultTenant {
			continue
		}
		switch flags.Kind(h.Kind) {
		case flags.RampUp, flags.RampDown:
			from, errFrom := strconv.ParseFloat(h.From, 64)
			to, errTo := strconv.ParseFloat(h.To, 64)
			if errFrom != nil || errTo != nil {
				continue
			}
			if pct < 0 && len(c.Points) == 0 {
				add(h, from)
			}
			pct = to
		case flags.Enable:
			on = true
		case flags.Disable:
			on = false
		case flags.FeatureAdd:
			if _, rest, ok := strings.Cut(h.To, ", "); ok {
				if v, err := strconv.ParseFloat(strings.TrimSuffix(strings.Fields(rest)[0], "%"), 64); err == nil {
					pct = v
				}
			}
			on = strings.HasPrefix(h.To, "on")
		default:
			continue
		}
		value := max(0, pct)
		if !on {
			value = 0
		}
		add(h, value)
	}
	last := float64(now) / 1000
	if !enabled {
		last = 0
	}
	if len(c.Points) == 0 {
		return c
	}
	c.From, c.To = c.Points[0].At, at
	if !c.To.After(c.From) {
		c.To = c.From.Add(time.Minute)
	}
	c.draw(last)
	return c
}

func (c *chart) draw(last float64) {
	span := c.To.Sub(c.From).Seconds()
	x := func(t time.Time) string { return coordinate(t.Sub(c.From).Seconds() / span * chartWidth) }
	y := func(pct float64) string { return coordinate(chartHeight - pct/100*chartHeight) }
	var line strings.Builder
	for i, p := range c.Points {
		if i == 0 {
			fmt.Fprintf(&line, "M%s %s", x(p.At), y(p.Pct))
		} else {
			fmt.Fprintf(&line, "H%sV%s", x(p.At), y(p.Pct))
		}
		class := "down"
		switch {
		case i == 0:
			class = "start"
		case p.Up:
			class = "up"
		}
		c.Marks = append(c.Marks, chartMark{x(p.At), y(p.Pct), class, fmt.Sprintf("%s: %g %%", p.At.UTC().Format("2006-01-02 15:04"), p.Pct)})
	}
	fmt.Fprintf(&line, "H%s", coordinate(chartWidth))
	if last != c.Points[len(c.Points)-1].Pct {
		fmt.Fprintf(&line, "V%s", y(last))
	}
	c.Path = line.String()
	c.Area = c.Path + fmt.Sprintf("V%sH%sZ", coordinate(chartHeight), x(c.From))
}

func coordinate(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
