package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Fields of the hash <ns>lease. It does not expire: its term must outlive it.
const (
	leaseHolder = "holder"
	leaseTerm   = "term"
	leaseUntil  = "until" // milliseconds since 1970 by Redis' clock; 0 when given back
)

// Lease says who reconciles. Its term is the epoch under which the holder writes:
// a later term makes every write of an earlier one an [ErrConflict].
type Lease struct {
	Holder string
	Term   uint64
	// Expires is when the lease ends unless renewed, by this process' own clock and
	// never later than Redis thinks. It is in the past when the lease is free.
	Expires time.Time
}

// Held tells whether the lease was still running at that moment.
func (l Lease) Held(now time.Time) bool { return l.Holder != "" && now.Before(l.Expires) }

// AcquireLease takes the lease for a while when it is free, has run out, or is the
// holder's own from before. The term is one more than any before, and more than
// floor, the highest epoch that the caller has ever seen: a flushed Redis forgets.
// While another holds it, the error is ErrHeld, and the Lease is the other's.
func (s *Store) AcquireLease(ctx context.Context, holder string, ttl time.Duration, floor uint64) (Lease, error) {
	var got Lease
	err := s.onLease(ctx, func(now time.Time, l lease) (lease, error) {
		if l.holder != holder && now.UnixMilli() < l.until {
			got = l.local(now)
			return l, fmt.Errorf("%w: %q has it in term %d", ErrHeld, l.holder, l.term)
		}
		next := lease{holder: holder, term: max(l.term, floor) + 1, until: now.Add(ttl).UnixMilli()}
		got = next.local(now)
		return next, nil
	})
	return got, wrap(err, "taking the lease of %s", s.ns)
}

// RenewLease makes the lease last for ttl from now, in the same term. The error is
// ErrConflict when another term has begun: the lease is lost. One that ran out and
// that nobody took goes on.
func (s *Store) RenewLease(ctx context.Context, l Lease, ttl time.Duration) (Lease, error) {
	var got Lease
	err := s.onLease(ctx, func(now time.Time, live lease) (lease, error) {
		if live.term != l.Term || live.holder != l.Holder {
			got = live.local(now)
			return live, fmt.Errorf("%w: term %d is over, %q has term %d", ErrConflict, l.Term, live.holder, live.term)
		}
		live.until = now.Add(ttl).UnixMilli()
		got = live.local(now)
		return live, nil
	})
	return got, wrap(err, "renewing the lease of %s", s.ns)
}

// ReleaseLease gives the lease back, so that another may take it at once. The term
// stays on record. It is no error when the lease is lost already.
func (s *Store) ReleaseLease(ctx context.Context, l Lease) error {
	err := s.onLease(ctx, func(_ time.Time, live lease) (lease, error) {
		if live.term != l.Term || live.holder != l.Holder {
			return live, errNothingToDo
		}
		live.until = 0
		return live, nil
	})
	return wrap(err, "giving back the lease of %s", s.ns)
}

// Lease tells who has the lease; the zero Lease when nobody ever had.
func (s *Store) Lease(ctx context.Context) (Lease, error) {
	var got Lease
	err := s.onLease(ctx, func(now time.Time, live lease) (lease, error) {
		got = live.local(now)
		return live, errNothingToDo
	})
	return got, wrap(err, "reading the lease of %s", s.ns)
}

var errNothingToDo = errors.New("nothing to do")

// lease is the hash itself.
type lease struct {
	holder string
	term   uint64
	until  int64
}

// local turns the server's time into this process' own: what is left, counted from
// now, when the server was asked.
func (l lease) local(now time.Time) Lease {
	left := time.Duration(l.until-now.UnixMilli()) * time.Millisecond
	return Lease{Holder: l.holder, Term: l.term, Expires: time.Now().Add(left)}
}

// onLease reads the lease and Redis' time, lets step decide, and writes what it
// returns in a transaction that fails if the lease was touched meanwhile.
func (s *Store) onLease(ctx context.Context, step func(now time.Time, l lease) (lease, error)) error {
	key := s.ns.system(nameLease)
	var fields *redis.MapStringStringCmd
	var clock *redis.TimeCmd
	err := s.transact(ctx, transaction{
		watch: []string{key},
		ask: func(p redis.Pipeliner) {
			fields = p.HGetAll(ctx, key)
			clock = p.Time(ctx)
		},
		decide: func() (func(redis.Pipeliner), error) {
			mistyped := isWrongType(fields.Err())
			if err := fields.Err(); err != nil && !mistyped {
				return nil, err
			}
			if err := clock.Err(); err != nil {
				return nil, err
			}
			next, err := step(clock.Val(), parseLease(fields.Val()))
			if errors.Is(err, errNothingToDo) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			return func(p redis.Pipeliner) {
				if mistyped {
					p.Unlink(ctx, key)
				}
				p.HSet(ctx, key, leaseHolder, next.holder, leaseTerm, next.term, leaseUntil, next.until)
			}, nil
		},
	})
	return err
}

// parseLease reads the hash; what is damaged counts as free.
func parseLease(h map[string]string) lease {
	l := lease{holder: h[leaseHolder]}
	l.term, _ = strconv.ParseUint(h[leaseTerm], 10, 64)
	l.until, _ = strconv.ParseInt(h[leaseUntil], 10, 64)
	return l
}
