package redisstore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// heal does what a reconciler does that finds a live set it does not trust: it
// reads everything back and applies the whole difference.
func heal(t testing.TB, s *redisstore.Store, want []redisstore.KV, m redisstore.Meta) redisstore.Counts {
	t.Helper()
	ctx := t.Context()
	live, err := s.Meta(ctx)
	if err != nil && !errors.Is(err, redisstore.ErrNoMeta) {
		t.Fatal(err)
	}
	known := map[flags.Key]bool{}
	for _, kv := range want {
		known[kv.Key] = true
	}
	got, err := s.Read(ctx, keys(want))
	if err != nil {
		t.Fatal(err)
	}
	c := redisstore.Change{Meta: m, Spec: []byte("spec of " + m.Version), Bundle: []byte("{}\n")}
	for i, kv := range want {
		if string(got[i]) != string(kv.Value) {
			c.Set = append(c.Set, kv)
		}
	}
	foreign := map[flags.Key]bool{}
	for scan, more := s.NewScan(), true; more; {
		var found []flags.Key
		if found, more, err = scan.Next(ctx); err != nil {
			t.Fatal(err)
		}
		for _, k := range found {
			if !known[k] && !foreign[k] {
				foreign[k] = true
				c.Delete = append(c.Delete, k)
			}
		}
	}
	return mustApply(t, s, live.Fence(), c)
}

// expectLive fails unless exactly this generation and these entries are live.
func expectLive(t testing.TB, s *redisstore.Store, want []redisstore.KV, generation uint64) {
	t.Helper()
	live, err := s.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if live.Meta.Generation != generation || live.Meta.Pending != "" {
		t.Errorf("live is %+v, want generation %d and nothing pending", live.Meta, generation)
	}
	expectEntries(t, s, want)
}

// A large apply is cut off by kill -9 of Redis after each of its chunks in turn. A
// Redis that remembers comes back half-written and says so; one that forgets comes
// back empty.
func TestKilledRedisInTheMidstOfAnApply(t *testing.T) {
	for name, conf := range map[string][]string{"remembers": {"--appendonly", "yes", "--appendfsync", "always"}, "forgets": nil} {
		t.Run(name, func(t *testing.T) {
			r := flagtest.Redis(t, conf...)
			s := openWith(t, redisstore.Options{URL: r.URL(), Timeout: 30 * time.Second})
			old, next := many(25_000, 10), many(23_000, 20)
			for chunk := 1; chunk <= 2; chunk++ {
				generation := uint64(2 * chunk)
				heal(t, s, old, meta(generation-1, 1))
				fence := mustMeta(t, s).Fence()
				done := 0
				s.BetweenChunks(func() {
					if done++; done == chunk {
						r.Kill()
					}
				})
				_, err := s.Apply(t.Context(), fence, redisstore.Change{Set: next, Delete: keys(old[23_000:]), Meta: meta(generation, 1)})
				s.BetweenChunks(nil)
				if !errors.Is(err, redisstore.ErrUnavailable) {
					t.Fatalf("the apply through a killed Redis: %v", err)
				}
				r.Start()
				m := mustMeta(t, s)
				if name == "remembers" {
					if m.Generation != generation-1 || !strings.Contains(m.Pending, "generation") {
						t.Errorf("after chunk %d meta is %+v: nothing says that the apply is unfinished", chunk, m)
					}
					// A plan from specs alone has not seen the mark and may not clear it.
					_, err := s.Apply(t.Context(), fence, redisstore.Change{Set: many(1, 30), Meta: meta(generation, 1)})
					if !errors.Is(err, redisstore.ErrConflict) {
						t.Errorf("a plan that ignores the unfinished apply: %v", err)
					}
					if _, err := s.Repair(t.Context(), m.Fence(), many(1, 30), nil); !errors.Is(err, redisstore.ErrConflict) {
						t.Errorf("a repair that ignores the unfinished apply: %v", err)
					}
				} else if m.Generation != 0 || m.Pending != "" {
					t.Errorf("after chunk %d a Redis that forgets has %+v", chunk, m)
				}
				heal(t, s, next, meta(generation, 2))
				expectLive(t, s, next, generation)
			}
		})
	}
}

// A Redis that comes back with all it had, between two chunks, does not stop an apply.
func TestRestartedRedisInTheMidstOfAnApply(t *testing.T) {
	r := flagtest.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	s := open(t, r.URL(), "")
	next := many(25_000, 20)
	heal(t, s, many(25_000, 10), meta(1, 1))
	s.BetweenChunks(r.Restart)
	mustApply(t, s, mustMeta(t, s).Fence(), redisstore.Change{Set: next, Meta: meta(2, 1)})
	expectLive(t, s, next, 2)
}

// The writer dies instead: another one finishes its work.
func TestKilledWriterInTheMidstOfAnApply(t *testing.T) {
	everywhereURL(t, func(t *testing.T, url string) {
		s := open(t, url, "")
		next := many(25_000, 20)
		heal(t, s, many(25_000, 10), meta(1, 1))
		ctx, die := context.WithCancel(t.Context())
		s.BetweenChunks(die)
		if _, err := s.Apply(ctx, mustMeta(t, s).Fence(), redisstore.Change{Set: next, Meta: meta(2, 1)}); !errors.Is(err, context.Canceled) {
			t.Fatalf("the cancelled apply: %v", err)
		}
		other := open(t, s.Address(), "")
		if m := mustMeta(t, other); m.Pending == "" || m.Generation != 1 {
			t.Fatalf("meta %+v", m)
		}
		heal(t, other, next, meta(2, 2))
		expectLive(t, other, next, 2)
	})
}

