package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// What a caller can act on.
var (
	// ErrNotReady: no source has flags. Open returns it, with what each source said.
	ErrNotReady = errors.New("no source has flags")
	// ErrStoreLost: Redis answers and holds no generation. It was flushed or replaced,
	// or no reconciler has filled it yet; it does not mean that there are no flags.
	ErrStoreLost = errors.New("the store is lost: Redis holds no generation")
	// ErrUnverified: what a source gave does not verify, so it is not served.
	ErrUnverified = errors.New("not verified")
	// ErrClosed: the client is closed.
	ErrClosed = errors.New("client is closed")
)

// Client answers from memory and keeps that memory current. It is safe for
// concurrent use; a service needs one.
//
// A developer may set RAMPART_FORCE_<FEATURE>=on|off, with the feature's name in
// upper case and underscores for all but letters and digits, to decide a feature
// in his own process; the log warns about it.
type Client struct {
	current atomic.Pointer[Snapshot]
	lazy    *lazyTenants // nil unless Options.Tenants
	opts    Options
	env     environment
	log     *slog.Logger
	forced  forced
	tenant  string
	// namespace is the Redis source's, set before any source that asks for it starts.
	namespace string
	skew      atomic.Int64                                      // of the clock, for tests
	spread    atomic.Pointer[func(time.Duration) time.Duration] // of whole reads, for tests
	redis     atomic.Pointer[redisFeed]                         // the last one opened, for tests

	cancel context.CancelFunc
	loops  sync.WaitGroup
	events eventQueue

	mu      sync.Mutex // the state of the sources
	serving int        // index of the source that serves, len(sources) before there is any
	feeds   []feedState
	changed chan struct{} // closed and replaced whenever the state changes
	closed  bool
}

// feed is a source at work: it delivers to its sink until the context ends.
type feed interface {
	run(ctx context.Context, to sink)
}

type feedState struct {
	name      string
	cancel    context.CancelFunc
	confirmed time.Time // when the source last said that its flags are current
	err       error     // what is wrong since then
}

// Open starts a client and waits until a source has flags. The context bounds
// the wait, not the client. When none has any within [Options].Wait, the error
// wraps [ErrNotReady] and what each source said.
func Open(ctx context.Context, o Options) (*Client, error) {
	c := &Client{opts: o, env: readEnvironment(o.Environ), log: cmp.Or(o.Log, slog.Default())}
	if len(o.Sources) == 0 {
		c.opts.Sources = c.env.sources(c.log)
	}
	if err := c.opts.check(); err != nil {
		return nil, err
	}
	if o.Cache != "" {
		c.opts.Sources = withCache(c.opts.Sources, o.Cache)
	}
	var err error
	if c.forced, err = c.env.forced(); err != nil {
		return nil, fmt.Errorf("%w: %w", errOptions, err)
	}
	c.forced.shout(c.log)
	c.tenant = cmp.Or(o.DefaultTenant, c.env["DEFAULT_TENANT"], "public")
	c.serving = len(c.opts.Sources)
	c.feeds = make([]feedState, len(c.opts.Sources))
	c.changed = make(chan struct{})
	c.current.Store(&Snapshot{flags: emptyFlags(), tenant: c.tenant, forced: c.forced})
	if o.Tenants > 0 {
		c.lazy = newLazyTenants(o.Tenants)
	}

	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c.cancel = cancel
	c.loops.Go(func() { c.events.run(running) })
	if err := c.start(ctx, running); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// start waits until a source has flags, or, with StartEmpty, leaves that to the
// background. A preferred source that cannot be opened at all is an error.
func (c *Client) start(ctx, running context.Context) error {
	first, err := c.opts.Sources[0].open(c)
	if err != nil {
		return fmt.Errorf("opening %s: %w", c.opts.Sources[0].name, err)
	}
	if c.opts.StartEmpty {
		c.loops.Go(func() { c.sequence(running, running, first) })
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.wait())
	defer cancel()
	c.sequence(ctx, running, first)
	c.await(ctx, func() bool { return c.serving < len(c.feeds) })
	if c.ready() {
		return nil
	}
	return c.notReady()
}

// sequence sets one source after the other to work until one has flags: the next
// one when the one before has failed for the first time, or takes half of the
// time that Open waits. A fallback must not serve for a moment, only because the
// preferred source has much to read.
func (c *Client) sequence(ctx, running context.Context, first feed) {
	for rank, src := range c.opts.Sources {
		f := first
		feedCtx, stop := context.WithCancel(running)
		c.mu.Lock()
		c.feeds[rank].name, c.feeds[rank].cancel = src.name, stop
		c.mu.Unlock()
		to := sink{c, rank}
		if rank > 0 {
			var err error
			if f, err = src.open(c); err != nil {
				to.fail(fmt.Errorf("opening it: %w", err))
				continue
			}
		}
		c.loops.Go(func() { work(feedCtx, f, to) })
		short, cancel := context.WithTimeout(ctx, c.opts.wait()/2)
		c.await(short, func() bool { return c.serving < len(c.feeds) || c.feeds[rank].err != nil })
		cancel()
		if c.ready() || ctx.Err() != nil {
			return
		}
	}
}

func work(ctx context.Context, f feed, to sink) {
	f.run(ctx, to)
	if closer, ok := f.(interface{ close() }); ok {
		closer.close()
	}
}

// await waits until cond holds, which is asked with the lock held.
func (c *Client) await(ctx context.Context, cond func() bool) {
	for {
		c.mu.Lock()
		done, changed := cond(), c.changed
		c.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func (c *Client) ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.serving < len(c.feeds)
}

// Ready waits until there are flags. It is for clients that were opened with
// StartEmpty.
func (c *Client) Ready(ctx context.Context) error {
	c.await(ctx, func() bool { return c.serving < len(c.feeds) || c.closed })
	if c.ready() {
		return nil
	}
	return c.notReady()
}

func (c *Client) notReady() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	errs := []error{ErrNotReady}
	if c.closed {
		errs = []error{ErrClosed}
	}
	for _, f := range c.feeds {
		if f.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.name, f.err))
		} else if f.name != "" {
			errs = append(errs, fmt.Errorf("%s: no answer", f.name))
		}
	}
	return errors.Join(errs...)
}

