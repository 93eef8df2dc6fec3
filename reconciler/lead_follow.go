package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/redisstore"
)

// A follower fetches, verifies and judges as a leader does, and never writes the store.
// It takes the leader's generations over, number by number, once the leader has made
// them live and its own judgement of the same commits agrees; so a takeover goes on
// where the leader stopped.

// follow is the pass of an instance that does not lead.
func (r *Reconciler) follow(ctx context.Context, patience time.Duration, before *Status) (Result, error) {
	p := &r.lead.passes
	p.following = true
	defer func() { p.following = false }()
	r.heedSuspension(ctx)
	trustErr := r.readTrust(ctx)
	r.reviewOverrides(ctx)
	r.revalidate(ctx)
	var head string
	gitErr := r.timed("observe", func() (err error) { head, err = r.observeUntil(ctx, patience); return err })
	storeErr := r.timed("converge", func() error { return r.mirror(ctx) })
	var walkErr error
	if head != "" && r.target != nil && ctx.Err() == nil {
		walkErr = r.lookAhead(ctx, head)
	}
	r.over.pending, r.pending = nil, nil // the leader's to tell of
	if trustErr != nil {
		r.status.set(r.now().UTC(), CondSourceVerified, Unknown, TrustUnreadable, trustErr.Error())
	}
	if why := r.revokedMessage(); why != "" && trustErr == nil {
		r.status.set(r.now().UTC(), CondSourceVerified, False, SignersRevoked, why)
	}
	keepErr := r.keep()
	if errors.Is(gitErr, errStillFetching) {
		gitErr = nil
	}
	p.following = false
	r.sayAgain(ctx)
	r.ownCommands(ctx)
	if trustErr == nil && storeErr == nil && walkErr == nil {
		walkErr = r.overtake(ctx, head)
	}
	err := errors.Join(trustErr, storeErr, gitErr, walkErr, keepErr)
	r.showRole()
	return r.conclude(before, err), err
}

// mirror learns what the leader has made live.
func (r *Reconciler) mirror(ctx context.Context) error {
	meta, err := r.cfg.Store.Meta(ctx)
	if err := r.reachable(err); err != nil {
		return err
	}
	now := r.now().UTC()
	if err != nil || meta.Generation >= redisstore.MaxGeneration {
		r.store.spec = nil
		r.status.set(now, CondApplied, False, ApplyPending, "Redis holds no generation; the leader fills it")
		return nil
	}
	done, err := r.catchUp(ctx, meta)
	if err != nil {
		return fmt.Errorf("following generation %d: %w", meta.Generation, err)
	}
	r.weigh(meta)
	if !done {
		r.store.spec = nil
		why := fmt.Sprintf("generation %d, %s at %.12s, is live", meta.Generation, meta.Version, meta.Commit)
		if r.target != nil {
			why += fmt.Sprintf("; this instance has verified %d", r.target.Number)
		}
		r.status.Applied = &Mark{Commit: meta.Commit, Generation: meta.Generation, Epoch: meta.Epoch, Version: meta.Version, Digest: meta.Digest}
		r.status.set(now, CondApplied, False, NotLeader, why)
		return nil
	}
	there, err := r.cfg.Store.Overrides(ctx)
	if err := r.reachable(err); err != nil {
		return err
	}
	r.takeOver(there, r.target.spec)
	if r.over.unsaved {
		r.saveOverrides()
	}
	meta.Message = ""
	r.store.meta, r.store.spec, r.store.bundle = meta, r.target.spec, r.target.bundle()
	r.status.Applied = r.mark(r.target)
	r.status.Applied.Epoch, r.status.Applied.Generation = meta.Epoch, meta.Generation
	if at, err := time.Parse(time.RFC3339, meta.AppliedAt); err == nil {
		r.status.Applied.At = at.UTC()
	}
	r.over.pending = nil
	r.showLive(ctx, nil)
	r.status.set(now, CondApplied, True, CodeLive, "")
	return nil
}

// isLive says whether a generation is what meta says is live.
func (g Generation) isLive(meta redisstore.Meta) bool {
	return g.Digest == meta.Digest && g.Commit == meta.Commit
}

// caughtUp says whether what is live is known here.
func (r *Reconciler) caughtUp(meta redisstore.Meta) bool {
	last, ok := r.history.last()
	return ok && r.target != nil && last.isLive(meta) && last.Number >= meta.Generation
}

