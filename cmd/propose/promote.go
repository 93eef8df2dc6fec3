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
	var what promotion
	var s signSettings
	cmd := &cobra.Command{
		Use:   "promote --from ENVIRONMENT --to ENVIRONMENT [FEATURE…] [flags]",
		Short: "Carry features' settings from one environment's spec to another's",
		Long: `promote copies enabled, pct and cohorts of features' own entries from one spec into another, and touches
no byte beside them: the target keeps its environment, its guards (ramp), its salts and its tenants'
own settings (what those inherit follows the feature, and is shown). Without a FEATURE it takes those that
both specs have. With --tenant it copies these tenants' entries instead of the features' own; one that the
target lacks is made. Version, previous, signature and commit are the target's, as with propose set.
--dry-run says what would change, and changes nothing.

An environment is a file, or a name: staging is specs/staging/flags.json, else specs/flags.staging.json,
else specs/staging.json, whichever is there; a spec found by name that says it is another environment's
is refused. Where the spec is elsewhere, as rampart.json may say, name the file. A feature that the target
lacks is not made: propose set --new. Whether the target's policy takes the change is for propose verify
--from COMMIT to say, as with every change.`,
		Example: `  propose promote --from staging --to prod receipts --key "$KEY" --commit
  propose promote --from staging --to prod receipts --tenant acme --dry-run
  propose promote --from specs/staging.json --to specs/prod.json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			if what.from == "" || what.to == "" {
				return usage(cli.Hint(errors.New("from where to where?"), "propose promote --from staging --to prod"))
			}
			what.features = names
			return a.promote(cmd.Context(), what, s)
		},
	}
	cmd.Flags().StringVar(&what.from, "from", "", "take settings from this `ENVIRONMENT`, a name or a file")
	cmd.Flags().StringVar(&what.to, "to", "", "write them into this `ENVIRONMENT`, a name or a file")
	cmd.Flags().StringVar(&what.previous, "previous", "HEAD", "the `COMMIT` whose spec the target's is made from")
	cmd.Flags().StringArrayVar(&what.tenants, "tenant", nil, "copy this `TENANT`'s entries rather than the features' own; may be repeated")
	cmd.Flags().BoolVar(&what.dryRun, "dry-run", false, "say what would change, and change nothing")
	cli.NoEnv(cmd, "from", "to", "tenant", "dry-run")
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

// specOf reads the spec at path. One found by the environment's name may be bound to no other:
// a copy in the wrong folder would carry settings to where nobody wanted them.
func (a *app) specOf(name, path, flag string) (*flags.Spec, error) {
	spec, err := a.readSpec(path)
	if err != nil {
		return nil, err
	}
	if path != name && spec.Environment != "" && spec.Environment != name {
		return nil, usage(cli.Hint(fmt.Errorf("%s is the spec of %s, not of %s", path, spec.Environment, name),
			`look at its "environment"; to take it all the same, name the file: %s %s`, flag, path))
	}
	return spec, nil
}

// promotion is what to copy from where to where.
type promotion struct {
	from, to, previous string
	features, tenants  []string
	dryRun             bool
}

func (a *app) promote(ctx context.Context, what promotion, s signSettings) error {
	if err := s.check(); err != nil {
		return err
	}
	if what.dryRun && (s.signs() || s.commit) {
		return usage(errors.New("--dry-run writes nothing: leave out what signs and commits"))
	}
	source, err := a.environmentPath(what.from)
	if err != nil {
		return err
	}
	target, err := a.environmentPath(what.to)
	if err != nil {
		return err
	}
	theirs, err := a.specOf(what.from, source, "--from")
	if err != nil {
		return err
	}
	a.path = target // the policy and the signatures are the target's
	cur, err := a.specOf(what.to, target, "--to")
	if err != nil {
		return err
	}
	edits, err := what.edits(theirs, cur, target)
	if err != nil {
		return err
	}
	origin, err := a.basis(ctx, target, what.previous)
	if err != nil {
		return err
	}
	rev, err := revise(cur, edits, origin)
	if err != nil {
		return err
	}
	if what.dryRun {
		return a.tellRevision(target, cur, rev)
	}
	return a.publish(ctx, "promote/v1", target, cur, rev, s)
}

// tellRevision says what publish would write, and writes nothing.
func (a *app) tellRevision(path string, cur *flags.Spec, rev revision) error {
	would := written{
		File: path, Changed: rev.spec.Digest() != cur.Digest(), Version: rev.spec.Version, Previous: rev.spec.Previous,
		Digest: rev.spec.Digest(), Changes: rev.changes, dry: true,
	}
	all := effects(would.Changes)
	would.Reach = sumUp(all)
	if a.json {
		return cli.JSONLine(a.env.Stdout, "promote/v1", struct {
			written
			DryRun bool `json:"dry_run"`
		}{would, true})
	}
	return a.tellWritten(would, cur.Version, all)
}

// edits are the changes to the target, cur, that give it what theirs has.
func (what promotion) edits(theirs, cur *flags.Spec, target string) (edits []flags.EditOp, err error) {
	names := slices.Clone(what.features)
	if len(names) == 0 {
		for _, name := range theirs.Features() {
			if cur.Feature(name) != nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	found := map[string]bool{}
	for _, name := range slices.Compact(names) {
		f, into := theirs.Feature(name), cur.Feature(name)
		switch {
		case f == nil:
			return nil, noFeature(theirs, name)
		case into == nil:
			return nil, usage(cli.Hint(fmt.Errorf("%s has no feature %q", target, name), "make it first: propose set %s --new --path %s", name, target))
		case len(what.tenants) == 0:
			edits = append(edits, promoted(pointerTo("features", name), f.Own, into.Own)...)
		}
		for _, tenant := range what.tenants {
			is := f.Tenant(tenant)
			if is == nil {
				continue
			}
			found[tenant] = true
			pointer, was := pointerTo("features", name, "tenants", tenant), into.Tenant(tenant)
			more := promoted(pointer, is, was)
			if was == nil && len(more) == 0 { // it inherits everything, and stands there all the same
				more = []flags.EditOp{{Pointer: pointer, Value: jsontext.Value("{}")}}
			}
			edits = append(edits, more...)
		}
	}
	for _, tenant := range what.tenants {
		if !found[tenant] {
			return nil, usage(fmt.Errorf("%s has no entry of tenant %q in these features", what.from, tenant))
		}
	}
	return edits, nil
}

// promoted are the edits that give the entry at pointer another one's settings. What is left out
// there and here means the same, so it is removed.
func promoted(pointer string, theirs, ours *flags.Override) (edits []flags.EditOp) {
	if theirs == nil {
		theirs = &flags.Override{}
	}
	if ours == nil {
		ours = &flags.Override{}
	}
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
