package ramp

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rampart-flags/rampart/flags"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// The generators draw the whole space that Decide may meet: hostile numbers, clocks that jump, guards
// of every kind.

func genPct() *rapid.Generator[flags.Pct] {
	return rapid.OneOf(
		rapid.SampledFrom([]flags.Pct{0, 1000, 10_000, 50_000, 99_000, flags.Full, 500, 33_333}),
		rapid.Map(rapid.Int32Range(0, 100), func(n int32) flags.Pct { return flags.Pct(n) * 1000 }),
	)
}

func genSpan() *rapid.Generator[time.Duration] {
	return rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, time.Hour, 24 * time.Hour, 300 * 24 * time.Hour})
}

func genMoment() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.IntRange(0, 4).Draw(t, "none") == 0 {
			return time.Time{}
		}
		d := genSpan().Draw(t, "ago")
		if rapid.Bool().Draw(t, "ahead") {
			d = -d
		}
		return noon.Add(-d)
	})
}

func genNumber() *rapid.Generator[float64] {
	return rapid.SampledFrom([]float64{0, 1, 21, 30, 30.5, 45, 94.9, 95, 97.2, 100, 101, -1, math.NaN(), math.Inf(1), math.Inf(-1)})
}

func genGuard() *rapid.Generator[*Guard] {
	return rapid.Custom(func(t *rapid.T) *Guard {
		g := DefaultSettings().guard()
		if rapid.Bool().Draw(t, "steps") {
			g.Steps = slices.Compact(slices.Sorted(slices.Values(rapid.SliceOfN(genPct(), 1, 6).Draw(t, "list"))))
			g.StepDown = rapid.SampledFrom([]flags.Pct{0, 10_000}).Draw(t, "down")
		} else {
			g.StepUp = max(1, genPct().Draw(t, "up"))
			g.StepDown = max(1, genPct().Draw(t, "down"))
		}
		g.Min = genPct().Draw(t, "min")
		g.Max = max(g.Min, genPct().Draw(t, "max"))
		g.MaxEvidenceAge = max(time.Second, genSpan().Draw(t, "age"))
		g.MinSamples = rapid.SampledFrom([]int64{0, 1, 1000}).Draw(t, "samples")
		g.Bake = rapid.SliceOfN(genSpan(), 0, 3).Draw(t, "bake")
		g.Greens = rapid.IntRange(1, 3).Draw(t, "greens")
		g.Cooldown = genSpan().Draw(t, "cooldown")
		g.MaxAborts = rapid.IntRange(0, 2).Draw(t, "aborts")
		g.AbortOnCritical = rapid.Bool().Draw(t, "abort")
		g.Gates = slices.Compact(slices.Sorted(slices.Values(rapid.SliceOfN(genPct(), 0, 2).Draw(t, "gates"))))
		if rapid.IntRange(0, 3).Draw(t, "frozen") == 0 {
			w := windowJSON{Days: []string{"sun", "mon"}, From: "08:00", To: "16:00", Kind: rapid.SampledFrom([]string{"deny", "allow"}).Draw(t, "kind")}
			win, err := w.window()
			if err != nil {
				t.Fatal(err)
			}
			g.Freeze = []Window{win}
		}
		g.NotBefore = genMoment().Draw(t, "notBefore")
		g.Paused = rapid.IntRange(0, 9).Draw(t, "paused") == 0
		if rapid.Bool().Draw(t, "own") {
			g.Limits = append(g.Limits, Limit{Name: "success", Green: 99, Red: 95, Higher: true, Optional: rapid.Bool().Draw(t, "optional")})
		}
		if err := g.check(); err != nil {
			t.Fatalf("the generator made a bad guard: %v", err)
		}
		return g
	})
}

func genAlert() *rapid.Generator[Alert] {
	return rapid.Custom(func(t *rapid.T) Alert {
		return Alert{
			Severity: rapid.SampledFrom([]string{"critical", "warning", "Critical", ""}).Draw(t, "severity"),
			Name:     "A",
			Feature:  rapid.SampledFrom([]string{"", "receipts", "other"}).Draw(t, "feature"),
			Tenant:   rapid.SampledFrom([]string{"", "acme", "globex", flags.DefaultTenant}).Draw(t, "tenant"),
		}
	})
}