// catchUp judges what the leader accepted, as if the branch ended with what it made
// live, and takes its numbers over. It says whether this instance comes to the same
// result. The error is trouble.
func (r *Reconciler) catchUp(ctx context.Context, meta redisstore.Meta) (bool, error) {
	if r.caughtUp(meta) {
		return true, nil
	}
	p := &r.lead.passes
	was := p.following
	p.following, p.followed = true, &meta
	defer func() { p.following, p.followed = was, nil }()
	last, ok := r.history.last()
	if !ok {
		if err := r.followStart(ctx, meta); err != nil {
			return false, err
		}
		return r.caughtUp(meta), nil
	}
	if r.target == nil {
		if err := r.recover(ctx); err != nil {
			return false, err
		}
	}
	if !last.isLive(meta) {
		_, err := r.cfg.Repo.Commit(ctx, meta.Commit)
		behind := false
		if err == nil {
			behind, err = r.cfg.Repo.IsAncestor(ctx, meta.Commit, r.checked())
			behind = behind && !r.yetToJudge(meta.Commit)
		}
		switch {
		case errors.Is(err, gitrepo.ErrNoCommit):
			return false, nil // not fetched yet, or not in the branch
		case err != nil:
			return false, err
		case behind:
			return false, nil // the leader is behind this instance, and comes along
		}
		before := r.status.clone()
		refused, newest := r.source.refused, r.source.newest
		if err := r.advance(ctx, meta.Commit); err != nil {
			return false, err
		}
		if last, _ = r.history.last(); !last.isLive(meta) {
			r.status.Refused, r.status.Deferred, r.source.refused, r.source.newest = before.Refused, before.Deferred, refused, newest
			if last.Number >= meta.Generation || r.status.Condition(CondHistoryRewritten).Status == True {
				return false, nil
			}
			// It may have been taken at other times, or under another policy in between: what
			// a start without state would believe is believed here too.
			if err := r.followStart(ctx, meta); err != nil {
				return false, err
			}
			return r.caughtUp(meta), nil
		}
	}
	r.pending = nil
	if err := r.outnumber(meta); err != nil { // the leader's number, where it is higher
		return false, err
	}
	return r.caughtUp(meta), nil
}

// followStart begins with what the leader has made live.
func (r *Reconciler) followStart(ctx context.Context, meta redisstore.Meta) error {
	if r.source.head == "" {
		return nil
	}
	// A first clone is shallow: asked from the head on, it is deepened as far as what is live.
	switch on, err := r.cfg.Repo.IsAncestor(ctx, meta.Commit, r.source.head); {
	case errors.Is(err, gitrepo.ErrNoCommit) || err == nil && !on:
		return nil // not fetched yet, or not of this branch
	case err != nil:
		return fmt.Errorf("looking for what is live on the branch: %w", err)
	}
	st, under, err := r.resume(ctx, meta.Commit, meta)
	if errors.Is(err, gitrepo.ErrNoCommit) {
		return nil // not fetched yet
	}
	if err != nil {
		return fmt.Errorf("resuming from the store: %w", err)
	}
	if st == nil {
		return nil
	}
	if err := r.comeTo(ctx, under); err != nil {
		return err
	}
	err = r.settle(ctx, journey{steps: []step{*st}, checked: st.Commit}, nil, walkedFor{head: meta.Commit, policy: r.trust.digest()})
	r.pending, r.source.walked = nil, walkedFor{}
	return err
}

// judgedAt is the time at which a commit is judged: now, or, where a leader has judged
// it before, when that was, as far as that is known. A commit's own date is a claim
// between what was accepted before it and what came after.
func (r *Reconciler) judgedAt(c gitrepo.Commit) time.Time {
	now, meta := r.now(), r.lead.passes.followed
	if meta == nil {
		return now
	}
	end, err := time.Parse(time.RFC3339, meta.AppliedAt)
	if err != nil || end.After(now) {
		end = now
	}
	if c.Hash == meta.Commit {
		return end
	}
	at := c.When
	if last, ok := r.history.last(); ok && at.Before(last.At) {
		at = last.At
	}
	if at.After(end) {
		at = end
	}
	return at
}

