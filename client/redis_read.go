package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// touched are the entries that the messages name, when they lead from what
// serves to what is live without a gap.
func (f *redisFeed) touched(messages []redisstore.Message) (map[flags.Key]bool, bool) {
	if len(messages) == 0 || f.flags == nil || f.whole {
		return nil, false
	}
	at := f.meta.Message
	for len(messages) > 0 && messages[0].Prev != at {
		messages = messages[1:] // older than what was read already
	}
	keys := map[flags.Key]bool{}
	for _, m := range messages {
		if m.Prev != at || m.All || f.believe(metaOf(m)) != nil {
			return nil, false
		}
		for _, k := range append(m.SetKeys(), m.DeletedKeys()...) {
			keys[k] = true
		}
		at = m.ID
	}
	return keys, len(messages) > 0
}

func metaOf(m redisstore.Message) redisstore.Meta {
	return redisstore.Meta{Generation: m.Generation, Epoch: m.Epoch, Environment: m.Environment}
}

// readTouched reads some entries again. They belong to the message last when
// meta, read after them, still names it; otherwise it reports false.
func (f *redisFeed) readTouched(ctx context.Context, last string, touched map[flags.Key]bool) (bool, error) {
	keys := make([]flags.Key, 0, len(touched))
	features := map[string]bool{}
	for k := range touched {
		if f.c.lazy == nil || f.c.lazy.wants(k) {
			keys = append(keys, k)
		}
		features[k.Feature] = true
	}
	values, err := f.store.Read(ctx, keys)
	if err != nil {
		return false, err
	}
	meta, err := f.store.Meta(ctx)
	if errors.Is(err, redisstore.ErrNoMeta) {
		return false, ErrStoreLost
	}
	if err != nil {
		return false, err
	}
	if meta.Message != last || meta.Pending != "" {
		return false, nil
	}
	next, err := f.flags.Update(f.changes(keys, values))
	if err != nil {
		return false, err
	}
	f.deliver(meta, delivery{compiled: next, features: sortedKeys(features)}, nil)
	return true, nil
}

// changes are entries as they were read; one that is missing was deleted. One
// that cannot be read stays as it is, or is off where it is new: a reader that
// took it for missing would fall back to the feature's own entry.
func (f *redisFeed) changes(keys []flags.Key, values [][]byte) iter.Seq2[flags.Key, *flags.Entry] {
	return func(yield func(flags.Key, *flags.Entry) bool) {
		for i, k := range keys {
			var entry *flags.Entry
			if values[i] != nil {
				e, ok := f.parse(k, values[i])
				if !ok {
					continue
				}
				entry = &e
			}
			if !yield(k, entry) {
				return
			}
		}
	}
}

func (f *redisFeed) parse(k flags.Key, value []byte) (flags.Entry, bool) {
	e, err := flags.ParseEntry(value)
	if err == nil {
		return e, true
	}
	f.c.log.Warn("an entry in Redis cannot be read", slog.String("entry", k.String()), slog.Any("err", err))
	if f.flags != nil {
		if _, tenant := f.flags.Entry(k.Feature, k.Tenant); tenant == k.Tenant {
			return flags.Entry{}, false
		}
	}
	return flags.Entry{Version: "unreadable"}, true
}

// readAll reads the whole live set: from the spec, which is one consistent
// value, and, where that is missing or damaged and nothing has to be verified,
// from the entries.
func (f *redisFeed) readAll(ctx context.Context) error {
	live, err := f.store.Live(ctx)
	if errors.Is(err, redisstore.ErrNoMeta) {
		return ErrStoreLost
	}
	if err != nil {
		return err
	}
	if err := f.believe(live.Meta); err != nil {
		return err
	}
	spec, err := f.readSpec(live)
	if err != nil && f.replicas {
		return f.lagging(err)
	}
	if err != nil {
		if f.c.opts.Verify != nil {
			return err
		}
		f.c.log.Warn("the spec in Redis cannot be used, so the entries are read", slog.Any("err", err))
		return f.readEntries(ctx, live.Meta)
	}
	signers, err := f.verify(live, spec)
	if err != nil && f.replicas {
		return f.lagging(err)
	}
	if err != nil {
		return err
	}
	statements := live.Overrides
	if statements == nil {
		if statements, err = f.store.Overrides(ctx); err != nil {
			return err
		}
	}
	overrides, bad := f.c.overrides(spec, statements)
	if bad != nil && f.replicas && f.c.opts.Verify == nil {
		return f.lagging(bad)
	}
	if bad != nil {
		f.c.log.Warn("a break-glass statement does not count", slog.Any("err", bad))
		if f.c.opts.Verify == nil {
			return f.readEntries(ctx, live.Meta)
		}
	}
	return f.compile(ctx, live, spec, overrides, signers)
}

