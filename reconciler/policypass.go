package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/signing"
)

// walkOn judges what lies between the last accepted commit and head. A policy that takes over on the way ends a stretch: what
// came before it is settled under the old one, then it is written down, and from its own commit on all is judged by it.
func (r *Reconciler) walkOn(ctx context.Context, head string, want walkedFor) error {
	if err := r.finish(ctx, head); err != nil {
		return err
	}
	for {
		commits, err := r.descend(ctx, head)
		if err != nil || commits == nil {
			if err == nil {
				r.source.walked = want
			}
			return err
		}
		in := r.trust.regime()
		in.refused = r.cursor.PolicyRefused
		eras, err := r.erasFrom(ctx, in, r.checked(), *commits)
		if err != nil {
			return fmt.Errorf("looking at the policy: %w", err)
		}
		now := r.trust.policy
		if first := eras[0]; first.policy != now { // the tree that the walk starts from has it already
			if err := r.takePolicy(ctx, first); err != nil {
				return err
			}
			r.revalidate(ctx)
			continue
		}
		newest := eras[len(eras)-1]
		eras = eras[1:]
		n := slices.IndexFunc(eras, func(e *regime) bool { return e.policy != now })
		if n < 0 {
			r.policyRefused(ctx, newest)
			return r.stretch(ctx, *commits, want)
		}
		if n > 0 {
			if err := r.stretch(ctx, (*commits)[:n], want); err != nil {
				return err
			}
		}
		if err := r.takePolicy(ctx, eras[n]); err != nil {
			return err
		}
		// What was refused or deferred before it is done with: what of it still stands in the tree is judged anew, with it.
		g, _ := r.history.last()
		r.cursor.Checked, r.cursor.Generation, r.cursor.Onto = (*commits)[n].Hash, g.Number, true
		r.saveCursor()
		if err := r.countersigned(ctx, (*commits)[n]); err != nil {
			return err
		}
		r.revalidate(ctx)
		want.policy = r.trust.digest()
	}
}

// countersigned takes over the signatures that a policy's commit brings for what is live, before anybody asks whether it still holds.
func (r *Reconciler) countersigned(ctx context.Context, commit gitrepo.Commit) error {
	c, err := r.load(ctx, commit)
	if err != nil {
		return fmt.Errorf("reading commit %.12s: %w", commit.Hash, err)
	}
	if c.problem == nil && signing.NewArtifact(c.src).Digest() == r.target.Digest {
		r.countersign(c)
	}
	return nil
}

// descend lists the commits to judge; nil where the branch was rewritten and nobody said to go on.
func (r *Reconciler) descend(ctx context.Context, head string) (*[]gitrepo.Commit, error) {
	s := &r.source
	commits, err := r.walkFrom(ctx, head)
	var rewritten *gitrepo.RewrittenError
	if errors.As(err, &rewritten) {
		ok, why, serr := r.goOn(ctx, rewritten)
		if serr == nil && !ok {
			ok, serr = r.goOnAsTold(ctx, rewritten)
		}
		if serr != nil {
			return nil, fmt.Errorf("looking for a statement about the history: %w", serr)
		}
		if !ok {
			r.rewritten(ctx, rewritten, why)
			return nil, nil
		}
		commits, err = r.walkFrom(ctx, head)
	}
	if err != nil {
		return nil, fmt.Errorf("looking at the new commits: %w", err)
	}
	s.rewrite = nil
	r.status.set(r.now().UTC(), CondHistoryRewritten, False, Descends, "")
	return &commits, nil
}

// erasFrom are the regimes of the commit that the walk starts from, which may have another policy than in, and of each that
// follows.
func (r *Reconciler) erasFrom(ctx context.Context, in *regime, from string, commits []gitrepo.Commit) ([]*regime, error) {
	clock := func(gitrepo.Commit) time.Time { return r.now() }
	if !r.follows() {
		return r.eras(ctx, in.without(), append([]gitrepo.Commit{{}}, commits...), clock)
	}
	start, err := r.cfg.Repo.Commit(ctx, from)
	if err != nil {
		return nil, err
	}
	all := append([]gitrepo.Commit{start}, commits...)
	out, err := r.eras(ctx, in, all, clock)
	if err != nil || out[0].refused == nil || out[0].refused.Code != PolicySkipped {
		return out, err
	}
	// Several took over while nobody looked here: a reconciler that did not follow them then, for one.
	past, err := r.policyHistory(ctx, start.Hash)
	if err != nil || len(past) == 0 {
		return out, err
	}
	caught, err := r.eras(ctx, in, past, claims(r.now))
	if err != nil {
		return nil, err
	}
	return r.eras(ctx, caught[len(caught)-1], all, clock)
}

