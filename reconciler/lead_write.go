package reconciler

import (
	"context"
	"errors"
	"log/slog"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
)

// errAssuming: a new leader that does not know what is live was about to write.
var errAssuming = errors.New("what is live is not known here yet, and nothing is written before")

// whileLeading runs a write to the store under the lease: not at all where it has run
// out or what is live is not known, and no longer than it lasts. A process that is told to
// end finishes it.
func (r *Reconciler) whileLeading(ctx context.Context, write func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !r.leads() {
		return ErrNotLeader
	}
	if r.lead.passes.assuming {
		return errAssuming
	}
	whole, end := r.writing(ctx)
	defer end()
	return write(whole)
}

// mend writes entries under the generation that is live.
func (r *Reconciler) mend(ctx context.Context, set []redisstore.KV, del []flags.Key) (counts redisstore.Counts, err error) {
	err = r.whileLeading(ctx, func(ctx context.Context) error {
		counts, err = r.cfg.Store.Repair(ctx, r.fence(r.store.meta), set, del)
		return err
	})
	return counts, err
}

// onlyTerm says whether two metas differ in nothing but who wrote them.
func onlyTerm(a, b redisstore.Meta) bool {
	a.Epoch, a.Reconciler, a.Attestation = b.Epoch, b.Reconciler, b.Attestation
	return a == b
}

// beginTerm writes the new term into meta over what is live and stays: from then on no
// writer of an earlier one is let in, on a Cluster either.
func (r *Reconciler) beginTerm(ctx context.Context, fence redisstore.Fence, meta redisstore.Meta) error {
	err := r.whileLeading(ctx, func(ctx context.Context) error {
		_, err := r.cfg.Store.Apply(ctx, fence, redisstore.Change{Meta: meta})
		return err
	})
	if err == nil {
		r.isLive(ctx, meta, nil)
	}
	return err
}

// outrank sees to it that the own term is above the one that is live: below it stands
// one that was deposed, or somebody wrote into meta what no lease ever had.
func (r *Reconciler) outrank(ctx context.Context, live redisstore.Meta) error {
	last, _ := r.history.last()
	if !r.leased() || live.Epoch <= r.term() && live.Generation <= last.Number {
		return nil
	}
	// Another may have made that live, also in a term of the same number where somebody
	// deleted the lease: its generations are not to be counted on from here.
	if err := r.contested(ctx); err != nil {
		return err
	}
	if live.Epoch <= r.term() || live.Epoch >= redisstore.MaxGeneration {
		return nil
	}
	r.log.Warn("meta names a term that no lease had; taking a later one", slog.Uint64("epoch", live.Epoch))
	r.store.epoch = live.Epoch
	r.claim(ctx, false, true)
	if !r.nowLeads() {
		return ErrNotLeader
	}
	return nil
}

// vouchedFor says whether meta bears this instance's own signature already.
func (r *Reconciler) vouchedFor(m redisstore.Meta) bool {
	if m.Attestation == "" {
		return false
	}
	who := []signing.Identity{{Name: "reconciler", Keys: []signing.PublicKey{r.cfg.Key.Public()}}}
	found := signing.Verify(signing.NewArtifact(m.Attested()), []signing.NamedBundle{{Path: "attestation", Data: []byte(m.Attestation)}}, who, signing.Options{})
	return len(found.Valid) > 0
}
