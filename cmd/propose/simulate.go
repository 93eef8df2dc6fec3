package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

// simulateSettings are the command line of simulate.
type simulateSettings struct {
	features, tenants []string
	scenario, dir     string
	seed              uint64
	days              int
	every, merge      time.Duration
	startText         string
	draw              []string
	maxUps            int
}

func simulateCommand(a *app) *cobra.Command {
	var s simulateSettings
	cmd := &cobra.Command{
		Use:   "simulate [flags]",
		Short: "Play a spec's ramps over time, and draw what becomes of them",
		Long: `simulate runs the ramps of a spec night after night, with the same decisions that propose ramp makes,
and shows where each percentage goes: as a line in the terminal, and as a picture with --draw. Nothing
is changed. Use it to see a policy before you trust it.

The evidence is made up, by --scenario:
  healthy   always good
  incident  good, but for an alert in the second week that fires for two days
  flaky     one night in ten each: bad, in between, missing; the rest good, by --seed
  blind     good, but for a week in which there is none
or recorded: --evidence DIR plays the records of a folder such as specs/evidence.

Under each percentage stands what its evidence said that night: + good, o in between, ! bad, ? unknown.`,
		Example: `  propose simulate
  propose simulate --feature receipts --scenario incident --draw receipts.svg
  propose simulate --evidence specs/evidence --draw ramps.png`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.simulate(cmd.Context(), s) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&s.features, "feature", nil, "play this `FEATURE` (default every one that has a ramp block)")
	f.StringSliceVar(&s.tenants, "tenant", nil, "play this `TENANT` only, \"default\" being the feature's own entry")
	f.StringVar(&s.scenario, "scenario", "healthy", "how things go, by `NAME`: healthy, incident, flaky or blind")
	f.StringVar(&s.dir, "evidence", "", "play the records in `DIR` instead")
	f.Uint64Var(&s.seed, "seed", 1, "which of the flaky worlds: `N`")
	f.IntVar(&s.days, "days", 30, "for so many days: `N`")
	f.DurationVar(&s.every, "every", 24*time.Hour, "`DURATION` from one run to the next")
	f.DurationVar(&s.merge, "merge-after", 4*time.Hour, "`DURATION` until a person merges what was proposed")
	f.StringVar(&s.startText, "start", "", "begin at this `TIME` (default the next 04:07 UTC)")
	f.StringSliceVar(&s.draw, "draw", nil, "draw the percentages into this `FILE`, .svg or .png")
	f.IntVar(&s.maxUps, "max-ups", 0, "raise at most `N` entries a run (0: no limit)")
	cli.NoEnv(cmd, "feature", "tenant", "days")
	return cmd
}

// playedRun is what one run came to.
type playedRun struct {
	at  time.Time
	out []ramp.Outcome
}

func (a *app) simulate(ctx context.Context, s simulateSettings) error {
	for _, file := range s.draw {
		if ext := filepath.Ext(file); ext != ".svg" && ext != ".png" {
			return usage(cli.Hint(fmt.Errorf("--draw %s: neither .svg nor .png", file), "such as --draw ramps.svg"))
		}
	}
	spec, err := a.readSpec(a.specPath())
	if err != nil {
		return err
	}
	for _, name := range s.features {
		if spec.Feature(name) == nil {
			return noFeature(spec, name)
		}
	}
	settings, err := ramp.SettingsFromEnv(a.env.Getenv)
	if err != nil {
		return usage(err)
	}
	nights, err := a.nights(s, spec, settings)
	if err != nil {
		return err
	}
	runs, err := play(ctx, s, spec, settings, nights)
	if err != nil {
		return cli.Exit(cli.ExitRefused, err)
	}
	tracks := tracksOf(runs)
	if len(tracks) == 0 {
		return usage(cli.Hint(errors.New("there is nothing to play: no feature has a ramp block"), "name one: --feature NAME"))
	}
	for _, file := range s.draw {
		if err := drawTracks(file, tracks, s.title(spec)); err != nil {
			return fmt.Errorf("drawing %s: %w", file, err)
		}
	}
	return a.tellTracks(tracks, s)
}

