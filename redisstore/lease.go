package redisstore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Fields of the hash <ns>lease. It does not expire: its term must outlive it.
const (
	leaseHolder  = "holder"
	leaseOwner   = "owner"
	leaseAddress = "address"
	leaseTerm    = "term"
	leaseSince   = "since" // of the term, in milliseconds since 1970 by Redis' clock
	// leaseUntil and a term make the field that says when that term ends: milliseconds
	// since 1970 by Redis' clock, 0 when given back. Who renews an old term by mistake
	// touches nothing that counts.
	leaseUntil = "until."

	leaseSuspension = "suspension"
	leaseHistory    = "history"
)

// longestLease is beyond what anybody asks for. A lease that claims to run longer is
// somebody's invention, and counts as run out.
const longestLease = 24 * time.Hour

// Lease says who reconciles. Its term is the epoch under which the holder writes:
// a later term makes every write of an earlier one an [ErrConflict].
type Lease struct {
	Holder  string // a name for people
	Owner   string // what the holder is: no two processes at a time have the same
	Address string // where it serves; empty when it does not say
	Term    uint64
	// Since is when the term began, by Redis' clock.
	Since time.Time
	// Expires is when the lease ends unless renewed, by this process' own clock and
	// never later than Redis thinks. It is in the past when the lease is free.
	Expires time.Time
	// Notes are what whoever leads next must know. They outlive terms.
	Notes Notes

	// redisAt and localAt are one moment by two clocks, to reckon Redis' clock by; asked
	// is when Redis was last asked for its own.
	redisAt, localAt, asked time.Time
}

// Notes are what people told the reconcilers of a namespace, as JSON whose meaning is
// theirs. Nil stands for none.
type Notes struct {
	Suspension []byte // that nothing new is to be taken, or may be again
	History    []byte // the last signed statement about a rewritten history
}

// Equal says whether two notes are the same, to the byte.
func (n Notes) Equal(o Notes) bool {
	return bytes.Equal(n.Suspension, o.Suspension) && bytes.Equal(n.History, o.History)
}

// Held tells whether the lease was still running at that moment.
func (l Lease) Held(now time.Time) bool { return l.Holder != "" && now.Before(l.Expires) }

// Claim is what somebody who wants the lease says.
type Claim struct {
	Holder, Owner, Address string // as in Lease; no Owner means the Holder
	TTL                    time.Duration
	// Floor is the highest epoch that the caller has ever seen: a flushed Redis forgets.
	Floor uint64
	// Again takes the lease from the same owner, whose process has ended; Force from
	// anybody, whose writes are refused from then on.
	Again, Force bool
}

// AcquireLease takes the lease for a while when it is free or has run out, or as the
// claim says. The term is one more than any before, and more than the floor. Peers
// that listen are told. While another holds it, the error is ErrHeld, and the Lease is
// the other's.
func (s *Store) AcquireLease(ctx context.Context, c Claim) (Lease, error) {
	var got Lease
	if c.Owner == "" {
		c.Owner = c.Holder
	}
	err := s.onLease(ctx, func(now clocks, l lease) (func(redis.Pipeliner, string), error) {
		if taken := l.running(now.redis); taken && !c.Force && (!c.Again || l.owner != c.Owner) {
			got = l.local(now)
			return nil, fmt.Errorf("%w: %q has it in term %d", ErrHeld, l.holder, l.term)
		}
		old := l.until
		next := lease{
			holder: c.Holder, owner: c.Owner, address: c.Address, term: max(l.term, c.Floor) + 1, notes: l.notes,
			since: now.redis.UnixMilli(), ends: now.redis.Add(c.TTL).UnixMilli(),
		}
		got = next.local(now)
		return func(p redis.Pipeliner, key string) {
			if len(old) > 0 {
				p.HDel(ctx, key, old...)
			}
			p.HSet(ctx, key, leaseHolder, next.holder, leaseOwner, next.owner, leaseAddress, next.address,
				leaseTerm, next.term, leaseSince, next.since, untilOf(next.term), next.ends)
		}, nil
	})
	if err == nil {
		s.hint(ctx, PeerTaken)
	}
	return got, wrap(err, "taking the lease of %s", s.ns)
}

