package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/rampart-flags/rampart/internal/wholefile"
	"github.com/rampart-flags/rampart/redisstore"
)

// What a person told one instance holds for whoever leads next: it stands in the state
// folder of each, and in the notes of the lease. Of two that differ the newer counts.

// resumedName, in the state folder, says when the last suspension ended.
const resumedName = "resumed.json"

// said is what a person said last about suspending, as the lease's note: a suspension,
// or that it ended.
type said struct {
	Suspension
	Resumed time.Time `json:"resumed,omitzero"`
}

func (s *said) at() time.Time {
	switch {
	case s == nil:
		return time.Time{}
	case !s.Resumed.IsZero():
		return s.Resumed
	}
	return s.Since
}

// suspends gives the suspension, nil where it is over.
func (s *said) suspends(now time.Time) *Suspension {
	if s == nil || !s.Resumed.IsZero() || !s.Until.IsZero() && !now.Before(s.Until) {
		return nil
	}
	return &s.Suspension
}

// resume takes the marker away, and remembers when: a note that is older is not taken over.
func resume(dir string, now time.Time) error {
	err := os.Remove(filepath.Join(dir, suspendName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		var src []byte
		if src, err = json.Marshal(said{Resumed: now.UTC()}); err == nil {
			err = wholefile.Write(filepath.Join(dir, resumedName), append(src, '\n'), 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("resuming: %w", err)
	}
	return nil
}

// saidHere is what the state folder holds: s is its marker.
func (r *Reconciler) saidHere(s *Suspension) *said {
	if s != nil {
		return &said{Suspension: *s}
	}
	src, err := os.ReadFile(filepath.Join(r.cfg.Dir, resumedName))
	if err != nil {
		return nil
	}
	var last said
	if json.Unmarshal(src, &last) != nil {
		return nil
	}
	return &last
}

// saidThere is what the lease's note holds.
func (r *Reconciler) saidThere() *said {
	lease, looked := r.lastLease()
	if !looked || lease.Notes.Suspension == nil {
		return nil
	}
	var last said
	if err := json.Unmarshal(lease.Notes.Suspension, &last); err != nil || len(last.Reason) > maxReason {
		r.log.Warn("the lease's note about a suspension does not read", slog.Any("error", err))
		return nil
	}
	return &last
}

// agreeOnSuspension brings the marker of the state folder, s, and the lease's note
// together, and gives what is in force.
func (r *Reconciler) agreeOnSuspension(ctx context.Context, s *Suspension) *Suspension {
	r.lead.passes.suspend = false
	if _, looked := r.lastLease(); !looked || !r.leased() {
		return s
	}
	now := r.now()
	here, there := r.saidHere(s), r.saidThere()
	if here.suspends(now) == nil && there.suspends(now) == nil || here.at().Equal(there.at()) {
		return s
	}
	if there.at().After(here.at()) {
		in := there.suspends(now)
		err := suspend(r.cfg.Dir, in, there.at())
		if err != nil {
			r.log.Error("taking over what another instance was told", slog.Any("error", err))
		}
		return in
	}
	if r.leads() {
		if err := r.shareSuspension(ctx, s); err != nil {
			r.log.Error("telling the other instances of the suspension", slog.Any("error", err))
		}
	} else {
		r.lead.passes.suspend = true // somebody told this folder while nobody ran on it
	}
	return s
}

// shareSuspension writes the state of the state folder into the lease's note.
func (r *Reconciler) shareSuspension(ctx context.Context, s *Suspension) error {
	if !r.leased() {
		return nil
	}
	last := r.saidHere(s)
	if there := r.saidThere(); last == nil || !last.at().After(there.at()) { // clocks differ; the order is what was said here
		if s == nil && there.suspends(r.now()) == nil {
			return nil
		}
		if last == nil {
			last = &said{}
		}
		if at := there.at().Add(time.Millisecond); s == nil {
			last.Resumed = at
		} else {
			last.Since = at
			if err := suspend(r.cfg.Dir, &last.Suspension, at); err != nil {
				return err
			}
		}
	}
	src, err := json.Marshal(last)
	if err != nil {
		return fmt.Errorf("encoding the suspension: %w", err)
	}
	return r.changeNotes(ctx, func(n *redisstore.Notes) { n.Suspension = src })
}

// shareStatement leaves a statement about history that was used where the others find it.
func (r *Reconciler) shareStatement(ctx context.Context, sealed []byte) {
	if !r.leased() || r.lead.passes.following {
		return
	}
	if err := r.changeNotes(ctx, func(n *redisstore.Notes) { n.History = sealed }); err != nil {
		r.log.Error("telling the other instances of the statement about history; each needs it, should it lead", slog.Any("error", err))
	}
}

func (r *Reconciler) changeNotes(ctx context.Context, change func(*redisstore.Notes)) error {
	lease, _ := r.lastLease()
	notes, err := r.cfg.Store.ChangeNotes(ctx, lease, change)
	if err != nil {
		return err
	}
	l := &r.lead
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease.Term == lease.Term {
		l.lease.Notes = notes
	}
	return nil
}
