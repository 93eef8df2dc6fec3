package ramp

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// ErrGuard is what every error of [ParseGuard] wraps.
var ErrGuard = errors.New("the ramp block cannot be used")

// Guard is the policy of one feature's ramp: a `ramp` block laid over the [Settings]. docs/ramps.md
// explains each field. A Guard is read-only once parsed and may be shared.
type Guard struct {
	Steps            []flags.Pct // ascending; empty: StepUp and StepDown count
	StepUp, StepDown flags.Pct   // StepDown 0 with Steps: to the step below
	Min, Max         flags.Pct   // every step lands inside them
	TargetCoverage   float64     // percent
	Limits           []Limit     // sorted by name
	MaxEvidenceAge   time.Duration
	MinSamples       int64           // 0: samples are not asked for
	Bake             []time.Duration // by step, the last one for the rest; empty: none
	Greens           int             // green runs in a row that a step up needs, this one included
	Cooldown         time.Duration   // after a lowering, doubled by each repeated one
	MaxAborts        int             // 0: no limit
	AbortOnCritical  bool
	Gates            []flags.Pct // ascending
	Waves            []Wave
	Freeze           []Window
	NotBefore        time.Time
	Paused           bool
}

// Limit is what an indicator is measured against: good up to Green, bad beyond Red.
type Limit struct {
	Name       string
	Green, Red float64
	Higher     bool  // more is better
	MinSamples int64 // 0: the guard's
	Optional   bool  // judged when measured, not missed when not
}

// Wave names tenants that ramp before all that come later, and for how long they must then have
// stood at their goal.
type Wave struct {
	Tenants []string
	Soak    time.Duration
}

// guardJSON is the block as it is written.
type guardJSON struct {
	Steps          []flags.Pct               `json:"steps"`
	StepUp         *flags.Pct                `json:"step_up"`
	StepDown       *flags.Pct                `json:"step_down"`
	Min            *flags.Pct                `json:"min"`
	Max            *flags.Pct                `json:"max"`
	TargetCoverage *float64                  `json:"target_coverage"`
	Guards         map[string]jsontext.Value `json:"guards"`
	MaxEvidenceAge *string                   `json:"max_evidence_age"`
	MinSamples     *int64                    `json:"min_samples"`
	Bake           jsontext.Value            `json:"bake"`
	Greens         *int                      `json:"greens"`
	Cooldown       *string                   `json:"cooldown"`
	MaxAborts      *int                      `json:"max_aborts"`
	OnCritical     *string                   `json:"on_critical"`
	Gates          []flags.Pct               `json:"gates"`
	Waves          []waveJSON                `json:"waves"`
	Freeze         []windowJSON              `json:"freeze"`
	NotBefore      *time.Time                `json:"not_before"`
	Paused         bool                      `json:"paused"`
}

type waveJSON struct {
	Name    string   `json:"name"`
	Tenants []string `json:"tenants"`
	Soak    string   `json:"soak"`
}

// The limits that hold where nothing else is said.
const (
	indicatorP95        = "anchor_p95_ms"
	indicatorDivergence = "divergence"
)

// ParseGuard reads a `ramp` block and lays it over base. A nil or null block is base alone. The error
// wraps [ErrGuard] and names the field.
func ParseGuard(raw jsontext.Value, base Settings) (*Guard, error) {
	g := base.guard()
	if len(raw) == 0 || raw.Kind() == 'n' {
		return g, g.check()
	}
	var doc guardJSON
	if err := json.Unmarshal(raw, &doc, json.RejectUnknownMembers(true)); err != nil {
		return nil, guardJSONError(err)
	}
	if err := g.lay(&doc); err != nil {
		return nil, err
	}
	return g, g.check()
}