// RenewLease makes the lease last for ttl from now, in the same term, with two commands
// in one exchange, and once a minute three. The error is ErrConflict when another term has begun: the
// lease is lost, and the Lease is the other's. One that ran out and that nobody took
// goes on.
func (s *Store) RenewLease(ctx context.Context, l Lease, ttl time.Duration) (Lease, error) {
	doing := "renewing the lease of " + string(s.ns)
	for {
		sent := time.Now()
		reckoned := l.redisAt.Add(sent.Sub(l.localAt))
		live, now, err := s.renew(ctx, l.Term, reckoned, ttl, sent.Sub(l.asked) >= askClock)
		if err != nil {
			return Lease{}, wrap(err, "%s", doing)
		}
		if live.term != l.Term || live.owner != l.Owner {
			p := s.client.Pipeline() // what was written for a term that is over means nothing; it goes all the same
			p.HDel(ctx, s.ns.system(nameLease), untilOf(l.Term))
			_, _ = p.Exec(ctx)
			return live.local(now), wrap(fmt.Errorf("%w: term %d is over, %q has term %d", ErrConflict, l.Term, live.holder, live.term), "%s", doing)
		}
		l.redisAt, l.localAt, l.asked = now.redis, now.local, now.asked(l.asked)
		if off := now.redis.Sub(reckoned).Abs(); off < ttl/8 {
			got := live.local(now)
			got.asked = l.asked
			return got, nil
		}
		if err := ctx.Err(); err != nil { // Redis' clock was moved: reckon by the new one
			return Lease{}, wrap(err, "%s", doing)
		}
	}
}

// askClock is how often Redis is asked for its time; between, it is reckoned.
const askClock = time.Minute

// renew writes until when a term runs and reads the lease, in one exchange.
func (s *Store) renew(ctx context.Context, term uint64, reckoned time.Time, ttl time.Duration, ask bool) (lease, clocks, error) {
	key := s.ns.system(nameLease)
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now := clocks{local: time.Now(), redis: reckoned}
	p, err := s.pipelineFor(ctx, key)
	if err != nil {
		return lease{}, now, err
	}
	var clock *redis.TimeCmd
	if ask {
		clock = p.Time(ctx)
	}
	wrote := p.HSet(ctx, key, untilOf(term), reckoned.Add(ttl).UnixMilli())
	fields := p.HGetAll(ctx, key)
	if _, err := p.Exec(ctx); err != nil && !isAnswer(err) {
		return lease{}, now, err
	}
	if ask {
		if err := clock.Err(); err != nil {
			return lease{}, now, err
		}
		now.redis, now.fresh = clock.Val(), true
	}
	if err := wrote.Err(); err != nil && !isWrongType(err) {
		return lease{}, now, err
	}
	if err := fields.Err(); err != nil && !isWrongType(err) {
		return lease{}, now, err
	}
	return parseLease(fields.Val()), now, nil
}

// ReleaseLease gives the lease back, so that another may take it at once, and tells
// peers that listen. The term stays on record. It is no error when the lease is lost
// already.
func (s *Store) ReleaseLease(ctx context.Context, l Lease) error {
	mine := false
	err := s.onLease(ctx, func(_ clocks, live lease) (func(redis.Pipeliner, string), error) {
		if mine = live.term == l.Term && live.owner == l.Owner; !mine {
			return nil, nil
		}
		return func(p redis.Pipeliner, key string) { p.HSet(ctx, key, untilOf(l.Term), 0) }, nil
	})
	if err == nil && mine {
		s.hint(ctx, PeerFree)
	}
	return wrap(err, "giving back the lease of %s", s.ns)
}

// ChangeNotes lets change settle the notes as they are now, as long as the lease's term
// runs; ErrConflict says that another has begun. change may be called more than once, and
// where it leaves the notes as they are nothing is written. Peers that listen are told of
// what was. It returns the notes as they are then.
func (s *Store) ChangeNotes(ctx context.Context, l Lease, change func(*Notes)) (Notes, error) {
	var now Notes
	wrote := false
	err := s.onLease(ctx, func(_ clocks, live lease) (func(redis.Pipeliner, string), error) {
		if live.term != l.Term || live.owner != l.Owner {
			return nil, fmt.Errorf("%w: term %d is over", ErrConflict, l.Term)
		}
		now = live.notes
		change(&now)
		if wrote = !now.Equal(live.notes); !wrote {
			return nil, nil
		}
		return func(p redis.Pipeliner, key string) {
			for name, value := range map[string][]byte{leaseSuspension: now.Suspension, leaseHistory: now.History} {
				if value == nil {
					p.HDel(ctx, key, name)
				} else {
					p.HSet(ctx, key, name, value)
				}
			}
		}, nil
	})
	if err == nil && wrote {
		s.hint(ctx, PeerNote)
	}
	return now, wrap(err, "writing the notes of %s", s.ns)
}

