package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Every write goes through transact: WATCH and the reads that decide, then MULTI
// with the writes and EXEC, which Redis refuses when a watched key has changed in
// between. So the fence is inside the write, a large plan costs what bare MSETs
// cost (a Lua script three times that), and no permission to run scripts is asked.
// docs/decisions has the figures.

// transaction is what one round of transact asks and decides.
type transaction struct {
	// watch are the keys that must not change between ask and the writes, all of one
	// slot.
	watch []string
	// ask queues the reads that decide.
	ask func(p redis.Pipeliner)
	// decide looks at the answers and gives the writes. An error ends the transaction
	// without a write; so does a nil func.
	decide func() (write func(p redis.Pipeliner), err error)
}

// errUnsure marks a transaction whose EXEC was sent and not answered.
var errUnsure = errors.New("the connection broke before redis said whether it was done")

// A transaction is begun anew so often where a watched key changed: at once, as long as
// that may be chance, and then after a short and random pause.
const (
	transactTries = 100
	transactQuick = 10
	transactPause = 10 * time.Millisecond
)

// errTouched: somebody writes to what is watched faster than a transaction goes through.
// That says nothing about what is live, so it is no ErrConflict.
var errTouched = fmt.Errorf("%w: what the write depends on was written to by somebody else %d times in a row", ErrUnavailable, transactTries)

// transact runs t until it is through, refused by decide, or broken. A watched key
// that changed starts it anew: decide judges the new state. Who writes to such a key
// without end cannot hold the caller for ever: that ends in errTouched.
func (s *Store) transact(ctx context.Context, t transaction) error {
	deadline := time.Now().Add(s.timeout)
	for tries := 1; ; {
		err := s.attempt(ctx, t)
		switch {
		case errors.Is(err, redis.TxFailedErr):
			if tries == transactTries {
				return errTouched
			}
			if tries++; tries <= transactQuick {
				if err := ctx.Err(); err != nil {
					return err
				}
			} else if err := pause(ctx, rand.N(transactPause)); err != nil {
				return err
			}
			continue
		case err == nil || !s.redirected(ctx, err) || time.Now().After(deadline):
			return err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// redirected tells whether a node of a cluster sent us elsewhere. The map of slots is
// then read again, and also when the node was not there at all. While a slot is being moved its keys answer ASK or
// TRYAGAIN, which no transaction can follow; moving ends.
func (s *Store) redirected(ctx context.Context, err error) bool {
	if s.cluster == nil {
		return false
	}
	if isNetwork(err) {
		s.cluster.ReloadState(ctx)
		return false
	}
	for _, prefix := range []string{"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY"} {
		if strings.Contains(err.Error(), prefix+" ") {
			s.cluster.ReloadState(ctx)
			return true
		}
	}
	return false
}

func (s *Store) attempt(ctx context.Context, t transaction) error {
	ctx, cancel := context.WithTimeout(ctx, 2*s.timeout) // two exchanges
	defer cancel()
	conn, err := s.connFor(ctx, t.watch[0])
	if err != nil {
		return err
	}
	defer conn.Close()

	p := conn.Pipeline()
	watch := []any{"WATCH"}
	for _, key := range t.watch {
		watch = append(watch, key)
	}
	watched := p.Do(ctx, watch...)
	t.ask(p)
	if _, err := p.Exec(ctx); err != nil && !isAnswer(err) {
		return err
	}
	var write func(redis.Pipeliner)
	if err = watched.Err(); err == nil {
		write, err = t.decide()
	}
	if err != nil || write == nil {
		// The connection goes back to the pool and must not take the watch along.
		if uerr := conn.Do(ctx, "UNWATCH").Err(); err == nil && uerr != nil {
			return uerr
		}
		return err
	}
	tx := conn.TxPipeline()
	write(tx)
	cmds, err := tx.Exec(ctx)
	if err == nil || errors.Is(err, redis.TxFailedErr) {
		return err
	}
	if err := refusal(cmds); err != nil {
		return err
	}
	if isAnswer(err) {
		return err
	}
	return fmt.Errorf("%w: %w", errUnsure, err)
}

// refusal is the error of the first command of a transaction that Redis did not
// take; it says more than the EXEC that was dropped for it.
func refusal(cmds []redis.Cmder) error {
	for _, c := range cmds {
		if err := c.Err(); err != nil && isAnswer(err) && !strings.HasPrefix(err.Error(), "EXECABORT") {
			return fmt.Errorf("%s: %w", c.Name(), err)
		}
	}
	return nil
}

// connFor is one connection to the server that holds key; a transaction lives on
// one connection.
func (s *Store) connFor(ctx context.Context, key string) (*redis.Conn, error) {
	if s.cluster == nil {
		return s.single.Conn(), nil
	}
	node, err := s.cluster.MasterForKey(ctx, key)
	if err != nil {
		return nil, err
	}
	return node.Conn(), nil
}

// isAnswer tells whether Redis itself said so, nil included.
func isAnswer(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) && !isNetwork(err)
}

func isWrongType(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE")
}

// pause waits, or returns early with the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