func TestFlushedInTheMidstOfAnApply(t *testing.T) {
	everywhereURL(t, func(t *testing.T, url string) {
		s := open(t, url, "")
		next := many(25_000, 20)
		heal(t, s, many(25_000, 10), meta(1, 1))
		fence := mustMeta(t, s).Fence()
		s.BetweenChunks(func() { rawClient(t, s).FlushAll(context.Background()) })
		if _, err := s.Apply(t.Context(), fence, redisstore.Change{Set: next, Meta: meta(2, 1)}); !errors.Is(err, redisstore.ErrConflict) {
			t.Fatalf("the apply over a flush: %v", err)
		}
		s.BetweenChunks(nil)
		heal(t, s, next, meta(2, 1))
		expectLive(t, s, next, 2)
	})
}

func TestPausedRedisIsUnavailableAndThenWhole(t *testing.T) {
	r := flagtest.Redis(t)
	s := openWith(t, redisstore.Options{URL: r.URL(), Timeout: 200 * time.Millisecond})
	patient := open(t, r.URL(), "")
	heal(t, patient, many(50, 10), meta(1, 1))
	fence := mustMeta(t, patient).Fence()
	r.Pause()
	_, err := s.Apply(t.Context(), fence, redisstore.Change{Set: many(50, 20), Meta: meta(2, 1)})
	if !errors.Is(err, redisstore.ErrUnavailable) {
		t.Errorf("apply: %v", err)
	}
	if _, err := s.Meta(t.Context()); !errors.Is(err, redisstore.ErrUnavailable) || !strings.Contains(err.Error(), "reading flags:v1:meta") {
		t.Errorf("meta: %v", err)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, redisstore.ErrUnavailable) {
		t.Errorf("ping: %v", err)
	}
	r.Resume()
	heal(t, patient, many(50, 20), meta(2, 1))
	expectLive(t, patient, many(50, 20), 2)
}

// Redis dies between the transaction and its answer, from the client's view: a
// proxy swallows the answer. The store finds out by itself that the write was done.
func TestUnansweredTransactionIsLookedUp(t *testing.T) {
	r := flagtest.Redis(t)
	p := newProxy(t, r.Addr())
	s := open(t, "redis://"+p.addr, "")
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.swallow("EXEC")
	if _, err := s.Apply(t.Context(), redisstore.Fence{}, redisstore.Change{Set: many(3, 1), Meta: meta(1, 1)}); err != nil {
		t.Fatalf("the write was done, yet: %v", err)
	}
	expectLive(t, s, many(3, 1), 1)

	p.cut("EXEC")
	fence := mustMeta(t, s).Fence()
	if _, err := s.Apply(t.Context(), fence, redisstore.Change{Set: many(3, 2), Meta: meta(2, 1)}); !errors.Is(err, redisstore.ErrUnavailable) {
		t.Fatalf("the write was not done, yet: %v", err)
	}
	expectLive(t, s, many(3, 1), 1)
}

func TestUnreachableRedisSaysWhereAndNoCredentials(t *testing.T) {
	r := flagtest.Redis(t)
	url := "redis://someone:s3cret@" + r.Addr()
	s := open(t, url, "")
	if err := s.Ping(t.Context()); !errors.Is(err, redisstore.ErrDenied) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("with wrong credentials: %v", err)
	}
	r.Kill()
	_, err := s.Apply(t.Context(), redisstore.Fence{}, redisstore.Change{Meta: meta(1, 1)})
	if !errors.Is(err, redisstore.ErrUnavailable) || !strings.Contains(err.Error(), r.Addr()) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("with nobody there: %v", err)
	}
}

// Writers race from the same plan: in each generation exactly one wins, and what is
// live afterwards is the winner's whole change.
func TestRacingWriters(t *testing.T) {
	everywhereURL(t, func(t *testing.T, url string) {
		a := open(t, url, "")
		stores := []*redisstore.Store{a, open(t, a.Address(), ""), open(t, a.Address(), "")}
		const rounds = 40
		for generation := uint64(1); generation <= rounds; generation++ {
			fence := mustMeta(t, a).Fence()
			errs := make([]error, len(stores))
			var wg sync.WaitGroup
			for i, s := range stores {
				wg.Go(func() {
					m := meta(generation, 1)
					m.Reconciler = string(rune('a' + i))
					_, errs[i] = s.Apply(t.Context(), fence, redisstore.Change{Set: many(300, i), Meta: m, Spec: []byte(m.Reconciler)})
				})
			}
			wg.Wait()
			winner := -1
			for i, err := range errs {
				switch {
				case err == nil && winner >= 0:
					t.Fatalf("generation %d: both %d and %d won", generation, winner, i)
				case err == nil:
					winner = i
				case !errors.Is(err, redisstore.ErrConflict):
					t.Fatal(err)
				}
			}
			if winner < 0 {
				t.Fatalf("generation %d: nobody won: %v", generation, errs)
			}
			live, err := a.Live(t.Context())
			if err != nil || live.Meta.Reconciler != string(rune('a'+winner)) || string(live.Spec) != live.Meta.Reconciler {
				t.Fatalf("generation %d, won by %d: %+v, %v", generation, winner, live, err)
			}
			expectEntries(t, a, many(300, winner))
		}
	})
}
