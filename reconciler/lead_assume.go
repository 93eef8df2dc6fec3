package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
)

// assume is the first thing that a leader does: where what is live is not known here, it
// is learned from git before anything is written, so that nothing goes back on the way.
func (r *Reconciler) assume(ctx context.Context) error {
	p := &r.lead.passes
	if !p.assuming || !r.leased() {
		return nil
	}
	if _, ok := r.history.last(); !ok {
		p.assuming = false // a cold start looks at the store by itself
		return nil
	}
	meta, err := r.cfg.Store.Meta(ctx)
	if err := r.reachable(err); err != nil {
		return err
	}
	if err != nil || meta.Generation >= redisstore.MaxGeneration || r.caughtUp(meta) {
		p.assuming = false
		return nil
	}
	if last, _ := r.history.last(); last.Number < meta.Generation || last.Digest != meta.Digest {
		_, err := r.observeUntil(ctx, r.cfg.interval())
		if err == nil && !r.source.fresh { // what was seen before the trouble counts elsewhere, not here
			err = errors.New("after trouble it is not asked again yet")
		}
		if err != nil {
			return fmt.Errorf("generation %d is live and not known here; nothing is written before git was read: %w", meta.Generation, err)
		}
	}
	done, err := r.catchUp(ctx, meta)
	if err != nil {
		return fmt.Errorf("catching up with generation %d: %w", meta.Generation, err)
	}
	if last, _ := r.history.last(); !done && last.Number <= meta.Generation {
		if err := r.vouchedAndGone(ctx, meta); err != nil {
			return err
		}
		r.log.Warn("what is live does not follow from git by this instance's judgement, and is put right", slog.Uint64("generation", meta.Generation), slog.String("commit", meta.Commit))
	}
	p.assuming = false
	return nil
}

// vouchedAndGone is an error where what is live was accepted, by the attestation of this
// environment's reconcilers, and the branch does not have it: somebody took it off the
// branch. An instance that knew it would say that history was rewritten, and so must one
// that does not, or a takeover at that moment would put it back. A maintainer's statement
// about history lets it go on.
func (r *Reconciler) vouchedAndGone(ctx context.Context, meta redisstore.Meta) error {
	last, _ := r.history.last()
	if r.cfg.Key == nil || last.Digest == meta.Digest || !r.vouchedFor(meta) || r.statementHolds() {
		return nil
	}
	commits, err := r.cfg.Repo.Walk(ctx, r.checked(), r.source.head, r.paths())
	if err != nil {
		return fmt.Errorf("looking for generation %d on the branch: %w", meta.Generation, err)
	}
	for _, commit := range commits {
		c, err := r.load(ctx, commit)
		if err != nil {
			return fmt.Errorf("looking for generation %d on the branch: %w", meta.Generation, err)
		}
		if signing.NewArtifact(c.src).Digest() == meta.Digest {
			return nil
		}
	}
	return fmt.Errorf("generation %d is live, a reconciler of this environment attests it, and commit %.12s is not on the branch: nothing is written over it", meta.Generation, meta.Commit)
}
