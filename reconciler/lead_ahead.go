package reconciler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/rampart-flags/rampart/internal/wholefile"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/trust"
)

// An instance that follows may know more than the one that leads: Redis lost its last seconds or
// all it had, and whoever led next had been cut off, or began with nothing. What is in the state
// folders is not lost with it. A statement about history is said again, and a later generation
// than the one that is live brings the lead to whoever has it.

// usedName, in the state folder, is the statement about history that was used last, as it was signed.
const usedName = "accept-history.used.json"

// keepUsed keeps a statement that was used. Losing it costs that it cannot be said again.
func (r *Reconciler) keepUsed(sealed []byte) {
	r.lead.passes.used = sealed
	if err := wholefile.Write(filepath.Join(r.folder.dir, usedName), sealed, 0o600); err != nil {
		r.log.Error("keeping the statement that was used", slog.Any("error", err))
	}
}

// readUsed reads what keepUsed kept.
func (r *Reconciler) readUsed() {
	src, err := os.ReadFile(filepath.Join(r.folder.dir, usedName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Error("reading the statement that was used last", slog.Any("error", err))
	}
	r.lead.passes.used = src
}

// sayAgain brings the statement that was used here last back into the lease's note, where Redis lost it: whoever leads may
// not know it. A newer one stays.
func (r *Reconciler) sayAgain(ctx context.Context) {
	used := r.lead.passes.used
	lease, looked := r.lastLease()
	if len(used) == 0 || r.trust.policy == nil || !r.leased() || !looked || lease.Term == 0 || r.saidLater(lease.Notes.History, used) {
		return
	}
	err := r.changeNotes(ctx, func(n *redisstore.Notes) {
		if !r.saidLater(n.History, used) {
			n.History = used
		}
	})
	if err != nil && !errors.Is(err, redisstore.ErrConflict) { // a new term begins: the next pass
		r.log.Error("saying again which history was accepted", slog.Any("error", err))
	}
}

// saidLater says whether a lease's note is the statement that was used, or one that was signed and issued later.
func (r *Reconciler) saidLater(note, used []byte) bool {
	return bytes.Equal(note, used) || r.issued(note).After(r.issued(used))
}

// issued is when a statement about history was issued; zero for one that does not read or that nobody known has signed.
func (r *Reconciler) issued(sealed []byte) time.Time {
	if len(sealed) == 0 || len(sealed) > maxStatement {
		return time.Time{}
	}
	s, err := trust.ParseSealed(statementName, sealed)
	if err != nil || len(s.Verify(r.trust.policy, r.cfg.Signing).Signers()) == 0 {
		return time.Time{}
	}
	h, err := trust.ParseAcceptHistory(statementName, s.Statement)
	if err != nil {
		return time.Time{}
	}
	return h.Issued
}

// patience is how long a leader may have something earlier live than this instance knows: after a failover it has to find the
// same by itself first.
func (r *Reconciler) patience() time.Duration { return r.cfg.Lease + 2*r.cfg.interval() }

// weigh takes note of whether this instance, which follows, knows a later generation than the one that is live.
func (r *Reconciler) weigh(live redisstore.Meta) {
	p := &r.lead.passes
	last, ok := r.history.last()
	switch lease, _ := r.lastLease(); {
	case !ok || last.Number <= live.Generation:
		p.ahead = time.Time{}
	case p.ahead.IsZero() || p.aheadOf != lease.Term:
		p.ahead, p.aheadOf = time.Now(), lease.Term
	}
}

// overtake takes the lead from one that has had an earlier generation live for too long, so that numbers do not fall for good.
// What this instance knows must be on the branch as it is now, under the policy in force, and nobody may have said that nothing
// new is wanted. Each time raises the number that is live, so that two instances cannot go on with it.
func (r *Reconciler) overtake(ctx context.Context, head string) error {
	p := &r.lead.passes
	if p.ahead.IsZero() || time.Since(p.ahead) < r.patience() || r.target == nil || !r.source.fresh || r.status.Suspended != nil || r.revokedMessage() != "" {
		return nil
	}
	on, err := r.cfg.Repo.IsAncestor(ctx, r.checked(), head)
	if err != nil {
		return fmt.Errorf("looking for generation %d on the branch: %w", r.target.Number, err)
	}
	if !on {
		return nil
	}
	p.ahead = time.Time{} // should it fail, the next try is as far away
	r.log.Warn("this instance takes the lead: it knows a later generation than the one that is live", slog.Uint64("generation", r.target.Number))
	if r.takeLead(ctx, true) {
		r.rouse()
	}
	return nil
}