func (s *simulateSettings) title(spec *flags.Spec) string {
	what := s.scenario
	if s.dir != "" {
		what = "recorded in " + filepath.Base(s.dir)
	}
	return fmt.Sprintf("%s, %s", spec.Version, what)
}

// night is the evidence of one run.
type night struct {
	at       time.Time
	evidence func(cur *flags.Spec) *ramp.Evidence
}

// nights are the runs to play.
func (a *app) nights(s simulateSettings, spec *flags.Spec, settings ramp.Settings) ([]night, error) {
	if s.dir != "" {
		return a.recordedNights(s.dir)
	}
	now := time.Now().UTC()
	next := time.Date(now.Year(), now.Month(), now.Day(), 4, 7, 0, 0, time.UTC)
	if next.Before(now) {
		next = next.AddDate(0, 0, 1)
	}
	start, err := parseTime("--start", s.startText, next)
	if err != nil {
		return nil, err
	}
	if s.every < time.Minute || s.days < 1 || time.Duration(s.days)*24*time.Hour/s.every > maxNights {
		return nil, usage(cli.Hint(errors.New("--days and --every ask for no run, or for too many"), "at most %d runs", maxNights))
	}
	world, ok := worlds[s.scenario]
	if !ok {
		return nil, usage(cli.Hint(fmt.Errorf("--scenario %q", s.scenario), "healthy, incident, flaky or blind"))
	}
	rng := rand.New(rand.NewPCG(s.seed, 0))
	var out []night
	for at := start; at.Sub(start) < time.Duration(s.days)*24*time.Hour; at = at.Add(s.every) {
		mood := world(at.Sub(start), rng)
		out = append(out, night{at, func(*flags.Spec) *ramp.Evidence { return madeUp(spec, settings, mood, at.Add(-5*time.Minute)) }})
	}
	return out, nil
}

const maxNights = 5000

// recordedNights reads the records of a folder, in the order of their runs.
func (a *app) recordedNights(dir string) ([]night, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []night
	for _, file := range files {
		src, err := a.readFile(file, evidence.MaxBytes)
		if err != nil {
			return nil, fmt.Errorf("reading the evidence: %w", err)
		}
		rec, err := evidence.ParseRecord(src)
		if err != nil {
			continue // signatures and the like lie beside
		}
		out = append(out, night{rec.Now, func(*flags.Spec) *ramp.Evidence { return rec.Evidence() }})
	}
	if len(out) == 0 {
		return nil, usage(cli.Hint(fmt.Errorf("--evidence %s: no record lies there", dir), "propose ramp --commit leaves them in specs/evidence"))
	}
	slices.SortStableFunc(out, func(a, b night) int { return a.at.Compare(b.at) })
	return out, nil
}

// mood is what the evidence of one night is like.
type mood int

const (
	good mood = iota
	between
	bad
	critical
	missing
)

// worlds say how things go: the mood of a night so long after the start.
var worlds = map[string]func(since time.Duration, rng *rand.Rand) mood{
	"healthy": func(time.Duration, *rand.Rand) mood { return good },
	"incident": func(since time.Duration, _ *rand.Rand) mood {
		if day := since.Hours() / 24; day >= 9 && day < 11 {
			return critical
		}
		return good
	},
	"blind": func(since time.Duration, _ *rand.Rand) mood {
		if day := since.Hours() / 24; day >= 7 && day < 14 {
			return missing
		}
		return good
	},
	"flaky": func(_ time.Duration, rng *rand.Rand) mood {
		switch n := rng.IntN(10); n {
		case 0:
			return bad
		case 1:
			return between
		case 2:
			return missing
		}
		return good
	},
}

