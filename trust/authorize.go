package trust

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// Verdict is the answer to "may these signers make these changes?". Its zero value
// is no.
type Verdict int

const (
	Refused  Verdict = iota // a person must act
	Deferred                // allowed, but not before [Answer.NotBefore]
	Allowed
)

func (v Verdict) String() string {
	switch v {
	case Allowed:
		return "allowed"
	case Deferred:
		return "deferred"
	}
	return "refused"
}

// Reason is a short code for status, metrics and tests.
type Reason string

const (
	Authorized       Reason = "Authorized"
	TooSoon          Reason = "TooSoon"          // an up before its min_interval has passed
	Unsigned         Reason = "Unsigned"         // nobody whom the policy knows has signed
	NotAuthorized    Reason = "NotAuthorized"    // a change is covered by no role
	WrongEnvironment Reason = "WrongEnvironment" // signed for another place
	WrongPrevious    Reason = "WrongPrevious"    // require_previous, and it follows another spec
	LegacyReaders    Reason = "LegacyReaders"    // legacy_readers, and older clients cannot read it
	TooManyRemoved   Reason = "TooManyRemoved"   // more entries leave than limits allow
	Replayed         Reason = "Replayed"         // content of before, outside what rollback allows
	SignersRevoked   Reason = "SignersRevoked"   // who signed it then does not hold today
	RaisesExposure   Reason = "RaisesExposure"   // a rollback or an override that turns somebody on
	Malformed        Reason = "Malformed"        // a statement that cannot mean anything
	Expired          Reason = "Expired"          // a statement outside its time
	AlreadyUsed      Reason = "AlreadyUsed"      // a statement that was applied before
)

// Request is one transition and all that is known about it.
type Request struct {
	// Previous is the last accepted spec; nil when there is none.
	Previous *flags.Spec
	// Next is the spec to judge.
	Next *flags.Spec
	// Changes are the effective changes between the two. Nil: flags.Diff is asked.
	Changes []flags.Change
	// Signers are the names whose signatures over Next verified. Repetitions count once.
	Signers []string
	// Now is the time that min_interval and expiry are measured at.
	Now time.Time
	// Committed is when the commit says it was made. Zero: Now.
	Committed time.Time
	// LastUp says when an entry last rose; the zero time means never. A role with
	// min_interval covers no rise while it is nil: forgetting it must not lift the bound.
	LastUp func(flags.Key) time.Time
	// Proof says what was found of an evidence file, by its digest ("sha256:…"). A
	// role with required evidence covers no rise while it is nil.
	Proof func(digest string) (Proof, error)
}

// Ruling is what was found about one change. A ruling about the spec as a whole has
// a Change of kind "".
type Ruling struct {
	Change flags.Change
	// Role covers the change; "" in [Answer.Uncovered].
	Role string
	// Sentence says why, for people, with the numbers in it.
	Sentence string
}

// Answer is the verdict on a transition, and why.
type Answer struct {
	Verdict Verdict
	Reason  Reason
	// Covered and Uncovered part the changes. Deferred ones are in Uncovered.
	Covered, Uncovered []Ruling
	// Roles are those that cover something, sorted: to be remembered with the
	// accepted content, for [Policy.Holds].
	Roles []string
	// NotBefore is when a deferred transition may be taken; zero otherwise.
	NotBefore time.Time
	// Hint is what a person can do about it; "" when nothing need be done.
	Hint string
}

func (a *Answer) addRole(name string) {
	if i, found := slices.BinarySearch(a.Roles, name); !found {
		a.Roles = slices.Insert(a.Roles, i, name)
	}
}

// Sentence is the answer on one line.
func (a Answer) Sentence() string {
	switch {
	case a.Verdict == Allowed:
		return fmt.Sprintf("%d changes, authorized by %s", len(a.Covered), strings.Join(a.Roles, ", "))
	case len(a.Uncovered) == 0:
		return string(a.Reason)
	case len(a.Uncovered) == 1:
		return a.Uncovered[0].Sentence
	}
	return fmt.Sprintf("%s (and %d more)", a.Uncovered[0].Sentence, len(a.Uncovered)-1)
}