func genSource() *rapid.Generator[Source] {
	return rapid.Custom(func(t *rapid.T) Source {
		s := Source{At: genMoment().Draw(t, "at"), Missing: rapid.IntRange(0, 7).Draw(t, "missing") == 0}
		if rapid.IntRange(0, 7).Draw(t, "problem") == 0 {
			s.Problem = "torn"
		}
		return s
	})
}

func genSLO() *rapid.Generator[SLO] {
	return rapid.Custom(func(t *rapid.T) SLO {
		s := SLO{Source: genSource().Draw(t, "source"), NoAlerts: rapid.IntRange(0, 7).Draw(t, "noAlerts") == 0}
		for _, name := range []string{"", "receipts", "acme"} {
			if name != "" && rapid.IntRange(0, 3).Draw(t, "scope"+name) > 0 {
				continue
			}
			sc := Scope{Samples: rapid.SampledFrom([]int64{NoSamples, 0, 10, 12000}).Draw(t, "n"), Indicators: map[string]float64{}}
			if name != "" {
				sc.Feature = "receipts"
			}
			if name == "acme" {
				sc.Tenant = name
			}
			for _, ind := range []string{indicatorP95, indicatorDivergence, "success"} {
				if rapid.IntRange(0, 5).Draw(t, ind) > 0 {
					sc.Indicators[ind] = genNumber().Draw(t, ind+"Value")
				}
			}
			if rapid.IntRange(0, 5).Draw(t, "traffic") == 0 {
				sc.Treated = &Arm{rapid.Int64Range(-1, 500).Draw(t, "tr"), rapid.Int64Range(-1, 100).Draw(t, "te")}
				sc.Control = &Arm{rapid.Int64Range(-1, 5000).Draw(t, "cr"), rapid.Int64Range(-1, 100).Draw(t, "ce")}
			}
			if rapid.IntRange(0, 9).Draw(t, "broken") == 0 {
				sc.Broken = map[string]string{"x": "torn"}
			}
			s.Scopes = append(s.Scopes, sc)
		}
		s.Alerts = rapid.SliceOfN(genAlert(), 0, 3).Draw(t, "alerts")
		return s
	})
}

func genCoverage() *rapid.Generator[Coverage] {
	return rapid.Custom(func(t *rapid.T) Coverage {
		c := Coverage{Source: genSource().Draw(t, "source"), Tenants: map[string]Measure{}}
		for _, name := range []string{flags.DefaultTenant, "acme", "globex"} {
			if rapid.IntRange(0, 6).Draw(t, "has"+name) > 0 {
				c.Tenants[name] = Measure{Pct: genNumber().Draw(t, name), Samples: rapid.SampledFrom([]int64{NoSamples, 0, 10, 12000}).Draw(t, "n")}
			}
		}
		return c
	})
}

func genHistory() *rapid.Generator[*History] {
	return rapid.Custom(func(t *rapid.T) *History {
		h := &History{
			SteppedAt: genMoment().Draw(t, "stepped"), PendingAt: genMoment().Draw(t, "pending"), DownAt: genMoment().Draw(t, "down"),
			Downs: rapid.IntRange(0, 70).Draw(t, "downs"), Aborts: rapid.IntRange(0, 3).Draw(t, "aborts"), Greens: rapid.IntRange(0, 3).Draw(t, "greens"),
		}
		if rapid.IntRange(0, 5).Draw(t, "reverted") == 0 {
			h.Reverted = "0123456789abcdef"
		}
		if rapid.IntRange(0, 5).Draw(t, "behind") == 0 {
			h.Behind = &Behind{Tenant: "acme", Goal: flags.Full}
		}
		return h
	})
}

type situation struct {
	entry    Entry
	guard    *Guard
	coverage Coverage
	slo      SLO
	history  *History
	now      time.Time
}

