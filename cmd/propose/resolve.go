package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
)

const resolveLong = `resolve merges two people's changes to the spec by what they mean, when git cannot: features and fields
are the unit, members of cohorts and segments are added and taken away one by one, and only a field that
both changed, to different values, is a conflict. The result gets the next version and is signed anew,
since nobody has signed it yet; then resolve finishes the merge, unless other files are in conflict too.

It works in the middle of git merge, rebase, cherry-pick and revert. Where both sides changed a field,
--take says whose value counts.

With --install, git itself merges the spec this way from now on, here; the signature still has to be
made, so a merge that brings two changes together still stops for propose resolve.`

type resolveSettings struct {
	signSettings
	take, previous  string
	install, driver bool
}

func resolveCommand(a *app) *cobra.Command {
	var r resolveSettings
	cmd := &cobra.Command{
		Use:   "resolve [flags]",
		Short: "Merge two changes of the spec by meaning, and sign the result",
		Long:  resolveLong,
		Example: `  git merge feature || propose resolve --key "$KEY"
  propose resolve --take theirs --key "$KEY"
  propose resolve --install`,
		Args: func(cmd *cobra.Command, args []string) error {
			if r.driver {
				return cobra.RangeArgs(3, 4)(cmd, args)
			}
			return cobra.NoArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case r.take != "" && r.take != "ours" && r.take != "theirs":
				return usage(fmt.Errorf("--take %s: want ours or theirs", r.take))
			case r.driver:
				return a.mergeDriver(args, r.take)
			case r.install:
				return a.installDriver(cmd.Context())
			}
			return a.resolve(cmd.Context(), r)
		},
	}
	r.defineKey(cmd)
	commitsAnyway(cmd)
	cmd.Flags().StringVar(&r.take, "take", "", "where both changed a field, take `SIDE`: ours or theirs")
	cmd.Flags().StringVar(&r.previous, "previous", "", "the `COMMIT` whose spec the result follows (default: the side that a remote branch has, else ours)")
	cmd.Flags().BoolVar(&r.install, "install", false, "make git merge the spec by meaning, in this clone")
	cmd.Flags().BoolVar(&r.driver, "driver", false, "be git's merge driver: BASE OURS THEIRS [PATH]")
	cmd.Flags().Lookup("driver").Hidden = true
	cli.NoEnv(cmd, "take", "install", "driver")
	return cmd
}

// sides are what meets in a merge. base is nil where both began from nothing.
type sides struct{ base, ours, theirs *flags.Spec }

func (a *app) resolve(ctx context.Context, r resolveSettings) error {
	if err := r.check(); err != nil {
		return err
	}
	file := a.specPath()
	c, err := needCheckout(file)
	if err != nil {
		return err
	}
	m, err := c.Merging(ctx)
	if err != nil {
		return err
	}
	if m == nil {
		return usage(cli.Hint(errors.New("resolving: no merge is under way"), "git merge BRANCH, then propose resolve"))
	}
	s, err := c.sides(ctx, m)
	if err != nil {
		return err
	}
	from, err := a.mergeBasis(ctx, c, m, r.previous)
	if err != nil {
		return err
	}
	edits, clashes := mergeSpecs(s.base, s.ours, s.theirs)
	taken, err := settle(clashes, r.take)
	if err != nil {
		return err
	}
	rev, err := c.mergedRevision(s, append(edits, taken...), from)
	if err != nil {
		return err
	}
	return a.finishResolve(ctx, c, m, file, s, rev, r.signSettings)
}

// sides reads the three specs of a merge.
func (c *checkout) sides(ctx context.Context, m *gitrepo.Merge) (s sides, err error) {
	if s.ours, err = c.specAt(ctx, m.Ours); err != nil {
		return s, err
	}
	if s.theirs, err = c.specAt(ctx, m.Theirs); err != nil {
		return s, err
	}
	if m.Base != "" {
		if s.base, err = c.specAt(ctx, m.Base); err != nil {
			return s, err
		}
	}
	if s.ours == nil || s.theirs == nil {
		return s, usage(cli.Hint(fmt.Errorf("resolving: one side has no %s", c.spec), "keep it or remove it with git add or git rm"))
	}
	return s, nil
}

// mergeBasis is what the merged spec follows, and every version that either side has used. The
// reconciler judges the step from what the watched branch had, so that side is the previous one: the
// side that a remote branch has already, else ours.
func (a *app) mergeBasis(ctx context.Context, c *checkout, m *gitrepo.Merge, previous string) (basis, error) {
	from := basis{file: c.spec, dec: c.dec}
	if previous == "" {
		previous = m.Ours
		if !c.published(ctx, m.Ours) && c.published(ctx, m.Theirs) {
			previous = m.Theirs
		}
	}
	commit, err := c.Resolve(ctx, previous)
	if err != nil {
		return from, usage(fmt.Errorf("--previous: %w", err))
	}
	if from.made, err = c.newestValid(ctx, commit); err != nil {
		return from, err
	}
	from.seen, err = c.versions(ctx, m.Ours, m.Theirs)
	return from, err
}

// published is whether a remote's default branch has the commit, as far as is known here.
func (c *checkout) published(ctx context.Context, commit string) bool {
	for _, remote := range strings.Fields(c.answer(ctx, "remote")) {
		head := "refs/remotes/" + remote + "/HEAD"
		if c.answer(ctx, "rev-parse", "-q", "--verify", head) == "" {
			head = "refs/remotes/" + remote + "/main"
		}
		if c.git(ctx, "merge-base", "--is-ancestor", commit, head).Run() == nil {
			return true
		}
	}
	return false
}

