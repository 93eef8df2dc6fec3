package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
)

// What is new on the branch may be much: whoever can push, signed or not, can make a pass read for an hour. A pass of a loop
// therefore judges for one interval, and no longer than until a person's command waits. The next pass goes on where it stopped.
// Nothing of a walk that rests is live, and no end of it that was not once the branch's own.

// underWay is a walk that rests between two passes.
type underWay struct {
	*walk
	intents map[string]Event
	want    walkedFor
	began   standpoint
}

// standpoint is all that a walk under way depends on.
type standpoint struct {
	last            uint64
	digest, checked string
	policy          string
	term            uint64
}

func (r *Reconciler) standpoint() standpoint {
	g, _ := r.history.last()
	return standpoint{last: g.Number, digest: g.Digest, checked: r.checked(), policy: r.trust.digest(), term: r.term()}
}

// errStillJudging: the pass has judged for long enough; the next one goes on.
var errStillJudging = errors.New("the new commits are still being judged")

// stretch judges and settles commits under one policy.
func (r *Reconciler) stretch(ctx context.Context, commits []gitrepo.Commit, want walkedFor) error {
	if len(commits) > 0 {
		if err := r.learn(ctx); err != nil {
			return fmt.Errorf("looking at the time before the first generation: %w", err)
		}
	}
	w := r.walker()
	w.last, w.known = r.target.spec, r.known
	w.clock = r.judgedAt
	intents := map[string]Event{}
	w.admit = func(st step) error {
		e := r.stepEvent(st)
		intents[st.Commit] = e
		return r.intent(ctx, e)
	}
	return r.goThrough(ctx, &underWay{walk: w.begin(commits), intents: intents, want: want, began: r.standpoint()})
}

// goThrough goes on with a walk until its end, which it settles, or until the pass has to look after something else.
func (r *Reconciler) goThrough(ctx context.Context, u *underWay) error {
	r.source.under, u.rest = nil, r.restless()
	done, err := u.on(ctx)
	if err != nil {
		return fmt.Errorf("looking at the new commits: %w", err)
	}
	if done {
		return r.settle(ctx, u.journey, u.intents, u.want)
	}
	r.source.under, r.source.walked = u, walkedFor{}
	r.source.newest = &ruling{verdict: deferred, code: StillJudging, message: fmt.Sprintf("%d of %d new commits are judged; the next pass goes on", u.judged, len(u.commits))}
	r.judged(r.source.newest)
	return errStillJudging
}

// restless says when a walk has to rest; nil where it need not: beside no loop nothing else waits, and what another instance has
// made live is learned in one go.
func (r *Reconciler) restless() func() bool {
	if !r.looping.Load() || r.lead.passes.following {
		return nil
	}
	end := time.Now().Add(r.cfg.interval())
	return func() bool { return r.commanded() || !time.Now().Before(end) }
}

// commanded says whether a person's command waits for the pass.
func (r *Reconciler) commanded() bool { return r.urgent.Load() > 0 }

// finish goes on with the walk that rests, if one does and still leads to where the branch is.
func (r *Reconciler) finish(ctx context.Context, head string) error {
	u := r.source.under
	if u == nil {
		return nil
	}
	if u.began == r.standpoint() {
		on, err := r.cfg.Repo.IsAncestor(ctx, u.want.head, head)
		if err != nil && !errors.Is(err, gitrepo.ErrNoCommit) {
			return fmt.Errorf("looking at the new commits: %w", err)
		}
		if on {
			return r.goThrough(ctx, u)
		}
	}
	r.abandon(ctx)
	return nil
}

// abandon ends the walk that rests, if one does: what it found is judged anew.
func (r *Reconciler) abandon(ctx context.Context) {
	u := r.source.under
	if u == nil {
		return
	}
	r.source.under = nil
	for _, e := range u.intents {
		e.Outcome, e.Code, e.Error = OutcomePending, StillJudging, "the commit is judged anew"
		r.outcome(ctx, e)
	}
	r.log.Info("the new commits are judged anew", slog.Int("judged", u.judged), slog.Int("commits", len(u.commits)))
}
