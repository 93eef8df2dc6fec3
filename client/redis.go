package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
)

const (
	redisName = "redis"
	// askTimeout bounds one small question to Redis, loadTimeout reading everything: the
	// spec, which the store bounds by itself, or the entries.
	askTimeout  = 3 * time.Second
	loadTimeout = 10 * time.Minute
	// firstRetry is the pause after a first failure; it doubles up to the polling
	// interval.
	firstRetry = 50 * time.Millisecond
	// rewindAfter is how long an older generation than the one that serves has to be
	// live before it is believed: a Redis that lost its last writes in a failover is
	// healed by then, one that was set up anew is not.
	rewindAfter = time.Minute
	// lagAfter is how long replicas may lag before that is told as a failure.
	lagAfter = 10 * time.Second
)

// What Redis may say that is not believed.
var (
	errRewound     = errors.New("redis went back to an older generation")
	errEnvironment = errors.New("it is of another environment")
	errMoving      = errors.New("the store changed while it was read")
	errSpread      = errors.New("the whole spec is read a moment later, for others read it too")
)

// redisFeed follows one namespace of a Redis. It hears of each change, asks from
// time to time in case it heard nothing, reads the entries that were touched
// where it knows them, and everything where it does not.
type redisFeed struct {
	c     *Client
	store *redisstore.Store
	cache *cacheFile // nil without one

	mu       sync.Mutex // what was heard and not looked at yet
	messages []redisstore.Message
	resync   bool
	wake     chan struct{} // capacity 1

	// What was delivered last.
	to      sink
	meta    redisstore.Meta
	flags   *flags.Snapshot // nil before the first
	spec    *flags.Spec     // kept to verify the next by, nil otherwise
	decoder flags.Decoder
	rewound time.Time // since when an older generation is live
	expires time.Time // when the next override in force ends; zero for none

	size   int           // of the spec that was read last
	readAt time.Time     // when everything may be read again; zero: nobody asked
	again  time.Duration // the window after whole reads that failed; zero after others

	replicas bool      // what is read may be older than what was read before it
	whole    bool      // so that parts cannot be put together, or signatures cover the whole
	lags     time.Time // since when replicas give parts that do not belong together
}

func newRedisFeed(c *Client, o redisstore.Options) (*redisFeed, error) {
	if o.URL == "" {
		return nil, fmt.Errorf("%w: no Redis address", errOptions)
	}
	if o.ReadReplicas && c.lazy != nil {
		// A tenant's entries do not say of which generation they are.
		return nil, fmt.Errorf("%w: Tenants and ReadReplicas exclude each other: a replica that lags would give a tenant's old entries as current ones", errOptions)
	}
	if o.Log == nil {
		o.Log = c.log
	}
	store, err := redisstore.Open(context.Background(), o)
	if err != nil {
		return nil, err
	}
	f := &redisFeed{c: c, store: store, wake: make(chan struct{}, 1), replicas: o.ReadReplicas, whole: o.ReadReplicas || c.opts.Verify != nil}
	c.namespace = store.Namespace()
	c.redis.Store(f)
	if c.opts.Cache != "" {
		f.cache = &cacheFile{path: c.opts.Cache}
	}
	if c.lazy != nil {
		c.lazy.mu.Lock()
		c.lazy.feed = f
		c.lazy.mu.Unlock()
	}
	return f, nil
}

func (f *redisFeed) close() { _ = f.store.Close() }

func (f *redisFeed) run(ctx context.Context, to sink) {
	f.to = to
	if f.cache != nil {
		f.meta.Generation = f.cache.floor(f.c)
		defer f.cache.flush(f.c)
	}
	var listening sync.WaitGroup
	defer listening.Wait()
	retry := firstRetry
	for first := true; ; first = false {
		err := f.pass(ctx)
		if first { // from what was read on nothing is missed
			read := f.meta.Message
			listening.Go(func() { _ = f.store.SubscribeAfter(ctx, read, f.hear) })
		}
		if ctx.Err() != nil {
			return
		}
		pause := jitter(f.c.opts.poll())
		switch {
		case errors.Is(err, errMoving):
			pause = jitter(firstRetry / 4)
		case errors.Is(err, errSpread):
			pause = max(f.readAt.Sub(f.c.now()), time.Millisecond)
		case err != nil:
			to.fail(err)
			pause, retry = jitter(retry), min(2*retry, f.c.opts.poll())
		default:
			to.confirm()
			retry = firstRetry
			if f.cache != nil && f.c.now().Sub(f.cache.saved) >= cacheEvery {
				f.cache.flush(f.c)
			}
		}
		// Where the end of an override was due and could not be read, the pause is the
		// failure's.
		vain := err != nil && (f.again > 0 || !errors.Is(err, errSpread))
		if until := f.expires.Sub(f.c.now()); !f.expires.IsZero() && until < pause && (until > 0 || !vain) {
			pause = max(until, time.Millisecond)
		}
		f.rest(ctx, pause)
	}
}

// pass brings the snapshot up to date, and then loads the tenants that somebody
// waits for.
func (f *redisFeed) pass(ctx context.Context) error {
	err := f.refresh(ctx)
	if f.c.lazy == nil {
		return err
	}
	if err == nil {
		f.c.lazy.trouble(nil)
		err = f.loadTenants(ctx)
	}
	if err != nil && !errors.Is(err, errMoving) && !errors.Is(err, errSpread) {
		f.c.lazy.trouble(err)
	}
	return err
}

