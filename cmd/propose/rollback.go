package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
)

const rollbackLong = `rollback undoes what one commit did to the spec, as git revert does and with the same message.

Undoing the newest change needs no key: the spec and its signatures become, byte for byte, what they
were before, and reconcile accepts that as a rollback as long as exposure only falls. With --key the
same change is made as a new version, signed anew: that is how to undo an older change, to raise
exposure, or to go back further than the policy's window.

It refuses when later changes touch the same fields: undo those first, or say what you want with
propose set.`

func rollbackCommand(a *app) *cobra.Command {
	var last bool
	var s signSettings
	cmd := &cobra.Command{
		Use:   "rollback [COMMIT] [flags]",
		Short: "Undo a change, as git revert does",
		Long:  rollbackLong,
		Example: `  propose rollback --last
  propose rollback 1a2b3c4 --key "$KEY"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case last == (len(args) == 1):
				return usage(cli.Hint(errors.New("which change is to be undone?"), "the newest: --last; or name one commit: propose history"))
			case last:
				args = []string{""}
			}
			return a.rollback(cmd.Context(), args[0], s)
		},
	}
	cmd.Flags().BoolVar(&last, "last", false, "undo the newest change to the spec")
	cli.NoEnv(cmd, "last")
	s.defineKey(cmd)
	commitsAnyway(cmd)
	return cmd
}

// undoing is one commit to undo.
type undoing struct {
	c       *checkout
	commit  gitrepo.Commit
	head    string
	cur     *flags.Spec // at HEAD
	was, is *flags.Spec // before and after the commit
}

func (a *app) rollback(ctx context.Context, rev string, s signSettings) error {
	if err := s.check(); err != nil {
		return err
	}
	file := a.specPath()
	c, err := needCheckout(file)
	if err != nil {
		return err
	}
	u, err := c.toUndo(ctx, rev)
	if err != nil {
		return err
	}
	if err := u.clean(ctx); err != nil {
		return err
	}
	message := revertMessage(u.commit)
	if !s.signs() {
		return a.restore(ctx, file, u, message)
	}
	edits, clashes := mergeSpecs(u.is, u.cur, u.was)
	if len(clashes) > 0 {
		return u.clashError(ctx, clashes)
	}
	from, err := a.basis(ctx, file, "HEAD")
	if err != nil {
		return err
	}
	next, err := revise(u.cur, edits, from)
	if err != nil {
		return err
	}
	if len(next.changes) == 0 && next.spec == u.cur {
		return cli.Hint(fmt.Errorf("rolling back %.12s: nothing of it is left to undo", u.commit.Hash), "see propose history")
	}
	s.commit = true
	s.fullMessage = message + a.trailers(next.spec)
	return a.publish(ctx, "rollback/v1", file, u.cur, next, s)
}

// toUndo finds the commit, and refuses one that did nothing to the spec.
func (c *checkout) toUndo(ctx context.Context, rev string) (u undoing, err error) {
	u.c = c
	if _, u.head, err = c.Head(ctx); err != nil {
		return u, err
	}
	if u.head == "" {
		return u, usage(errors.New("rolling back: there is no commit yet"))
	}
	if rev == "" {
		// Along first parents: a merged pull request is one change, as it is for reconcile.
		if rev = strings.TrimSpace(c.answer(ctx, "rev-list", "--first-parent", "-1", u.head, "--", c.spec)); rev == "" {
			return u, usage(fmt.Errorf("rolling back: no commit has %s", c.spec))
		}
	}
	if u.commit, err = c.Commit(ctx, rev); err != nil {
		return u, usage(cli.Hint(fmt.Errorf("rolling back: %w", err), "see propose history"))
	}
	if ok, err := c.isAncestor(ctx, u.commit.Hash, u.head); err != nil || !ok {
		return u, errors.Join(err, usage(fmt.Errorf("rolling back %.12s: it is not in the history of this branch", u.commit.Hash)))
	}
	if len(u.commit.Parents) == 0 {
		return u, usage(cli.Hint(fmt.Errorf("rolling back %.12s: nothing came before it", u.commit.Hash), "remove a feature with propose set FEATURE --remove"))
	}
	if u.was, err = c.specAt(ctx, u.commit.Parents[0]); err != nil {
		return u, err
	}
	if u.is, err = c.specAt(ctx, u.commit.Hash); err != nil {
		return u, err
	}
	if u.cur, err = c.specAt(ctx, u.head); err != nil {
		return u, err
	}
	switch {
	case u.is == nil || u.cur == nil || u.was == nil:
		return u, usage(cli.Hint(fmt.Errorf("rolling back %.12s: it made or removed the whole spec", u.commit.Hash), "git revert does that"))
	case u.was.Digest() == u.is.Digest():
		return u, usage(cli.Hint(fmt.Errorf("rolling back %.12s: it did not change the spec", u.commit.Hash), "see propose history"))
	}
	return u, nil
}

func (c *checkout) isAncestor(ctx context.Context, old, new string) (bool, error) {
	base, err := c.MergeBase(ctx, old, new)
	if errors.Is(err, gitrepo.ErrNoCommit) {
		return false, nil
	}
	return base == old, err
}

// clean refuses to write over what somebody has edited and not committed.
func (u undoing) clean(ctx context.Context) error {
	out, err := u.c.git(ctx, "status", "--porcelain", "--", u.c.spec, u.c.spec+bundleSuffix).Output()
	if err != nil {
		return fmt.Errorf("looking for uncommitted changes: %w", err)
	}
	if len(out) > 0 {
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("rolling back: %s has changes that are not committed", u.c.spec),
			"commit them, or drop them: git checkout -- %s", path.Dir(u.c.spec)))
	}
	return nil
}

// restore brings back the spec and its signatures as they were before the newest change.
func (a *app) restore(ctx context.Context, file string, u undoing, message string) error {
	if u.cur.Digest() != u.is.Digest() {
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("rolling back %.12s without a key: the spec has changed since, and what is left after undoing this was never signed", u.commit.Hash),
			"sign it: propose rollback %.12s --key KEY", u.commit.Hash))
	}
	now, err := u.c.signedFiles(ctx, u.head)
	if err != nil {
		return err
	}
	before, err := u.c.signedFiles(ctx, u.commit.Parents[0])
	if err != nil {
		return err
	}
	if policy, _, err := a.readTrust(""); err != nil {
		return err
	} else if policy != nil {
		signers, err := a.signersAt(ctx, u.c, u.commit.Parents[0], u.was, before, policy)
		if err != nil {
			return err
		}
		if len(signers) == 0 {
			return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("rolling back %.12s without a key: nobody who counts has signed what stood before it", u.commit.Hash),
				"sign it: propose rollback %.12s --key KEY", u.commit.Hash))
		}
	}
	var files []string
	for name, blob := range before {
		full := filepath.Join(u.c.Root(), filepath.FromSlash(name))
		files = append(files, full)
		if now[name] == blob {
			continue
		}
		content, err := u.c.ReadFile(ctx, u.commit.Parents[0], name, maxSpec)
		if err != nil {
			return err
		}
		if err := replaceFile(full, content); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	for name := range now {
		if _, stays := before[name]; !stays {
			full := filepath.Join(u.c.Root(), filepath.FromSlash(name))
			files = append(files, full)
			if err := os.Remove(full); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("removing %s: %w", name, err)
			}
		}
	}
	slices.Sort(files)
	hash, err := a.commitFiles(ctx, file, files, message)
	if err != nil {
		return err
	}
	done := written{File: file, Changed: true, Version: u.was.Version, Previous: u.was.Previous, Digest: u.was.Digest(), Commit: hash, Changes: flags.Diff(u.cur, u.was)}
	all := effects(done.Changes)
	done.Reach = sumUp(all)
	if a.json {
		return cli.JSONLine(a.env.Stdout, "rollback/v1", done)
	}
	if err := a.tellWritten(done, u.cur.Version, all); err != nil {
		return err
	}
	for _, c := range done.Changes {
		if c.Rises {
			a.env.Talk("this raises exposure (%s): reconcile takes it on its old signatures only if the policy says rollback.raise; else propose rollback --key KEY", c)
			break
		}
	}
	return nil
}

// revertMessage is git revert's own, for a merge too.
func revertMessage(commit gitrepo.Commit) string {
	message := gitrepo.RevertMessage(commit.Subject(), commit.Hash)
	if len(commit.Parents) > 1 {
		message = strings.TrimSuffix(message, ".\n") + fmt.Sprintf(", reversing\nchanges made to %s.\n", commit.Parents[0])
	}
	return message
}

// clashError names the later commits that touched what is to be undone.
func (u undoing) clashError(ctx context.Context, clashes []clash) error {
	var lines []string
	for _, c := range clashes {
		lines = append(lines, fmt.Sprintf("rolling back %.12s: %s has changed since: it made it %s, now it is %s", u.commit.Hash, c.Path, orNothing(c.Base), orNothing(c.Ours)))
	}
	err := errors.New(strings.Join(lines, "\n"))
	later, herr := u.c.History(ctx, u.head, u.c.spec)
	if herr != nil {
		return errors.Join(err, herr)
	}
	var names []string
	for _, commit := range later {
		if commit.Hash == u.commit.Hash {
			break
		}
		names = append(names, commit.Hash[:12])
	}
	return cli.Exit(cli.ExitRefused, cli.Hint(err, "undo the later changes first (%s), or say what you want: propose set", some(names, 3)))
}
