package redisstore_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

func mustLease(t testing.TB, s *redisstore.Store, holder string, floor uint64) redisstore.Lease {
	t.Helper()
	l, err := s.AcquireLease(t.Context(), redisstore.Claim{Holder: holder, TTL: time.Hour, Floor: floor, Again: true})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// runOut makes the lease end now, as time would.
func runOut(t testing.TB, raw *redis.Client) {
	t.Helper()
	term, err := raw.HGet(t.Context(), "flags:v1:lease", "term").Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.HSet(t.Context(), "flags:v1:lease", "until."+term, 1).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestLeaseGoesFromHandToHand(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx := t.Context()
		if l, err := s.Lease(ctx); err != nil || l.Holder != "" || l.Held(time.Now()) {
			t.Errorf("before anyone: %+v, %v", l, err)
		}
		a := mustLease(t, s, "a", 0)
		if a.Term != 1 || !a.Held(time.Now()) || a.Held(time.Now().Add(61*time.Minute)) {
			t.Errorf("a has %+v", a)
		}
		other, err := s.AcquireLease(ctx, redisstore.Claim{Holder: "b", TTL: time.Hour, Again: true})
		if !errors.Is(err, redisstore.ErrHeld) || other.Holder != "a" || other.Term != 1 || !strings.Contains(err.Error(), `"a" has it in term 1`) {
			t.Errorf("b while a has it: %+v, %v", other, err)
		}
		if a, err = s.RenewLease(ctx, a, 2*time.Hour); err != nil || a.Term != 1 || !a.Held(time.Now().Add(119*time.Minute)) {
			t.Errorf("renewed: %+v, %v", a, err)
		}
		if again := mustLease(t, s, "a", 0); again.Term != 2 {
			t.Errorf("a, started anew, has %+v: a new process is a new term", again)
		}
		if _, err := s.RenewLease(ctx, a, time.Hour); !errors.Is(err, redisstore.ErrConflict) {
			t.Errorf("the old process of a renews: %v", err)
		}
		runOut(t, raw)
		b := mustLease(t, s, "b", 0)
		if b.Term != 3 {
			t.Errorf("b has %+v", b)
		}
		if err := s.ReleaseLease(ctx, a); err != nil {
			t.Errorf("giving back what is lost: %v", err)
		}
		if l, err := s.Lease(ctx); err != nil || l.Holder != "b" || !l.Held(time.Now()) {
			t.Errorf("b lost it to a's giving back: %+v, %v", l, err)
		}
		if err := s.ReleaseLease(ctx, b); err != nil {
			t.Error(err)
		}
		if c := mustLease(t, s, "c", 0); c.Term != 4 {
			t.Errorf("c has %+v", c)
		}
		raw.FlushAll(ctx)
		if d := mustLease(t, s, "d", 4); d.Term != 5 {
			t.Errorf("after a flush, with 4 on record: %+v", d)
		}
	})
}

func TestLeaseHasOneHolder(t *testing.T) {
	everywhereURL(t, func(t *testing.T, url string) {
		first := open(t, url, "")
		raw := rawClient(t, first)
		for round := range 20 {
			var wg sync.WaitGroup
			got := make([]error, 4)
			for i := range got {
				s := open(t, first.Address(), "")
				wg.Go(func() {
					_, got[i] = s.AcquireLease(t.Context(), redisstore.Claim{Holder: string(rune('a' + i)), TTL: time.Hour, Again: true})
				})
			}
			wg.Wait()
			holders := 0
			for _, err := range got {
				if err == nil {
					holders++
				} else if !errors.Is(err, redisstore.ErrHeld) {
					t.Fatal(err)
				}
			}
			if holders != 1 {
				t.Fatalf("round %d: %d hold the lease: %v", round, holders, got)
			}
			runOut(t, raw)
		}
	})
}

// What is wrong with a lease that somebody else wrote: it keeps nobody from leading for
// ever, and no term comes after one beyond all counting.
func TestForgedLease(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx := t.Context()
		key := "flags:v1:lease"
		for name, fields := range map[string][]any{
			"for ever":         {"holder", "evil", "owner", "evil", "term", 7, "until.7", int64(1) << 60},
			"the last term":    {"holder", "evil", "owner", "evil", "term", "18446744073709551615", "until.18446744073709551615", time.Now().Add(time.Hour).UnixMilli()},
			"no number":        {"holder", "evil", "owner", "evil", "term", "x", "until.x", time.Now().Add(time.Hour).UnixMilli()},
			"of another shape": nil,
		} {
			raw.Del(ctx, key)
			if fields == nil {
				raw.Set(ctx, key, "mine", 0)
			} else {
				raw.HSet(ctx, key, fields...)
			}
			l, err := s.AcquireLease(ctx, redisstore.Claim{Holder: "a", TTL: time.Minute, Floor: 3})
			if err != nil || l.Term < 4 || l.Term > 8 {
				t.Errorf("%s: %+v, %v", name, l, err)
			}
			if _, err := s.RenewLease(ctx, l, time.Minute); err != nil {
				t.Errorf("%s: renewing: %v", name, err)
			}
		}
	})
}

