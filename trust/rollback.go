package trust

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// RollbackRequest is a return to content that was accepted before: what git revert
// makes. That Next is, byte for byte, such content is for the caller to know.
type RollbackRequest struct {
	// Previous is the last accepted spec, Next the older content.
	Previous, Next *flags.Spec
	// Changes are the effective changes between the two. Nil: flags.Diff is asked.
	Changes []flags.Change
	// Signers are the names whose signatures over Next verify today.
	Signers []string
	Now     time.Time
	// Roles are those that covered Next when it was accepted ([Answer.Roles]). Empty:
	// not known, and any role that the signers reach today will do.
	Roles []string
	// Generations is how many generations ago Next was accepted; 1 is the one just
	// before the last.
	Generations int
	// LastLive is when Next was last live: when the generation after it was accepted.
	LastLive time.Time
}

const rollbackHint = "make the same change as a new, signed version: propose rollback --key cosign.key"

// AuthorizeRollback says whether content of before may come back on its old
// signatures: their signers hold under this policy, it lies inside the window, and
// exposure only falls (unless the policy's rollback.raise lifts that).
func (p *Policy) AuthorizeRollback(r RollbackRequest) Answer {
	if a := p.admits(r.Previous, r.Next, true); a.Verdict != Allowed {
		return a
	}
	refuse := func(reason Reason, format string, args ...any) Answer {
		return Answer{Reason: reason, Hint: rollbackHint, Uncovered: []Ruling{{Sentence: fmt.Sprintf(format, args...)}}}
	}
	switch age := r.Now.Sub(r.LastLive); {
	case p.Rollback.MaxGenerations == 0:
		return refuse(Replayed, "this content was accepted before, and the policy allows no rollback")
	case r.Generations < 1:
		return refuse(Replayed, "this content was accepted before, and when is not known")
	case r.Generations > p.Rollback.MaxGenerations:
		return refuse(Replayed, "this content was accepted %d generations ago, a rollback may go back %d", r.Generations, p.Rollback.MaxGenerations)
	case age > p.Rollback.MaxAge:
		return refuse(Replayed, "this content was last live on %s, a rollback may go back %s", r.LastLive.UTC().Format(time.DateOnly), p.Rollback.MaxAge)
	}
	if why := p.Holds(r.Roles, r.Signers, r.Now); why != "" {
		return refuse(SignersRevoked, "this content was accepted before, but %s", why)
	}
	if r.Changes == nil {
		r.Changes = flags.Diff(r.Previous, r.Next)
	}
	if a := p.withinLimits(r.Previous, r.Next, r.Changes); a.Verdict != Allowed {
		return a
	}
	a := Answer{Verdict: Allowed, Reason: Authorized, Roles: slices.Clone(r.Roles)}
	for _, c := range r.Changes {
		if raises(c) && !p.Rollback.Raise {
			a.Uncovered = append(a.Uncovered, Ruling{Change: c, Sentence: fmt.Sprintf("%s: a rollback may only lower exposure", c)})
			continue
		}
		a.Covered = append(a.Covered, Ruling{Change: c, Role: "rollback", Sentence: fmt.Sprintf("%s: a rollback", c)})
	}
	if len(a.Uncovered) > 0 {
		a.Verdict, a.Reason, a.Hint = Refused, RaisesExposure, rollbackHint
	}
	return a
}

// raises says whether a change can turn somebody on. A new salt re-buckets people,
// and of a change that is not recognised nobody can say.
func raises(c flags.Change) bool {
	return c.Rises || c.Kind == flags.Salt || !slices.Contains(flags.Kinds, c.Kind) || c.Kind == flags.Other
}

// Holds says whether content that was accepted by roles would still find their
// thresholds among signers, those whose signatures over it verify today. It returns
// "" when it does, else what is missing, as part of a sentence. A role that may do
// anything holds in place of any other; without roles, any role that is reached does.
//
// The reconciler asks this of what is live whenever the policy changes.
func (p *Policy) Holds(roles, signers []string, now time.Time) string {
	counted := p.counted(signers, now)
	var reached []string
	for i := range p.Roles {
		r := &p.Roles[i]
		if !r.reached(counted) {
			continue
		}
		if r.full() {
			return ""
		}
		reached = append(reached, r.Name)
	}
	var missing []string
	for _, name := range roles {
		if !slices.Contains(reached, name) {
			missing = append(missing, name)
		}
	}
	switch {
	case len(counted) == 0:
		return "none of its signers counts today"
	case len(missing) > 0:
		return fmt.Sprintf("its signers (%s) do not reach role %s today", strings.Join(slices.Sorted(maps.Keys(counted)), ", "), strings.Join(missing, ", "))
	case len(reached) == 0:
		return fmt.Sprintf("its signers (%s) reach no role today", strings.Join(slices.Sorted(maps.Keys(counted)), ", "))
	}
	return ""
}
