package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// narrow is a store behind a narrow link, with a time-out within which a spec of 256 KiB
// does not come through it.
func narrow(t *testing.T) (*flagtest.RedisServer, *flagtest.NarrowLink, *redisstore.Store) {
	r := flagtest.Redis(t)
	c := redisstore.Change{Set: many(1, 1), Meta: meta(1, 1), Spec: bytes.Repeat([]byte("s"), 256<<10)}
	mustApply(t, open(t, r.URL(), ""), redisstore.Fence{}, c)
	link := flagtest.Narrow(t, r.Addr())
	s := openWith(t, redisstore.Options{URL: "redis://" + link.Addr(), Timeout: 500 * time.Millisecond})
	mustMeta(t, s)
	r.ResetStats()
	return r, link, s
}

// A long answer may take longer than a short one, as long as it comes.
func TestLongAnswersTakeTheirTime(t *testing.T) {
	t.Parallel()
	r, link, s := narrow(t)
	link.Let(128 << 10)
	began := time.Now()
	live, err := s.Live(t.Context())
	if err != nil || len(live.Spec) != 256<<10 {
		t.Fatalf("%d bytes: %v", len(live.Spec), err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("it came within %v: the link is not narrow", took)
	}
	if n := r.Commandstats()["exec"]; n != 1 {
		t.Errorf("it was asked for %d times", n)
	}
}

// One that stands still ends, and nobody asks for it again by himself.
func TestLongAnswersEndInSilence(t *testing.T) {
	t.Parallel()
	r, link, s := narrow(t)
	link.Let(128 << 10)
	done := make(chan error, 1)
	go func() { _, err := s.Live(t.Context()); done <- err }()
	before := link.Sent()
	flagtest.Eventually(t, "a part of the answer", func() bool { return link.Sent() > before+64<<10 })
	link.Let(-1)
	began := time.Now()
	if err := <-done; !errors.Is(err, redisstore.ErrUnavailable) {
		t.Errorf("half an answer: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("after %v", took)
	}
	if n := r.Commandstats()["exec"]; n != 1 {
		t.Errorf("it was asked for %d times", n)
	}
}

// What comes too slowly for any use ends in the end, and at once with its context.
func TestLongAnswersAreBounded(t *testing.T) {
	t.Parallel()
	r := flagtest.Redis(t)
	mustApply(t, open(t, r.URL(), ""), redisstore.Fence{}, redisstore.Change{Set: many(1, 1), Meta: meta(1, 1), Spec: bytes.Repeat([]byte("s"), 2<<20)})
	link := flagtest.Narrow(t, r.Addr())
	s := openWith(t, redisstore.Options{URL: "redis://" + link.Addr(), Timeout: 500 * time.Millisecond}) // in all, 15 s
	mustMeta(t, s)
	link.Let(60 << 10) // a part each 70 ms, all of it in more than half a minute
	began := time.Now()
	_, err := s.Live(t.Context())
	if took := time.Since(began); !errors.Is(err, redisstore.ErrUnavailable) || took < 10*time.Second || took > 30*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	before := link.Sent()
	done := make(chan error, 1)
	go func() { _, err := s.Live(ctx); done <- err }()
	flagtest.Eventually(t, "a part of the answer", func() bool { return link.Sent() > before+8<<10 })
	began = time.Now()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || time.Since(began) > time.Second {
		t.Errorf("cancelled, after %v: %v", time.Since(began), err)
	}
}
