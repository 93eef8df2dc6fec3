package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

// lazyWait is how long a decision waits for its tenant to be read.
const lazyWait = time.Second

// lazyTenants knows which tenants are in the snapshot. The loop of the Redis
// source alone reads tenants and drops them; everybody else asks it to.
type lazyTenants struct {
	max   int
	known sync.Map // tenant -> *lazyTenant that is, or was a moment ago, in the snapshot
	tick  atomic.Uint64

	mu     sync.Mutex
	feed   *redisFeed
	failed error                   // the loop cannot read now
	wanted map[string][]chan error // asked for, and who waits
}

type lazyTenant struct {
	name string
	used atomic.Uint64 // tick of the last use
	gone atomic.Bool   // set before the snapshot without it serves; never reset
}

func newLazyTenants(most int) *lazyTenants {
	return &lazyTenants{max: most, wanted: map[string][]chan error{}}
}

// snapshot is the current one once it holds the tenant. When the tenant cannot
// be read, it is an empty one: the feature's own entry must not stand in for one
// of the tenant that nobody has seen.
func (l *lazyTenants) snapshot(c *Client, tenant string) *Snapshot {
	for range 3 {
		if s := l.holding(c, tenant); s != nil {
			return s
		}
		ctx, cancel := context.WithTimeout(context.Background(), lazyWait)
		err := l.load(ctx, c, tenant)
		cancel()
		if err != nil {
			break
		}
	}
	if s := l.holding(c, tenant); s != nil {
		return s
	}
	s := *c.current.Load()
	s.flags = emptyFlags()
	return &s
}

// holding is the current snapshot if it holds the tenant, else nil. A tenant is
// marked as gone before it leaves the snapshot, so one that is not gone
// afterwards was in what was loaded.
func (l *lazyTenants) holding(c *Client, tenant string) *Snapshot {
	v, ok := l.known.Load(tenant)
	s := c.current.Load()
	if s.Source != redisName {
		return s // a fallback, which holds everything
	}
	if !ok {
		return nil
	}
	t := v.(*lazyTenant)
	if t.gone.Load() {
		return nil
	}
	if now := l.tick.Load(); t.used.Load() != now {
		t.used.Store(now)
	}
	return s
}

// load asks the loop for the tenant and waits for its answer.
func (l *lazyTenants) load(ctx context.Context, c *Client, tenant string) error {
	if l.holding(c, tenant) != nil {
		return nil
	}
	answer := make(chan error, 1)
	l.mu.Lock()
	if l.failed != nil || l.feed == nil {
		err := cmp.Or(l.failed, ErrNotReady)
		l.mu.Unlock()
		return fmt.Errorf("loading tenant %q: %w", tenant, err)
	}
	l.wanted[tenant] = append(l.wanted[tenant], answer)
	feed := l.feed
	l.mu.Unlock()
	feed.nudge()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("loading tenant %q: %w", tenant, ctx.Err())
	}
}

// wants reports whether an entry belongs into the snapshot.
func (l *lazyTenants) wants(k flags.Key) bool {
	if k.Tenant == flags.DefaultTenant {
		return true
	}
	_, ok := l.known.Load(k.Tenant)
	return ok
}

// of yields the entries of a spec that belong into the snapshot.
func (l *lazyTenants) of(spec *flags.Spec) iter.Seq2[flags.Key, flags.Entry] {
	return func(yield func(flags.Key, flags.Entry) bool) {
		for k, e := range spec.Entries() {
			if l.wants(k) && !yield(k, e) {
				return
			}
		}
	}
}

// trouble tells everybody who waits that the loop cannot read.
func (l *lazyTenants) trouble(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	if err == nil {
		return
	}
	for _, waiting := range l.wanted {
		for _, answer := range waiting {
			answer <- err
		}
	}
	clear(l.wanted)
}

// awaited reports whether somebody waits for a tenant.
func (l *lazyTenants) awaited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.wanted) > 0
}

// loadTenants reads the tenants that were asked for, and drops those not asked
// about for longest. It is called by the loop, with the snapshot up to date.
func (f *redisFeed) loadTenants(ctx context.Context) error {
	l := f.c.lazy
	l.mu.Lock()
	wanted := maps.Clone(l.wanted)
	clear(l.wanted)
	l.mu.Unlock()
	if len(wanted) == 0 {
		return nil
	}
	err := f.readTenants(ctx, slices.Collect(maps.Keys(wanted)))
	if errors.Is(err, errMoving) {
		l.mu.Lock()
		for t, waiting := range wanted {
			l.wanted[t] = append(l.wanted[t], waiting...)
		}
		l.mu.Unlock()
		return err
	}
	for _, waiting := range wanted {
		for _, answer := range waiting {
			answer <- err
		}
	}
	return err
}

func (f *redisFeed) readTenants(ctx context.Context, tenants []string) error {
	l := f.c.lazy
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	features := slices.Collect(f.flags.Features())
	keys := make([]flags.Key, 0, len(features)*len(tenants))
	for _, t := range tenants {
		for _, name := range features {
			keys = append(keys, flags.Key{Feature: name, Tenant: t})
		}
	}
	values, err := f.store.Read(ctx, keys)
	if err != nil {
		return err
	}
	meta, err := f.store.Meta(ctx)
	if errors.Is(err, redisstore.ErrNoMeta) {
		return ErrStoreLost
	}
	if err != nil {
		return err
	}
	if !sameLive(meta, f.meta) {
		return errMoving
	}
	next, err := f.flags.Update(f.changes(keys, values))
	if err != nil {
		return err
	}
	f.flags = next
	f.to.install(f.same(next))
	now := l.tick.Add(1)
	for _, name := range tenants {
		t := &lazyTenant{name: name}
		t.used.Store(now)
		l.known.Store(name, t)
	}
	return f.dropTenants()
}

// same is what serves already, with other tenants in it.
func (f *redisFeed) same(compiled *flags.Snapshot) delivery {
	d := delivery{compiled: compiled, quiet: true}
	if s := f.to.served(); s != nil {
		d.Snapshot = *s
	}
	return d
}

func (f *redisFeed) dropTenants() error {
	l := f.c.lazy
	var all []*lazyTenant
	for _, v := range l.known.Range {
		all = append(all, v.(*lazyTenant))
	}
	if len(all) <= l.max {
		return nil
	}
	slices.SortFunc(all, func(a, b *lazyTenant) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
	// A tenth more than needed, so that not every new tenant drops an old one.
	drop := all[:min(len(all)-1, len(all)-l.max+l.max/10)]
	for _, t := range drop {
		l.known.Delete(t.name)
		t.gone.Store(true)
	}
	next, err := f.flags.Update(func(yield func(flags.Key, *flags.Entry) bool) {
		for _, t := range drop {
			for name := range f.flags.Features() {
				if !yield(flags.Key{Feature: name, Tenant: t.name}, nil) {
					return
				}
			}
		}
	})
	if err != nil {
		return err
	}
	f.flags = next
	f.to.install(f.same(next))
	return nil
}

func emptyFlags() *flags.Snapshot {
	s, _ := flags.CompileEntries(maps.All(map[flags.Key]flags.Entry(nil))) // nothing is not too large
	return s
}
