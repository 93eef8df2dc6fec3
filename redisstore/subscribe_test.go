package redisstore_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// subscribe collects messages in a channel until the test ends.
func subscribe(t *testing.T, s *redisstore.Store) <-chan redisstore.Message {
	t.Helper()
	heard := make(chan redisstore.Message, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Subscribe(ctx, func(m redisstore.Message) { heard <- m })
	}()
	t.Cleanup(func() { cancel(); <-done })
	return heard
}

// expect is the next message, which must be of this kind and generation.
func expect(t *testing.T, heard <-chan redisstore.Message, kind redisstore.MessageKind, generation uint64) redisstore.Message {
	t.Helper()
	var m redisstore.Message
	flagtest.Eventually(t, fmt.Sprintf("%s of generation %d", kind, generation), func() bool {
		select {
		case m = <-heard:
			return true
		default:
			return false
		}
	})
	if m.Kind != kind || m.Generation != generation {
		t.Fatalf("heard %+v, want %s of generation %d", m, kind, generation)
	}
	return m
}

func TestSubscribeHearsEveryChange(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx := t.Context()
		mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: many(2, 1), Meta: meta(1, 1)})
		heard := subscribe(t, s)
		expect(t, heard, redisstore.KindResync, 1)
		mustApply(t, s, mustMeta(t, s).Fence(), redisstore.Change{Set: []redisstore.KV{kv("receipts", "acme", 3)}, Delete: keys(many(1, 0)), Meta: meta(2, 1)})
		m := expect(t, heard, redisstore.KindApply, 2)
		if !slices.Equal(m.SetKeys(), []flags.Key{{Feature: "receipts", Tenant: "acme"}}) || !slices.Equal(m.DeletedKeys(), keys(many(1, 0))) || m.All {
			t.Errorf("heard %+v", m)
		}
		if m.Version != "flags-v1+ramp.2" || m.Environment != "prod" || m.Digest != meta(2, 1).Digest || m.Commit != "c2" || m.Epoch != 1 {
			t.Errorf("heard %+v", m)
		}
		if _, err := s.Repair(ctx, mustMeta(t, s).Fence(), many(1, 1), nil); err != nil {
			t.Fatal(err)
		}
		expect(t, heard, redisstore.KindRepair, 2)
		if err := s.SetOverrides(ctx, mustMeta(t, s).Fence(), map[string][]byte{"1": nil}); err != nil {
			t.Fatal(err)
		}
		expect(t, heard, redisstore.KindOverrides, 2)
		mustApply(t, s, mustMeta(t, s).Fence(), redisstore.Change{Set: many(501, 4), Meta: meta(3, 1)})
		if m := expect(t, heard, redisstore.KindApply, 3); !m.All || m.Set != nil {
			t.Errorf("501 entries: all=%v, %d named", m.All, len(m.Set))
		}

		// The stream holds what the channel brought, for other languages: one field.
		entries := raw.XRange(ctx, "flags:v1:changes", "-", "+").Val()
		if len(entries) != 5 {
			t.Fatalf("%d messages in the stream", len(entries))
		}
		var second map[string]any
		if err := json.Unmarshal([]byte(entries[1].Values["message"].(string)), &second); err != nil {
			t.Fatal(err)
		}
		if second["format"] != "changes/v1" || second["kind"] != "apply" || second["generation"] != 2.0 || fmt.Sprint(second["set"]) != "[receipts:acme]" || fmt.Sprint(second["deleted"]) != "[f0:t0]" {
			t.Errorf("the stream says %v", second)
		}
	})
}

