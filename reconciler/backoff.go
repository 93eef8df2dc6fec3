package reconciler

import (
	"math/rand/v2"
	"time"
)

const (
	backoffMin = 750 * time.Millisecond
	backoffMax = 5 * time.Minute
)

// backoff counts trouble in a row. The zero value has had none.
type backoff struct{ n int }

// next is how long to wait after one more trouble: from 0.75 s on, doubling, with up
// to half as much again of jitter, never above five minutes.
func (b *backoff) next() time.Duration {
	d := backoffMin << min(b.n, 10)
	b.n++
	return min(time.Duration(float64(d)*(1+rand.Float64()/2)), backoffMax)
}

func (b *backoff) reset() { b.n = 0 }