// rest waits until something was heard, or for a time.
func (f *redisFeed) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-f.wake:
	case <-t.C:
	}
}

// hear notes a message, and leaves the work to the loop.
func (f *redisFeed) hear(m redisstore.Message) {
	f.mu.Lock()
	if m.Kind == redisstore.KindResync || len(f.messages) > 256 {
		f.messages, f.resync = nil, true
	} else {
		f.messages = append(f.messages, m)
	}
	f.mu.Unlock()
	f.nudge()
}

func (f *redisFeed) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// heard takes what was heard since the last call.
func (f *redisFeed) heard() (messages []redisstore.Message, resync bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	messages, resync = f.messages, f.resync
	f.messages, f.resync = nil, false
	return messages, resync
}

// unheard puts messages back that could not be acted upon.
func (f *redisFeed) unheard(messages []redisstore.Message, resync bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.messages = append(messages, f.messages...)
	f.resync = f.resync || resync
}

// refresh makes the snapshot equal to what is live. When it returns nil, the
// snapshot was so at a moment during the call.
func (f *redisFeed) refresh(ctx context.Context) error {
	if f.readAt.After(f.c.now()) && !f.hasty() {
		return errSpread // what is heard meanwhile is in what is read then
	}
	messages, _ := f.heard() // a resync is no more than a reason to ask for meta
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if keys, ok := f.touched(messages); ok {
		if done, err := f.readTouched(asking, messages[len(messages)-1].ID, keys); err != nil || done {
			if err != nil {
				f.unheard(messages, false)
			}
			return err
		}
	}
	meta, err := f.store.Meta(asking)
	if errors.Is(err, redisstore.ErrNoMeta) {
		return ErrStoreLost
	}
	if err != nil {
		return err
	}
	if err := f.believe(meta); err != nil {
		return err
	}
	if f.flags != nil && sameLive(meta, f.meta) && !f.due() {
		f.readAt, f.again = time.Time{}, 0
		return nil
	}
	if f.flags != nil && meta.Pending != "" {
		return f.underWay(meta)
	}
	if f.flags != nil && f.readAt.IsZero() && !f.hasty() {
		f.readAt = f.c.now().Add(f.c.within(window(f.size)))
		return errSpread
	}
	return f.readWhole(ctx)
}

// sameLive reports whether two metas stand for the same entries. Who wrote them, and in
// which term, makes no difference: a leader that takes over changes nothing.
func sameLive(a, b redisstore.Meta) bool {
	return a.Message == b.Message && a.Generation == b.Generation && a.Digest == b.Digest &&
		a.Pending == "" && b.Pending == "" && a.Attestation == b.Attestation
}

// underWay is the answer while an apply in chunks runs. What serves is the
// generation before it, and still the newest that is whole.
func (f *redisFeed) underWay(meta redisstore.Meta) error {
	if meta.Generation == f.meta.Generation && meta.Digest == f.meta.Digest {
		return nil
	}
	return errMoving
}

// believe refuses what no reconciler of this environment would make live after
// what serves.
func (f *redisFeed) believe(m redisstore.Meta) error {
	want := f.c.opts.Environment
	if want == "" && f.flags != nil {
		want = f.meta.Environment
	}
	if want != "" && m.Environment != want {
		return fmt.Errorf("redis: %w: %q, not %q", errEnvironment, m.Environment, want)
	}
	if m.Generation >= f.meta.Generation {
		f.rewound = time.Time{}
		return nil
	}
	err := fmt.Errorf("%w: %d, after %d", errRewound, m.Generation, f.meta.Generation)
	if v := f.c.opts.Verify; v != nil && len(v.Reconciler) > 0 {
		return fmt.Errorf("%w: %w", ErrUnverified, err)
	}
	if f.flags == nil {
		return nil // only the cache knows better, and the cache proves nothing
	}
	if f.rewound.IsZero() {
		f.rewound = f.c.now()
	}
	if f.c.now().Sub(f.rewound) < rewindAfter {
		return err
	}
	return nil
}

// deliver makes what was read the snapshot that serves. signed is what the cache
// keeps where signatures count.
func (f *redisFeed) deliver(meta redisstore.Meta, d delivery, signed *cacheLine) {
	d.Generation, d.Commit, d.Version, d.Digest, d.Environment = meta.Generation, meta.Commit, meta.Version, meta.Digest, meta.Environment
	d.Revision = fmt.Sprintf("%d-%s", meta.Generation, cmp.Or(meta.Message, meta.Digest))
	if !f.expires.IsZero() { // the end of an override is a change that no message tells
		d.Revision += fmt.Sprintf("-%d", f.expires.UnixMilli())
	}
	if f.flags != nil && meta.Generation < f.meta.Generation {
		f.c.log.Warn("an older generation stays live in Redis and is served now",
			slog.Uint64("generation", meta.Generation), slog.Uint64("served", f.meta.Generation))
	}
	f.meta, f.flags, f.rewound, f.lags = meta, d.compiled, time.Time{}, time.Time{}
	f.to.install(d)
	if f.cache != nil {
		f.cache.changed(f.c, meta, d.compiled, signed)
	}
}
