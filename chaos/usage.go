package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// usages keeps what each life of each process held in memory and in descriptors.
type usages struct {
	w  *world
	mu sync.Mutex
	by map[string][]usage // by process and life
}

type usage struct {
	age time.Duration
	rss int // KiB
	fds int
}

func newUsages(w *world) *usages { return &usages{w: w, by: map[string][]usage{}} }

func (u *usages) watch(ctx context.Context) {
	for ctx.Err() == nil {
		for name, p := range u.w.procs {
			since, ok := p.active()
			if !ok {
				continue
			}
			if rss, fds, ok := p.usage(); ok {
				u.mu.Lock()
				key := fmt.Sprintf("%s/%d", name, p.starts)
				u.by[key] = append(u.by[key], usage{time.Since(since), rss, fds})
				u.mu.Unlock()
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// Bounds of what a reconciler may hold in this small world. A life grows to its working
// size within its first half minute, and no further.
const (
	maxRSS    = 256 << 10 // KiB
	maxFDs    = 200
	settled   = 30 * time.Second
	longLife  = 2 * time.Minute
	moreRSS   = 48 << 10 // KiB that a long life may grow by after it settled
	moreFDs   = 24
	atATime   = 20 // samples whose median counts
	kibPerMiB = 1024
)

// figures say the most that each process ever held, and break the invariant where a
// reconciler held too much or grew.
func (u *usages) figures() map[string]any {
	u.mu.Lock()
	defer u.mu.Unlock()
	most := map[string]usage{}
	for life, all := range u.by {
		name, _, _ := strings.Cut(life, "/")
		for _, s := range all {
			m := most[name]
			most[name] = usage{0, max(m.rss, s.rss), max(m.fds, s.fds)}
		}
		if slices.Contains(u.w.names, name) {
			u.grown(life, all)
		}
	}
	out := map[string]any{}
	for name, m := range most {
		out[name] = map[string]int{"rss_mib": m.rss / kibPerMiB, "fds": m.fds}
		if slices.Contains(u.w.names, name) && (m.rss > maxRSS || m.fds > maxFDs) {
			u.w.trace.breaks(invFlat, "%s held %d MiB and %d descriptors", name, m.rss/kibPerMiB, m.fds)
		}
	}
	return out
}

// grown compares the end of a long life with the time after it had settled.
func (u *usages) grown(life string, all []usage) {
	if len(all) == 0 || all[len(all)-1].age < longLife {
		return
	}
	at := slices.IndexFunc(all, func(s usage) bool { return s.age >= settled })
	early, late := all[at:min(at+atATime, len(all))], all[max(at, len(all)-atATime):]
	rss := func(s usage) int { return s.rss }
	fds := func(s usage) int { return s.fds }
	if r0, r1 := median(early, rss), median(late, rss); r1 > r0+moreRSS {
		u.w.trace.breaks(invFlat, "%s grew from %d to %d MiB", life, r0/kibPerMiB, r1/kibPerMiB)
	}
	if f0, f1 := median(early, fds), median(late, fds); f1 > f0+moreFDs {
		u.w.trace.breaks(invFlat, "%s grew from %d to %d descriptors", life, f0, f1)
	}
}

func median(all []usage, of func(usage) int) int {
	n := make([]int, len(all))
	for i, s := range all {
		n[i] = of(s)
	}
	slices.Sort(n)
	return n[len(n)/2]
}
