package main

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ofrep"
	"github.com/rampart-flags/rampart/reconciler"
)

// evaluation answers OFREP from what this reconciler has made live. It begins with the first request: who never asks, does
// not pay for a second copy of the entries.
type evaluation struct {
	ctx     context.Context
	begin   sync.Once
	live    func() *reconciler.Live
	log     *slog.Logger
	handler *ofrep.Handler
	view    atomic.Pointer[ofrep.View]
	shown   *reconciler.Live // what view was made of
	mu      sync.Mutex       // one compiles, the others take the last view
}

// newEvaluation serves until ctx ends, below base. Its event streams share the room.
func newEvaluation(ctx context.Context, live func() *reconciler.Live, base string, room *room, defaultTenant string, log *slog.Logger) *evaluation {
	e := &evaluation{ctx: ctx, live: live, log: log}
	e.view.Store(&ofrep.View{})
	e.handler = ofrep.New(ofrep.Options{View: func() ofrep.View { return *e.view.Load() }, Base: base, DefaultTenant: defaultTenant, Log: log,
		Admit: room.stream, MaxStreams: room.streams()})
	return e
}

func (e *evaluation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.begin.Do(func() {
		e.refresh()
		go e.follow(e.ctx)
	})
	e.handler.ServeHTTP(w, r)
}

// follow compiles what has come to be live and tells open streams.
func (e *evaluation) follow(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if e.refresh() {
			e.handler.Changed()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (e *evaluation) refresh() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.live()
	if now == nil || now.Spec == nil || now == e.shown {
		return false
	}
	was, revision := e.view.Load(), now.Digest
	for _, o := range now.Overrides {
		revision += "+" + o.ID
	}
	if e.shown = now; was.Snapshot != nil && was.Generation == now.Generation.Number && was.Revision == revision {
		return false
	}
	snap, err := flags.CompileEntries(now.Entries())
	if err != nil {
		e.log.Error("compiling what is live; the last evaluation goes on", "err", err)
		return false
	}
	e.view.Store(&ofrep.View{Snapshot: snap, Generation: now.Generation.Number, Commit: now.Commit, Version: now.Version, Revision: revision})
	return true
}
