package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	defaultTimeout = 10 * time.Second
	// defaultWhole is how long a whole read may take under that time-out, as long as bytes
	// arrive; another time-out stretches it. A thousand readers of one spec share a link,
	// and none of them has it within a small exchange's time.
	defaultWhole = 5 * time.Minute
	// cutOff is from how many bytes on an answer that breaks off is not fetched again at
	// once. A command that fails early costs nothing to repeat.
	cutOff = 64 << 10
)

// whole is how long a whole read may take.
func (s *Store) whole() time.Duration { return s.timeout * (defaultWhole / defaultTimeout) }

// patiently sends what has a long answer. It may take long while bytes arrive: each
// pause between them has the store's time-out. It ends with the context at once, what
// the driver itself would do only at a deadline.
func (s *Store) patiently(ctx context.Context, p redis.Pipeliner) ([]redis.Cmder, error) {
	ctx, cancel := context.WithTimeout(ctx, s.whole())
	type answer struct {
		cmds []redis.Cmder
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		defer cancel()
		cmds, err := p.Exec(ctx)
		done <- answer{cmds, err}
	}()
	select {
	case a := <-done:
		return a.cmds, a.err
	case <-ctx.Done():
		select {
		case a := <-done: // both, and the answer is the better of them
			return a.cmds, a.err
		default:
			return nil, ctx.Err()
		}
	}
}

// patientDialer connects as the driver does, and bounds silence rather than answers.
func (s *Store) patientDialer(o *redis.Options) dialer {
	dial := unlessSettled(redis.NewDialer(o))
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		p := &patientConn{Conn: c, idle: s.timeout}
		if raw, ok := c.(syscall.Conn); ok {
			return patientSocket{patientConn: p, raw: raw}, nil
		}
		return p, nil
	}
}

// patientConn is a connection whose reads end after some silence, and at their deadline
// in any case. The driver sets that once for each answer.
type patientConn struct {
	net.Conn
	idle  time.Duration
	until atomic.Int64 // the deadline in Unix nanoseconds; 0 for none
	got   atomic.Int64 // bytes since it was set
}

// patientSocket lets the driver look whether an idle connection still stands.
type patientSocket struct {
	*patientConn
	raw syscall.Conn
}

func (c patientSocket) SyscallConn() (syscall.RawConn, error) { return c.raw.SyscallConn() }

func (c *patientConn) Read(b []byte) (int, error) {
	if until := c.until.Load(); until != 0 {
		end := time.Now().Add(c.idle)
		if last := time.Unix(0, until); last.Before(end) {
			end = last
		}
		if err := c.Conn.SetReadDeadline(end); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(b)
	got := c.got.Add(int64(n))
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = brokenAnswer{got, err}
	case got >= cutOff:
		err = brokenAnswer{got, err}
	}
	return n, err
}

func (c *patientConn) SetReadDeadline(t time.Time) error {
	c.expect(t)
	return c.Conn.SetReadDeadline(t)
}

func (c *patientConn) SetDeadline(t time.Time) error {
	c.expect(t)
	return c.Conn.SetDeadline(t)
}

func (c *patientConn) expect(t time.Time) {
	c.got.Store(0)
	if t.IsZero() {
		c.until.Store(0)
		return
	}
	c.until.Store(t.UnixNano())
}

// NetConn lets the driver find the socket below TLS.
func (c *patientConn) NetConn() net.Conn { return c.Conn }

// brokenAnswer is the end of an answer before its end. The driver takes it for the end
// of its context and does not ask again by itself: that would send a whole spec once
// more through a link that was too narrow for it. Callers ask again when they find it right.
type brokenAnswer struct {
	got int64
	err error
}

func (e brokenAnswer) Error() string {
	return fmt.Sprintf("%v, %d bytes into the answer", e.err, e.got)
}

// Unwrap leaves the cause out: the driver repeats what io.EOF ends.
func (e brokenAnswer) Unwrap() error { return context.DeadlineExceeded }