// timeline is under which policy each commit of a replay is judged: beginning with the file outside, in the order in which they
// took over, or by the newest that was ever accepted, where the branch does not lead to it.
func (r *Reconciler) timeline(ctx context.Context, commits []gitrepo.Commit) ([]*regime, error) {
	out, err := r.eras(ctx, &regime{policy: r.trust.file, name: r.trust.nameOf(r.trust.file)}, commits, claims(r.now))
	if err != nil || len(out) == 0 || !r.trust.fromRepository() {
		return out, err
	}
	reached := out[len(out)-1]
	if newest := nameOf(r.trust.policy); nameOf(reached.policy) == newest || slices.Contains(reached.chain, newest) {
		return out, nil
	}
	return r.eras(ctx, r.trust.regime(), commits, claims(r.now))
}

// regimeAt is the regime that a replay up to a commit comes to.
func (r *Reconciler) regimeAt(ctx context.Context, head string) (*regime, error) {
	past, err := r.policyHistory(ctx, head)
	if err != nil {
		return nil, fmt.Errorf("looking at the policy's history: %w", err)
	}
	eras, err := r.timeline(ctx, past)
	if err != nil || len(eras) == 0 {
		return r.trust.regime(), err
	}
	return eras[len(eras)-1], nil
}

// comeTo brings the policy into force that a replay came to.
func (r *Reconciler) comeTo(ctx context.Context, under *regime) error {
	if under == nil || under.policy == nil {
		return nil
	}
	if under.policy.Digest() != r.trust.policy.Digest() {
		if err := r.takePolicy(ctx, under); err != nil {
			return err
		}
	}
	r.policyRefused(ctx, under)
	return nil
}

// policyHistory lists the commits up to head that touched the policy; none where the remote keeps no history.
func (r *Reconciler) policyHistory(ctx context.Context, head string) ([]gitrepo.Commit, error) {
	if !r.follows() {
		return nil, nil
	}
	commits, err := r.cfg.Repo.Walk(ctx, "", head, r.policyPaths())
	if errors.Is(err, gitrepo.ErrShallow) {
		r.log.Warn("the remote keeps no history: policies that took over in it cannot be seen; bring the newest to the file that --trust names")
		c, err := r.cfg.Repo.Commit(ctx, head)
		return []gitrepo.Commit{c}, err
	}
	return commits, err
}

// claims are the commits' own dates as a clock: never back, never ahead of our own.
func claims(now func() time.Time) func(gitrepo.Commit) time.Time {
	var last time.Time
	return func(c gitrepo.Commit) time.Time {
		at := c.When
		if at.Before(last) {
			at = last
		}
		if now := now(); at.After(now) {
			at = now
		}
		last = at
		return at
	}
}

// policyRefused takes note of the newest policy in the branch where it is not in force, and reports it once.
func (r *Reconciler) policyRefused(ctx context.Context, newest *regime) {
	before, now := r.cursor.PolicyRefused, newest.refused.since(r.policyUnfit())
	r.cursor.PolicyRefused = now
	if p := &r.lead.passes; !p.following { // else it looks further ahead
		p.policy = nil
	}
	r.showPolicy()
	if now == nil {
		return
	}
	if before.same(now) {
		return
	}
	r.metrics.commits.WithLabelValues(refused.String(), string(now.Code)).Inc()
	r.metrics.policies.WithLabelValues(string(OutcomeRefused)).Inc()
	e := r.newEvent(KindPolicy)
	e.Commit, e.Subject, e.Author, e.Policy = now.Commit, now.Subject, now.Author, r.trust.digest()
	e.Code, e.Message, e.Hint, e.Outcome = now.Code, now.Message, now.Hint, OutcomeRefused
	r.outcome(ctx, e)
}

// policyAhead shows what one that follows found of the newest policy in the branch. The cursor says what was reported here, so that
// whoever leads next reports what it has not; of that only what still holds is kept.
func (r *Reconciler) policyAhead(found *Refusal) {
	r.lead.passes.policy = found.since(r.policyUnfit())
	if !r.cursor.PolicyRefused.same(found) {
		r.cursor.PolicyRefused = nil
	}
	r.showPolicy()
}

// policyUnfit is why the newest policy in the branch is not in force, nil where it is.
func (r *Reconciler) policyUnfit() *Refusal {
	return cmp.Or(r.lead.passes.policy, r.cursor.PolicyRefused)
}

// since is the refusal as it was found first: of the commit that it was first true of.
func (ref *Refusal) since(before *Refusal) *Refusal {
	if ref.same(before) {
		return before
	}
	return ref
}

// same says whether two refusals are for one reason.
func (ref *Refusal) same(other *Refusal) bool {
	return ref != nil && other != nil && ref.Code == other.Code && ref.Message == other.Message
}