// lookAhead judges what lies between what is live and head, and accepts nothing of it.
func (r *Reconciler) lookAhead(ctx context.Context, head string) error {
	p := &r.lead.passes
	want := walkedFor{head: head, policy: r.trust.digest(), last: r.target.Digest}
	rewritten := r.status.Condition(CondHistoryRewritten).Status == True
	if p.looked == want && !(rewritten && r.wasTold()) && (p.due.IsZero() || r.now().Before(p.due)) {
		return nil
	}
	plan, err := r.foreseeAhead(ctx, head)
	if err == nil && plan.Stopped != nil {
		plan, err = r.foreseeAsTold(ctx, plan, head)
	}
	if err == nil && plan.brings(string(KindPolicy)) && !plan.brings(accepted.String(), rollback.String()) {
		// The policy changes and the spec does not: nothing of that is the leader's to number.
		known, reported := maps.Clone(r.source.refused), r.cursor.PolicyRefused
		err = r.advance(ctx, head)
		r.source.refused, r.cursor.PolicyRefused, r.pending = known, reported, nil
		want.policy = r.trust.digest()
		if err == nil {
			plan, err = r.foreseeAhead(ctx, head)
		}
	}
	if errors.Is(err, errStillJudging) {
		return nil // the next pass looks ahead
	}
	if err != nil {
		return err
	}
	now, s := r.now().UTC(), &r.status
	s.Refused, s.Deferred, r.source.newest, p.due = nil, nil, nil, time.Time{}
	if stop := plan.Stopped; stop != nil {
		s.Refused = []Refusal{*stop}
		r.source.newest = &ruling{code: stop.Code, message: stop.Message, hint: stop.Hint}
		s.set(now, CondHistoryRewritten, True, stop.Code, stop.Message)
		p.looked = want
		return nil
	}
	s.set(now, CondHistoryRewritten, False, Descends, "")
	if plan.Policy != nil {
		r.policyAhead(plan.Policy.Refused)
	}
	seen := map[string]Refusal{}
	for _, c := range plan.Commits {
		if c.Kind == KindPolicy {
			continue
		}
		ref := c.Refusal
		if before, ok := p.seen[ref.Commit]; ok && before.Code == ref.Code {
			ref.Since = before.Since
		}
		switch c.Verdict {
		case refused.String():
			seen[ref.Commit] = ref
			s.Refused = append(s.Refused, ref)
			r.source.newest = &ruling{code: ref.Code, message: ref.Message, hint: ref.Hint}
		case deferred.String():
			if due := &p.due; !ref.NotBefore.IsZero() && (due.IsZero() || ref.NotBefore.Before(*due)) {
				*due = ref.NotBefore
			}
			s.Deferred = append(s.Deferred, ref)
			r.source.newest = &ruling{verdict: deferred, code: ref.Code, message: ref.Message, hint: ref.Hint}
		case accepted.String(), rollback.String():
			s.Refused, s.Deferred = nil, nil
			r.source.newest = &ruling{verdict: accepted, code: NotLeader, message: fmt.Sprintf("%.12s is authorized; the leader makes it live", ref.Commit)}
		}
	}
	if ref := r.policyUnfit(); ref != nil {
		s.Refused = slices.Insert(s.Refused, 0, *ref)
	}
	if n := len(s.Refused); n > maxShown {
		s.Refused = s.Refused[n-maxShown:]
	}
	if plan.HeadLive && (r.source.newest == nil || r.source.newest.code != NotLeader) {
		r.source.newest = nil
	}
	r.judged(r.source.newest)
	p.seen, p.looked = seen, want
	return nil
}

func (r *Reconciler) foreseeAhead(ctx context.Context, head string) (*Plan, error) {
	plan, w := &Plan{}, r.walker()
	w.last, w.rest = r.target.spec, r.commanded
	_, err := r.foreseeWalk(ctx, plan, w, r.trust.regime(), r.checked(), head)
	return plan, err
}

// foreseeAsTold looks once more where the leader was told to go on from a commit of the rewritten branch.
func (r *Reconciler) foreseeAsTold(ctx context.Context, plan *Plan, head string) (*Plan, error) {
	_, err := r.walkFrom(ctx, head)
	var rewritten *gitrepo.RewrittenError
	if !errors.As(err, &rewritten) {
		return plan, err
	}
	if ok, err := r.goOnAsTold(ctx, rewritten); !ok || err != nil {
		return plan, err
	}
	return r.foreseeAhead(ctx, head)
}

// brings says whether a commit of the plan has one of these verdicts.
func (p *Plan) brings(verdicts ...string) bool {
	return slices.ContainsFunc(p.Commits, func(c PlannedCommit) bool { return slices.Contains(verdicts, c.Verdict) })
}

// ownCommands carries out what a person left in this instance's state folder: for that
// it must lead.
func (r *Reconciler) ownCommands(ctx context.Context) {
	dropped, _ := filepath.Glob(filepath.Join(globQuote(r.cfg.Dir), overrideFolder, "*.json"))
	rewritten := r.status.Condition(CondHistoryRewritten).Status == True && r.statementHolds()
	if len(dropped) == 0 && !rewritten && !r.lead.passes.suspend {
		return
	}
	if err := r.seize(ctx); err != nil {
		r.log.Warn("a command in the state folder waits", slog.Any("error", err))
		return
	}
	r.rouse()
}
