package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/redisstore"
)

// meddler writes to a key between the WATCH and the EXEC of every transaction.
type meddler struct {
	raw   *redis.Client
	key   string
	tries int
	until func(tries int) bool
}

func (m *meddler) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (m *meddler) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (m *meddler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "multi" {
			if m.tries++; !m.until(m.tries) {
				m.raw.HSet(context.Background(), m.key, "touched", fmt.Sprint(m.tries))
			}
		}
		return next(ctx, cmds)
	}
}

// Somebody who writes to meta or the lease without a pause keeps a write from going
// through, but not for ever: it ends as one that may be tried again later.
func TestTransactionGivesUp(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		heal(t, s, many(2, 1), meta(1, 1))
		m := &meddler{raw: raw}
		s.Hook(m)
		for key, write := range map[string]func(context.Context) error{
			"flags:v1:meta": func(ctx context.Context) error {
				_, err := s.Apply(ctx, redisstore.Fence{Generation: 1, Epoch: 1}, redisstore.Change{Set: many(2, 2), Meta: meta(2, 1)})
				return err
			},
			"flags:v1:lease": func(ctx context.Context) error {
				_, err := s.AcquireLease(ctx, redisstore.Claim{Holder: "a", TTL: time.Hour})
				return err
			},
		} {
			m.key, m.tries, m.until = key, 0, func(int) bool { return false }
			err := write(t.Context())
			if !errors.Is(err, redisstore.ErrUnavailable) || errors.Is(err, redisstore.ErrConflict) || !strings.Contains(err.Error(), "100 times") {
				t.Errorf("%s is written without end: %v", key, err)
			}
			if m.tries != 100 {
				t.Errorf("%s: %d tries", key, m.tries)
			}

			ctx, cancel := context.WithCancel(t.Context())
			m.tries, m.until = 0, func(tries int) bool {
				if tries == 3 {
					cancel()
				}
				return false
			}
			if err := write(ctx); !errors.Is(err, context.Canceled) || m.tries > 3 {
				t.Errorf("%s, cancelled: %d tries, %v", key, m.tries, err)
			}
			expectLive(t, s, many(2, 1), 1)
		}
		m.key, m.tries, m.until = "flags:v1:meta", 0, func(tries int) bool { return tries > 50 }
		if _, err := s.Apply(t.Context(), redisstore.Fence{Generation: 1, Epoch: 1}, redisstore.Change{Set: many(2, 2), Meta: meta(2, 1), Spec: []byte("s")}); err != nil {
			t.Errorf("somebody who stops keeps the write from going through: %v", err)
		}
	})
}
