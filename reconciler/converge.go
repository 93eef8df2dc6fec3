package reconciler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
)

// storeState is what is known of the store.
type storeState struct {
	// meta is what was last read or written under the target, its message left out.
	meta redisstore.Meta
	// spec is what every entry was last seen or written to come from; nil while that is
	// not known, after a start or a conflict.
	spec    *flags.Spec
	bundle  []byte // as last seen or written under that spec
	kept    string // the digest whose bytes stand in the state folder
	trouble backoff
	watch   watch
	epoch   uint64
	drifted bool // this pass found drift, and put it right
	// layer is what lies over spec in the store.
	layer layered
}

// heal looks whether the store holds the target, by meta and for a small spec by spec and
// bundle, and brings it about where it does not. It asks git for nothing.
func (r *Reconciler) heal(ctx context.Context) error {
	// Asked before anything is read: who is promoted after that shows at the next pass.
	promoted, err := r.cfg.Store.Promoted(ctx)
	if err != nil {
		return r.reachable(err)
	}
	if promoted {
		r.log.Warn("a node of the Cluster became a master; all entries are read back, as it may have come without them")
		r.store.spec = nil
	}
	if r.target == nil {
		_, err := r.cfg.Store.Meta(ctx)
		return r.reachable(err)
	}
	if r.store.spec == nil {
		return r.bring(ctx)
	}
	live, whole, err := r.look(ctx)
	if err := r.reachable(err); err != nil {
		return err
	}
	live.Meta.Message = ""
	if err == nil && r.store.spec == r.target.spec && live.Meta == r.store.meta && r.store.layer.version != r.over.version {
		if err := r.relayer(ctx); err != nil {
			return err
		}
	}
	if err != nil || live.Meta != r.store.meta || whole && !r.holds(live) {
		return r.bring(ctx)
	}
	return nil
}

// look reads meta, and where a whole look is due spec and bundle as well.
func (r *Reconciler) look(ctx context.Context) (live redisstore.Live, whole bool, err error) {
	if whole = r.store.watch.wholeDue(r.store.spec.Len()); whole {
		live, err = r.cfg.Store.Live(ctx)
		return live, true, err
	}
	live.Meta, err = r.cfg.Store.Meta(ctx)
	return live, false, err
}

// holds says whether spec and bundle are the target's.
func (r *Reconciler) holds(live redisstore.Live) bool {
	return bytes.Equal(live.Spec, r.target.spec.Bytes()) && bytes.Equal(live.Bundle, r.target.bundle())
}

func (t *target) bundle() []byte {
	all := make([][]byte, len(t.bundles))
	for i, b := range t.bundles {
		all[i] = b.Data
	}
	joined := redisstore.JoinBundles(all...)
	if joined == nil {
		joined = []byte{}
	}
	return joined
}

func splitBundles(path string, joined []byte) []signing.NamedBundle {
	parts, err := redisstore.SplitBundles(joined)
	if err != nil {
		return nil
	}
	var out []signing.NamedBundle
	for i, p := range parts {
		out = append(out, signing.NamedBundle{Path: fmt.Sprintf("%s.%d.sigstore.json", path, i), Data: p})
	}
	return out
}

// reachable notes whether the store answers. ErrNoMeta is an answer.
func (r *Reconciler) reachable(err error) error {
	now := r.now().UTC()
	if err == nil || errors.Is(err, redisstore.ErrNoMeta) {
		r.status.set(now, CondStoreUnavailable, False, Reachable, "")
		return nil
	}
	code := StoreUnavailable
	if errors.Is(err, redisstore.ErrConflict) || errors.Is(err, redisstore.ErrHeld) || errors.Is(err, ErrNotLeader) {
		code = StoreConflict
	} else {
		r.status.set(now, CondStoreUnavailable, True, code, err.Error())
	}
	r.store.spec = nil // what it holds now must be read, not assumed
	if r.target != nil {
		r.status.set(now, CondApplied, Unknown, code, err.Error())
	}
	return err
}

// bring makes the store hold the target from whatever it holds now.
func (r *Reconciler) bring(ctx context.Context) error {
	var err error
	for range 3 {
		if err = r.bringOnce(ctx); !errors.Is(err, redisstore.ErrConflict) {
			break
		}
		r.metrics.applies.WithLabelValues("conflict").Inc()
		if r.leased() {
			if err = r.contested(ctx); err != nil {
				break
			}
			continue
		}
		if lease, lerr := r.cfg.Store.Lease(ctx); lerr == nil {
			r.store.epoch = max(r.store.epoch, lease.Term)
		}
	}
	return r.reachable(err)
}

