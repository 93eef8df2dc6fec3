package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/schema"
)

const setLong = `set changes a feature, or one tenant's entry of it, in the spec: it edits the file without touching the
bytes beside the change, gives the spec its next +ramp version and the digest of the one before, and
stamps the entries it touched. With --key it signs the result, with --commit it commits both.

A new feature starts at 0 % unless --pct says otherwise. A tenant inherits every field that it is not
given; --inherit takes one away from it again. Cohorts are people's or groups' names, or "@segment"; a
segment's own members are changed with --segment NAME --add-cohort and --remove-cohort.

A --salt deals everyone into new buckets: who was on may be off, and the other way round.`

const setExample = `  propose set receipts --new --description "Signed receipts" --owner team-ledger
  propose set receipts --pct 10 --key "$KEY" --commit
  propose set receipts --tenant acme --disable
  propose set receipts --add-cohort user-123 --remove-cohort user-456
  propose set receipts --remove-tenant acme
  propose set --base flags-v2 --key "$KEY" --commit`

func setCommand(a *app) *cobra.Command {
	var (
		w                                        wish
		enable, disable                          bool
		pct, salt                                string
		description, owner, expires, environment string
		base, previous                           string
		s                                        signSettings
	)
	cmd := &cobra.Command{
		Use:     "set [FEATURE] [flags]",
		Short:   "Change a feature in the spec",
		Long:    setLong,
		Example: setExample,
		Args:    cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&w.tenant, "tenant", "", "change this `TENANT`'s entry rather than the feature's own")
	f.StringVar(&pct, "pct", "", "the percentage `N`, 0 to 100; with decimals (at most three) only where there is a salt")
	f.BoolVar(&enable, "enable", false, "switch it on, as far as the percentage reaches")
	f.BoolVar(&disable, "disable", false, "switch it off for everyone")
	f.StringSliceVar(&w.addCohort, "add-cohort", nil, "put `MEMBER`s (or @segment) on, whatever the percentage")
	f.StringSliceVar(&w.removeCohort, "remove-cohort", nil, "take `MEMBER`s off the cohorts")
	f.StringSliceVar(&w.inherit, "inherit", nil, "let the tenant inherit these `FIELD`s again: enabled, pct, cohorts, salt")
	f.StringSliceVar(&w.removeTenants, "remove-tenant", nil, "remove these `TENANT`s' entries: they follow the feature again")
	f.BoolVar(&w.create, "new", false, "make the feature; it must not exist")
	f.BoolVar(&w.remove, "remove", false, "remove the feature, for all tenants")
	f.StringVar(&salt, "salt", "", "deal people into buckets of their own by this `TEXT`; empty removes it")
	f.StringVar(&description, "description", "", "what the feature is: `TEXT`, empty removes it")
	f.StringVar(&owner, "owner", "", "who answers for it: `TEXT`, empty removes it")
	f.StringVar(&expires, "expires", "", "the `DATE` by which it should be gone, as in 2027-03-01; empty removes it")
	f.StringVar(&w.segment, "segment", "", "change the members of this `SEGMENT` rather than a feature")
	f.StringVar(&environment, "environment", "", "bind the spec to the environment `NAME`; empty removes it")
	f.StringVar(&base, "base", "", "start a new base for the version, such as flags-v2: `NAME`")
	f.StringVar(&previous, "previous", "HEAD", "the `COMMIT` whose spec this one is made from")
	cli.NoEnv(cmd, "tenant", "pct", "enable", "disable", "add-cohort", "remove-cohort", "inherit", "remove-tenant", "new", "remove",
		"salt", "description", "owner", "expires", "segment", "environment", "base")
	s.define(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			w.feature = args[0]
		}
		given := func(name string, value *string) *string {
			if f.Changed(name) {
				return value
			}
			return nil
		}
		w.pct, w.salt, w.environment = given("pct", &pct), given("salt", &salt), given("environment", &environment)
		w.texts = map[string]*string{
			"description": given("description", &description), "owner": given("owner", &owner), "expires": given("expires", &expires),
		}
		if enable || disable {
			w.enabled = &enable
		}
		if enable && disable {
			return usage(errors.New("--enable and --disable contradict each other"))
		}
		if err := w.check(base); err != nil {
			return err
		}
		return a.set(cmd.Context(), w, base, previous, s)
	}
	return cmd
}

// check refuses what makes no sense whatever the spec says.
func (w wish) check(base string) error {
	entry := w.pct != nil || w.enabled != nil || w.salt != nil || len(w.inherit) > 0
	members := len(w.addCohort)+len(w.removeCohort) > 0
	meta := w.texts["description"] != nil || w.texts["owner"] != nil || w.texts["expires"] != nil
	feature := entry || meta || w.create || w.remove || w.tenant != "" || len(w.removeTenants) > 0
	switch {
	case w.segment != "" && (w.feature != "" || feature):
		return usage(errors.New("--segment changes a segment's members and goes with --add-cohort and --remove-cohort only"))
	case w.segment != "" && !members:
		return usage(cli.Hint(errors.New("nothing to change in the segment"), "say --add-cohort or --remove-cohort"))
	case w.segment != "":
		return nil
	case w.feature == "" && (feature || members):
		return usage(cli.Hint(errors.New("which feature?"), "propose set FEATURE …"))
	case w.feature == "" && base == "" && w.environment == nil:
		return usage(cli.Hint(errors.New("nothing to change"), "propose set FEATURE --pct N; see propose set --help"))
	case w.remove && (entry || meta || members || w.create || w.tenant != "" || len(w.removeTenants) > 0):
		return usage(cli.Hint(errors.New("--remove removes the feature, there is nothing left to change"), "to remove one tenant's entry: --remove-tenant TENANT"))
	case w.tenant != "" && meta:
		return usage(cli.Hint(errors.New("description, owner and expires belong to the feature, not to a tenant"), "leave --tenant away for those"))
	case w.tenant == "" && len(w.inherit) > 0:
		return usage(cli.Hint(errors.New("--inherit without --tenant: a feature has nothing to inherit from"), "say which tenant: --tenant TENANT"))
	case w.tenant == flags.DefaultTenant:
		return usage(cli.Hint(fmt.Errorf("%s is the feature's own entry", flags.DefaultTenant), "leave --tenant away"))
	case w.feature != "" && !feature && !members && base == "" && w.environment == nil:
		return usage(cli.Hint(fmt.Errorf("nothing to change in %q", w.feature), "such as --pct N, --disable; see propose set --help"))
	case w.tenant != "" && !entry && !members:
		return usage(cli.Hint(fmt.Errorf("nothing to change for tenant %q", w.tenant), "such as --pct N, --disable; see propose set --help"))
	}
	return nil
}

