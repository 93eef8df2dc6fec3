package redisstore

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// lookEvery is how often a subscriber looks at meta although it heard nothing: a
// message can be lost with a connection that broke unnoticed, or with a master.
const lookEvery = 15 * time.Second

// Subscribe calls handle for each message, in their order and from one goroutine,
// until the context ends, whose error it then returns, or Redis denies access. The
// first call, and one after any gap that the stream cannot fill, is a KindResync:
// read everything; its generation is 0 while nothing is live, as after a flush, and
// what a reader has then stays the best there is. Lost connections are mended, after a
// pause at random, so that not all subscribers come back at once; messages of the
// meantime are taken from the stream. handle should be quick; while
// it runs, messages queue up.
func (s *Store) Subscribe(ctx context.Context, handle func(Message)) error {
	return s.SubscribeAfter(ctx, "", handle)
}

// SubscribeAfter is [Store.Subscribe] for a reader that has read what is live, as of
// the message that meta named then: it hears what came since, and of a KindResync only
// where the stream cannot fill the gap. Without a message it has read nothing.
func (s *Store) SubscribeAfter(ctx context.Context, message string, handle func(Message)) error {
	sub := &subscriber{s: s, handle: handle, begun: message != "", last: message}
	listening := &subscription{s: s, channel: s.ns.system(nameChanges), events: make(chan any, 256)}
	ctx, cancel := context.WithCancel(ctx)
	lost := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { lost <- listening.run(ctx) })
	defer running.Wait()
	defer cancel()
	look := time.NewTimer(s.timeout) // before that the subscription has begun, or is in trouble
	defer look.Stop()
	for {
		again := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return wrap(err, "listening to %s", s.ns.system(nameChanges))
		case event := <-listening.events:
			if m, ok := event.(*redis.Message); ok {
				again = !sub.hear(m.Payload)
			} else {
				again = true // (re)subscribed: from here on nothing is missed
			}
		case <-look.C:
			again = true
		}
		wait := lookEvery
		if again {
			if err := sub.catchUp(ctx); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				s.log.Warn("listening for changes: redis does not answer, trying again", slog.Any("err", err))
				wait = time.Second
			}
		}
		look.Reset(spread(wait))
	}
}

// mayListen waits for the first answer to a subscription, so that a denial is an
// error and not a silence. Any other trouble is left to the driver, which tries again.
func mayListen(ctx context.Context, ps *redis.PubSub, timeout time.Duration) error {
	_, err := ps.ReceiveTimeout(ctx, timeout)
	if errors.Is(familyOf(err), ErrDenied) {
		return err
	}
	return ctx.Err()
}

// spread keeps thousands of subscribers from asking at the same moment.
func spread(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// subscriber knows which message it handled last.
type subscriber struct {
	s      *Store
	handle func(Message)
	begun  bool
	last   string
}

// hear takes a message from the channel and tells whether it follows the last one.
func (u *subscriber) hear(body string) bool {
	m, err := parseMessage(body)
	if err != nil || !u.begun {
		return false
	}
	if m.ID == u.last {
		return true // caught up with already
	}
	if m.Prev != u.last {
		return false
	}
	u.deliver(m)
	return true
}

func (u *subscriber) deliver(m Message) {
	u.last = m.ID
	u.handle(m)
}

// catchUp brings the subscriber to what meta says is the last message: through the
// stream where that reaches back far enough, by a resync where it does not.
func (u *subscriber) catchUp(ctx context.Context) error {
	meta, err := u.s.Meta(ctx)
	if err != nil && !errors.Is(err, ErrNoMeta) {
		return err
	}
	if u.begun && meta.Message == u.last {
		return nil
	}
	missed, ok := []Message(nil), false
	if u.begun && u.last != "" {
		if missed, ok, err = u.missed(ctx, meta.Message); err != nil {
			return err
		}
	}
	if !ok {
		u.begun = true
		u.deliver(Message{
			Format: MessageFormat, ID: meta.Message, Kind: KindResync, Generation: meta.Generation, Epoch: meta.Epoch,
			Version: meta.Version, Digest: meta.Digest, Commit: meta.Commit, Environment: meta.Environment,
			AppliedAt: meta.AppliedAt,
		})
		return nil
	}
	for _, m := range missed {
		u.deliver(m)
	}
	return nil
}

// missed reads the stream backwards from its end to the last message handled. It is
// not ok when the messages there do not form one chain from that one to newest.
func (u *subscriber) missed(ctx context.Context, newest string) ([]Message, bool, error) {
	entries, err := u.s.client.XRevRangeN(ctx, u.s.ns.system(nameChanges), "+", "-", streamLength).Result()
	if err != nil {
		if isWrongType(err) {
			return nil, false, nil // no stream
		}
		return nil, false, wrap(err, "reading %s", u.s.ns.system(nameChanges))
	}
	var chain []Message
	want := newest
	for _, e := range entries {
		body, _ := e.Values[streamField].(string)
		m, err := parseMessage(body)
		if err != nil {
			return nil, false, nil
		}
		if m.ID != want {
			if len(chain) == 0 {
				continue // newer than the meta that was read: the channel brings it
			}
			return nil, false, nil
		}
		chain = append(chain, m)
		if m.Prev == u.last {
			slices.Reverse(chain)
			return chain, true, nil
		}
		want = m.Prev
	}
	return nil, false, nil
}
