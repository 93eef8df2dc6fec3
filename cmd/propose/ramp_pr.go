package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/gitrepo/forge"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ramp"
)

// needsApproval labels a pull request that a gate lets through only with a person's yes.
const needsApproval = "needs-approval"

// propose puts the commit on a branch of its own and has one pull request for it, or closes the one
// that is open when nothing of it holds any more. What goes in by itself has a branch beside, so that
// what waits for review is not disturbed.
func (r *rampRun) propose(ctx context.Context, at place, s stand, done *rampDone, which moves) error {
	f, err := r.openForge(ctx, at)
	if err != nil {
		return err
	}
	name := cmp.Or(r.s.prBranch, "rampart/ramp-"+cmp.Or(done.cur.Environment, "default"))
	beside := name + "-down"
	mergeNow := r.mergesItself(done)
	switch {
	case !done.changed() && which == onlyUps:
		return r.closeObsolete(ctx, f, at, s, done, name)
	case !done.changed():
		return r.closeObsolete(ctx, f, at, s, done, name, beside)
	case mergeNow && r.s.autoMerge == "down":
		return r.proposeOn(ctx, f, at, s, done, beside, mergeNow)
	}
	if err := r.proposeOn(ctx, f, at, s, done, name, mergeNow); err != nil || which == onlyUps {
		return err
	}
	pr := done.PR
	err = r.closeObsolete(ctx, f, at, s, done, beside)
	done.PR = pr
	return err
}

// proposeOn pushes the commit to the branch, or one like it, and has a pull request for it.
func (r *rampRun) proposeOn(ctx context.Context, f *forge.Forge, at place, s stand, done *rampDone, name string, mergeNow bool) error {
	branch, old, err := r.ownBranch(ctx, at, s, name)
	if err != nil {
		return err
	}
	if err := at.c.Push(ctx, at.remote, done.Commit, branch, old); err != nil {
		return err
	}
	done.Branch = branch
	labels := slices.Clone(r.s.labels)
	if done.approval() {
		labels = append(labels, needsApproval)
	}
	pr, err := f.Propose(ctx, forge.Proposal{
		Head: branch, Base: at.branch, Labels: labels,
		Title: r.title(done.rampProposal), Body: r.body(done.rampProposal),
	})
	if err != nil {
		return forgeHint(err)
	}
	done.PR = pr.URL
	for _, l := range pr.Unlabelled {
		r.env.Talk("the label %q could not be set", l)
	}
	if mergeNow {
		return r.mergeNow(ctx, f, at, pr, done)
	}
	return nil
}

func (r *rampRun) openForge(ctx context.Context, at place) (*forge.Forge, error) {
	kind, base, err := forge.ParseKind(r.s.forge)
	if err != nil {
		return nil, usage(fmt.Errorf("--forge: %w", err))
	}
	url := r.s.repository
	if url == "" {
		if url, err = at.c.RemoteURL(ctx, at.remote); err != nil {
			return nil, err
		}
	}
	token := forge.Token(kind, r.env.Getenv)
	for _, k := range []forge.Kind{forge.GitHub, forge.GitLab, forge.Gitea} {
		if token == "" && kind == "" && strings.Contains(url, string(k)) {
			token = forge.Token(k, r.env.Getenv)
		}
	}
	f, err := forge.Open(ctx, forge.Options{Repository: url, Kind: kind, Base: base, Token: token})
	if err != nil {
		return nil, cli.Hint(fmt.Errorf("finding the forge of %s: %w", url, err), "say which it is: --forge github|gitlab|gitea, or KIND=URL; its token: $RAMPART_FORGE_TOKEN")
	}
	return f, nil
}

func forgeHint(err error) error {
	if errors.Is(err, forge.ErrDenied) {
		return cli.Hint(err, "the token needs to open pull requests: $RAMPART_FORGE_TOKEN, $GITHUB_TOKEN, $GITLAB_TOKEN or $GITEA_TOKEN")
	}
	return err
}

// mergesItself is whether --auto-merge covers all that the proposal does. A gate is for a person.
func (r *rampRun) mergesItself(done *rampDone) bool {
	if len(done.created) > 0 || done.approval() || slices.ContainsFunc(done.out, func(o ramp.Outcome) bool { return o.Resumed }) {
		return false
	}
	switch r.s.autoMerge {
	case "always":
		return true
	case "down":
		return !slices.ContainsFunc(done.out, func(o ramp.Outcome) bool { return o.Action == ramp.Up })
	}
	return false
}

