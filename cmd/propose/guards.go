package main

import (
	"fmt"
	"strings"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/schema"
)

// checkGuards reads each `ramp` block as a run would: a tenant in two waves, or a time zone that does not exist, is told here
// and not when the first step is due.
func (a *app) checkGuards(spec *flags.Spec, file string) error {
	settings, err := ramp.SettingsFromEnv(a.env.Getenv)
	if err != nil {
		return fmt.Errorf("reading the settings of ramps: %w", err)
	}
	report := schema.NewReport(file, spec.Bytes())
	for _, name := range spec.Features() {
		if _, err := ramp.ParseGuard(spec.Feature(name).Ramp, settings); err != nil {
			problem := strings.TrimPrefix(err.Error(), ramp.ErrGuard.Error()+": ")
			report.AddProblems(0, "", []schema.Problem{{Pointer: pointerTo("features", name, "ramp"), Problem: problem, Hint: "docs/ramps.md explains each field"}})
		}
	}
	return report.Err()
}