// Somebody deleted the lease, and another took it in a term of the same number, or a
// lower one: the old leader's writes are refused all the same.
func TestLeaseOfAnotherOwner(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx := t.Context()
		a, err := s.AcquireLease(ctx, redisstore.Claim{Holder: "a", TTL: time.Hour, Floor: 4})
		if err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, redisstore.Fence{Owner: "a"}, redisstore.Change{Set: many(2, 1), Meta: meta(1, a.Term)})
		for _, floor := range []uint64{4, 1} {
			raw.Del(ctx, "flags:v1:lease")
			if b, err := s.AcquireLease(ctx, redisstore.Claim{Holder: "b", TTL: time.Hour, Floor: floor}); err != nil || b.Term > a.Term {
				t.Fatalf("%+v, %v", b, err)
			}
			fence := mustMeta(t, s).Fence()
			fence.Term, fence.Owner = a.Term, "a"
			if _, err := s.Repair(ctx, fence, many(2, 2), nil); !errors.Is(err, redisstore.ErrConflict) {
				t.Errorf("a repairs: %v", err)
			}
			if _, err := s.Apply(ctx, fence, redisstore.Change{Set: many(2, 2), Meta: meta(2, a.Term)}); !errors.Is(err, redisstore.ErrConflict) {
				t.Errorf("a applies: %v", err)
			}
		}
		expectLive(t, s, many(2, 1), 1)
		raw.Del(ctx, "flags:v1:lease") // nobody has it: a may go on until it finds out
		fence := mustMeta(t, s).Fence()
		fence.Term, fence.Owner = a.Term, "a"
		if _, err := s.Repair(ctx, fence, many(2, 2), nil); err != nil {
			t.Error(err)
		}
	})
}

// Force takes the lease from whoever has it; notes outlive terms; what an old leader
// renews touches nothing; peers hear of it all.
func TestLeaseByForce(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		words := make(chan string, 64)
		listening := make(chan error, 1)
		go func() { listening <- s.HearPeers(ctx, func(word string) { words <- word }) }()
		heard := func(want string) {
			t.Helper()
			for {
				select {
				case word := <-words:
					if word == want {
						return
					}
				case <-time.After(30 * time.Second):
					t.Fatalf("nobody said %q", want)
				}
			}
		}
		flagtest.Eventually(t, "somebody to listen", func() bool {
			n, err := raw.Publish(ctx, "flags:v1:lease", "knock").Result()
			return err == nil && n > 0
		})
		a, err := s.AcquireLease(ctx, redisstore.Claim{Holder: "a", Owner: "1", Address: "10.0.0.1:8080", TTL: time.Hour})
		if err != nil || a.Address != "10.0.0.1:8080" || time.Since(a.Since).Abs() > time.Hour {
			t.Fatalf("%+v, %v", a, err)
		}
		heard(redisstore.PeerTaken)
		for _, change := range []func(*redisstore.Notes){ // each leaves the other's as it is
			func(n *redisstore.Notes) { n.Suspension = []byte(`{}`) },
			func(n *redisstore.Notes) { n.History = []byte(`[]`) },
		} {
			if _, err := s.ChangeNotes(ctx, a, change); err != nil {
				t.Fatal(err)
			}
		}
		heard(redisstore.PeerNote)
		if _, err := s.AcquireLease(ctx, redisstore.Claim{Holder: "a", Owner: "2", Again: true, TTL: time.Hour}); !errors.Is(err, redisstore.ErrHeld) {
			t.Errorf("another of the same name: %v", err)
		}
		b, err := s.AcquireLease(ctx, redisstore.Claim{Holder: "b", TTL: time.Hour, Force: true})
		if err != nil || b.Term != 2 || string(b.Notes.Suspension) != `{}` || string(b.Notes.History) != `[]` {
			t.Fatalf("%+v, %v", b, err)
		}
		if l, err := s.RenewLease(ctx, a, time.Hour); !errors.Is(err, redisstore.ErrConflict) || l.Holder != "b" {
			t.Errorf("a renews: %+v, %v", l, err)
		}
		none := func(n *redisstore.Notes) { *n = redisstore.Notes{} }
		if _, err := s.ChangeNotes(ctx, a, none); !errors.Is(err, redisstore.ErrConflict) {
			t.Errorf("a writes notes: %v", err)
		}
		if n := raw.HLen(ctx, "flags:v1:lease").Val(); n != 8 {
			t.Errorf("the hash has %d fields: %v", n, raw.HGetAll(ctx, "flags:v1:lease").Val())
		}
		if n, err := s.ChangeNotes(ctx, b, none); err != nil || !n.Equal(redisstore.Notes{}) || raw.HLen(ctx, "flags:v1:lease").Val() != 6 {
			t.Errorf("%+v, %v, %v", n, err, raw.HGetAll(ctx, "flags:v1:lease").Val())
		}
		if err := s.ReleaseLease(ctx, b); err != nil {
			t.Error(err)
		}
		heard(redisstore.PeerFree)
		mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: many(1, 1), Meta: meta(1, 2)})
		heard(redisstore.PeerLive)
		cancel()
		if err := <-listening; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A leader that was stopped while another took over writes nothing any more, even
