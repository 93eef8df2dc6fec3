package redisstore

// BetweenChunks makes f run after each chunk of a large apply.
func (s *Store) BetweenChunks(f func()) { s.betweenChunks = f }