// madeUp is evidence of a mood that every guard of the spec understands.
func madeUp(spec *flags.Spec, settings ramp.Settings, m mood, at time.Time) *ramp.Evidence {
	const plenty = 1_000_000_000
	c := ramp.Coverage{Source: ramp.Source{At: at, Missing: m == missing}, Tenants: map[string]ramp.Measure{}}
	s := ramp.SLO{Source: ramp.Source{At: at, Missing: m == missing}, Scopes: []ramp.Scope{{Samples: plenty}}}
	if m == critical {
		s.Alerts = []ramp.Alert{{Severity: "critical", Name: "Incident"}}
	}
	for _, name := range spec.Features() {
		f := spec.Feature(name)
		g, err := ramp.ParseGuard(f.Ramp, settings)
		if err != nil {
			continue // Plan says so
		}
		sc := ramp.Scope{Feature: name, Samples: plenty, Indicators: map[string]float64{}}
		for _, l := range g.Limits {
			sc.Indicators[l.Name] = valueOf(l, m)
		}
		s.Scopes = append(s.Scopes, sc)
		measure := ramp.Measure{Pct: 100, Samples: plenty}
		c.Tenants[flags.DefaultTenant] = measure
		for t := range f.Tenants() {
			c.Tenants[t] = measure
		}
	}
	if m == between { // guards with one limit have nothing between, but all have a target
		for t := range c.Tenants {
			c.Tenants[t] = ramp.Measure{Pct: 0, Samples: plenty}
		}
	}
	return ramp.NewEvidence(c, s)
}

// valueOf is an indicator's value in a mood.
func valueOf(l ramp.Limit, m mood) float64 {
	if m != bad {
		return l.Green
	}
	if l.Higher {
		return l.Red - 1
	}
	return l.Red + 1
}

// play decides night after night. What is proposed is merged by a person some time later, and then live.
func play(ctx context.Context, s simulateSettings, spec *flags.Spec, settings ramp.Settings, nights []night) ([]playedRun, error) {
	var (
		log  ramp.Log
		past []ramp.Observation
		dec  flags.Decoder
		runs []playedRun
	)
	log.Add(ramp.Revision{Commit: "start", When: nights[0].at.Add(-time.Hour), Spec: withoutRamped(spec)})
	for n, night := range nights {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ev := night.evidence(spec)
		run := ramp.Run{
			Spec: spec, Settings: settings, Evidence: ev, Now: night.at, Features: s.features, Tenants: s.tenants,
			Budget: ramp.Budget{MaxUps: s.maxUps}, History: log.History, Past: past,
		}
		out, err := run.Plan()
		if err != nil {
			return nil, err
		}
		runs = append(runs, playedRun{night.at, out})
		past = append([]ramp.Observation{{At: night.at, Evidence: ev}}, past[:min(len(past), maxPast)]...)
		edits := ramp.Edits(spec, out, n+1, night.at, "")
		if len(edits) == 0 {
			continue
		}
		src, err := flags.Edit(spec.Bytes(), edits)
		if err != nil {
			return nil, err
		}
		if spec, err = dec.Decode("the simulated spec", src); err != nil {
			return nil, err
		}
		merged := night.at.Add(s.merge)
		if n+1 < len(nights) && merged.After(nights[n+1].at) {
			merged = nights[n+1].at.Add(-time.Minute) // the next run builds upon it
		}
		log.Add(ramp.Revision{Commit: fmt.Sprint(n), When: merged, Spec: spec})
	}
	return runs, nil
}

// withoutRamped is the spec without the record of steps from before the simulation, which lie at
// another time.
func withoutRamped(spec *flags.Spec) *flags.Spec {
	var edits []flags.EditOp
	for _, name := range spec.Features() {
		f := spec.Feature(name)
		if f.Own.Ramped != nil {
			edits = append(edits, flags.EditOp{Pointer: "/features/" + name + "/ramped"})
		}
		for t, own := range f.Tenants() {
			if own.Ramped != nil {
				edits = append(edits, flags.EditOp{Pointer: "/features/" + name + "/tenants/" + t + "/ramped"})
			}
		}
	}
	src, err := flags.Edit(spec.Bytes(), edits)
	if err != nil {
		return spec
	}
	bare, err := flags.Decode("the simulated spec", src)
	if err != nil {
		return spec
	}
	return bare
}

// marks are the verdicts under a track.
var marks = strings.NewReplacer("green", "+", "amber", "o", "red", "!", "unknown", "?")
