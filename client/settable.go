package client

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/rampart-flags/rampart/flags"
)

// Settable is a source that the program itself feeds: for tests (package
// clienttest), and for flags that arrive in a way of their own.
type Settable struct {
	name string

	mu         sync.Mutex
	generation uint64
	now        *delivery
	sinks      map[*sink]bool
}

// NewSettable makes a source that has no flags yet. The name is what
// [Snapshot].Source says.
func NewSettable(name string) *Settable { return &Settable{name: name, sinks: map[*sink]bool{}} }

// Source is for [Options].Sources.
func (s *Settable) Source() Source {
	return Source{name: s.name, open: func(*Client) (feed, error) { return s, nil }}
}

// Set makes these entries the whole set, as the next generation. When it returns
// nil, clients that serve from here decide by them.
func (s *Settable) Set(entries iter.Seq2[flags.Key, flags.Entry]) error {
	compiled, err := flags.CompileEntries(entries)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.now = &delivery{Snapshot: Snapshot{Generation: s.generation, Revision: fmt.Sprint(s.generation)}, compiled: compiled}
	for to := range s.sinks {
		to.install(*s.now)
	}
	return nil
}

// Fail tells clients that what was set can no longer be relied upon, until the
// next Set.
func (s *Settable) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for to := range s.sinks {
		to.fail(err)
	}
}

func (s *Settable) run(ctx context.Context, to sink) {
	s.mu.Lock()
	s.sinks[&to] = true
	if s.now != nil {
		to.install(*s.now)
	}
	s.mu.Unlock()
	<-ctx.Done()
	s.mu.Lock()
	delete(s.sinks, &to)
	s.mu.Unlock()
}