// Lease tells who has the lease; the zero Lease when nobody ever had.
func (s *Store) Lease(ctx context.Context) (Lease, error) {
	key := s.ns.system(nameLease)
	ctx, cancel := s.bound(ctx)
	defer cancel()
	now := clocks{local: time.Now()}
	p, err := s.pipelineFor(ctx, key)
	if err != nil {
		return Lease{}, wrap(err, "reading the lease of %s", s.ns)
	}
	fields, clock := p.HGetAll(ctx, key), p.Time(ctx)
	_, err = p.Exec(ctx)
	if isAnswer(err) {
		if err = clock.Err(); err == nil && fields.Err() != nil && !isWrongType(fields.Err()) {
			err = fields.Err()
		}
	}
	if err != nil {
		return Lease{}, wrap(err, "reading the lease of %s", s.ns)
	}
	now.redis = clock.Val()
	return parseLease(fields.Val()).local(now), nil
}

// pipelineFor is a pipeline to the server that holds key: of a Cluster, TIME must ask
// the same one.
func (s *Store) pipelineFor(ctx context.Context, key string) (redis.Pipeliner, error) {
	if s.cluster == nil {
		return s.single.Pipeline(), nil
	}
	node, err := s.cluster.MasterForKey(ctx, key)
	if err != nil {
		return nil, err
	}
	return node.Pipeline(), nil
}

// lease is the hash itself.
type lease struct {
	holder, owner, address string
	term                   uint64
	since, ends            int64    // milliseconds by Redis' clock
	until                  []string // the fields that say until when any term runs
	notes                  Notes
}

// clocks are Redis' clock and our own, read at one moment; ours not after Redis'.
type clocks struct {
	redis, local time.Time
	fresh        bool // Redis was asked
}

func (c clocks) asked(before time.Time) time.Time {
	if c.fresh {
		return c.local
	}
	return before
}

func untilOf(term uint64) string { return leaseUntil + strconv.FormatUint(term, 10) }

func (l lease) running(now time.Time) bool {
	return l.holder != "" && now.UnixMilli() < l.ends && l.ends <= now.Add(longestLease).UnixMilli()
}

// local turns the server's time into this process' own: what is left, counted from
// when the server was asked.
func (l lease) local(now clocks) Lease {
	out := Lease{
		Holder: l.holder, Owner: l.owner, Address: l.address, Term: l.term, Notes: l.notes,
		Since: time.UnixMilli(l.since).UTC(), redisAt: now.redis, localAt: now.local, asked: now.local,
	}
	left := time.Duration(l.ends-now.redis.UnixMilli()) * time.Millisecond
	if !l.running(now.redis) {
		left = min(left, 0)
	}
	out.Expires = now.local.Add(max(left, -longestLease))
	return out
}

// onLease reads the lease and Redis' time, lets step decide, and writes what it
// returns in a transaction that fails if the lease was touched meanwhile.
func (s *Store) onLease(ctx context.Context, step func(now clocks, l lease) (func(p redis.Pipeliner, key string), error)) error {
	key := s.ns.system(nameLease)
	var fields *redis.MapStringStringCmd
	var clock *redis.TimeCmd
	var now clocks
	return s.transact(ctx, transaction{
		watch: []string{key},
		ask: func(p redis.Pipeliner) {
			now.local = time.Now()
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
			now.redis = clock.Val()
			write, err := step(now, parseLease(fields.Val()))
			if err != nil || write == nil {
				return nil, err
			}
			return func(p redis.Pipeliner) {
				if mistyped {
					p.Unlink(ctx, key)
				}
				write(p, key)
			}, nil
		},
	})
}

// parseLease reads the hash; what is damaged counts as free, and a term beyond all
// counting as none.
func parseLease(h map[string]string) lease {
	l := lease{holder: h[leaseHolder], owner: h[leaseOwner], address: h[leaseAddress], term: parseTerm(h[leaseTerm])}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if strings.HasPrefix(name, leaseUntil) {
			l.until = append(l.until, name)
		}
	}
	l.since, _ = strconv.ParseInt(h[leaseSince], 10, 64)
	l.ends, _ = strconv.ParseInt(h[untilOf(l.term)], 10, 64)
	for name, to := range map[string]*[]byte{leaseSuspension: &l.notes.Suspension, leaseHistory: &l.notes.History} {
		if text, ok := h[name]; ok {
			*to = []byte(text)
		}
	}
	return l
}

// parseTerm reads a term; one that no reconciler could have counted to is none.
func parseTerm(text string) uint64 {
	term, err := strconv.ParseUint(text, 10, 64)
	if err != nil || term >= MaxGeneration {
		return 0
	}
	return term
}
