package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

func promoteCommand(a *app) *cobra.Command {
	var from, to, previous string
	var s signSettings
	cmd := &cobra.Command{
		Use:   "promote --from ENVIRONMENT --to ENVIRONMENT [FEATURE…] [flags]",
		Short: "Carry features' settings from one environment's spec to another's",
		Long: `promote copies enabled, pct and cohorts of features' own entries from one spec into another, and touches
no byte beside them: the target keeps its environment, its guards (ramp), its salts and its tenants'
own settings (what those inherit follows the feature, and is shown). Without a FEATURE it takes those that
both specs have. Version, previous, signature and commit are the target's, as
with propose set.

An environment is a file, or a name: staging is specs/staging/flags.json, else specs/flags.staging.json,
else specs/staging.json, whichever is there. A feature that the target lacks is not made: propose set --new.`,
		Example: `  propose promote --from staging --to prod receipts --key "$KEY" --commit
  propose promote --from specs/staging.json --to specs/prod.json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if from == "" || to == "" {
				return usage(cli.Hint(errors.New("from where to where?"), "propose promote --from staging --to prod"))
			}
			return a.promote(cmd.Context(), from, to, names, previous, s)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "take settings from this `ENVIRONMENT`, a name or a file")
	cmd.Flags().StringVar(&to, "to", "", "write them into this `ENVIRONMENT`, a name or a file")
	cmd.Flags().StringVar(&previous, "previous", "HEAD", "the `COMMIT` whose spec the target's is made from")
	cli.NoEnv(cmd, "from", "to")
	s.define(cmd)
	return cmd
}

// environmentPath is the spec of an environment, by file or by name.
func (a *app) environmentPath(name string) (string, error) {
	dir := filepath.Dir(a.specPath())
	tries := []string{
		name, filepath.Join(dir, name, "flags.json"), filepath.Join(dir, "flags."+name+".json"), filepath.Join(dir, name+".json"),
	}
	for _, path := range tries {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", usage(cli.Hint(fmt.Errorf("environment %s has no spec", name), "one of %s, or name the file", some(tries[1:], 3)))
}

func (a *app) promote(ctx context.Context, from, to string, names []string, previous string, s signSettings) error {
	if err := s.check(); err != nil {
		return err
	}
	source, err := a.environmentPath(from)
	if err != nil {
		return err
	}
	target, err := a.environmentPath(to)
	if err != nil {
		return err
	}
	theirs, err := a.readSpec(source)
	if err != nil {
		return err
	}
	a.path = target // the policy and the signatures are the target's
	cur, err := a.readSpec(target)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		for _, name := range theirs.Features() {
			if cur.Feature(name) != nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	var edits []flags.EditOp
	for _, name := range slices.Compact(names) {
		f, into := theirs.Feature(name), cur.Feature(name)
		switch {
		case f == nil:
			return noFeature(theirs, name)
		case into == nil:
			return usage(cli.Hint(fmt.Errorf("%s has no feature %q", target, name), "make it first: propose set %s --new --path %s", name, target))
		}
		edits = append(edits, promoted(f, into)...)
	}
	origin, err := a.basis(ctx, target, previous)
	if err != nil {
		return err
	}
	rev, err := revise(cur, edits, origin)
	if err != nil {
		return err
	}
	return a.publish(ctx, "promote/v1", target, cur, rev, s)
}

// promoted are the edits that give a feature's own entry another one's settings. What is left out
// there and here means the same, so it is removed.
func promoted(from, into *flags.Feature) (edits []flags.EditOp) {
	theirs, ours := from.Own, into.Own
	if theirs == nil {
		theirs = &flags.Override{}
	}
	if ours == nil {
		ours = &flags.Override{}
	}
	pointer := pointerTo("features", into.Name)
	put := func(name string, is, was jsontext.Value) {
		if string(is) != string(was) {
			edits = append(edits, flags.EditOp{Pointer: pointer + "/" + name, Value: is})
		}
	}
	enabled := func(o *flags.Override) jsontext.Value {
		if o.Enabled == nil {
			return nil
		}
		return jsontext.Value(fmt.Sprint(*o.Enabled))
	}
	pct := func(o *flags.Override) jsontext.Value {
		if o.Pct == nil {
			return nil
		}
		return jsontext.Value(o.Pct.String())
	}
	cohorts := func(o *flags.Override) jsontext.Value {
		if o.Cohorts == nil {
			return nil
		}
		return texts(o.Cohorts)
	}
	put("enabled", enabled(theirs), enabled(ours))
	put("pct", pct(theirs), pct(ours))
	put("cohorts", cohorts(theirs), cohorts(ours))
	if ours.Ramped != nil && string(pct(theirs)) != string(pct(ours)) {
		edits = append(edits, flags.EditOp{Pointer: pointer + "/ramped"}) // it tells of a step that is no longer the last
	}
	return edits
}