func (a *app) set(ctx context.Context, w wish, base, previous string, s signSettings) error {
	if err := s.check(); err != nil {
		return err
	}
	path := a.specPath()
	cur, err := a.readSpec(path)
	if err != nil {
		return err
	}
	edits, err := w.edits(cur)
	if err != nil {
		return err
	}
	from, err := a.basis(ctx, path, previous)
	if err != nil {
		return err
	}
	from.base = base
	rev, err := revise(cur, edits, from)
	if one, many := (*schema.Error)(nil), (schema.Errors)(nil); errors.As(err, &one) || errors.As(err, &many) {
		return usage(err) // the spec was valid before: what was asked for is wrong
	}
	if err != nil {
		return err
	}
	return a.publish(ctx, "set/v1", path, cur, rev, s)
}

// written is what a command that changes the spec says it did.
type written struct {
	File     string         `json:"file"`
	Changed  bool           `json:"changed"`
	Version  string         `json:"version"`
	Previous string         `json:"previous,omitempty"`
	Digest   string         `json:"digest"`
	Bundle   string         `json:"bundle,omitempty"` // the signature, when there is one
	Commit   string         `json:"commit,omitempty"`
	Changes  []flags.Change `json:"changes"` // since the committed spec
	Reach    blast          `json:"reach"`

	dry bool // nothing of it is written
}

// publish signs, writes and commits a revision, as far as s asks for it, and says so. The signature
// is made first, so that a wrong password leaves everything as it was.
func (a *app) publish(ctx context.Context, format, path string, cur *flags.Spec, rev revision, s signSettings) error {
	done := written{
		File: path, Changed: rev.spec.Digest() != cur.Digest(), Version: rev.spec.Version, Previous: rev.spec.Previous,
		Digest: rev.spec.Digest(), Changes: rev.changes,
	}
	all := effects(done.Changes)
	done.Reach = sumUp(all)
	if !done.Changed && len(rev.changes) == 0 {
		s = signSettings{} // committed as it is: nothing to sign anew
	}
	var sig signed
	var err error
	if s.signs() {
		if sig, err = a.signSpec(ctx, path, rev.spec, s); err != nil {
			return err
		}
		done.Bundle = sig.path
	}
	if done.Changed {
		if err := a.stillIs(path, cur); err != nil {
			return err
		}
		if err := replaceFile(path, rev.spec.Bytes()); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	files := []string{path}
	if sig.path != "" {
		if err := replaceFile(sig.path, sig.bundle); err != nil {
			return fmt.Errorf("writing the signature: %w", err)
		}
		files = append(files, sig.path)
	}
	if s.commit {
		if done.Commit, err = a.commitSpec(ctx, path, rev.spec, files, s); err != nil {
			return err
		}
	}
	if a.json {
		return cli.JSONLine(a.env.Stdout, format, done)
	}
	return a.tellWritten(done, cur.Version, all)
}

// stillIs refuses to write over what somebody else wrote while this command was at work.
func (a *app) stillIs(path string, spec *flags.Spec) error {
	src, err := a.readFile(path, maxSpec)
	if err != nil {
		return fmt.Errorf("reading the spec again: %w", err)
	}
	if !bytes.Equal(src, spec.Bytes()) {
		return cli.Hint(fmt.Errorf("writing %s: it has changed meanwhile", path), "look at it (propose diff), then try again")
	}
	return nil
}

func (a *app) tellWritten(done written, was string, all []effect) error {
	var b strings.Builder
	if !done.Changed {
		fmt.Fprintf(&b, "no changes: %s\n", done.Version)
	} else {
		paint := a.env.OutPalette()
		title := done.Version
		if was != title {
			title = was + " -> " + title
		}
		b.WriteString(paint.Bold(cli.Printable(title)) + "\n")
		// The version stands in the title, and the digest of what came before is for machines.
		writeChanges(&b, slices.DeleteFunc(slices.Clone(done.Changes), func(c flags.Change) bool {
			return c.Kind == flags.Meta && (c.Field == "version" || c.Field == "previous")
		}), all, paint)
	}
	if _, err := fmt.Fprint(a.env.Stdout, b.String()); err != nil {
		return err
	}
	switch {
	case done.dry:
		a.env.Talk("nothing is written")
	case done.Commit != "":
		a.env.Talk("signed, and committed as %.12s", done.Commit)
	case done.Bundle != "":
		a.env.Talk("signed: %s", filepath.Base(done.Bundle))
	case done.Changed:
		a.env.Talk("not signed yet: propose sign --key KEY")
	}
	return nil
}
