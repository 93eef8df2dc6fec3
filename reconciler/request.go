package reconciler

import (
	"context"
	"fmt"
	"log/slog"
)

// KindRequest is the kind of the event that a person had the reconciler look at git at once.
const KindRequest Kind = "request"

// Request is [Reconciler.Nudge] by a person: the next pass comes at once, and leaves a record that somebody asked. Many
// requests make one pass and one record.
func (r *Reconciler) Request() {
	r.requests.Add(1)
	r.Nudge()
}

// heedRequests records what was asked for since the last pass.
func (r *Reconciler) heedRequests(ctx context.Context) {
	n := r.requests.Swap(0)
	if n == 0 {
		return
	}
	e := r.newEvent(KindRequest)
	e.Outcome, e.Message = OutcomeApplied, "a person asked to look at git now"
	if n > 1 {
		e.Message += fmt.Sprintf(", %d times", n)
	}
	if r.lead.passes.following { // it was this instance that was asked
		if err := r.record.Outcome(ctx, e); err != nil {
			r.log.Error("the outcome could not be recorded", slog.String("id", e.ID), slog.Any("error", err))
		}
		return
	}
	r.outcome(ctx, e)
}