// when the new one has not written yet.
func TestStoppedLeaderIsRefused(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx := t.Context()
		a := mustLease(t, s, "a", 0)
		mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: many(5, 1), Meta: meta(1, a.Term)})
		fence := mustMeta(t, s).Fence()
		fence.Term = a.Term
		runOut(t, raw) // a is stopped
		b := mustLease(t, s, "b", 0)
		_, err := s.Apply(ctx, fence, redisstore.Change{Set: many(5, 2), Meta: meta(2, a.Term)})
		if !errors.Is(err, redisstore.ErrConflict) || !strings.Contains(err.Error(), "term 1 is over, the lease is in term 2") {
			t.Errorf("a applies: %v", err)
		}
		if _, err := s.Apply(ctx, fence, redisstore.Change{Set: many(12_000, 2), Meta: meta(2, a.Term)}); !errors.Is(err, redisstore.ErrConflict) {
			t.Errorf("a applies in chunks: %v", err)
		}
		if _, err := s.Repair(ctx, fence, many(5, 2), nil); !errors.Is(err, redisstore.ErrConflict) {
			t.Errorf("a repairs: %v", err)
		}
		if err := s.SetOverrides(ctx, fence, nil); !errors.Is(err, redisstore.ErrConflict) {
			t.Errorf("a sets overrides: %v", err)
		}
		expectLive(t, s, many(5, 1), 1)
		fence.Term = b.Term
		if _, err := s.Repair(ctx, fence, many(5, 2), nil); err != nil {
			t.Errorf("b repairs: %v", err)
		}
		mustApply(t, s, fence, redisstore.Change{Set: many(5, 3), Meta: meta(2, b.Term)})
		expectLive(t, s, many(5, 3), 2)
	})
}

// The lease changes hands in the midst of a large apply.
func TestLeaderStoppedBetweenChunks(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		heal(t, s, many(25_000, 1), meta(1, 1))
		a := mustLease(t, s, "a", 1)
		done := 0
		s.BetweenChunks(func() {
			if done++; done == 1 {
				runOut(t, raw)
				mustLease(t, s, "b", 0)
			}
		})
		_, err := s.Apply(t.Context(), mustMeta(t, s).Fence(), redisstore.Change{Set: many(25_000, 2), Meta: meta(2, a.Term)})
		s.BetweenChunks(nil)
		if !errors.Is(err, redisstore.ErrConflict) || done != 1 {
			t.Errorf("a went on for %d chunks: %v", done, err)
		}
		if m := mustMeta(t, s); m.Pending == "" {
			t.Error("b is not told that a was in the midst of something")
		}
		heal(t, s, many(25_000, 3), meta(2, a.Term+1))
		expectLive(t, s, many(25_000, 3), 2)
	})
}

// Renewing beside an apply touches a key that the apply watches; it must not fail for it.
func TestRenewingDoesNotDisturbApplies(t *testing.T) {
	s := open(t, flagtest.Redis(t).URL(), "")
	l := mustLease(t, s, "a", 0)
	stop, renewed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				renewed <- n
				return
			default:
			}
			if _, err := s.RenewLease(t.Context(), l, time.Hour); err != nil {
				t.Error(err)
			}
			n++
		}
	}()
	for g := uint64(1); g <= 100; g++ {
		mustApply(t, s, mustMeta(t, s).Fence(), redisstore.Change{Set: many(200, int(g%100)), Meta: meta(g, l.Term)})
	}
	close(stop)
	if n := <-renewed; n == 0 {
		t.Error("nothing was renewed meanwhile")
	}
}