func (g *Guard) lay(doc *guardJSON) error {
	g.Steps = doc.Steps
	if doc.Steps != nil {
		if doc.StepUp != nil {
			return guardError("step_up", "steps say already where the next step lies: give one of the two")
		}
		g.StepDown = 0
	}
	set(&g.StepUp, doc.StepUp)
	set(&g.StepDown, doc.StepDown)
	set(&g.Min, doc.Min)
	set(&g.Max, doc.Max)
	set(&g.TargetCoverage, doc.TargetCoverage)
	set(&g.MinSamples, doc.MinSamples)
	set(&g.Greens, doc.Greens)
	set(&g.MaxAborts, doc.MaxAborts)
	set(&g.NotBefore, doc.NotBefore)
	g.Gates, g.Paused = doc.Gates, doc.Paused
	if doc.OnCritical != nil {
		if *doc.OnCritical != "down" && *doc.OnCritical != "abort" {
			return guardError("on_critical", "want \"down\" or \"abort\", not %q", *doc.OnCritical)
		}
		g.AbortOnCritical = *doc.OnCritical == "abort"
	}
	var err error
	if g.MaxEvidenceAge, err = duration("max_evidence_age", doc.MaxEvidenceAge, g.MaxEvidenceAge); err != nil {
		return err
	}
	if g.Cooldown, err = duration("cooldown", doc.Cooldown, g.Cooldown); err != nil {
		return err
	}
	if g.Bake, err = parseBake(doc.Bake); err != nil {
		return err
	}
	if err := g.layLimits(doc.Guards); err != nil {
		return err
	}
	for i, w := range doc.Waves {
		soak, err := duration(fmt.Sprintf("waves[%d].soak", i), &w.Soak, 0)
		if err != nil {
			return err
		}
		g.Waves = append(g.Waves, Wave{w.Tenants, soak})
	}
	for i := range doc.Freeze {
		w, err := doc.Freeze[i].window()
		if err != nil {
			return guardError(fmt.Sprintf("freeze[%d]", i), "%w", err)
		}
		g.Freeze = append(g.Freeze, w)
	}
	return nil
}

func set[T any](dst *T, src *T) {
	if src != nil {
		*dst = *src
	}
}

