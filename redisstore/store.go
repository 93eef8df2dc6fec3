// Package redisstore holds the live entries: it is the only package that names a
// Redis key. Everything lies under one namespace, a prefix that ends in a colon
// (flags:v1: by default), and nothing outside it is read, written or deleted:
//
//	<ns><feature>:<tenant>  string  the resolved entry, see flags.ParseEntry
//	<ns>spec                string  flags.json, the bytes that were signed
//	<ns>bundle              string  its sigstore bundles, see JoinBundles
//	<ns>meta                hash    generation, epoch, commit, digest …, see Meta
//	<ns>changes             stream  one message a generation, see Message; and the
//	                                pub/sub channel of the same name
//	<ns>lease               hash    holder, term, until, see Lease
//	<ns>overrides           hash    id -> signed statement
//
// Entries have exactly one colon after the namespace, system keys none: keys are
// told apart by parsing.
//
// A writer reads [Store.Meta], makes a plan, and gives it to [Store.Apply] with
// the [Fence] of what it read; Apply refuses with [ErrConflict] when something else
// is live by then. A reader takes [Store.Live] and waits in [Store.Subscribe].
// docs/redis.md describes the format for other languages.
package redisstore

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// Options say where the store is.
type Options struct {
	// URL is the address: redis://, rediss://, unix:// or sentinel://, several
	// addresses for a Cluster; docs/redis.md has the forms. Empty means an embedded
	// Redis on loopback that keeps nothing, for trying things out.
	URL string
	// Namespace is the prefix of every key. Empty means DefaultNamespace; a missing
	// last colon is added.
	Namespace string
	// Timeout bounds one exchange with a server. Zero means 10 seconds. A long answer, a
	// spec first of all, may take thirty times as long, as long as no pause in it is longer.
	Timeout time.Duration
	// ReadReplicas lets reads go to replicas of a Cluster or of a Sentinel's master.
	// What they answer may be older by their lag. For evaluators; writes through such
	// a store to a Sentinel's replica end in ErrReadOnly.
	ReadReplicas bool
	// Pool, where it is set, shares connections with other stores on the same server.
	Pool *Pool
	// Log gets what a person should know, the embedded Redis first of all. Nil means
	// silence.
	Log *slog.Logger
}

// Store is one namespace of one Redis. It may be used by several goroutines.
type Store struct {
	client   redis.UniversalClient
	single   *redis.Client        // nil on a Cluster
	cluster  *redis.ClusterClient // nil elsewhere
	embedded *miniredis.Miniredis // nil elsewhere
	line     *line                // nil where the client is this store's alone
	pool     *Pool
	once     sync.Once // leaves the pool
	ns       namespace
	address  address
	timeout  time.Duration
	replicas bool // reads may go to them
	log      *slog.Logger

	promotions promotions

	// chunk is atomicWrites, or less in tests.
	chunk int
	// apart, in tests, makes one Redis count as many slots.
	apart bool
	// betweenChunks, in tests, runs after each chunk of a large apply.
	betweenChunks func()
}

// Open makes a store. It reads files that the address names (certificates,
// passwords) and connects later, at the first use, so that a Redis which is down
// is no reason not to start. The error never holds a credential.
func Open(ctx context.Context, o Options) (*Store, error) {
	ns, err := parseNamespace(o.Namespace)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &Store{ns: ns, timeout: o.Timeout, replicas: o.ReadReplicas, log: o.Log, chunk: atomicWrites}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.URL == "" {
		if o.URL, err = s.startEmbedded(); err != nil {
			return nil, err
		}
	}
	if s.address, err = parseAddress(o.URL); err != nil {
		return nil, err
	}
	if o.Pool != nil && s.embedded == nil {
		err = o.Pool.join(s, o)
	} else {
		err = s.dial(o)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close lets go of every connection that it shares with nobody, and ends an embedded Redis and all it held.
func (s *Store) Close() (err error) {
	if s.line != nil {
		s.once.Do(func() { err = s.pool.leave(s.line) })
		return err
	}
	err = s.client.Close()
	if s.embedded != nil {
		s.embedded.Close()
	}
	return err
}

// Ping asks whether Redis answers.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	return wrap(s.client.Ping(ctx).Err(), "asking %s whether it is there", s.address)
}

// bound ends one exchange, retries and all, when the store's timeout is over.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.timeout)
}

// Namespace is the prefix of every key, with its last colon.
func (s *Store) Namespace() string { return string(s.ns) }

// Address is where the store is, without credentials.
func (s *Store) Address() string { return s.address.String() }

// Embedded tells whether the Redis lives inside this process and ends with it.
func (s *Store) Embedded() bool { return s.embedded != nil }

// oneSlot tells whether one transaction reaches every key: always on one Redis,
// and on a Cluster when the namespace has a hash tag.
func (s *Store) oneSlot() bool { return !s.apart && (s.cluster == nil || s.ns.tagged()) }

// startEmbedded starts a Redis in this process and returns its address.
func (s *Store) startEmbedded() (string, error) {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr("127.0.0.1:0"); err != nil {
		return "", errors.Join(errors.New("starting the embedded redis"), err)
	}
	s.embedded = m
	s.log.Warn("no redis address given: using an embedded one, which forgets everything when this process ends",
		slog.String("address", "redis://"+m.Addr()))
	return "redis://" + m.Addr(), nil
}

// RouteDriverLog sends what the Redis driver says about broken and mended
// connections to log, at level debug. The driver has one log for the whole
// process, so a command calls this once and a library never.
func RouteDriverLog(log *slog.Logger) { redis.SetLogger(driverLog{log}) }

var _ io.Closer = (*Store)(nil)