// Close ends the client's work in the background, and waits for it: a listener
// of OnChange must not call it. Decisions go on to be answered, from the last
// snapshot.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	c.signal()
	c.mu.Unlock()
	c.cancel()
	c.loops.Wait()
	if !first {
		return ErrClosed
	}
	return nil
}

func (c *Client) now() time.Time { return time.Now().Add(time.Duration(c.skew.Load())) }

// signal wakes whoever waits for a change of state. The lock is held.
func (c *Client) signal() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Snapshot is what decides now: hold on to it for decisions that belong
// together. With [Options].Tenants it holds those tenants only that were asked
// about; see [Client.Load].
func (c *Client) Snapshot() *Snapshot { return c.current.Load() }

// Enabled reports whether the feature is on. An empty tenant is the default
// tenant, an empty user lets the tenant decide.
func (c *Client) Enabled(feature, tenant, user string) bool {
	if c.lazy != nil {
		return c.loaded(tenant).Enabled(feature, tenant, user)
	}
	return c.current.Load().Enabled(feature, tenant, user)
}

// Decide is Enabled with the reason, the version, the generation and the commit
// that it rests on.
func (c *Client) Decide(feature, tenant, user string) Decision {
	return c.loaded(tenant).Decide(feature, tenant, user)
}

// All yields the decision of every feature, by name.
func (c *Client) All(tenant, user string) iter.Seq2[string, Decision] {
	return c.loaded(tenant).All(tenant, user)
}

// For prepares several decisions about one subject, all from one generation.
func (c *Client) For(tenant, user string) Subject { return c.loaded(tenant).For(tenant, user) }

// loaded is the snapshot that knows this tenant.
func (c *Client) loaded(tenant string) *Snapshot {
	if c.lazy == nil {
		return c.current.Load()
	}
	return c.lazy.snapshot(c, cmp.Or(tenant, c.tenant))
}

// Load makes sure that a tenant's entries are in memory. Only clients with
// [Options].Tenants need it, and only those that want to know about the error: a
// decision loads its tenant by itself.
func (c *Client) Load(ctx context.Context, tenant string) error {
	if c.lazy == nil {
		return nil
	}
	return c.lazy.load(ctx, c, cmp.Or(tenant, c.tenant))
}

// Status says what serves and how well.
type Status struct {
	Source      string        `json:"source"`
	Generation  uint64        `json:"generation"`
	Commit      string        `json:"commit,omitempty"`
	Version     string        `json:"version,omitempty"`
	Environment string        `json:"environment,omitempty"`
	Entries     int           `json:"entries"`
	Bytes       int           `json:"bytes"`
	Stale       bool          `json:"stale"`
	Age         time.Duration `json:"age"` // since the source last confirmed what serves
	// Errors holds what is wrong with each source that was tried, by its name.
	Errors map[string]string `json:"errors,omitempty"`
	// Forced are the settings by which this process differs from what is live.
	Forced map[string]bool `json:"forced,omitempty"`
}

// Status is for health pages and logs.
func (c *Client) Status() Status {
	snap := c.current.Load()
	s := Status{
		Source: snap.Source, Generation: snap.Generation, Commit: snap.Commit, Version: snap.Version,
		Environment: snap.Environment, Entries: snap.flags.Len(), Bytes: snap.flags.Size(), Forced: c.forced,
	}
	s.Age, s.Stale = c.Stale()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.feeds {
		if f.err == nil {
			continue
		}
		if s.Errors == nil {
			s.Errors = map[string]string{}
		}
		s.Errors[f.name] = f.err.Error()
	}
	return s
}

// Stale reports how long ago the source that serves last confirmed its flags,
// and whether that is out of order: the source fails, or has not answered for
// three times the polling interval. Before there are any flags, stale is true.
func (c *Client) Stale() (age time.Duration, stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serving == len(c.feeds) {
		return 0, true
	}
	f := &c.feeds[c.serving]
	age = max(0, c.now().Sub(f.confirmed))
	return age, f.err != nil || f.name == redisName && age > 3*c.opts.poll()
}
