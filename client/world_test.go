package client_test

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// world is a Redis and the store that a reconciler would have.
type world struct {
	t     testing.TB
	redis *flagtest.RedisServer
	store *redisstore.Store
	last  *flags.Spec
	// attest, when set, signs meta.
	attest func(redisstore.Meta) string
	bundle []byte
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, redis: flagtest.Redis(t)}
	var err error
	if w.store, err = redisstore.Open(t.Context(), redisstore.Options{URL: w.redis.URL()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	return w
}

// spec is a flags.json with one feature, receipts.
func spec(version, receipts string) string {
	return fmt.Sprintf(`{"version":%q,"environment":"prod","features":{"receipts":%s,"attest":{"pct":0}}}`, version, receipts)
}

// apply makes a spec live as the next generation, as a reconciler does.
func (w *world) apply(src string) redisstore.Meta {
	w.t.Helper()
	s, err := flags.Decode("test", []byte(src))
	if err != nil {
		w.t.Fatal(err)
	}
	live, err := w.store.Meta(w.t.Context())
	if err != nil && !strings.Contains(err.Error(), "no generation") {
		w.t.Fatal(err)
	}
	m := redisstore.Meta{
		Generation: live.Generation + 1, Epoch: 1, Commit: fmt.Sprintf("%040d", live.Generation+1), Version: s.Version,
		Digest: s.Digest(), Environment: s.Environment, AppliedAt: time.Now().UTC().Format(time.RFC3339), Reconciler: "test",
	}
	return w.applyAs(live.Fence(), m, s)
}

func (w *world) applyAs(fence redisstore.Fence, m redisstore.Meta, s *flags.Spec) redisstore.Meta {
	w.t.Helper()
	if w.attest != nil {
		m.Attestation = w.attest(m)
	}
	c := redisstore.Change{Meta: m, Spec: s.Bytes(), Bundle: w.bundle}
	have := map[flags.Key]bool{}
	for k, e := range s.Entries() {
		have[k] = true
		if w.last != nil {
			if old, ok := w.last.Entry(k.Feature, k.Tenant); ok && old.Equal(e) && fence != (redisstore.Fence{}) {
				continue
			}
		}
		c.Set = append(c.Set, redisstore.KV{Key: k, Value: e.AppendJSON(nil)})
	}
	if w.last != nil {
		for k := range w.last.Entries() {
			if !have[k] {
				c.Delete = append(c.Delete, k)
			}
		}
	}
	if _, err := w.store.Apply(w.t.Context(), fence, c); err != nil {
		w.t.Fatal(err)
	}
	w.last = s
	return m
}

// refill writes the last spec into an empty Redis, as a reconciler does after a
// flush.
func (w *world) refill(generation uint64) {
	w.t.Helper()
	w.applyAs(redisstore.Fence{}, redisstore.Meta{
		Generation: generation, Epoch: 2, Version: w.last.Version, Digest: w.last.Digest(), Environment: w.last.Environment,
		Commit: strings.Repeat("a", 40), AppliedAt: time.Now().UTC().Format(time.RFC3339),
	}, w.last)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// open makes a client that polls so rarely that only messages can be quick,
// unless o says otherwise.
func (w *world) open(o client.Options) *client.Client {
	w.t.Helper()
	if o.Sources == nil {
		o.Sources = []client.Source{client.Redis(redisstore.Options{URL: w.redis.URL()})}
	}
	return open(w.t, o)
}

func open(t testing.TB, o client.Options) *client.Client {
	t.Helper()
	if o.Log == nil {
		o.Log = quiet()
	}
	if o.Environ == nil {
		o.Environ = []string{}
	}
	if o.Wait == 0 {
		o.Wait = 20 * time.Second
	}
	c, err := client.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// events collects what OnChange tells.
type events struct {
	mu  sync.Mutex
	all []client.Event
}

func listen(c *client.Client) *events {
	e := &events{}
	c.OnChange(func(ev client.Event) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.all = append(e.all, ev)
	})
	return e
}

func (e *events) count(kind client.EventKind) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, ev := range e.all {
		if ev.Kind == kind {
			n++
		}
	}
	return n
}

func (e *events) last(kind client.EventKind) (last client.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.all {
		if ev.Kind == kind {
			last = ev
		}
	}
	return last
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	flagtest.Eventually(t, what, cond)
}
