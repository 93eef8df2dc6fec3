package reconciler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/trust"
)

// desired is what the store should hold: a spec, and over it what statements in force
// have lowered.
type desired struct {
	spec  *flags.Spec
	layer map[flags.Key]flags.Entry
}

// entry is what lands in Redis under k, if anything does.
func (d desired) entry(k flags.Key) (flags.Entry, bool) {
	if e, ok := d.layer[k]; ok {
		return e, true
	}
	return exactEntry(d.spec, k)
}

// keys are all that lands in Redis: the spec's, and tenants that have an entry only
// while a statement is in force.
func (d desired) keys() iter.Seq[flags.Key] {
	return func(yield func(flags.Key) bool) {
		for k := range d.spec.Entries() {
			if !yield(k) {
				return
			}
		}
		for k := range d.layer {
			if _, ok := exactEntry(d.spec, k); !ok && !yield(k) {
				return
			}
		}
	}
}

// desire is spec under the statements in force.
func (r *Reconciler) desire(spec *flags.Spec) desired {
	l := &r.over.layered
	if l.spec == spec && l.version == r.over.version {
		return desired{spec, l.layer}
	}
	var in []*trust.Override
	for _, f := range r.over.in {
		in = append(in, f.statement)
	}
	d := desired{spec: spec}
	if len(in) > 0 {
		d.layer = trust.Layer(spec, in)
	}
	if r.target != nil && spec == r.target.spec {
		*l = layered{spec, r.over.version, d.layer}
	}
	return d
}

// Entry is what is live for a tenant, with the statements in force.
func (l *Live) Entry(feature, tenant string) flags.Entry {
	if e, ok := l.Layer[flags.Key{Feature: feature, Tenant: tenant}]; ok {
		return e
	}
	f := l.Spec.Feature(feature)
	if f == nil {
		return flags.Entry{}
	}
	if f.Tenant(tenant) == nil {
		if e, ok := l.Layer[flags.Key{Feature: feature, Tenant: flags.DefaultTenant}]; ok {
			return e
		}
	}
	return f.Entry(tenant)
}

// Entries are all live entries, with the statements in force.
func (l *Live) Entries() iter.Seq2[flags.Key, flags.Entry] {
	d := desired{l.Spec, l.Layer}
	return func(yield func(flags.Key, flags.Entry) bool) {
		for k := range d.keys() {
			if e, _ := d.entry(k); !yield(k, e) {
				return
			}
		}
	}
}

// layOver brings the statements in force into the store: their entries, and the
// statements themselves for readers that verify.
func (r *Reconciler) layOver(ctx context.Context) error {
	var err error
	switch {
	case r.store.spec != r.target.spec || r.store.spec == nil:
		err = r.bring(ctx)
	case r.store.layer.version != r.over.version:
		err = r.relayer(ctx)
	}
	if err == nil {
		err = r.tellOverrides(ctx)
	}
	return err
}

// relayer writes the entries whose layer changed under the same generation.
func (r *Reconciler) relayer(ctx context.Context) error {
	now, was := r.desire(r.target.spec), desired{r.target.spec, r.store.layer.layer}
	touched := maps.Clone(was.layer)
	if touched == nil {
		touched = map[flags.Key]flags.Entry{}
	}
	maps.Copy(touched, now.layer)
	var set []redisstore.KV
	var del []flags.Key
	for k := range touched {
		e, ok := now.entry(k)
		if before, had := was.entry(k); had == ok && before.Equal(e) && before.Version == e.Version {
			continue
		}
		if ok {
			set = append(set, redisstore.KV{Key: k, Value: e.AppendJSON(nil)})
		} else {
			del = append(del, k)
		}
	}
	done := &Counts{}
	if len(set)+len(del) > 0 {
		counts, err := r.mend(ctx, set, del)
		if errors.Is(err, redisstore.ErrConflict) {
			r.store.spec = nil
			return r.bring(ctx)
		}
		if err != nil {
			return r.reachable(err)
		}
		done = &Counts{Set: counts.Set, Deleted: counts.Deleted, Keys: counts.Keys, Commands: counts.Commands}
	}
	r.showLive(ctx, done)
	return nil
}

