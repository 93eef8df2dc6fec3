package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// BetweenChunks makes f run after each chunk of a large apply.
func (s *Store) BetweenChunks(f func()) { s.betweenChunks = f }

// CatchUp reads the stream as a subscriber does that missed a message.
func (s *Store) CatchUp(ctx context.Context) error {
	u := &subscriber{s: s, handle: func(Message) {}, begun: true, last: "some message"}
	return u.catchUp(ctx)
}

// Small makes n entries the most that are written at once, and with apart the store
// behaves on one Redis as it does across the slots of a Cluster.
func (s *Store) Small(n int, apart bool) { s.chunk, s.apart = n, apart }

// Hook is called around everything that the store sends.
func (s *Store) Hook(h redis.Hook) { s.client.AddHook(h) }