func (r *Reconciler) bringOnce(ctx context.Context) error {
	live, err := r.cfg.Store.Live(ctx)
	empty := errors.Is(err, redisstore.ErrNoMeta)
	if err != nil && !empty {
		return err
	}
	if err := r.outrank(ctx, live.Meta); err != nil {
		return err
	}
	if err := r.outnumber(live.Meta); err != nil {
		return err
	}
	if err := r.adoptOverrides(ctx, r.target.spec); err != nil {
		return err
	}
	r.trace.plan()
	found, err := r.compare(ctx, r.desire(r.target.spec))
	if err != nil {
		return err
	}
	meta := r.metaFor(live.Meta)
	c := redisstore.Change{Set: found.set, Delete: found.del, Meta: meta}
	if !bytes.Equal(live.Spec, r.target.spec.Bytes()) {
		c.Spec = r.target.spec.Bytes()
		found.drift.system("spec")
	}
	if b := r.target.bundle(); !bytes.Equal(live.Bundle, b) {
		c.Bundle = b
		found.drift.system("bundle")
	}
	read := live.Meta
	read.Message = ""
	switch {
	case !empty && read == meta && c.Spec == nil && c.Bundle == nil && found.drift.total() == 0:
		r.isLive(ctx, meta, nil)
		return nil
	case !empty && onlyTerm(read, meta) && c.Spec == nil && c.Bundle == nil && found.drift.total() == 0:
		return r.beginTerm(ctx, r.fence(live.Meta), meta)
	case empty && len(r.pending) == 0:
		return r.write(ctx, KindRefill, &found.drift, r.fence(live.Meta), c)
	case read.Generation < meta.Generation || empty || read.Pending != "":
		return r.write(ctx, KindApply, nil, r.fence(live.Meta), c)
	}
	if read != meta && !onlyTerm(read, meta) {
		found.drift.system("meta")
	}
	return r.write(ctx, KindRepair, &found.drift, r.fence(live.Meta), c)
}

// outnumber gives the target a number that the store's generation does not exceed:
// meta is a floor, unless it is forged beyond all counting. Equal content takes the store's number over.
func (r *Reconciler) outnumber(live redisstore.Meta) error {
	if live.Generation <= r.target.Number || live.Generation >= redisstore.MaxGeneration {
		return nil
	}
	g := r.target.Generation
	g.Kind, g.Number, g.At, g.Raised, g.RaisedMany = KindResume, live.Generation, r.now().UTC(), nil, false
	if live.Digest != g.Digest || live.Commit != g.Commit {
		g.Number++
	}
	if err := r.folder.append(g); err != nil {
		return fmt.Errorf("counting on from generation %d of the store: %w", live.Generation, err)
	}
	r.history.add(g)
	t := *r.target
	t.Generation = g
	r.target = &t
	if r.cursor.Checked != "" {
		r.cursor.Generation = g.Number
	}
	r.status.Verified = r.mark(r.target)
	return nil
}

// metaFor is the meta of the target over what is live. What a person or another
// instance wrote into fields that do not say what is live is kept, when all the rest
// is the target's and this process did not write it otherwise.
func (r *Reconciler) metaFor(live redisstore.Meta) redisstore.Meta {
	g := r.target.Generation
	r.store.epoch = max(r.store.epoch, live.Epoch, 1)
	if r.leased() {
		r.store.epoch = r.term()
	}
	m := redisstore.Meta{
		Generation: g.Number, Epoch: r.store.epoch, Commit: g.Commit, Version: g.Version, Digest: g.Digest,
		Environment: g.Environment, AppliedAt: r.now().UTC().Format(time.RFC3339Nano), Reconciler: r.cfg.name(),
	}
	kept := live
	if r.store.meta.Generation == g.Number && r.store.meta.Digest == g.Digest {
		kept = r.store.meta
	}
	if kept.Generation == m.Generation && kept.Digest == m.Digest && kept.Commit == m.Commit && (live.Epoch == m.Epoch || r.leased()) {
		m.AppliedAt, m.Attestation = kept.AppliedAt, kept.Attestation
		if live.Epoch == m.Epoch {
			m.Reconciler = kept.Reconciler
		}
	}
	if r.cfg.Key != nil && !r.vouchedFor(m) {
		m.Attestation = r.attest(m)
	}
	return m
}

// attest signs what meta says is live. Without a signature readers who ask for one
// keep what they have, which is better than not applying.
func (r *Reconciler) attest(m redisstore.Meta) string {
	bundle, err := r.cfg.Key.Sign(context.Background(), m.Attested())
	if err != nil {
		r.log.Error("signing what is live", slog.Any("error", err))
		return ""
	}
	return string(bundle)
}

// step applies the difference of two specs to a store that is known to hold the first.
func (r *Reconciler) step(ctx context.Context) error {
	r.trace.plan()
	set, del := flags.ChangedEntries(r.store.spec, r.target.spec)
	c := redisstore.Change{Meta: r.metaFor(r.store.meta), Bundle: r.target.bundle(), Delete: del}
	kind := KindSignatures
	if r.store.spec != r.target.spec {
		kind, c.Spec = KindApply, r.target.spec.Bytes()
	}
	want := r.desire(r.target.spec)
	set, c.Delete = beneath(want, r.store.layer.layer, set, del)
	var buf []byte
	for _, k := range set {
		entry, _ := want.entry(k)
		at := len(buf)
		buf = entry.AppendJSON(buf)
		c.Set = append(c.Set, redisstore.KV{Key: k, Value: buf[at:len(buf):len(buf)]})
	}
	err := r.write(ctx, kind, nil, r.fence(r.store.meta), c)
	if errors.Is(err, redisstore.ErrConflict) {
		r.metrics.applies.WithLabelValues("conflict").Inc()
		r.store.spec = nil
		return r.bring(ctx)
	}
	return r.reachable(err)
}

