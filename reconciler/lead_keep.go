package reconciler

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rampart-flags/rampart/redisstore"
)

// lost takes note that the lease is another's, and ends the write under way.
func (l *leadership) lost(now redisstore.Lease, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leading = false; known {
		l.lease = now
	}
	if l.stop != nil {
		l.stop()
	}
}

// renew makes the own lease last, or finds that it is another's.
func (r *Reconciler) renew(ctx context.Context) {
	l := &r.lead
	l.mu.Lock()
	mine, leading := l.lease, l.leading
	l.mu.Unlock()
	if !leading {
		return
	}
	// A Redis that hangs must not keep this instance from seeing that its time is over.
	patience := max(time.Until(mine.Expires)-r.margin(), r.margin())
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got, err := r.cfg.Store.RenewLease(bounded, mine, r.cfg.Lease)
	l.mu.Lock()
	l.failing = err != nil
	l.mu.Unlock()
	switch {
	case errors.Is(err, redisstore.ErrConflict):
		if r.deposed(bounded, got) {
			r.rouse()
		}
	case err != nil:
		if ctx.Err() == nil {
			r.log.Warn("the lease was not renewed", slog.Any("error", err))
		}
	default:
		l.mu.Lock()
		if l.leading && l.lease.Term == got.Term {
			l.lease = got
		}
		l.mu.Unlock()
	}
}

// keepLease looks after the lease until ctx ends, beside the passes: a leader's is
// renewed, also during a long write, and a free one is taken at once, where it hears of
// it.
func (r *Reconciler) keepLease(ctx context.Context, hear bool) {
	if !r.leased() {
		return
	}
	words := make(chan string, 64)
	if hear {
		var ears sync.WaitGroup
		defer ears.Wait()
		ears.Go(func() {
			err := r.cfg.Store.HearPeers(ctx, func(word string) {
				select {
				case words <- word:
				default: // hints only
				}
			})
			if ctx.Err() == nil {
				r.log.Warn("what other instances say is not heard; the next look finds it", slog.Any("error", err))
			}
		})
	}
	tick := time.NewTimer(r.nextLook())
	defer tick.Stop()
	for {
		word := ""
		select {
		case <-ctx.Done():
			return
		case word = <-words:
		case <-tick.C:
		}
		r.lookAfterLease(ctx, word)
		tick.Reset(r.nextLook())
	}
}

// nextLook is when the lease must be looked at again: a third of its time on, or when
// it runs out, whoever has it.
func (r *Reconciler) nextLook() time.Duration {
	r.lead.mu.Lock()
	defer r.lead.mu.Unlock()
	next := r.cfg.Lease / 3
	if r.lead.failing {
		next = r.margin()
	}
	until := time.Until(r.lead.lease.Expires)
	if r.lead.leading {
		until -= r.margin()
	}
	if until > 0 && until < next {
		next = until
	}
	return max(next, time.Millisecond)
}

func (r *Reconciler) lookAfterLease(ctx context.Context, word string) {
	leading := r.leads()
	switch {
	case word == redisstore.PeerLook && leading:
		if now := time.Now(); now.Sub(r.lead.asked) > lookAtMost { // anybody who may write Redis can ask
			r.lead.asked = now
			r.Nudge()
		}
		return
	case word == redisstore.PeerLive && leading, word == redisstore.PeerLook:
		return // its own
	case word == redisstore.PeerLive:
		r.rouse()
		return
	}
	r.lead.mu.Lock()
	had, notes := r.lead.leading, r.lead.lease.Notes
	r.lead.mu.Unlock()
	if had {
		r.renew(ctx)
		r.lead.mu.Lock()
		told := !notes.Equal(r.lead.lease.Notes) // by one that follows
		over := r.lead.leading && !time.Now().Before(r.lead.lease.Expires.Add(-r.margin()))
		is := r.lead.leading
		if over && r.lead.stop != nil {
			r.lead.stop() // nothing of it may be written after the lease has run out
		}
		r.lead.mu.Unlock()
		if !is || told {
			r.rouse()
		}
		return
	}
	if got := r.seeLease(ctx); got.Held(time.Now()) {
		if word == redisstore.PeerNote {
			r.rouse()
		}
		return
	}
	r.lockSoon() // does not wait for git
	if !r.closed {
		r.takeLead(ctx, false)
		r.publish()
	}
	r.mu.Unlock()
	r.rouse()
}

// lookAtMost is how often other instances make this one ask the remote, at most.
const lookAtMost = time.Second

// Look makes whoever leads look at git at once, and this instance as well. It does not
// wait for that.
func (r *Reconciler) Look() {
	r.Nudge()
	if !r.leased() || r.leads() {
		return
	}
	go func() {
		if err := r.cfg.Store.TellPeers(context.Background(), redisstore.PeerLook); err != nil {
			r.log.Warn("asking the leader to look at git", slog.Any("error", err))
		}
	}()
}

// rouse makes the next pass come at once.
func (r *Reconciler) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// grace is how long a write may go on that was begun before the process was told to end.
const grace = 10 * time.Second

// writing is the context of a write to the store: it outlives the caller's by a grace,
// so that what was begun is finished, and ends with the lease.
func (r *Reconciler) writing(ctx context.Context) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	quit := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(grace, cancel)
		context.AfterFunc(inner, func() { t.Stop() })
	})
	r.lead.mu.Lock()
	r.lead.stop = cancel
	r.lead.mu.Unlock()
	return inner, func() {
		r.lead.mu.Lock()
		r.lead.stop = nil
		r.lead.mu.Unlock()
		quit()
		cancel()
	}
}

// giveBack gives the lease back, so that another leads at once.
func (r *Reconciler) giveBack() {
	l := &r.lead
	l.mu.Lock()
	mine, leading := l.lease, l.leading
	l.leading, l.ending = false, true
	l.mu.Unlock()
	if !leading {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := r.cfg.Store.ReleaseLease(ctx, mine); err != nil {
		r.log.Warn("the lease was not given back; it runs out by itself", slog.Any("error", err))
	}
}