func (c *checkout) answer(ctx context.Context, args ...string) string {
	out, err := c.git(ctx, args...).Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// settle decides the clashes as --take says, or names them.
func settle(clashes []clash, take string) ([]flags.EditOp, error) {
	var edits []flags.EditOp
	var lines []string
	for _, c := range clashes {
		switch take {
		case "theirs":
			edits = append(edits, flags.EditOp{Pointer: c.pointer, Value: c.theirs})
		case "":
			lines = append(lines, "conflict: "+c.String())
		}
	}
	if len(lines) == 0 {
		return edits, nil
	}
	return nil, cli.Exit(cli.ExitRefused, cli.Hint(errors.New(strings.Join(lines, "\n")),
		"choose: propose resolve --take ours, or --take theirs; change the rest afterwards with propose set"))
}

// mergedRevision is one side as it is where the other one brings nothing that it lacks, so that its
// signature stays good; else a new version.
func (c *checkout) mergedRevision(s sides, edits []flags.EditOp, from basis) (revision, error) {
	src, err := flags.Edit(s.ours.Bytes(), edits)
	if err != nil {
		return revision{}, fmt.Errorf("merging %s: %w", c.spec, err)
	}
	merged, err := from.decode(src)
	if err != nil {
		return revision{}, fmt.Errorf("the merged spec would be wrong: %w", err)
	}
	for _, side := range []*flags.Spec{s.ours, s.theirs} {
		if sameDocument(merged, side) {
			return revision{spec: side, changes: flags.Diff(from.made, side)}, nil
		}
	}
	return stamp(merged, from)
}

// sameDocument compares two specs by all they say, but for versions.
func sameDocument(x, y *flags.Spec) bool {
	content := func(s *flags.Spec) []byte {
		m := parts(s.Bytes())
		delete(m, "previous")
		features := parts(m["features"])
		for name, f := range features {
			features[name] = withoutVersions(f)
		}
		m["features"] = encode(features)
		delete(m, "version")
		return encode(m)
	}
	return same(content(x), content(y))
}

func (a *app) finishResolve(ctx context.Context, c *checkout, m *gitrepo.Merge, file string, s sides, rev revision, sign signSettings) error {
	files := map[string][]byte{file: rev.spec.Bytes()}
	switch {
	case sign.signs():
		sig, err := a.signSpec(ctx, file, rev.spec, sign)
		if err != nil {
			return err
		}
		files[sig.path] = sig.bundle
	case rev.spec == s.ours || rev.spec == s.theirs:
		side := m.Ours
		if rev.spec == s.theirs {
			side = m.Theirs
		}
		if err := c.takeBundles(ctx, side, files); err != nil {
			return err
		}
	default:
		return usage(cli.Hint(errors.New("resolving: nobody has signed the merged spec yet"), "sign it: propose resolve --key KEY"))
	}
	paths, err := c.writeResolved(m, files)
	if err != nil {
		return err
	}
	commit, err := c.FinishMerge(ctx, "", paths...)
	if errors.Is(err, gitrepo.ErrBusy) {
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("the spec is merged, signed and staged; %w", err), "resolve the other files, then git commit"))
	}
	if err != nil {
		return err
	}
	done := written{File: file, Changed: true, Version: rev.spec.Version, Previous: rev.spec.Previous, Digest: rev.spec.Digest(), Bundle: bundlePath(file, sign.signer), Commit: commit, Changes: flags.Diff(s.ours, rev.spec)}
	all := effects(done.Changes)
	done.Reach = sumUp(all)
	if a.json {
		return cli.JSONLine(a.env.Stdout, "resolve/v1", done)
	}
	if err := a.tellWritten(done, s.ours.Version, all); err != nil {
		return err
	}
	if commit == "" {
		a.env.Talk("go on with: git %s --continue", m.Kind)
	}
	return nil
}

// takeBundles adds the signatures that one side has on its spec.
func (c *checkout) takeBundles(ctx context.Context, side string, files map[string][]byte) error {
	names, err := c.signedFiles(ctx, side)
	if err != nil {
		return err
	}
	for name := range names {
		if name == c.spec {
			continue
		}
		content, err := c.ReadFile(ctx, side, name, maxSpec)
		if err != nil {
			return err
		}
		files[filepath.Join(c.Root(), filepath.FromSlash(name))] = content
	}
	return nil
}

// writeResolved writes the files, removes signatures that are in conflict and cover neither side's
// bytes any more, and lists all paths in the repository that are settled by that.
func (c *checkout) writeResolved(m *gitrepo.Merge, files map[string][]byte) ([]string, error) {
	var paths []string
	for file, content := range files {
		name, err := c.Path(file)
		if err != nil {
			return nil, err
		}
		paths = append(paths, name)
		if err := replaceFile(file, content); err != nil {
			return nil, fmt.Errorf("writing %s: %w", file, err)
		}
	}
	for _, name := range m.Unmerged {
		if isBundleOf(c.spec, name) && !slices.Contains(paths, name) {
			if err := os.Remove(filepath.Join(c.Root(), filepath.FromSlash(name))); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("removing %s: %w", name, err)
			}
			paths = append(paths, name)
		}
	}
	slices.Sort(paths)
	return paths, nil
}