// lagging is the answer where replicas gave parts that do not belong together. Most
// likely one of them is behind and soon is not. The entries are no way around it: they
// come from replicas too, and nothing shows of which generation they are.
func (f *redisFeed) lagging(err error) error {
	if f.lags.IsZero() {
		f.lags = f.c.now()
	}
	if f.c.now().Sub(f.lags) < lagAfter {
		return errMoving
	}
	return fmt.Errorf("what replicas hold does not belong together: %w", err)
}

func (f *redisFeed) readSpec(live redisstore.Live) (*flags.Spec, error) {
	if live.Spec == nil {
		return nil, errors.New("the spec is missing")
	}
	spec, err := f.decoder.Decode("redis spec", live.Spec)
	if f.c.opts.Verify == nil {
		f.decoder = flags.Decoder{} // it would keep the whole document in memory
	}
	if err != nil {
		return nil, err
	}
	if live.Meta.Digest != "" && live.Meta.Digest != spec.Digest() {
		return nil, fmt.Errorf("the spec's digest is %s, meta says %s", spec.Digest(), live.Meta.Digest)
	}
	return spec, nil
}

func (f *redisFeed) verify(live redisstore.Live, spec *flags.Spec) ([]string, error) {
	if f.c.opts.Verify == nil {
		return nil, nil
	}
	parts, err := redisstore.SplitBundles(live.Bundle)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	bundles := make([]signing.NamedBundle, len(parts))
	for i, p := range parts {
		bundles[i] = signing.NamedBundle{Path: fmt.Sprintf("bundle %d", i+1), Data: p}
	}
	return f.c.verify(check{spec: spec, previous: f.spec, bundles: bundles, meta: &live.Meta})
}

// compile makes the snapshot of a spec with overrides on top, if both still are
// what is live.
func (f *redisFeed) compile(ctx context.Context, live redisstore.Live, spec *flags.Spec, overrides []*trust.Override, signers []string) error {
	entries := spec.Entries()
	if f.c.lazy != nil {
		entries = f.c.lazy.of(spec)
	}
	compiled, err := flags.CompileEntries(entries)
	if err != nil {
		return err
	}
	var expires time.Time
	for _, o := range overrides {
		if expires.IsZero() || o.Expires.Before(expires) {
			expires = o.Expires
		}
	}
	if lowered := trust.Layer(spec, overrides); len(lowered) > 0 {
		compiled, err = compiled.Update(func(yield func(flags.Key, *flags.Entry) bool) {
			for k, e := range lowered {
				if f := f.c.lazy; f != nil && !f.wants(k) {
					continue
				}
				if !yield(k, &e) {
					return
				}
			}
		})
		if err != nil {
			return err
		}
	}
	meta := live.Meta
	after, err := f.store.Meta(ctx)
	after.Pending, meta.Pending = "", "" // an apply that is under way does not touch the spec
	if err != nil || !sameLive(after, meta) {
		if err == nil || errors.Is(err, redisstore.ErrNoMeta) {
			err = errMoving
		}
		return err
	}
	d := delivery{compiled: compiled}
	d.Signers = signers
	f.size = len(live.Spec)
	if f.spec != nil {
		d.features = changedFeatures(f.spec, spec)
	}
	f.expires = expires
	var signed *cacheLine
	if f.c.opts.Verify != nil {
		f.spec = spec
		signed = &cacheLine{Spec: live.Spec, Bundle: live.Bundle}
	}
	f.deliver(live.Meta, d, signed)
	return nil
}

// readEntries takes the snapshot from the entries themselves. They belong
// together when meta is the same before and after.
func (f *redisFeed) readEntries(ctx context.Context, meta redisstore.Meta) error {
	if meta.Pending != "" {
		return errMoving
	}
	var failed error
	compiled, err := flags.CompileEntries(func(yield func(flags.Key, flags.Entry) bool) {
		for kv, err := range f.store.Entries(ctx) {
			if err != nil {
				failed = err
				return
			}
			if f.c.lazy != nil && !f.c.lazy.wants(kv.Key) {
				continue
			}
			e, ok := f.parse(kv.Key, kv.Value)
			if !ok {
				e, _ = f.flags.Entry(kv.Key.Feature, kv.Key.Tenant)
			}
			if !yield(kv.Key, e) {
				return
			}
		}
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	after, err := f.store.Meta(ctx)
	if err != nil && !errors.Is(err, redisstore.ErrNoMeta) {
		return err
	}
	if err != nil || !sameLive(after, meta) {
		return errMoving
	}
	f.expires = time.Time{}
	f.deliver(meta, delivery{compiled: compiled}, nil)
	return nil
}
