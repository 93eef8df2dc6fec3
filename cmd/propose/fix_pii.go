package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/pii"
	"github.com/rampart-flags/rampart/trust"
)

func fixPIICommand(a *app) *cobra.Command {
	var previous string
	var dryRun bool
	var s signSettings
	cmd := &cobra.Command{
		Use:   "fix-pii [flags]",
		Short: "Write cohort members that name a person as digests",
		Long: `fix-pii finds personal data in the spec (e-mail addresses, phone numbers and the like) and writes each
cohort or segment member that is such as "sha256:<digest>". The decision is the same for everybody, and no
byte beside the members changes; version, previous, signature and commit are as with propose set.

What stands in a tenant's name, a description or an owner cannot be hashed: it is named on stderr, and is
for you to rewrite. What git's history already holds stays there. The policy's "pii" says what else counts
and what does not; docs/pii.md has the kinds.`,
		Example: `  propose fix-pii --dry-run
  propose fix-pii --key "$KEY" --commit`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.fixPII(cmd.Context(), previous, dryRun, s) },
	}
	cmd.Flags().StringVar(&previous, "previous", "HEAD", "the `COMMIT` whose spec this one is made from")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would change, and change nothing")
	cli.NoEnv(cmd, "dry-run")
	s.define(cmd)
	return cmd
}

// personalData is what a spec says about persons, by the policy's rules. Without a policy the mode
// is "warn", as it is for a policy that says nothing.
func personalData(spec *flags.Spec, policy *trust.Policy) (hits []pii.Hit, mode string) {
	rules, mode := piiRules(policy)
	return pii.Spec(spec, rules), mode
}

// warnPersonal says what was found, a line each; the finding itself is hidden.
func (a *app) warnPersonal(file string, hits []pii.Hit) {
	const most = 20
	for i, h := range hits {
		if i == most {
			a.env.Talk("%s: warning: and %d more", file, len(hits)-i)
			break
		}
		instead := "write it without naming a person"
		if h.Suggestion != "" {
			instead = "write " + h.Suggestion
		}
		a.env.Talk("%s: warning: %s (%s)", file, cli.Printable(h.String()), instead)
	}
}

// deniedPersonal is the error of a spec that must not hold what was found.
func deniedPersonal(file string, hits []pii.Hit, policy *trust.Policy) error {
	hint := "propose fix-pii --key KEY; what is none: name it in the policy's pii.allow"
	if policy.LegacyReaders {
		hint = "the policy's legacy_readers forbids hashed members: use ids that name nobody"
	}
	return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("%s: personal data in %s, which the policy forbids",
		file, counted(len(hits), "place", "places")), "%s", hint))
}

func (a *app) fixPII(ctx context.Context, previous string, dryRun bool, s signSettings) error {
	if err := s.check(); err != nil {
		return err
	}
	path := a.specPath()
	cur, err := a.readSpec(path)
	if err != nil {
		return err
	}
	policy, _, err := a.readTrust(s.trust)
	if err != nil {
		return err
	}
	hits, _ := personalData(cur, policy)
	rest := slices.DeleteFunc(slices.Clone(hits), func(h pii.Hit) bool { return h.Suggestion != "" })
	members := slices.DeleteFunc(hits, func(h pii.Hit) bool { return h.Suggestion == "" })
	a.warnPersonal(path, rest)
	if len(members) > 0 && policy != nil && policy.LegacyReaders {
		a.warnPersonal(path, members)
		return deniedPersonal(path, members, policy)
	}
	if dryRun {
		return a.tellPersonal(members)
	}
	from, err := a.basis(ctx, path, previous)
	if err != nil {
		return err
	}
	rev, err := revise(cur, hashedMembers(cur, members), from)
	if err != nil {
		return err
	}
	if err := a.publish(ctx, "fix-pii/v1", path, cur, rev, s); err != nil {
		return err
	}
	if len(members) > 0 {
		a.env.Talk("git's history still holds what stood there")
	}
	return nil
}

func (a *app) tellPersonal(hits []pii.Hit) error {
	for _, h := range hits {
		var err error
		if a.json {
			err = cli.JSONLine(a.env.Stdout, "personal-data/v1", h)
		} else {
			_, err = fmt.Fprintf(a.env.Stdout, "%s -> %s\n", cli.Printable(h.String()), h.Suggestion)
		}
		if err != nil {
			return err
		}
	}
	if len(hits) == 0 && !a.json {
		_, err := io.WriteString(a.env.Stdout, "no member to hash\n")
		return err
	}
	return nil
}

// hashedMembers write each hit's value as its digest, wherever it is a member. A list that has the
// digest already loses the plain member instead.
func hashedMembers(spec *flags.Spec, hits []pii.Hit) []flags.EditOp {
	named := map[string]bool{}
	for _, h := range hits {
		named[h.Value] = true
	}
	var edits []flags.EditOp
	list := func(pointer string, members []string) {
		for i, m := range members {
			if !named[m] {
				continue
			}
			op := flags.EditOp{Pointer: fmt.Sprintf("%s/%d", pointer, i)}
			if hashed := pii.Hashed(m); !slices.Contains(members, hashed) {
				op.Value = text(hashed)
			}
			edits = append(edits, op)
		}
	}
	for _, name := range spec.Segments() {
		members, _ := spec.Segment(name)
		list(pointerTo("segments", name), members)
	}
	for _, name := range spec.Features() {
		f := spec.Feature(name)
		if f.Own != nil {
			list(pointerTo("features", name, "cohorts"), f.Own.Cohorts)
		}
		for tenant, o := range f.Tenants() {
			list(pointerTo("features", name, "tenants", tenant, "cohorts"), o.Cohorts)
		}
	}
	return edits
}
