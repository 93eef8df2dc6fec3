package redisstore_test

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

func TestFenceComparesGenerationAndEpoch(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: many(2, 1), Meta: meta(5, 3)})
		for _, f := range []redisstore.Fence{
			{}, {Generation: 5}, {Generation: 5, Epoch: 2}, {Generation: 5, Epoch: 4}, {Generation: 4, Epoch: 3}, {Generation: 6, Epoch: 3},
			{Generation: 5, Epoch: 3, Pending: "something"},
		} {
			if _, err := s.Apply(t.Context(), f, redisstore.Change{Set: many(2, 2), Meta: meta(7, 9)}); !errors.Is(err, redisstore.ErrConflict) {
				t.Errorf("%s: %v", f, err)
			}
		}
		expectLive(t, s, many(2, 1), 5)
	})
}

// A reader that asks for 10,000 entries at once never sees two generations.
func TestTenThousandAppearAtOnce(t *testing.T) {
	r := flagtest.Redis(t)
	s, c := open(t, r.URL(), ""), redis.NewClient(&redis.Options{Addr: r.Addr()})
	defer c.Close()
	set := many(10_000, 1)
	names := make([]string, len(set))
	for i, kv := range set {
		names[i] = "flags:v1:" + kv.Key.String()
	}
	mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: set, Meta: meta(1, 1)})
	stop, seen := make(chan struct{}), make(chan map[any]bool)
	go func() {
		values := map[any]bool{}
		defer func() { seen <- values }()
		for {
			got, err := c.MGet(context.Background(), names...).Result()
			if err != nil {
				t.Error(err)
				return
			}
			for _, v := range got {
				if v != got[0] {
					t.Errorf("%v beside %v", v, got[0])
					return
				}
			}
			values[got[0]] = true
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for g := uint64(2); g <= 30; g++ {
		mustApply(t, s, mustMeta(t, s).Fence(), redisstore.Change{Set: many(10_000, int(g)), Meta: meta(g, 1)})
	}
	close(stop)
	if values := <-seen; len(values) < 2 {
		t.Errorf("the reader saw %d generations", len(values))
	}
}

// The very first apply is cut off: there is no generation, and yet a mark.
func TestFirstApplyCutOff(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx, die := context.WithCancel(t.Context())
		s.BetweenChunks(die)
		if _, err := s.Apply(ctx, redisstore.Fence{}, redisstore.Change{Set: many(25_000, 1), Meta: meta(1, 1)}); !errors.Is(err, context.Canceled) {
			t.Fatalf("the cancelled apply: %v", err)
		}
		s.BetweenChunks(nil)
		m, err := s.Meta(t.Context())
		if !errors.Is(err, redisstore.ErrNoMeta) || m.Pending == "" || m.Generation != 0 {
			t.Fatalf("meta %+v, %v", m, err)
		}
		if _, err := s.Apply(t.Context(), redisstore.Fence{}, redisstore.Change{Set: many(5, 2), Meta: meta(1, 1)}); !errors.Is(err, redisstore.ErrConflict) {
			t.Errorf("a plan that takes the namespace for empty: %v", err)
		}
		heal(t, s, many(5, 2), meta(1, 1))
		expectLive(t, s, many(5, 2), 1)
	})
}
