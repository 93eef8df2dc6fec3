package main

import (
	"cmp"
	"fmt"
	"image/color"
	"slices"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ramp"
)

// track is one entry over time.
type track struct {
	name  string
	steps []trackStep
}

// trackStep is one run's decision: where the entry stands after it, and why.
type trackStep struct {
	at time.Time
	*ramp.Outcome
}

func tracksOf(runs []playedRun) []*track {
	byKey := map[flags.Key]*track{}
	var all []*track
	for i := range runs {
		for j := range runs[i].out {
			o := &runs[i].out[j]
			t := byKey[o.Key()]
			if t == nil {
				t = &track{name: entryName(o)}
				byKey[o.Key()] = t
				all = append(all, t)
			}
			t.steps = append(t.steps, trackStep{runs[i].at, o})
		}
	}
	slices.SortStableFunc(all, func(a, b *track) int { return cmp.Compare(a.name, b.name) })
	return all
}

// trackLine is one decision of "simulate --json".
type trackLine struct {
	At time.Time `json:"at"`
	ramp.Decision
}

func (a *app) tellTracks(tracks []*track, s simulateSettings) error {
	if a.json {
		for _, t := range tracks {
			for _, step := range t.steps {
				if err := cli.JSONLine(a.env.Stdout, "simulated/v1", trackLine{step.at, step.Decision}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	wide := 0
	for _, t := range tracks {
		wide = max(wide, len(t.name))
	}
	paint := a.env.OutPalette()
	for _, t := range tracks {
		line, verdicts := t.chart()
		fmt.Fprintf(a.env.Stdout, "%-*s  %s  %s\n", wide, t.name, line, paint.Bold(t.end()))
		fmt.Fprintf(a.env.Stdout, "%-*s  %s  %s\n", wide, "", paint.Dim(verdicts), paint.Dim(t.tally()))
	}
	for _, file := range s.draw {
		a.env.Talk("drawn: %s", file)
	}
	return nil
}

// levels are the heights of a percentage in one character.
var levels = []rune("▁▂▃▄▅▆▇█")

// maxChart is how many runs a line of the terminal shows.
const maxChart = 100

// chart is the percentage after each run, and under it what the evidence said.
func (t *track) chart() (line, verdicts string) {
	var b, v strings.Builder
	every := (len(t.steps) + maxChart - 1) / maxChart
	for i := every - 1; i < len(t.steps); i += every {
		s := t.steps[i]
		b.WriteRune(levels[min(int(s.To)*len(levels)/int(flags.Full), len(levels)-1)])
		v.WriteString(marks.Replace(s.Verdict.String()))
	}
	return b.String(), v.String()
}

// end says where it all leads.
func (t *track) end() string {
	last := t.steps[len(t.steps)-1]
	top := last.To
	for i, s := range t.steps {
		if s.To != top {
			continue
		}
		rest := t.steps[i:]
		if slices.ContainsFunc(rest, func(s trackStep) bool { return s.To != top }) {
			continue
		}
		if i == 0 {
			return fmt.Sprintf("%s throughout", top)
		}
		return fmt.Sprintf("%s from %s on, after %.4g days", top, s.at.Format("Jan 2"), s.at.Sub(t.steps[0].at).Hours()/24)
	}
	return top.String()
}

// tally counts what happened: "6 up, 1 down; held 3 by bake, 1 by frozen".
func (t *track) tally() string {
	moves, holds := map[ramp.Action]int{}, map[ramp.Code]int{}
	for _, s := range t.steps {
		if moves[s.Action]++; s.Action == ramp.Hold && s.Code != ramp.CodeAtMax {
			holds[s.Code]++
		}
	}
	var parts []string
	for _, action := range []ramp.Action{ramp.Up, ramp.Down, ramp.Abort} {
		if n := moves[action]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, action))
		}
	}
	var codes []ramp.Code
	for code := range holds {
		codes = append(codes, code)
	}
	slices.SortFunc(codes, func(a, b ramp.Code) int { return cmp.Or(holds[b]-holds[a], cmp.Compare(a, b)) })
	for _, code := range codes {
		parts = append(parts, fmt.Sprintf("%d held by %s", holds[code], code))
	}
	return strings.Join(parts, ", ")
}

// maxDrawn is how many entries a picture shows before it is a tangle.
const maxDrawn = 20

// drawTracks draws percentages over days, with a mark at each lowering.
func drawTracks(file string, tracks []*track, title string) error {
	p := plot.New()
	p.Title.Text = title
	p.X.Label.Text, p.Y.Label.Text = "days", "%"
	p.Y.Min, p.Y.Max = 0, 105
	p.Y.Tick.Marker = plot.ConstantTicks([]plot.Tick{{Value: 0, Label: "0"}, {Value: 25, Label: "25"}, {Value: 50, Label: "50"}, {Value: 75, Label: "75"}, {Value: 100, Label: "100"}})
	p.Legend.Top = true
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{Y: 230}, color.Gray{Y: 230}
	p.Add(grid)
	shown := tracks[:min(len(tracks), maxDrawn)]
	days := 1.0
	for i, t := range shown {
		line, downs := t.points()
		l, err := plotter.NewLine(line)
		if err != nil {
			return err
		}
		l.StepStyle, l.Width = plotter.PostStep, vg.Points(1.5)
		l.Color, l.Dashes = plotutil.Color(i), plotutil.Dashes(i/len(plotutil.DefaultColors))
		days = max(days, line[len(line)-1].X)
		p.Add(l)
		p.Legend.Add(t.name, l)
		if len(downs) == 0 {
			continue
		}
		marks, err := plotter.NewScatter(downs)
		if err != nil {
			return err
		}
		marks.Shape, marks.Color, marks.Radius = draw.PyramidGlyph{}, color.RGBA{R: 200, A: 255}, vg.Points(3.5)
		p.Add(marks)
	}
	p.X.Min, p.X.Max = 0, days*1.2 // room for the legend
	p.X.Tick.Marker = dayTicks(days)
	if len(tracks) > maxDrawn {
		p.X.Label.Text = fmt.Sprintf("days (%d of %d entries)", maxDrawn, len(tracks))
	}
	return p.Save(24*vg.Centimeter, 12*vg.Centimeter, file)
}

// dayTicks marks whole days, so many that they can be read.
func dayTicks(days float64) plot.ConstantTicks {
	every := 1
	for _, n := range []int{2, 7, 14, 28, 91, 364} {
		if days/float64(every) > 12 {
			every = n
		}
	}
	var ticks plot.ConstantTicks
	for day := 0; float64(day) <= days; day += every {
		ticks = append(ticks, plot.Tick{Value: float64(day), Label: strconv.Itoa(day)})
	}
	return ticks
}

// points are the percentage over days, and where it fell.
func (t *track) points() (line, downs plotter.XYs) {
	start := t.steps[0].at
	line = append(line, plotter.XY{X: 0, Y: float64(t.steps[0].From) / 1000})
	for _, s := range t.steps {
		at := plotter.XY{X: s.at.Sub(start).Hours() / 24, Y: float64(s.To) / 1000}
		line = append(line, at)
		if s.Action.Lowers() {
			downs = append(downs, at)
		}
	}
	return line, downs
}
