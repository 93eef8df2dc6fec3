package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Result is what one pass did and found.
type Result struct {
	// Events are the outcomes of the pass, in order: what went live, what was refused,
	// deferred, repaired.
	Events []Event
	// HeadLive says that the newest spec in git is what is live in the store.
	HeadLive bool
	// Refused says that a person must act: the newest commit, the branch or the cold
	// start was refused, or waits for its time.
	Refused bool
	Status  *Status
}

// Pass looks at git and at the store once and does what there is to do. The error is
// trouble that may pass by itself; what a person must mend stands in the result, which
// is whole in either case.
//
// With a lease it leads where it may, and otherwise follows and writes nothing. The lease
// is renewed beside it.
func (r *Reconciler) Pass(ctx context.Context) (Result, error) {
	if r.leased() && !r.looping.Load() {
		beside, stop := context.WithCancel(ctx)
		var keeper sync.WaitGroup
		keeper.Go(func() { r.keepLease(beside, false) })
		defer keeper.Wait()
		defer stop()
	}
	return r.pass(ctx, 0)
}

// pass waits at most patience for git; zero waits as long as it takes.
func (r *Reconciler) pass(ctx context.Context, patience time.Duration) (Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return Result{}, errors.New("the reconciler is closed")
	}
	started := r.now()
	r.events, r.store.drifted, r.source.fresh = nil, false, false
	before := r.status.clone()
	r.trace.begin()
	if !r.takeLead(ctx, false) {
		return r.follow(ctx, patience, before)
	}

	suspended := r.heedSuspension(ctx)
	trustErr := r.readTrust(ctx)
	r.sayAgain(ctx)
	r.reviewOverrides(ctx)
	r.revalidate(ctx)
	storeErr := r.assume(ctx)
	if storeErr == nil {
		r.takeDropped(ctx)
		storeErr = r.timed("heal", func() error { return r.heal(ctx) })
	}
	if errors.Is(storeErr, ErrNotLeader) && !r.takeLead(ctx, false) {
		return r.follow(ctx, patience, before)
	}
	var head string
	gitErr := r.timed("observe", func() (err error) { head, err = r.observeUntil(ctx, patience); return err })
	var walkErr error
	if head != "" && !suspended && ctx.Err() == nil && !r.lead.passes.assuming && r.leads() {
		walkErr = r.advance(ctx, head)
	}
	if errors.Is(walkErr, errStillJudging) {
		walkErr = nil
		r.rouse()
	}
	r.reviewOverrides(ctx) // git may say the same by now
	if storeErr == nil && r.target != nil && !r.isApplied() && ctx.Err() == nil {
		storeErr = r.timed("converge", func() error { return r.apply(ctx) })
	}
	if storeErr == nil && r.isApplied() && ctx.Err() == nil {
		storeErr = r.tellOverrides(ctx)
	}
	if storeErr == nil && r.isApplied() && ctx.Err() == nil { // last: a new commit does not wait for it
		storeErr = r.timed("deepen", func() error { return r.deepen(ctx) })
	}
	if trustErr != nil {
		r.status.set(r.now().UTC(), CondSourceVerified, Unknown, TrustUnreadable, trustErr.Error())
	}
	r.revalidate(ctx)
	if why := r.revokedMessage(); why != "" && trustErr == nil {
		r.status.set(r.now().UTC(), CondSourceVerified, False, SignersRevoked, why)
	}
	keepErr := r.keep()

	if errors.Is(gitErr, errStillFetching) {
		gitErr = nil // the next pass has its answer
	}
	if errors.Is(storeErr, ErrNotLeader) {
		storeErr = nil // the next pass follows
		r.rouse()
	}
	err := errors.Join(trustErr, storeErr, gitErr, walkErr, keepErr)
	r.showRole()
	r.metrics.took("total", r.now().Sub(started))
	r.trace.end(r.events, r.pending, err)
	return r.conclude(before, err), err
}

func (r *Reconciler) timed(phase string, f func() error) error {
	started, traced := r.now(), r.trace.time(phase)
	err := f()
	r.metrics.took(phase, r.now().Sub(started))
	if phase == "observe" {
		s := traced(nil, err)
		s.Name = "fetch"
		r.trace.share(s)
	}
	return err
}

