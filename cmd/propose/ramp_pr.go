package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
)

// propose puts the commit on the pull request's own branch.
func (r *rampRun) propose(ctx context.Context, at place, s stand, done *rampDone, _ moves) error {
	if !done.changed() {
		return nil
	}
	branch, old, err := r.ownBranch(ctx, at, s, done)
	if err != nil {
		return err
	}
	if err := at.c.Push(ctx, at.remote, done.Commit, branch, old); err != nil {
		return err
	}
	done.Branch = branch
	return nil
}

// ownBranch finds a branch for the proposal that holds nobody else's work, and where it is now.
func (r *rampRun) ownBranch(ctx context.Context, at place, s stand, done *rampDone) (branch, old string, err error) {
	name := cmp.Or(r.s.prBranch, "rampart/ramp-"+cmp.Or(done.cur.Environment, "default"))
	for n := 1; n <= maxTries; n++ {
		branch = name
		if n > 1 {
			branch = fmt.Sprintf("%s-%d", name, n)
		}
		if old, err = at.c.RemoteBranch(ctx, at.remote, branch); err != nil || old == "" {
			return branch, old, err
		}
		if _, err = at.c.Fetch(ctx, at.remote, branch); err != nil {
			return branch, old, err
		}
		commits, err := at.c.Between(ctx, s.base, old)
		if err != nil {
			return branch, old, err
		}
		i := slices.IndexFunc(commits, func(c gitrepo.Commit) bool { return len(gitrepo.Trailers(c.Message)["Ramp-Evidence"]) == 0 })
		if i < 0 {
			return branch, old, nil
		}
		r.env.Talk("%s holds work of %s (%.12s): leaving it alone", branch, commits[i].Author.Name, commits[i].Hash)
	}
	return "", "", cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("proposing on %s: every branch of that name holds somebody's work", name),
		"merge or delete them, or name another: --pr-branch NAME"))
}