// showLive takes note that the store holds the target's entries under the statements
// in force, and shows it to readers in this process.
func (r *Reconciler) showLive(ctx context.Context, done *Counts) {
	d := r.desire(r.target.spec)
	r.store.layer = layered{d.spec, r.over.version, d.layer}
	r.store.watch.reset(d, r.over.version)
	r.live.Store(&Live{
		Generation: r.target.Generation, Spec: d.spec, Layer: d.layer, Overrides: slices.Clone(r.status.Overrides), AppliedAt: r.status.Applied.At,
	})
	for _, e := range r.over.pending {
		e.Outcome, e.Counts = OutcomeApplied, done
		r.outcome(ctx, e)
	}
	r.over.pending = nil
}

// tellOverrides makes the store's statements those in force.
func (r *Reconciler) tellOverrides(ctx context.Context) error {
	there, err := r.cfg.Store.Overrides(ctx)
	if err != nil {
		return r.reachable(err)
	}
	want := map[string][]byte{}
	for _, f := range r.over.in {
		want[f.ID] = f.Sealed
	}
	if maps.EqualFunc(there, want, bytes.Equal) {
		r.over.told = true
		return nil
	}
	if r.over.told {
		r.log.Warn("the statements in Redis were changed by somebody; putting them right", slog.Int("found", len(there)), slog.Int("want", len(want)))
	}
	err = r.whileLeading(ctx, func(ctx context.Context) error { return r.cfg.Store.SetOverrides(ctx, r.fence(r.store.meta), want) })
	if errors.Is(err, redisstore.ErrConflict) {
		r.store.spec = nil // the next pass looks what is there
		return fmt.Errorf("writing the overrides: %w", err)
	}
	if err != nil {
		return r.reachable(err)
	}
	r.over.told = true
	return nil
}

// adoptOverrides takes over the statements that another instance left in force, or
// this one before its state folder was lost: those that hold over spec and were never
// seen here. It asks the store once.
func (r *Reconciler) adoptOverrides(ctx context.Context, spec *flags.Spec) error {
	if r.over.adopted || r.trust.policy == nil {
		return nil
	}
	there, err := r.cfg.Store.Overrides(ctx)
	if err != nil {
		return err
	}
	r.over.adopted = true
	r.takeOver(there, spec)
	return nil
}

// takeOver takes those of the statements into force that hold and were never seen here.
func (r *Reconciler) takeOver(there map[string][]byte, spec *flags.Spec) {
	for id, src := range there {
		if _, ok := r.over.used[id]; ok || len(r.over.in) >= maxInForce {
			continue
		}
		f, _, err := r.judgeOverride(src, spec, true)
		if err != nil || f.ID != id || len(f.statement.Entries(spec)) == 0 {
			if r.lead.passes.following {
				continue // the leader sees it too
			}
			r.log.Warn("a statement in Redis does not hold and is taken away", slog.String("id", id), slog.Any("error", err))
			continue
		}
		r.over.in = append(r.over.in, f)
		r.over.used[f.ID] = f.Expires
		r.over.unsaved = true
		r.overChanged()
	}
}

// beneath adds to what a new spec sets and deletes the entries of the layers over the
// old spec and over the new one.
func beneath(want desired, old map[flags.Key]flags.Entry, set, del []flags.Key) ([]flags.Key, []flags.Key) {
	if len(old) == 0 && len(want.layer) == 0 {
		return set, del
	}
	touched := map[flags.Key]bool{}
	for _, k := range set {
		touched[k] = true
	}
	for _, k := range del {
		touched[k] = true
	}
	for k := range old {
		touched[k] = true
	}
	for k := range want.layer {
		touched[k] = true
	}
	set, del = nil, nil
	for k := range touched {
		if _, ok := want.entry(k); ok {
			set = append(set, k)
		} else {
			del = append(del, k)
		}
	}
	return set, del
}
