package redisstore

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Pool lets stores on one server, or one Cluster, share connections: a thousand
// namespaces of one Redis then need some twenty of them, and one more for all that
// they listen to. On a Cluster each store listens for itself: to every master, and to
// its peers. Who has another address, credentials or time-out shares nothing.
// The zero value is ready.
type Pool struct {
	mu    sync.Mutex
	lines map[[sha256.Size]byte]*line
}

// line is one client, and what its users listen to.
type line struct {
	key   [sha256.Size]byte
	root  Store // holds the client
	users int

	mu     sync.Mutex
	events *redis.PubSub // nil while nobody listens
	heard  map[string][]*func(channel string)
}

// poolSize is how many connections a server gets from all who share them.
const poolSize = 32

// join gives a store the client of the line for its address.
func (p *Pool) join(s *Store, o Options) error {
	a := s.address
	key := sha256.Sum256(fmt.Appendf(nil, "%d %q %q %q %d %q %v %v %v", a.kind, a.user, a.pass, a.hosts, a.db, a.query.Encode(), a.master+" "+a.scheme(), s.timeout, o.ReadReplicas))
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lines[key]
	if l == nil {
		l = &line{key: key, root: Store{address: a, timeout: s.timeout, log: s.log}, heard: map[string][]*func(string){}}
		if err := l.root.dial(o); err != nil {
			return err
		}
		if p.lines == nil {
			p.lines = map[[sha256.Size]byte]*line{}
		}
		p.lines[key] = l
	}
	l.users++
	s.client, s.single, s.cluster, s.line, s.pool = l.root.client, l.root.single, l.root.cluster, l, p
	return nil
}

// Sharing is how many stores use this one's connections, itself among them.
func (s *Store) Sharing() int {
	if s.line == nil {
		return 1
	}
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.line.users
}

// leave closes the client when its last user goes.
func (p *Pool) leave(l *line) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.users--; l.users > 0 {
		return nil
	}
	delete(p.lines, l.key)
	return l.root.client.Close()
}

// listen hears one pattern over the connection that all users of the line listen on,
// until ctx ends. That it may is asked on a connection of its own, so that a denial
// is its own as well.
func (l *line) listen(ctx context.Context, pattern string, heard func(channel string)) error {
	try := l.root.single.PSubscribe(ctx, pattern)
	err := mayListen(ctx, try, dialTimeout)
	_ = try.Close()
	if err != nil {
		return wrap(err, "listening to %s", pattern)
	}
	l.add(ctx, pattern, &heard)
	<-ctx.Done()
	l.remove(pattern, &heard)
	return ctx.Err()
}

func (l *line) add(ctx context.Context, pattern string, heard *func(string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.events == nil {
		l.events = l.root.single.PSubscribe(context.WithoutCancel(ctx))
		go l.dispatch(l.events.Channel(redis.WithChannelSize(4096), redis.WithChannelHealthCheckInterval(3*time.Second)))
	}
	if l.heard[pattern] == nil {
		// Where it cannot be sent now, the driver sends it when it connects again.
		_ = l.events.PSubscribe(ctx, pattern)
	}
	l.heard[pattern] = append(l.heard[pattern], heard)
}

func (l *line) remove(pattern string, heard *func(string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.heard[pattern] = slices.DeleteFunc(l.heard[pattern], func(h *func(string)) bool { return h == heard }); len(l.heard[pattern]) > 0 {
		return
	}
	delete(l.heard, pattern)
	if len(l.heard) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		defer cancel()
		_ = l.events.PUnsubscribe(ctx, pattern)
		return
	}
	_ = l.events.Close()
	l.events = nil
}

func (l *line) dispatch(events <-chan *redis.Message) {
	for m := range events {
		l.mu.Lock()
		all := slices.Clone(l.heard[m.Pattern])
		l.mu.Unlock()
		for _, heard := range all {
			(*heard)(m.Channel)
		}
	}
}