// Messages that went by while the connection was down come from the stream, once
// and in order; when the stream does not reach back, everything is to be read.
func TestSubscribeAfterALostConnection(t *testing.T) {
	r := flagtest.Redis(t)
	p := newProxy(t, r.Addr())
	writer, reader := open(t, r.URL(), ""), open(t, "redis://"+p.addr, "")
	generation := uint64(0)
	apply := func(n int) {
		for range n {
			generation++
			mustApply(t, writer, mustMeta(t, writer).Fence(), redisstore.Change{Set: many(1, int(generation%100)), Meta: meta(generation, 1)})
		}
	}
	apply(1)
	heard := subscribe(t, reader)
	expect(t, heard, redisstore.KindResync, 1)
	apply(1)
	expect(t, heard, redisstore.KindApply, 2)

	p.down()
	apply(20)
	p.up()
	for g := uint64(3); g <= 22; g++ {
		expect(t, heard, redisstore.KindApply, g)
	}

	p.down()
	apply(400) // more than the stream keeps
	p.up()
	expect(t, heard, redisstore.KindResync, 422)

	p.down()
	r.Flush() // numbers and chain begin anew
	generation = 0
	apply(3)
	p.up()
	expect(t, heard, redisstore.KindResync, 3)
	apply(1)
	expect(t, heard, redisstore.KindApply, 4)

	// Something is in the stream that is no message.
	r.CLI("PUBLISH", "flags:v1:changes", "garbage")
	r.CLI("XADD", "flags:v1:changes", "*", "message", `{"format":"changes/v9"}`)
	p.down()
	apply(1)
	p.up()
	expect(t, heard, redisstore.KindApply, 5)
	select {
	case m := <-heard:
		t.Errorf("heard %+v as well", m)
	default:
	}
}

func TestSubscribeToARestartedRedis(t *testing.T) {
	r := flagtest.Redis(t)
	s := open(t, r.URL(), "")
	heal(t, s, many(3, 1), meta(7, 1))
	heard := subscribe(t, s)
	expect(t, heard, redisstore.KindResync, 7)
	r.Restart()
	expect(t, heard, redisstore.KindResync, 0) // nothing is live: what a reader has stays the best
	heal(t, s, many(3, 1), meta(7, 2))
	m := expect(t, heard, redisstore.KindApply, 7)
	if m.Epoch != 2 || len(m.Set) != 3 {
		t.Errorf("heard %+v", m)
	}
}

func TestSubscribeEndsWithItsContext(t *testing.T) {
	s := open(t, flagtest.Redis(t).URL(), "")
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Subscribe(ctx, func(redisstore.Message) { cancel() })
	if err != context.Canceled {
		t.Errorf("Subscribe: %v", err)
	}
}

func TestWatchTellsOfForeignHands(t *testing.T) {
	r := flagtest.Redis(t, "--notify-keyspace-events", "KA")
	s := open(t, r.URL(), "flags:[v1]:")
	heard := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- s.Watch(ctx, func(k flags.Key, system bool) { heard <- strings.TrimPrefix(k.String(), ":") + fmt.Sprint(system) })
	}()
	flagtest.Eventually(t, "the subscription", func() bool { return r.CLI("PUBSUB", "NUMPAT") == "1" })
	r.CLI("SET", "flags:v:receipts:acme", "would match an unescaped pattern")
	r.CLI("SET", "flags:[v1]:receipts:acme", "x")
	r.CLI("DEL", "flags:[v1]:receipts:acme")
	r.CLI("SET", "flags:[v1]:a:b:c", "another namespace's")
	r.CLI("HSET", "flags:[v1]:meta", "generation", "9")
	for _, want := range []string{"receipts:acmefalse", "receipts:acmefalse", "true"} {
		flagtest.Eventually(t, want, func() bool {
			select {
			case got := <-heard:
				if got != want {
					t.Fatalf("heard %s, want %s", got, want)
				}
				return true
			default:
				return false
			}
		})
	}
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("Watch: %v", err)
	}
}

// A reader that has read what is live hears of what came between that and its
// subscription, and is not told to read it all again.
func TestSubscribeAfterWhatWasRead(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: many(2, 1), Meta: meta(1, 1)})
		read := mustMeta(t, s)
		if _, err := s.Repair(t.Context(), read.Fence(), many(1, 2), nil); err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, mustMeta(t, s).Fence(), redisstore.Change{Set: many(1, 3), Meta: meta(2, 1)})
		heard := make(chan redisstore.Message, 100)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.SubscribeAfter(ctx, read.Message, func(m redisstore.Message) { heard <- m })
		}()
		defer func() { cancel(); <-done }()
		if m := expect(t, heard, redisstore.KindRepair, 1); m.Prev != read.Message {
			t.Errorf("heard %+v first, having read %s", m, read.Message)
		}
		expect(t, heard, redisstore.KindApply, 2)
		raw.Del(ctx, "flags:v1:changes")
		mustApply(t, s, mustMeta(t, s).Fence(), redisstore.Change{Set: many(1, 4), Meta: meta(3, 1)})
		expect(t, heard, redisstore.KindApply, 3)
	})
}
