package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/signing"
)

// settle makes a journey's generations stand, and reports the rest.
func (r *Reconciler) settle(ctx context.Context, j journey, intents map[string]Event, want walkedFor) error {
	if len(j.steps) > 0 {
		if err := r.accept(ctx, j.steps, intents); err != nil {
			return errors.Join(err, j.trouble)
		}
		want.last = r.target.Digest
	}
	if j.checked != "" {
		r.cursor.Onto = false
	}
	if j.checked != "" && j.checked != r.target.Commit {
		r.cursor.Checked, r.cursor.Generation = j.checked, r.target.Number
	}
	if j.signed != nil {
		r.countersign(*j.signed)
	}
	r.quarantine(ctx, j)
	r.source.newest = nil
	if !j.live() {
		r.source.newest = j.head
	}
	r.judged(j.head)
	if j.trouble == nil {
		r.source.walked = want
	}
	return j.trouble
}

// accept writes generations down and makes the last of them the target.
func (r *Reconciler) accept(ctx context.Context, steps []step, intents map[string]Event) error {
	lines := make([]Generation, len(steps))
	for i, st := range steps {
		lines[i] = st.Generation
	}
	if err := r.folder.append(lines...); err != nil {
		for _, st := range steps {
			if e, ok := intents[st.Commit]; ok {
				e.Outcome, e.Code, e.Error = OutcomeFailed, StateUnwritable, err.Error()
				r.outcome(ctx, e)
			}
		}
		return fmt.Errorf("accepting generation %d: %w", lines[0].Number, err)
	}
	for i, st := range steps {
		r.history.add(lines[i])
		r.warnPersonal(st)
		verdict := accepted
		if st.Kind == KindRollback {
			verdict = rollback
		}
		r.metrics.commits.WithLabelValues(verdict.String(), string(Accepted)).Inc()
		e, ok := intents[st.Commit]
		if !ok {
			e = r.stepEvent(st)
		}
		r.pending = append(r.pending, e)
	}
	last := steps[len(steps)-1]
	r.target = &target{
		Generation: last.Generation, spec: last.spec, bundles: last.bundles,
		subject: last.commit.Subject(), author: last.commit.Author.String(),
	}
	r.cursor.Checked, r.cursor.Generation = last.Commit, last.Number
	r.status.Environment = last.Environment
	r.status.Verified = r.mark(r.target)
	return nil
}

// countersign takes over bundles that were changed while the content stayed: a further
// signature, or one by a newer key. They must hold at least as well as those before.
func (r *Reconciler) countersign(c content) {
	p := r.trust.policy
	if p == nil || len(c.bundles) == 0 {
		return
	}
	verify := func(bundles []signing.NamedBundle) []string {
		return signing.Verify(signing.NewArtifact(c.src), bundles, p.Identities(), r.cfg.Signing).Signers()
	}
	now := verify(c.bundles)
	for _, before := range verify(r.target.bundles) {
		if !slices.Contains(now, before) {
			return
		}
	}
	if len(now) == 0 || slices.EqualFunc(c.bundles, r.target.bundles, sameBundle) {
		return
	}
	t := *r.target
	t.bundles = c.bundles
	r.target = &t
	r.store.kept = ""
}

func sameBundle(a, b signing.NamedBundle) bool {
	return a.Path == b.Path && string(a.Data) == string(b.Data)
}