// isApplied says whether the store was last seen to hold the target.
func (r *Reconciler) isApplied() bool {
	return r.target != nil && r.store.spec == r.target.spec && bytes.Equal(r.store.bundle, r.target.bundle()) && r.store.layer.version == r.over.version
}

// apply brings a newly accepted generation, or newer signatures, into the store.
func (r *Reconciler) apply(ctx context.Context) error {
	if r.store.spec == nil {
		return r.bring(ctx)
	}
	if r.store.spec == r.target.spec && bytes.Equal(r.store.bundle, r.target.bundle()) {
		return r.relayer(ctx)
	}
	return r.step(ctx)
}

// write makes a change live and reports it. What was accepted is reported as such, the
// generations that nobody ever saw as superseded.
func (r *Reconciler) write(ctx context.Context, kind Kind, drift *Drift, fence redisstore.Fence, c redisstore.Change) error {
	r.trace.planned(kind, len(c.Set), len(c.Delete))
	own := r.newEvent(kind)
	g := r.target.Generation
	own.Environment = g.Environment
	own.Commit, own.Generation, own.Version, own.Digest, own.Signers, own.Drift = g.Commit, g.Number, g.Version, g.Digest, g.Signers, drift
	announce := kind != KindApply || len(r.pending) == 0
	if announce {
		if err := r.intent(ctx, own); err != nil {
			return err
		}
	}
	if r.beforeApply != nil {
		r.beforeApply()
	}
	started, traced := r.now(), r.trace.time("apply")
	var counts redisstore.Counts
	err := r.whileLeading(ctx, func(ctx context.Context) (err error) { counts, err = r.cfg.Store.Apply(ctx, fence, c); return err })
	r.metrics.took("apply", r.now().Sub(started))
	r.trace.share(traced(wroteAttrs(kind, counts.Set, counts.Deleted), err))
	if errors.Is(err, redisstore.ErrConflict) || errors.Is(err, ErrNotLeader) {
		return err // planned anew, by whoever leads, and reported then
	}
	if err != nil {
		r.metrics.applies.WithLabelValues("error").Inc()
		if announce {
			own.Outcome, own.Code, own.Error = OutcomePending, StoreUnavailable, err.Error()
			r.outcome(ctx, own)
		}
		return err
	}
	if r.afterApply != nil {
		r.afterApply()
	}
	r.metrics.applies.WithLabelValues("ok").Inc()
	r.metrics.written.WithLabelValues("set").Add(float64(counts.Set))
	r.metrics.written.WithLabelValues("deleted").Add(float64(counts.Deleted))
	done := &Counts{Set: counts.Set, Deleted: counts.Deleted, Keys: counts.Keys, Commands: counts.Commands}
	c.Meta.Message = ""
	r.isLive(ctx, c.Meta, done)
	if announce {
		own.Outcome, own.Counts = OutcomeApplied, done
		r.outcome(ctx, own)
	}
	r.drifted(kind, drift)
	return nil
}

// isLive takes note that the store holds the target. done is what was written, nil
// when it held it already.
func (r *Reconciler) isLive(ctx context.Context, meta redisstore.Meta, done *Counts) {
	now := r.now().UTC()
	s := &r.store
	s.meta, s.spec, s.bundle = meta, r.target.spec, r.target.bundle()
	for i, e := range r.pending {
		e.Outcome = OutcomeSuperseded
		if i == len(r.pending)-1 {
			e.Outcome, e.Counts = OutcomeApplied, done
			if wait := now.Sub(e.Committed).Seconds(); done != nil && wait >= 0 {
				r.metrics.becameLive(e, wait)
			}
		}
		r.outcome(ctx, e)
	}
	r.pending = nil
	at, err := time.Parse(time.RFC3339, meta.AppliedAt)
	if err != nil {
		at = now
	}
	r.status.Applied = r.mark(r.target)
	r.status.Applied.Epoch, r.status.Applied.At = meta.Epoch, at.UTC()
	r.showLive(ctx, done)
	r.status.set(now, CondStoreUnavailable, False, Reachable, "")
	r.status.set(now, CondApplied, True, CodeLive, "")
}

// keep puts the accepted bytes into the state folder, for a start without git. It comes
// after the apply, since losing it costs a look into git.
func (r *Reconciler) keep() error {
	if r.target == nil || r.store.kept == r.target.Digest {
		return nil
	}
	if err := r.folder.keepSpec(r.target.Digest, r.target.spec.Bytes(), r.target.bundles); err != nil {
		return fmt.Errorf("keeping the accepted spec: %w", err)
	}
	r.store.kept = r.target.Digest
	return nil
}