// Authorize says whether the signers, by the roles in force, cover every effective
// change from Previous to Next. It is a pure function of its arguments, and monotone:
// adding a valid signer never turns a better verdict into a worse one.
func (p *Policy) Authorize(r Request) Answer {
	if a := p.admits(r.Previous, r.Next, false); a.Verdict != Allowed {
		return a
	}
	if r.Changes == nil {
		r.Changes = flags.Diff(r.Previous, r.Next)
	}
	if a := p.withinLimits(r.Previous, r.Next, r.Changes); a.Verdict != Allowed {
		return a
	}
	j := p.judge(r)
	if a := j.standing(); a.Verdict != Allowed {
		return a
	}
	a := Answer{Verdict: Allowed, Reason: Authorized, Covered: make([]Ruling, 0, len(r.Changes))}
	for i := range r.Changes {
		ru := j.change(&r.Changes[i])
		switch {
		case ru.verdict == Allowed:
			a.Covered = append(a.Covered, ru.Ruling)
			a.addRole(ru.Role)
			continue
		case ru.verdict == Deferred && ru.notBefore.After(a.NotBefore):
			a.NotBefore = ru.notBefore
		}
		a.Verdict = min(a.Verdict, ru.verdict)
		a.Uncovered = append(a.Uncovered, ru.Ruling)
	}
	switch {
	case a.Verdict == Deferred:
		a.Reason = TooSoon
	case a.Verdict == Refused:
		a.Reason, a.NotBefore, a.Hint = NotAuthorized, time.Time{}, signHint
	}
	return a
}

const signHint = "have a maintainer sign it: propose sign --key cosign.key"

// standing refuses signers who can do nothing at all, so that not even a change
// without effect (other white space) lands without somebody who counts.
func (j *judge) standing() Answer {
	a := Answer{Reason: Unsigned, Hint: signHint}
	sentence := "signed by " + j.who()
	if len(j.counted) > 0 {
		if len(j.r.Changes) > 0 || slices.ContainsFunc(j.order, func(r *Role) bool { return r.reached(j.counted) }) {
			return Answer{Verdict: Allowed}
		}
		a.Reason = NotAuthorized
		sentence = "the signatures of " + j.who() + " reach no role's threshold"
	}
	for _, c := range j.r.Changes {
		a.Uncovered = append(a.Uncovered, Ruling{Change: c, Sentence: fmt.Sprintf("%s: %s", c, sentence)})
	}
	if len(a.Uncovered) == 0 {
		a.Uncovered = []Ruling{{Sentence: sentence}}
	}
	return a
}

// judge holds what is the same for every change of one transition.
type judge struct {
	p       *Policy
	r       Request
	counted map[string]bool
	order   []*Role // in which roles are asked: those with "*" last
	ignored string  // who signed and does not count, for sentences
}

