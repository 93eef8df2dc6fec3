package main

import (
	"sync"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/trust"
)

// excuses are the reasons for which what is seen may differ for a while from what an
// invariant says: the harness itself flushed Redis, wrote into the namespace, or posted
// a statement. Each ends with the first look that finds everything in order again.
type excuses struct {
	mu     sync.Mutex
	by     map[string]*reason
	lowers []lowered
	jumped time.Time // when a clock was moved last
}

type reason struct {
	under int       // how many are at it now
	open  bool      // done, and not seen to be put right
	done  time.Time // when the last of them was done
	ended time.Time // when it was last seen to be put right
}

// lowered is a break-glass statement that was posted.
type lowered struct {
	*trust.Override
	acknowledged time.Time // zero: nobody said that it is in force
}

func newExcuses() *excuses {
	return &excuses{by: map[string]*reason{"emptied": {}, "lagging": {}, "rewound": {}, "drift": {}}}
}

// begin opens an excuse before the deed; the function it returns is for after it.
func (e *excuses) begin(name string) func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.by[name]
	r.under++
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		r.under--
		r.open, r.done = true, time.Now()
	}
}

// has says whether the excuse counts now.
func (e *excuses) has(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.by[name]
	return r.under > 0 || r.open
}

// recent says whether it counts, or counted a moment ago: for readers that look at
// Redis from time to time.
func (e *excuses) recent(name string, within time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.by[name]
	return r.under > 0 || r.open || time.Since(r.ended) < within
}

// ordered ends the excuses that were done before a look that found everything in order.
func (e *excuses) ordered(looked time.Time, names ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range names {
		if r := e.by[name]; r.open && r.under == 0 && looked.After(r.done) {
			r.open, r.ended = false, time.Now()
		}
	}
}

func (e *excuses) clockMoved() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.jumped = time.Now()
}

// lowering notes a statement that is about to be posted.
func (e *excuses) lowering(o *trust.Override) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lowers = append(e.lowers, lowered{Override: o})
}

func (e *excuses) acknowledge(o *trust.Override) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.lowers {
		if e.lowers[i].ID == o.ID {
			e.lowers[i].acknowledged = time.Now()
		}
	}
}

// lateEnd is how long after its time a statement may still be seen: a reconciler may be
// cut off, and a clock may be wrong.
const lateEnd = 30 * time.Second

// allows says whether an entry may stand where spec says want.
func (e *excuses) allows(key flags.Key, got, want flags.Entry) bool {
	if got.Equal(want) {
		return true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	all := want
	for _, o := range e.lowers {
		if time.Since(o.Expires) > lateEnd && !e.jumped.After(o.Issued) {
			continue
		}
		all = o.Entry(key, all)
		if got.Equal(all) || got.Equal(o.Entry(key, want)) {
			return true
		}
	}
	return false
}

// lowersAny says whether any statement so far could have switched a feature off.
func (e *excuses) lowersAny(feature string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range e.lowers {
		for _, it := range o.Set {
			if it.Feature == feature {
				return true
			}
		}
	}
	return false
}

// mustHold are the statements that were acknowledged and whose time is not over by any
// clock.
func (e *excuses) mustHold() []*trust.Override {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*trust.Override
	for _, o := range e.lowers {
		if !o.acknowledged.IsZero() && time.Until(o.Expires) > time.Second && !e.jumped.After(o.Issued) {
			all = append(all, o.Override)
		}
	}
	return all
}

// everHeld are the statements that somebody said to be in force.
func (e *excuses) everHeld() []*trust.Override {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*trust.Override
	for _, o := range e.lowers {
		if !o.acknowledged.IsZero() {
			all = append(all, o.Override)
		}
	}
	return all
}