func genSituation() *rapid.Generator[situation] {
	return rapid.Custom(func(t *rapid.T) situation {
		s := situation{
			entry: Entry{
				Key: flags.Key{Feature: "receipts", Tenant: rapid.SampledFrom([]string{flags.DefaultTenant, "acme"}).Draw(t, "tenant")},
				Pct: genPct().Draw(t, "pct"), Enabled: rapid.IntRange(0, 4).Draw(t, "enabled") > 0, Salted: rapid.Bool().Draw(t, "salted"),
			},
			guard: genGuard().Draw(t, "guard"), coverage: genCoverage().Draw(t, "coverage"), slo: genSLO().Draw(t, "slo"),
			history: genHistory().Draw(t, "history"), now: noon.Add(rapid.SampledFrom([]time.Duration{0, -time.Hour, time.Hour, 9 * time.Hour}).Draw(t, "now")),
		}
		s.entry.Tenants = []string{s.entry.Key.Tenant}
		if s.entry.Key.Tenant == flags.DefaultTenant && rapid.Bool().Draw(t, "followers") {
			s.entry.Tenants = append(s.entry.Tenants, "globex")
			s.entry.Own = []string{"acme"}
		}
		return s
	})
}

// healthy makes a situation in which a step up is likely, so that the laws about ups are not vacuous.
func (s *situation) healthy(t *rapid.T) {
	at := s.now.Add(-time.Second)
	s.coverage = Coverage{Source: Source{At: at}, Tenants: map[string]Measure{}}
	for _, name := range []string{flags.DefaultTenant, "acme", "globex"} {
		s.coverage.Tenants[name] = Measure{Pct: rapid.SampledFrom([]float64{94, 97, 100}).Draw(t, name), Samples: 12000}
	}
	s.slo = SLO{Source: Source{At: at}, Scopes: []Scope{{Samples: 12000, Indicators: map[string]float64{indicatorP95: 21, indicatorDivergence: 0, "success": 99.9}}}}
	s.guard.Paused = false
}

func (s *situation) decide() Decision {
	return Decide(&s.entry, s.guard, NewEvidence(s.coverage, s.slo), s.history, s.now)
}

func (s *situation) verdict() Verdict {
	return NewEvidence(s.coverage, s.slo).judge(&s.entry, s.guard, s.history, s.now, nil).verdict
}

// check draws many situations, half of them healthy, and counts how often each action came out.
func check(t *testing.T, law func(t *rapid.T, s situation, d Decision)) {
	t.Helper()
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		for range 50 {
			s := genSituation().Draw(t, "situation")
			if rapid.Bool().Draw(t, "healthy") {
				s.healthy(t)
			}
			d := s.decide()
			seen[d.Action.String()+"/"+string(d.Code)]++
			seen[d.Action.String()]++
			law(t, s, d)
		}
	})
	for _, a := range []Action{Hold, Up, Down, Abort} {
		if seen[a.String()] == 0 {
			t.Errorf("no situation led to %s: the law was not tried (saw %v)", a, seen)
		}
	}
}

func TestNeverUpWithoutGreen(t *testing.T) {
	check(t, func(t *rapid.T, s situation, d Decision) {
		if d.To > d.From && d.Verdict != Green {
			t.Fatalf("up on %s: %v", d.Verdict, d)
		}
		if (d.Verdict == Unknown || d.Verdict == Amber) && d.To != d.From {
			t.Fatalf("moved on %s: %v", d.Verdict, d)
		}
		if d.Action == Hold != (d.From == d.To) || d.Action == Up != (d.To > d.From) || d.Action.Lowers() != (d.To < d.From) {
			t.Fatalf("action and percentages disagree: %+v", d)
		}
	})
}

// Neither cool-down, aborts, reverts, freezes, dates, bake, greens, waves nor gates stand in the way of
// a lowering: with all of them, it comes out as without any.
func TestLoweringIsNeverBlocked(t *testing.T) {
	check(t, func(t *rapid.T, s situation, d Decision) {
		if s.guard.Paused || s.verdict() != Red {
			return
		}
		bare := s
		g := *s.guard
		g.Freeze, g.NotBefore, g.Bake, g.Greens, g.Cooldown, g.MaxAborts, g.Gates = nil, time.Time{}, nil, 1, 0, 0, nil
		bare.guard, bare.history = &g, &History{SteppedAt: s.history.SteppedAt}
		if want := bare.decide(); want.To != d.To || want.Action != d.Action {
			t.Fatalf("blocked: %v, without obstacles %v", d, want)
		}
		if s.entry.Pct > s.guard.Min && s.entry.Pct.Whole() && s.guard.Min.Whole() && !d.Action.Lowers() {
			t.Fatalf("red above the minimum, and no lowering: %v", d)
		}
	})
}

