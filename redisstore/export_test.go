package redisstore

import "context"

// BetweenChunks makes f run after each chunk of a large apply.
func (s *Store) BetweenChunks(f func()) { s.betweenChunks = f }

// CatchUp reads the stream as a subscriber does that missed a message.
func (s *Store) CatchUp(ctx context.Context) error {
	u := &subscriber{s: s, handle: func(Message) {}, begun: true, last: "some message"}
	return u.catchUp(ctx)
}
