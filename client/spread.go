package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/rampart-flags/rampart/redisstore"
)

const (
	// A whole read begins after a time of its own within a window: a second for each MiB
	// of the spec, within these bounds. Ten thousand clients hear of a change at once.
	shortestWindow = 100 * time.Millisecond
	longestWindow  = 10 * time.Second
	// longestRetry bounds the window after whole reads that failed. It is as long as one
	// may take, so that reads which pile up are in the end apart.
	longestRetry = 5 * time.Minute
)

// window is how long the whole reads of a spec of that many bytes are spread.
func window(size int) time.Duration {
	d := time.Duration(float64(size) / (1 << 20) * float64(time.Second))
	return min(max(d, shortestWindow), longestWindow)
}

// wider is the window after one in which a whole read failed that took so long: twice as
// long, and no shorter than what it took.
func wider(d, took time.Duration) time.Duration { return min(max(2*d, took), longestRetry) }

// within chooses a time within d.
func (c *Client) within(d time.Duration) time.Duration {
	if choose := c.spread.Load(); choose != nil {
		return (*choose)(d)
	}
	return rand.N(d)
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// readWhole reads everything, and says when it may be read again where that was in vain.
func (f *redisFeed) readWhole(ctx context.Context) error {
	loading, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	began := f.c.now()
	err := f.readAll(loading)
	f.readAt = time.Time{}
	switch {
	case err != nil && (errors.Is(err, errMoving) || errors.Is(err, redisstore.ErrUnavailable) || loading.Err() != nil):
		// Most likely others read it too, and too many of them.
		f.again = wider(max(f.again, window(f.size)), f.c.now().Sub(began))
		f.readAt = f.c.now().Add(f.c.within(f.again))
	default: // where it was read and refused, the next generation is another matter
		f.again = 0
	}
	return err
}

// hasty reports whether somebody waits for the read, or it must not wait.
func (f *redisFeed) hasty() bool {
	return f.due() && f.again == 0 || f.c.lazy != nil && f.c.lazy.awaited()
}

// due reports whether an override in force has ended.
func (f *redisFeed) due() bool { return !f.expires.IsZero() && !f.c.now().Before(f.expires) }
