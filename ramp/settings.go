package ramp

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// Settings are the defaults that a feature's `ramp` block overrides. They are written into the evidence
// of a commit, so that its steps can be derived again.
type Settings struct {
	TargetCoverage float64   `json:"target_coverage"`
	StepUp         flags.Pct `json:"step_up"`
	StepDown       flags.Pct `json:"step_down"`
	Min            flags.Pct `json:"min"`
	Max            flags.Pct `json:"max"`
	AnchorP95Ms    float64   `json:"anchor_p95_ms"`
}

// DefaultSettings are those of an empty environment.
func DefaultSettings() Settings {
	return Settings{TargetCoverage: 95, StepUp: 10_000, StepDown: 10_000, Min: 0, Max: flags.Full, AnchorP95Ms: 30}
}

// SettingsFromEnv reads TARGET_COVERAGE (95), STEP_UP (10), STEP_DOWN (10), MIN_PCT (0), MAX_PCT (100)
// and SLO_ANCHOR_P95_MS (30). An empty variable counts as not set; an error names the variable.
func SettingsFromEnv(getenv func(string) string) (Settings, error) {
	s := DefaultSettings()
	for _, v := range []struct {
		name string
		pct  *flags.Pct
		num  *float64
		max  float64
	}{
		{"TARGET_COVERAGE", nil, &s.TargetCoverage, 100},
		{"STEP_UP", &s.StepUp, nil, 0},
		{"STEP_DOWN", &s.StepDown, nil, 0},
		{"MIN_PCT", &s.Min, nil, 0},
		{"MAX_PCT", &s.Max, nil, 0},
		{"SLO_ANCHOR_P95_MS", nil, &s.AnchorP95Ms, math.MaxFloat64},
	} {
		text := strings.TrimSpace(getenv(v.name))
		if text == "" {
			continue
		}
		if v.pct != nil {
			p, err := flags.ParsePct(text)
			if err != nil {
				return s, fmt.Errorf("reading $%s: %w", v.name, err)
			}
			*v.pct = p
			continue
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || !(n >= 0 && n <= v.max) {
			return s, fmt.Errorf("reading $%s: %q is no number it can be", v.name, text)
		}
		*v.num = n
	}
	if _, err := ParseGuard(nil, s); err != nil {
		return s, fmt.Errorf("reading STEP_UP, STEP_DOWN, MIN_PCT and MAX_PCT: %w", err)
	}
	return s, nil
}

// guard is the policy of a feature without a `ramp` block.
func (s Settings) guard() *Guard {
	return &Guard{
		StepUp: s.StepUp, StepDown: s.StepDown, Min: s.Min, Max: s.Max,
		TargetCoverage: s.TargetCoverage,
		Limits: []Limit{
			{Name: indicatorP95, Green: s.AnchorP95Ms, Red: s.AnchorP95Ms},
			{Name: indicatorDivergence},
		},
		MaxEvidenceAge: time.Hour,
		Greens:         1,
	}
}