func TestBoundsHold(t *testing.T) {
	check(t, func(t *rapid.T, s situation, d Decision) {
		if d.From != s.entry.Pct {
			t.Fatalf("from %s, entry at %s", d.From, s.entry.Pct)
		}
		if d.Action != Hold && (d.To < s.guard.Min || d.To > s.guard.Max) {
			if !(d.Action.Lowers() && !s.entry.Salted && !s.guard.Min.Whole()) {
				t.Fatalf("%v lands outside %s..%s", d, s.guard.Min, s.guard.Max)
			}
		}
		if d.To < 0 || d.To > flags.Full {
			t.Fatalf("%v is no percentage", d)
		}
		if d.Action != Hold && !s.entry.Salted && !d.To.Whole() {
			t.Fatalf("%v: a fraction without a salt", d)
		}
	})
}

func TestOneStep(t *testing.T) {
	check(t, func(t *rapid.T, s situation, d Decision) {
		if d.Action == Up {
			for _, step := range s.guard.Steps {
				if step > d.From && step < d.To && step >= s.guard.Min {
					t.Fatalf("%v jumps over step %s", d, step)
				}
			}
			if len(s.guard.Steps) == 0 && d.To-d.From > s.guard.StepUp && d.To > s.guard.Min {
				t.Fatalf("%v rises by more than %s", d, s.guard.StepUp)
			}
		}
		if d.Action == Down && s.guard.StepDown > 0 && d.From <= s.guard.Max && d.From-d.To >= s.guard.StepDown+1000 {
			t.Fatalf("%v falls by more than %s", d, s.guard.StepDown)
		}
	})
}

func TestMoreAlertsNeverRaise(t *testing.T) {
	check(t, func(t *rapid.T, s situation, d Decision) {
		more := s
		more.slo.Alerts = append(slices.Clone(s.slo.Alerts), genAlert().Draw(t, "more"))
		if got := more.decide(); got.To > d.To {
			t.Fatalf("with %v more: %v, without: %v", more.slo.Alerts, got, d)
		}
	})
}

func TestSameInputsSameDecision(t *testing.T) {
	check(t, func(t *rapid.T, s situation, d Decision) {
		if again := s.decide(); again != d {
			t.Fatalf("%+v, then %+v", d, again)
		}
		if d.Reason == "" || d.Code == "" {
			t.Fatalf("no reason: %+v", d)
		}
		for _, r := range d.Reason {
			if r < ' ' {
				t.Fatalf("the reason is more than one line: %q", d.Reason)
			}
		}
	})
}

// Whatever is held, is held for something that is true of it.
func TestCodesTellTheTruth(t *testing.T) {
	check(t, func(t *rapid.T, s situation, d Decision) {
		var ok bool
		switch g, h := s.guard, s.history; d.Code {
		case CodePaused:
			ok = g.Paused
		case CodeCooldown:
			ok = h.Downs > 0 && s.now.Before(d.Until) && g.Cooldown > 0
		case CodeAborts:
			ok = g.MaxAborts > 0 && h.Aborts >= g.MaxAborts
		case CodeReverted:
			ok = h.Reverted != ""
		case CodeNotBefore:
			ok = s.now.Before(g.NotBefore)
		case CodeBake:
			ok = s.now.Before(d.Until) && len(g.Bake) > 0
		case CodeGreens:
			ok = h.Greens+1 < g.Greens
		case CodeWave:
			ok = h.Behind != nil
		case CodeDisabled:
			ok = !s.entry.Enabled
		case CodeGate:
			ok = d.Approval && d.Action == Up
		case CodeUp:
			ok = d.Action == Up && !d.Approval
		case CodeBeforeStep:
			ok = !h.SteppedAt.IsZero()
		default:
			ok = true
		}
		if !ok {
			t.Fatalf("%+v\nguard %+v\nhistory %+v", d, s.guard, s.history)
		}
	})
}

func TestZeroValuesChangeNothing(t *testing.T) {
	d := Decide(&Entry{Pct: 20_000}, DefaultSettings().guard(), NewEvidence(Coverage{}, SLO{}), &History{}, noon)
	if d.Action != Hold || d.To != d.From || d.Verdict != Unknown {
		t.Errorf("nothing known: %+v", d)
	}
	if !reflect.ValueOf(Hold).IsZero() || !reflect.ValueOf(Unknown).IsZero() {
		t.Error("Hold and Unknown must be the zero values")
	}
	_ = fmt.Sprint(d)
}
