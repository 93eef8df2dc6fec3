package client

import (
	"log/slog"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// sink takes what one source delivers. It decides whether that source is the one
// that serves: the most preferred of those that have ever had flags.
type sink struct {
	c    *Client
	rank int
}

// delivery is a whole set of flags.
type delivery struct {
	Snapshot
	compiled *flags.Snapshot
	features []string // whose entries changed; nil when it may be any
	quiet    bool     // the same generation, with other tenants in it
	// savedAt is when flags from a cache were known to be current, before this process
	// began; stale says so, and nobody sees them without it.
	savedAt time.Time
	stale   error
}

// install makes a set of flags the one that serves, unless a more preferred
// source does.
func (s sink) install(d delivery) {
	c := s.c
	snap := d.Snapshot
	snap.flags, snap.tenant, snap.forced, snap.Loaded = d.compiled, c.tenant, c.forced, c.now()
	c.mu.Lock()
	if c.closed || s.rank > c.serving {
		c.mu.Unlock()
		return
	}
	first, better := c.serving == len(c.feeds), s.rank < c.serving
	if snap.Source == "" {
		snap.Source = c.feeds[s.rank].name
	}
	c.serving = s.rank
	f := &c.feeds[s.rank]
	failed := f.err != nil
	f.confirmed, f.err = snap.Loaded, d.stale
	if !d.savedAt.IsZero() {
		f.confirmed = d.savedAt
	}
	if better {
		// Fallbacks have done their duty, and their last word must not count again.
		for i := s.rank + 1; i < len(c.feeds); i++ {
			if c.feeds[i].cancel != nil {
				c.feeds[i].cancel()
			}
			c.feeds[i].err = nil
		}
	}
	c.current.Store(&snap)
	c.signal()
	switch {
	case d.quiet:
	case first:
		c.events.add(Event{Kind: Ready, Snapshot: &snap})
	default:
		if failed && !better {
			c.events.add(Event{Kind: Recovered, Snapshot: &snap})
		}
		c.events.add(Event{Kind: Changed, Snapshot: &snap, Features: d.features})
	}
	if d.stale != nil {
		c.events.add(Event{Kind: Stale, Snapshot: &snap, Err: d.stale})
	}
	c.mu.Unlock()
	if d.stale != nil {
		c.log.Warn("a source of flags fails", slog.String("source", f.name), slog.Any("err", d.stale))
	}
	if better {
		c.log.Info("flags are served", slog.String("source", snap.Source), slog.Uint64("generation", snap.Generation),
			slog.String("version", snap.Version), slog.Int("entries", snap.flags.Len()))
	}
}

// confirm says that what this source delivered last is still current.
func (s sink) confirm() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.feeds[s.rank]
	failed := f.err != nil
	f.confirmed, f.err = c.now(), nil
	if failed && s.rank == c.serving {
		c.signal()
		c.events.add(Event{Kind: Recovered, Snapshot: c.current.Load()})
		c.log.Info("flags are current again", slog.String("source", f.name))
	}
}

// fail says that the source cannot confirm its flags. What it delivered before
// goes on serving.
func (s sink) fail(err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &c.feeds[s.rank]
	began := f.err == nil
	f.err = err
	if !began {
		return
	}
	c.signal()
	if s.rank == c.serving {
		c.events.add(Event{Kind: Stale, Snapshot: c.current.Load(), Err: err})
	}
	c.log.Warn("a source of flags fails", slog.String("source", f.name), slog.Any("err", err))
}

// served is what this source delivered last, or nil when it does not serve.
func (s sink) served() *Snapshot {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.serving != s.rank {
		return nil
	}
	return s.c.current.Load()
}
