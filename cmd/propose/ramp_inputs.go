package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

// inputSettings are the flags that say what is decided upon and by what evidence.
type inputSettings struct {
	features, tenants          []string
	coverage, slo              string
	coverageAt, sloAt, nowText string
}

func (s *inputSettings) define(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&s.features, "feature", nil, "decide on this `FEATURE` (default every one that has a ramp block)")
	f.StringSliceVar(&s.tenants, "tenant", nil, "decide for this `TENANT`, \"default\" being the feature's own entry (default $RAMP_TENANTS, else all)")
	f.StringVar(&s.coverage, "coverage", "", "coverage by tenant: `FILE` (default $COVERAGE_<TENANT> and $COVERAGE_DEFAULT)")
	f.StringVar(&s.slo, "slo", "", "indicators and alerts: `FILE` (default $SLO_HEALTH_JSON)")
	f.StringVar(&s.coverageAt, "coverage-at", "", "when a coverage file without generated_at was measured: `TIME`")
	f.StringVar(&s.sloAt, "slo-at", "", "when an SLO file without generated_at was measured: `TIME`")
	f.StringVar(&s.nowText, "now", "", "decide as of this `TIME`, such as 2026-11-22T04:07:00Z (default the clock)")
	cli.NoEnv(cmd, "now") // one that was left behind would stop the time of every run
}

// inputs is what a run decides by, read once.
type inputs struct {
	now      time.Time
	settings ramp.Settings
	tenants  []string // as listed; nil: all
	slo      []byte   // as read; nil: there is none
	coverage []byte
	fromEnv  bool // coverage comes from the environment, for the tenants that a spec has
}

func (a *app) readInputs(s inputSettings) (in inputs, err error) {
	if in.now, err = parseTime("--now", s.nowText, time.Now()); err != nil {
		return in, err
	}
	in.now = in.now.UTC().Truncate(time.Second) // what is written down is what was decided by
	if in.settings, err = ramp.SettingsFromEnv(a.env.Getenv); err != nil {
		return in, usage(err)
	}
	in.tenants = s.tenants
	if text := a.env.Getenv("RAMP_TENANTS"); len(in.tenants) == 0 && text != "" {
		for t := range strings.SplitSeq(text, ",") {
			if t = strings.TrimSpace(t); t != "" {
				in.tenants = append(in.tenants, t)
			}
		}
	}
	if in.slo, err = a.readEvidence(orEnv(a, s.slo, "SLO_HEALTH_JSON"), "--slo-at", s.sloAt); err != nil {
		return in, err
	}
	if in.coverage, err = a.readEvidence(s.coverage, "--coverage-at", s.coverageAt); err != nil {
		return in, err
	}
	in.fromEnv = s.coverage == ""
	return in, nil
}

func orEnv(a *app, value, name string) string {
	if value == "" {
		return a.env.Getenv(name)
	}
	return value
}

func parseTime(flag, text string, def time.Time) (time.Time, error) {
	if text == "" {
		return def, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usage(cli.Hint(fmt.Errorf("%s %q is not a time", flag, text), "such as 2026-11-22T04:07:00Z"))
	}
	return t, nil
}

// readEvidence reads a source: nil where none is named or the file is not there, which is for the
// verdict to judge. A time that the command line gives stands in for one that the file does not have.
func (a *app) readEvidence(path, flag, at string) ([]byte, error) {
	when, err := parseTime(flag, at, time.Time{})
	if err != nil || path == "" {
		return nil, err
	}
	var src []byte
	if info, serr := os.Stat(path); path == "-" || serr == nil && !info.Mode().IsRegular() {
		src, err = a.env.Read(path, evidence.MaxBytes+1)
	} else {
		src, err = evidence.ReadFile(path)
	}
	if err != nil {
		return nil, err
	}
	if src == nil {
		a.env.Talk("there is no file %s: deciding without it", path)
	}
	if !when.IsZero() {
		src = evidence.Dated(src, when)
	}
	return src, nil
}

// coverageFor is the coverage document for the tenants of a spec.
func (a *app) coverageFor(in *inputs, spec *flags.Spec) []byte {
	if !in.fromEnv {
		return in.coverage
	}
	names := map[string]bool{flags.DefaultTenant: true}
	for _, t := range in.tenants {
		if t != "default" {
			names[t] = true
		}
	}
	for _, f := range spec.Features() {
		for t := range spec.Feature(f).Tenants() {
			names[t] = true
		}
	}
	return evidence.CoverageFromEnv(a.env.Getenv, slices.Sorted(maps.Keys(names)), in.now)
}

// rampRun is one run of the command: what stays the same however often it has to decide anew.
type rampRun struct {
	*app
	s      rampSettings
	in     inputs
	budget ramp.Budget
	file   string      // the spec on disk
	first  *flags.Spec // what was decided upon at the first try
	warned bool        // of personal data in the evidence
}

func (a *app) newRampRun(s rampSettings) (*rampRun, error) {
	in, err := a.readInputs(s.inputs)
	if err != nil {
		return nil, err
	}
	r := &rampRun{app: a, s: s, in: in, file: a.specPath(), budget: ramp.Budget{MaxUps: s.maxUps}}
	if r.budget.MaxExposure, err = parsePoints(s.maxRise); err != nil {
		return nil, err
	}
	if _, err := os.Stat(r.file); err != nil && errors.Is(err, os.ErrNotExist) && s.reach() < reachPush {
		_, err := a.readSpec(r.file) // which knows what to say
		return nil, err
	}
	return r, nil
}

// parsePoints reads a sum of percentage points, which may exceed 100.
func parsePoints(text string) (flags.Pct, error) {
	var whole int
	if _, err := fmt.Sscanf(text, "%d", &whole); err == nil && fmt.Sprint(whole) == text && whole >= 0 && whole <= 1_000_000 {
		return flags.Pct(whole) * 1000, nil
	}
	p, err := flags.ParsePct(text)
	if err != nil {
		return 0, usage(cli.Hint(fmt.Errorf("--max-exposure %q is no number of points", text), "such as 50, or 0 for no limit"))
	}
	return p, nil
}
