package ofrep

import (
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter bounds how often each caller asks.
type limiter struct {
	rate float64

	mu      sync.Mutex
	callers map[string]*caller
	swept   time.Time
}

type caller struct {
	limit *rate.Limiter
	last  time.Time
}

const (
	// mostCallers bounds the memory that strangers can take. Beyond it, those not seen
	// for longest are forgotten, which gives them a fresh start and nothing more.
	mostCallers = 100_000
	sweepEvery  = time.Minute
)

func newLimiter(perSecond float64) *limiter {
	return &limiter{rate: perSecond, callers: map[string]*caller{}}
}

// wait is how long the caller has to wait; 0 lets it in.
func (l *limiter) wait(a Access, r *http.Request) time.Duration {
	perSecond := a.Rate
	if perSecond == 0 {
		perSecond = l.rate
	}
	if perSecond <= 0 {
		return 0
	}
	name := "key " + a.Name
	if a.Name == "" {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		name = host
	}
	now := time.Now()
	limit := l.of(name, perSecond, now)
	wait := limit.ReserveN(now, 1)
	delay := wait.DelayFrom(now)
	if delay > 0 {
		wait.CancelAt(now)
	}
	return delay
}

func (l *limiter) of(name string, perSecond float64, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.swept) > sweepEvery || len(l.callers) >= mostCallers {
		l.sweep(now)
	}
	c, ok := l.callers[name]
	if !ok {
		c = &caller{limit: rate.NewLimiter(rate.Limit(perSecond), max(1, int(2*perSecond)))}
		l.callers[name] = c
	}
	c.last = now
	return c.limit
}

// sweep forgets callers whose allowance is whole again anyway, and, if that is
// not enough, all.
func (l *limiter) sweep(now time.Time) {
	l.swept = now
	for name, c := range l.callers {
		if now.Sub(c.last) > sweepEvery {
			delete(l.callers, name)
		}
	}
	if len(l.callers) >= mostCallers {
		clear(l.callers)
	}
}
