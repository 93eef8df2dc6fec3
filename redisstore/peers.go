package redisstore

import (
	"context"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// What peers tell each other on the channel <ns>lease.
const (
	PeerFree  = "free"  // the lease was given back
	PeerTaken = "taken" // a new term has begun
	PeerNote  = "note"  // the notes have changed
	PeerLook  = "look"  // git has something new
	PeerLive  = "live"  // made here of a message in changes
)

// TellPeers says one of the words to all reconcilers of the namespace that listen.
// It is a hint: what is not heard is found at the next look.
func (s *Store) TellPeers(ctx context.Context, word string) error {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	return wrap(s.client.Publish(ctx, s.ns.system(nameLease), word).Err(), "telling the reconcilers of %s", s.ns)
}

// hint tells peers what they would find by themselves.
func (s *Store) hint(ctx context.Context, word string) {
	if err := s.TellPeers(ctx, word); err != nil {
		s.log.Debug("telling the other reconcilers", slog.Any("err", err))
	}
}

// HearPeers calls heard with each word that peers say, and PeerLive when a change is
// live, until the context ends, whose error it returns, or Redis denies access. Lost
// connections are mended; what was said meanwhile is not heard. Over a shared connection
// every word is PeerNote: something was said.
func (s *Store) HearPeers(ctx context.Context, heard func(word string)) error {
	if s.cluster == nil && s.line != nil { // a shared connection tells on which channel, and not what
		return s.line.listen(ctx, globEscape(s.ns.system(nameLease)), func(string) { heard(PeerNote) })
	}
	ps := s.client.Subscribe(ctx, s.ns.system(nameLease), s.ns.system(nameChanges))
	defer ps.Close()
	if err := mayListen(ctx, ps, s.timeout); err != nil {
		return wrap(err, "listening to %s", s.ns.system(nameLease))
	}
	events := ps.Channel(redis.WithChannelSize(64))
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m, open := <-events:
			switch {
			case !open:
				return wrap(redis.ErrClosed, "listening to %s", s.ns.system(nameLease))
			case m.Channel == s.ns.system(nameChanges):
				heard(PeerLive)
			default:
				heard(m.Payload)
			}
		}
	}
}