// layLimits takes the block's indicators. As soon as it names any, those that hold by default are
// judged where they are measured, and not missed where they are not.
func (g *Guard) layLimits(guards map[string]jsontext.Value) error {
	if len(guards) > 0 {
		for i := range g.Limits {
			g.Limits[i].Optional = true
		}
	}
	for name, raw := range guards {
		l, err := parseLimit(raw)
		if err != nil {
			return guardError("guards."+name, "%w", err)
		}
		l.Name = name
		if i := slices.IndexFunc(g.Limits, func(have Limit) bool { return have.Name == name }); i >= 0 {
			g.Limits[i] = l
		} else {
			g.Limits = append(g.Limits, l)
		}
	}
	slices.SortFunc(g.Limits, func(a, b Limit) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

// parseLimit reads 30 or {"green": 30, "red": 60}. Where only one limit is given, it is both.
func parseLimit(raw jsontext.Value) (l Limit, err error) {
	if raw.Kind() == '0' {
		err = json.Unmarshal(raw, &l.Green)
		l.Red = l.Green
		return l, err
	}
	var doc struct {
		Green      *float64 `json:"green"`
		Red        *float64 `json:"red"`
		Better     string   `json:"better"`
		MinSamples int64    `json:"min_samples"`
	}
	if err := json.Unmarshal(raw, &doc, json.RejectUnknownMembers(true)); err != nil {
		return l, err
	}
	green, red := doc.Green, doc.Red
	switch {
	case green == nil && red == nil:
		return l, errors.New("want a green limit, a red limit, or both")
	case green == nil:
		green = red
	case red == nil:
		red = green
	}
	l = Limit{Green: *green, Red: *red, MinSamples: doc.MinSamples, Higher: doc.Better == "higher"}
	if doc.Better != "" && doc.Better != "higher" && doc.Better != "lower" {
		return l, fmt.Errorf("better: want \"lower\" or \"higher\", not %q", doc.Better)
	}
	if l.Higher && l.Red > l.Green || !l.Higher && l.Red < l.Green {
		return l, errors.New("red lies on the good side of green (where more is better, say \"better\": \"higher\")")
	}
	return l, nil
}

func parseBake(raw jsontext.Value) ([]time.Duration, error) {
	var texts []string
	switch raw.Kind() {
	case '"':
		var one string
		if err := json.Unmarshal(raw, &one); err != nil {
			return nil, guardError("bake", "%w", err)
		}
		texts = []string{one}
	case '[':
		if err := json.Unmarshal(raw, &texts); err != nil {
			return nil, guardError("bake", "%w", err)
		}
	case 0, 'n':
		return nil, nil
	default:
		return nil, guardError("bake", "want a duration such as \"24h\", or a list of them, one per step")
	}
	out := make([]time.Duration, len(texts))
	for i := range texts {
		d, err := duration("bake", &texts[i], 0)
		if err != nil {
			return nil, err
		}
		out[i] = d
	}
	return out, nil
}

// duration reads Go's form ("90m", "24h", "1h30m"). An empty or missing text is the default.
func duration(field string, text *string, def time.Duration) (time.Duration, error) {
	if text == nil || *text == "" {
		return def, nil
	}
	d, err := time.ParseDuration(*text)
	if err != nil || d < 0 {
		return 0, guardError(field, "want a duration such as \"24h\", not %q", *text)
	}
	return min(d, maxDuration), nil
}

// maxDuration keeps sums and doublings of durations far from overflow.
const maxDuration = 3650 * 24 * time.Hour

// guardJSONError is the JSON library's error in words that are always the same.
func guardJSONError(err error) error {
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return fmt.Errorf("%w: %w", ErrGuard, err)
	}
	field := strings.TrimPrefix(string(semantic.JSONPointer), "/")
	switch {
	case errors.Is(semantic.Err, json.ErrUnknownName):
		return guardError(field, "no such field")
	case semantic.Err != nil:
		return guardError(field, "%w", semantic.Err)
	}
	return guardError(field, "a JSON %s does not belong here", semantic.JSONKind)
}

func guardError(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %w", ErrGuard, field, fmt.Errorf(format, args...))
}

// check holds what a Guard promises to Decide.
func (g *Guard) check() error {
	if g.Min > g.Max {
		return guardError("min", "%s lies above max %s", g.Min, g.Max)
	}
	if g.Steps != nil && len(g.Steps) == 0 {
		return guardError("steps", "want at least one step")
	}
	for i, s := range g.Steps {
		if i > 0 && s <= g.Steps[i-1] {
			return guardError("steps", "%s after %s: steps ascend", s, g.Steps[i-1])
		}
	}
	for i, p := range g.Gates {
		if i > 0 && p <= g.Gates[i-1] {
			return guardError("gates", "%s after %s: gates ascend", p, g.Gates[i-1])
		}
	}
	if !(g.TargetCoverage >= 0 && g.TargetCoverage <= 100) {
		return guardError("target_coverage", "want 0 to 100")
	}
	if len(g.Steps) == 0 && g.StepUp <= 0 {
		return guardError("step_up", "want more than 0")
	}
	if len(g.Steps) == 0 && g.StepDown <= 0 || g.StepDown < 0 {
		return guardError("step_down", "want more than 0")
	}
	if g.Greens < 1 || g.MaxAborts < 0 || g.MinSamples < 0 {
		return guardError("greens, max_aborts, min_samples", "want no negative number, and at least one green")
	}
	if g.MaxEvidenceAge <= 0 {
		return guardError("max_evidence_age", "want more than 0")
	}
	return g.checkWaves()
}

func (g *Guard) checkWaves() error {
	seen := map[string]bool{}
	for i, w := range g.Waves {
		if len(w.Tenants) == 0 {
			return guardError(fmt.Sprintf("waves[%d]", i), "names no tenant")
		}
		for _, t := range w.Tenants {
			if t == flags.DefaultTenant {
				return guardError(fmt.Sprintf("waves[%d]", i), "%s comes after all waves by itself", t)
			}
			if seen[t] {
				return guardError(fmt.Sprintf("waves[%d]", i), "tenant %q stands in two places", t)
			}
			seen[t] = true
		}
	}
	return nil
}

// wave is the number of the wave that the tenant belongs to; those in none, and the feature itself,
// come last.
func (g *Guard) wave(tenant string) int {
	for i, w := range g.Waves {
		if slices.Contains(w.Tenants, tenant) {
			return i
		}
	}
	return len(g.Waves)
}

// goal is where the ramp ends: no step leads beyond it.
func (g *Guard) goal() flags.Pct {
	if n := len(g.Steps); n > 0 {
		return max(min(g.Steps[n-1], g.Max), g.Min)
	}
	return g.Max
}