// quarantine takes note of the commits that were passed over, and reports each once.
func (r *Reconciler) quarantine(ctx context.Context, j journey) {
	known := r.source.refused
	r.source.refused = map[string]quarantined{}
	r.source.due = time.Time{}
	report := func(ref Refusal, kind Kind, outcome Outcome, v verdict) Refusal {
		q := quarantined{Refusal: ref, Last: r.target.Digest, Policy: r.trust.digest()}
		before, ok := known[ref.Commit]
		if ok = ok && before.Code == ref.Code && before.Policy == q.Policy && before.Message == ref.Message; ok {
			q.Since = before.Since
		}
		if q.Waiting = kind == KindDefer; ref.Code != RecordFailed {
			r.source.refused[ref.Commit] = q
		}
		if !ok {
			r.metrics.commits.WithLabelValues(v.String(), string(ref.Code)).Inc()
			e := r.newEvent(kind)
			e.Commit, e.Subject, e.Author, e.Version, e.Signers = ref.Commit, ref.Subject, ref.Author, ref.Version, ref.Signers
			e.Code, e.Message, e.Hint, e.Policy, e.Outcome = ref.Code, ref.Message, ref.Hint, q.Policy, outcome
			r.outcome(ctx, e)
		}
		return q.Refusal
	}
	r.status.Refused, r.status.Deferred = nil, nil
	if ref := r.cursor.PolicyRefused; ref != nil {
		r.status.Refused = append(r.status.Refused, *ref)
	}
	for _, ref := range j.refused {
		r.status.Refused = append(r.status.Refused, report(ref, KindRefuse, OutcomeRefused, refused))
	}
	if n := len(r.status.Refused); n > maxShown {
		r.status.Refused = slices.Clone(r.status.Refused[n-maxShown:])
	}
	for _, ref := range j.deferred {
		if due := &r.source.due; !ref.NotBefore.IsZero() && (due.IsZero() || ref.NotBefore.Before(*due)) {
			*due = ref.NotBefore
		}
		r.status.Deferred = append(r.status.Deferred, report(ref, KindDefer, OutcomeDeferred, deferred))
	}
}

// maxShown is how many refused commits status and the state folder name.
const maxShown = 100

// judged sets the conditions about the newest spec.
func (r *Reconciler) judged(head *ruling) {
	now := r.now().UTC()
	verified, valid := True, True
	code, message := Accepted, ""
	if r.trust.policy == nil {
		code = UnsignedOK
	}
	if head != nil && head.verdict == refused {
		code, message = head.code, head.message
		switch head.code {
		case SpecInvalid, SpecMissing, SpecNotRegular, SpecTooLarge:
			valid, verified = False, Unknown
		case SignatureMissing, SignatureStale, SignatureInvalid, SignerUnknown:
			valid, verified = Unknown, False // bytes that nobody known has signed are not parsed
		default:
			verified = False
		}
	} else if head != nil && head.verdict == deferred {
		code, message = head.code, head.message
	}
	validCode, validMessage := code, message
	if valid == True {
		validCode, validMessage = Accepted, ""
	}
	r.status.set(now, CondSourceVerified, verified, code, message)
	r.status.set(now, CondSpecValid, valid, validCode, validMessage)
}

// stepEvent is the event of a generation about to be written.
func (r *Reconciler) stepEvent(st step) Event {
	e := r.newEvent(st.Kind)
	e.Environment = st.Environment
	e.Commit, e.Generation, e.Version, e.Digest, e.Previous = st.Commit, st.Number, st.Version, st.Digest, st.Previous
	e.Signers, e.Roles, e.Policy, e.Committed, e.Changes = st.Signers, st.Roles, st.Policy, st.Committed, st.changes
	e.Subject, e.Author = st.commit.Subject(), st.commit.Author.String()
	e.Trailers = gitrepo.Trailers(st.commit.Message)
	if len(st.found) > 0 {
		e.Message = sayFound(st.found)
	}
	return e
}

// saveCursor writes state.json. That it could not be written costs work after a
// restart, nothing else.
func (r *Reconciler) saveCursor() {
	c := r.cursor
	c.Path, c.Namespace, c.SavedAt = r.cfg.path(), r.cfg.Store.Namespace(), r.now().UTC()
	c.Status = r.status.clone()
	c.Refused = nil
	for _, commit := range slices.Sorted(maps.Keys(r.source.refused)) {
		if len(c.Refused) < maxShown {
			c.Refused = append(c.Refused, r.source.refused[commit])
		}
	}
	if err := r.folder.saveCursor(c); err != nil {
		r.log.Error("the state folder cannot be written", "error", err)
	}
}
