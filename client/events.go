package client

import (
	"context"
	"slices"
	"sync"
)

// EventKind says what happened.
type EventKind string

const (
	// Ready: there are flags, for the first time.
	Ready EventKind = "ready"
	// Changed: another snapshot serves.
	Changed EventKind = "changed"
	// Stale: the source that serves has begun to fail.
	Stale EventKind = "stale"
	// Recovered: it answers again.
	Recovered EventKind = "recovered"
)

// Event is what [Client.OnChange] tells.
type Event struct {
	Kind     EventKind
	Snapshot *Snapshot // what serves
	// Features are those whose entries changed, sorted; nil when it may be any.
	Features []string
	Err      error // with Stale
}

// OnChange calls fn for each event from now on, one after the other, from a
// goroutine of the client, until stop is called. A slow fn delays other
// listeners, never a decision and never an update.
func (c *Client) OnChange(fn func(Event)) (stop func()) { return c.events.listen(fn) }

// eventQueue hands events on, in their order, without holding anybody up.
type eventQueue struct {
	mu        sync.Mutex
	queue     []Event
	listeners []*func(Event)
	wake      chan struct{} // capacity 1
	once      sync.Once
}

func (q *eventQueue) init() { q.once.Do(func() { q.wake = make(chan struct{}, 1) }) }

func (q *eventQueue) listen(fn func(Event)) func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := &fn
	q.listeners = append(slices.Clip(q.listeners), l)
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if i := slices.Index(q.listeners, l); i >= 0 {
			q.listeners = slices.Delete(slices.Clone(q.listeners), i, i+1)
		}
	}
}

func (q *eventQueue) add(e Event) {
	q.init()
	q.mu.Lock()
	q.queue = append(q.queue, e)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *eventQueue) run(ctx context.Context) {
	q.init()
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		for {
			q.mu.Lock()
			if len(q.queue) == 0 {
				q.mu.Unlock()
				break
			}
			e := q.queue[0]
			q.queue = q.queue[1:]
			listeners := q.listeners
			q.mu.Unlock()
			for _, fn := range listeners {
				(*fn)(e)
			}
		}
	}
}