// conclude sets what follows from the whole pass, and shows it.
func (r *Reconciler) conclude(before *Status, err error) Result {
	now := r.now().UTC()
	s := &r.status
	s.LastPass = now
	s.Passes++
	isLive := r.target != nil && r.store.spec == r.target.spec
	unread := r.unread()
	s.HeadLive = isLive && r.source.newest == nil && r.source.head != "" && !unread
	switch {
	case s.HeadLive:
		s.set(now, CondReady, True, CodeLive, "")
	case isLive && unread:
		s.set(now, CondReady, True, Held, s.Suspended.String())
	case isLive && r.source.newest != nil:
		s.set(now, CondReady, True, Held, r.source.newest.message)
	case isLive:
		s.set(now, CondReady, True, Held, "the branch has not been read since the start")
	case r.target != nil && s.Role == RoleFollower:
		s.set(now, CondReady, True, NotLeader, "what this instance serves is verified; another makes live what is newer")
	case r.target != nil:
		s.set(now, CondReady, False, ApplyPending, errorText(err))
	case r.source.newest != nil:
		s.set(now, CondReady, False, r.source.newest.code, r.source.newest.message)
	default:
		s.set(now, CondReady, False, NotYet, errorText(err))
	}
	if r.target != nil && !isLive && s.Condition(CondApplied).Status != Unknown {
		s.set(now, CondApplied, False, ApplyPending, errorText(err))
	}
	result := "live"
	switch {
	case err != nil || s.Condition(CondFetchFailed).Status == True:
		result = "trouble"
	case !s.HeadLive:
		result = "held"
	}
	if err == nil && r.source.fresh {
		s.LastSuccess = now
	}
	r.metrics.passes.WithLabelValues(result).Inc()
	r.publish()
	if len(r.events) > 0 || changedConditions(before, s) {
		r.saveCursor()
	}
	return Result{
		Events: r.events, HeadLive: s.HeadLive, Refused: r.source.newest != nil && !r.source.newest.passing() || unread || r.revokedMessage() != "" || r.policyUnfit() != nil, Status: r.Status(),
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// changedConditions says whether status.json is worth writing again.
func changedConditions(before, after *Status) bool {
	for _, c := range after.Conditions {
		if b := before.Condition(c.Type); b.Status != c.Status || b.Reason != c.Reason {
			return true
		}
	}
	return before.Verified == nil != (after.Verified == nil) ||
		before.Verified != nil && before.Verified.Commit != after.Verified.Commit
}

// Run makes passes until ctx ends, which is no error: one every interval, at once when
// nudged, when a deferred commit's time has come, or when Redis tells of a write, and
// sooner or later again after trouble, with growing pauses. The store is looked after
// every interval whatever git does.
func (r *Reconciler) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	r.looping.Store(true)
	defer r.giveBack() // a follower takes over at once
	defer r.beside.Wait()
	defer cancel()
	r.beside.Go(func() { r.listen(ctx) })
	r.beside.Go(func() { r.keepLease(ctx, true) })
	for {
		_, err := r.pass(ctx, r.cfg.interval())
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.log.Error("the pass met trouble", slog.Any("error", err))
		}
		r.tidy(ctx)
		wait := r.pause(err)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-r.wake:
			timer.Stop()
		}
	}
}

// pause is how long to wait for the next pass.
func (r *Reconciler) pause(err error) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait, now := r.cfg.interval(), r.now()
	sooner := func(at time.Time) {
		if d := at.Sub(now); !at.IsZero() && d < wait {
			wait = max(d, time.Millisecond)
		}
	}
	sooner(r.source.due)
	sooner(r.source.retry)
	for _, o := range r.over.in {
		sooner(o.Expires)
	}
	if s := r.status.Suspended; s != nil {
		sooner(s.Until)
	}
	if r.source.fetch != nil {
		wait = min(wait, backoffMin)
	}
	if err != nil && r.source.trouble.n == 0 {
		wait = min(wait, r.store.trouble.next())
	} else if err == nil {
		r.store.trouble.reset()
	}
	r.status.NextPass = now.Add(wait).UTC()
	r.publish()
	return wait
}

// tidy does beside the passes what need not be done before a generation is live: it
// learns the prehistory and makes the clone small again.
func (r *Reconciler) tidy(ctx context.Context) {
	r.mu.Lock()
	ready := r.target != nil && r.status.HeadLive && !r.tidying
	first, keep, known := r.history.first().Commit, "", r.source.earlier != nil || r.trust.policy == nil
	if ready {
		r.tidying, keep = true, r.checked()
	}
	r.mu.Unlock()
	if !ready {
		return
	}
	r.beside.Go(func() {
		defer func() { r.mu.Lock(); r.tidying = false; r.mu.Unlock() }()
		if !known {
			p, err := r.prehistoryOf(ctx, first)
			if err != nil && ctx.Err() == nil {
				r.log.Warn("looking at the time before the first generation", slog.Any("error", err))
			}
			r.mu.Lock()
			if r.source.earlier == nil && err == nil {
				r.source.earlier = p
			}
			r.mu.Unlock()
		}
		if _, err := r.cfg.Repo.Tidy(ctx, keep); err != nil && ctx.Err() == nil {
			r.log.Warn("tidying the clone", slog.Any("error", err))
		}
	})
}

// Describe says in a sentence how the pass ended.
func (res Result) Describe() string {
	s := res.Status
	if s.Applied == nil {
		return "nothing is live"
	}
	return fmt.Sprintf("generation %d is live: %s at %.12s", s.Applied.Generation, s.Applied.Version, s.Applied.Commit)
}
