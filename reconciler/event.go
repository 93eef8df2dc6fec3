package reconciler

import (
	"context"
	"log/slog"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// What else an event can be about, beside the kinds of a [Generation].
const (
	KindRefuse     Kind = "refuse"     // a commit was quarantined
	KindDefer      Kind = "defer"      // a commit waits for its time
	KindApply      Kind = "apply"      // an accepted generation that was not live yet is written
	KindRepair     Kind = "repair"     // entries that differed from what was applied are put right
	KindRefill     Kind = "refill"     // the store had lost everything
	KindSignatures Kind = "signatures" // the content stayed, its bundles are newer ones
	KindRewritten  Kind = "rewritten"  // the branch no longer descends from the last accepted commit
	KindDiverge    Kind = "diverge"    // a cold start would change live entries, and stopped
)

// Outcome says how an event ended.
type Outcome string

// The outcomes. An intent has none yet.
const (
	OutcomeApplied    Outcome = "applied"    // it is live
	OutcomeSuperseded Outcome = "superseded" // accepted, and replaced by a newer one before it was written
	OutcomePending    Outcome = "pending"    // accepted, and the write failed; the next pass finishes it
	OutcomeFailed     Outcome = "failed"     // recorded, and then not accepted after all
	OutcomeRefused    Outcome = "refused"
	OutcomeDeferred   Outcome = "deferred"
)

// Event is one thing that the reconciler did or declined to do.
type Event struct {
	ID          string         `json:"id"` // UUIDv7; an outcome has its intent's
	Kind        Kind           `json:"kind"`
	At          time.Time      `json:"at"`
	Environment string         `json:"environment,omitempty"`
	Namespace   string         `json:"namespace,omitempty"`
	Instance    string         `json:"instance,omitempty"` // the name of the reconciler
	Commit      string         `json:"commit,omitempty"`
	Subject     string         `json:"subject,omitempty"` // the commit message's first line
	Author      string         `json:"author,omitempty"`
	Committed   time.Time      `json:"committed,omitzero"`
	Generation  uint64         `json:"generation,omitzero"`
	Version     string         `json:"version,omitempty"`
	Digest      string         `json:"digest,omitempty"`
	Previous    string         `json:"previous,omitempty"`
	Signers     []string       `json:"signers,omitempty"`
	Roles       []string       `json:"roles,omitempty"`
	Policy      string         `json:"policy,omitempty"`
	Changes     []flags.Change `json:"changes,omitempty"`
	Drift       *Drift         `json:"drift,omitempty"`
	Counts      *Counts        `json:"counts,omitempty"`
	Code        Code           `json:"code,omitempty"`
	Message     string         `json:"message,omitempty"`
	Hint        string         `json:"hint,omitempty"`
	Outcome     Outcome        `json:"outcome,omitempty"`
	Error       string         `json:"error,omitempty"`
	// Trailers are the commit message's trailers (Op-Id, Op-Chain-Id, Ramp-Decision…).
	Trailers map[string][]string `json:"trailers,omitempty"`
}

// Rises says whether the event turns something on for anybody who does not have it.
// What only falls or restores goes ahead also when it cannot be recorded.
func (e Event) Rises() bool {
	switch e.Kind {
	case KindRepair, KindRefill, KindApply, KindSignatures, KindOverride:
		return false
	case KindPolicy: // it may give power to anybody
		return true
	}
	for _, c := range e.Changes {
		if c.Rises {
			return true
		}
	}
	return false
}

// Counts is what a write did to the store.
type Counts struct {
	Set      int `json:"set"`      // entries written
	Deleted  int `json:"deleted"`  // entries deleted
	Keys     int `json:"keys"`     // keys written or deleted, system keys among them
	Commands int `json:"commands"` // that write or publish
}

// A Recorder keeps what happened. It is called from one goroutine.
//
// Intent is called before the store is written. When it returns an error, nothing that
// raises exposure is accepted; what lowers it, and repairs, go ahead, and the error is
// counted and shown. Outcome is called after, with the same ID; for what is refused or
// deferred only Outcome is called, for there is no write.
type Recorder interface {
	Intent(ctx context.Context, e Event) error
	Outcome(ctx context.Context, e Event) error
}

// LogRecorder writes events to a log, one line each.
type LogRecorder struct{ Log *slog.Logger }

// Intent logs nothing unless debugging: the outcome says it all.
func (l LogRecorder) Intent(ctx context.Context, e Event) error {
	l.Log.LogAttrs(ctx, slog.LevelDebug, "intent", e.attrs()...)
	return nil
}

// Outcome logs one line.
func (l LogRecorder) Outcome(ctx context.Context, e Event) error {
	level := slog.LevelInfo
	switch {
	case e.Error != "":
		level = slog.LevelError
	case e.Outcome == OutcomeRefused, e.Kind == KindRepair, e.Kind == KindRefill:
		level = slog.LevelWarn
	}
	l.Log.LogAttrs(ctx, level, string(e.Kind), e.attrs()...)
	return nil
}

func (e Event) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("id", e.ID)}
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	text("outcome", string(e.Outcome))
	text("code", string(e.Code))
	text("commit", e.Commit)
	if e.Generation != 0 {
		attrs = append(attrs, slog.Uint64("generation", e.Generation))
	}
	text("version", e.Version)
	if len(e.Signers) > 0 {
		attrs = append(attrs, slog.Any("signers", e.Signers))
	}
	if e.Counts != nil {
		attrs = append(attrs, slog.Int("set", e.Counts.Set), slog.Int("deleted", e.Counts.Deleted))
	}
	if e.Drift != nil {
		attrs = append(attrs, slog.Int("missing", e.Drift.Missing), slog.Int("changed", e.Drift.Changed), slog.Int("extra", e.Drift.Extra))
	}
	text("message", e.Message)
	text("hint", e.Hint)
	text("error", e.Error)
	return attrs
}