func (p *Policy) judge(r Request) *judge {
	if r.Committed.IsZero() {
		r.Committed = r.Now
	}
	j := &judge{p: p, r: r, counted: p.counted(r.Signers, r.Now)}
	for i := range p.Roles {
		j.order = append(j.order, &p.Roles[i])
	}
	// The weakest role that covers a change is the one remembered: then a
	// maintainer's revoked key does not void what the bot could have done alone.
	slices.SortStableFunc(j.order, func(a, b *Role) int {
		return cmp.Compare(b2i(slices.Contains(a.May, Any)), b2i(slices.Contains(b.May, Any)))
	})
	var out []string
	for _, name := range slices.Compact(slices.Sorted(slices.Values(r.Signers))) {
		if s := p.signers[name]; s != nil && s.expired(r.Now) {
			out = append(out, fmt.Sprintf("%s's signature expired on %s", name, s.Expires.UTC().Format(time.DateOnly)))
		}
	}
	j.ignored = strings.Join(out, "; ")
	return j
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ruling is a [Ruling] with what decides between several.
type ruling struct {
	Ruling
	verdict   Verdict
	notBefore time.Time
	near      int // how near a refusing role came, so that the most telling reason is given
}

// How near a role came to covering a change.
const (
	otherKind = iota
	otherSigners
	otherScope
	missedThreshold
	beyondBound
)

// change asks every role and keeps the best answer.
func (j *judge) change(c *flags.Change) ruling {
	var best ruling
	for i, role := range j.order {
		ru := j.ask(role, c)
		if ru.verdict == Allowed {
			return ru
		}
		better := i == 0 || ru.verdict > best.verdict ||
			ru.verdict == best.verdict && (ru.verdict == Deferred && ru.notBefore.Before(best.notBefore) ||
				ru.verdict == Refused && ru.near > best.near)
		if better {
			best = ru
		}
	}
	if best.near <= otherSigners && best.verdict == Refused {
		best.Sentence = fmt.Sprintf("%s: no role of %s covers it", c, j.who())
	}
	return best
}

func (j *judge) who() string {
	who := cmp.Or(strings.Join(slices.Sorted(maps.Keys(j.counted)), ", "), "nobody (no valid signature)")
	if j.ignored != "" {
		who += " (" + j.ignored + ")"
	}
	return who
}

// ask says whether role covers c, and how near it came if not.
func (j *judge) ask(role *Role, c *flags.Change) ruling {
	no := func(near int, format string, args ...any) ruling {
		return ruling{near: near, Ruling: Ruling{Change: *c, Sentence: c.String() + ": " + fmt.Sprintf(format, args...)}}
	}
	votes := role.votes(j.counted)
	switch {
	case !role.may(c.Kind):
		return no(otherKind, "role %s may not", role.Name)
	case votes == 0:
		return no(otherSigners, "nobody of role %s has signed", role.Name)
	case !role.covers(c.Feature, c.Tenant):
		return no(otherScope, "role %s does not reach there", role.Name)
	case votes < role.Threshold:
		return no(missedThreshold, "role %s needs %d signers and has %d", role.Name, role.Threshold, votes)
	}
	by, to := j.rise(c)
	if by <= 0 {
		return yes(role, c) // a way down is never in the way
	}
	if role.MaxStep != nil && by > *role.MaxStep {
		return no(beyondBound, "by %s, whose role %s may step %s at most", j.votersOf(role), role.Name, role.MaxStep)
	}
	if role.MaxPct != nil && to > *role.MaxPct {
		return no(beyondBound, "by %s, whose role %s may go up to %s at most", j.votersOf(role), role.Name, role.MaxPct)
	}
	if role.Evidence {
		if why := j.evidence(role, c); why != "" {
			return no(beyondBound, "role %s needs evidence for a rise: %s", role.Name, why)
		}
	}
	if role.MinInterval > 0 {
		if j.r.LastUp == nil {
			return no(beyondBound, "role %s waits %s between rises, and when it last rose is not known", role.Name, role.MinInterval)
		}
		if next := j.r.LastUp(c.Key()).Add(role.MinInterval); !j.r.LastUp(c.Key()).IsZero() && j.r.Now.Before(next) {
			ru := no(beyondBound, "too soon for role %s: it may rise again at %s", role.Name, next.UTC().Format(time.RFC3339))
			ru.verdict, ru.notBefore = Deferred, next
			return ru
		}
	}
	return yes(role, c)
}

func yes(role *Role, c *flags.Change) ruling {
	return ruling{verdict: Allowed, Ruling: Ruling{Change: *c, Role: role.Name, Sentence: c.String() + ": by role " + role.Name}}
}

func (j *judge) votersOf(role *Role) string {
	var names []string
	for _, n := range role.Signers {
		if j.counted[n] {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// covers says whether the role's scope reaches a feature and a tenant. A change that
// belongs to no one feature, or to no one tenant (a guard, an owner), is only in a
// scope that is not narrowed there.
func (r *Role) covers(feature, tenant string) bool {
	if len(r.Features) > 0 && !matchAny(r.Features, feature) {
		return false
	}
	return len(r.Tenants) == 0 || matchAny(r.Tenants, tenant)
}

func matchAny(globs []string, name string) bool {
	return name != "" && slices.ContainsFunc(globs, func(g string) bool {
		ok, err := path.Match(g, name)
		return ok && err == nil
	})
}