func (r *rampRun) mergeNow(ctx context.Context, f *forge.Forge, at place, pr forge.PullRequest, done *rampDone) error {
	how, err := f.Merge(ctx, pr, done.Commit, r.message(done.rampProposal))
	switch {
	case errors.Is(err, forge.ErrMoved):
		return fmt.Errorf("merging %s: %w", pr.URL, gitrepo.ErrMoved)
	case errors.Is(err, forge.ErrBlocked), errors.Is(err, forge.ErrDenied):
		r.env.Talk("not merged, and left open: %v", err)
		return nil
	case err != nil:
		return err
	}
	done.Merged = how
	if how == forge.MergedNow {
		return r.dropBranch(ctx, at, done.Branch, done.Commit)
	}
	return nil
}

// dropBranch removes a branch of the bot's that has served. Somebody who was faster keeps theirs.
func (r *rampRun) dropBranch(ctx context.Context, at place, branch, expect string) error {
	err := at.c.Push(ctx, at.remote, "", branch, expect)
	if errors.Is(err, gitrepo.ErrMoved) || errors.Is(err, gitrepo.ErrRejected) {
		return nil // gone already, or somebody else's now
	}
	return err
}

// closeObsolete closes what the bot had open on branches of these names and would not propose again.
func (r *rampRun) closeObsolete(ctx context.Context, f *forge.Forge, at place, s stand, done *rampDone, names ...string) error {
	open, err := f.List(ctx, at.branch, "")
	if err != nil {
		return forgeHint(err)
	}
	open = slices.DeleteFunc(open, func(pr forge.PullRequest) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return pr.Head == name || numbered(pr.Head, name) })
	})
	for _, pr := range open {
		foreign, err := r.foreignWork(ctx, at, s, pr.Head)
		if err != nil {
			return err
		}
		if foreign != nil {
			r.env.Talk("%s holds work of %s: left open", pr.URL, foreign.Author.Name)
			continue
		}
		if err := f.Close(ctx, pr, r.closingComment(done.rampProposal)); err != nil {
			return forgeHint(err)
		}
		done.PR = pr.URL
		if err := r.dropBranch(ctx, at, pr.Head, pr.Commit); err != nil {
			return err
		}
	}
	return nil
}

// numbered is whether head is one of the branches that ownBranch turns to: name-2, name-3, …
func numbered(head, name string) bool {
	n, ok := strings.CutPrefix(head, name+"-")
	_, err := strconv.ParseUint(n, 10, 8)
	return ok && err == nil
}

// ownBranch finds a branch for the proposal that holds nobody else's work, and where it is now.
func (r *rampRun) ownBranch(ctx context.Context, at place, s stand, name string) (branch, old string, err error) {
	for n := 1; n <= maxTries; n++ {
		branch = name
		if n > 1 {
			branch = fmt.Sprintf("%s-%d", name, n)
		}
		if old, err = at.c.RemoteBranch(ctx, at.remote, branch); err != nil || old == "" {
			return branch, old, err
		}
		foreign, err := r.foreignWork(ctx, at, s, branch)
		if err != nil || foreign == nil {
			return branch, old, err
		}
		r.env.Talk("%s holds work of %s (%.12s): left alone", branch, foreign.Author.Name, foreign.Hash)
	}
	return "", "", cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("proposing on %s: every branch of that name holds somebody's work", name),
		"merge or delete them, or name another: --pr-branch NAME"))
}

// foreignWork is a commit on a branch that no ramp made and that is not live, nil when there is none.
func (r *rampRun) foreignWork(ctx context.Context, at place, s stand, branch string) (*gitrepo.Commit, error) {
	head, err := at.c.Fetch(ctx, at.remote, branch)
	if errors.Is(err, gitrepo.ErrNoBranch) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	commits, err := at.c.Between(ctx, s.base, head)
	if err != nil {
		return nil, err
	}
	for i := range commits {
		if len(gitrepo.Trailers(commits[i].Message)["Ramp-Evidence"]) == 0 {
			return &commits[i], nil
		}
	}
	return nil, nil
}
