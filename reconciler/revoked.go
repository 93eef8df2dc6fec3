package reconciler

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/signing"
)

// KindRevoked is the kind of the event that what is live is no longer held up by the policy in force, and,
// with the outcome applied, that it is again.
const KindRevoked Kind = "revoked"

// standing is what is known of the signatures on what is live.
type standing struct {
	policy, digest string // what signers was found for
	bundles        []signing.NamedBundle
	signers        []string
}

// revalidate asks whether what is live would still be authorized: a key that was revoked, or has expired,
// takes effect without a new commit. What is live stays. But nothing rises until the policy holds it up
// again, or a maintainer signs: what others signed on top of it does not count.
func (r *Reconciler) revalidate(ctx context.Context) {
	p, t := r.trust.policy, r.target
	if p == nil || t == nil {
		return
	}
	s := &r.source.standing
	if s.policy != r.trust.digest() || s.digest != t.Digest || !slices.EqualFunc(s.bundles, t.bundles, sameBundle) {
		found := signing.Verify(signing.NewArtifact(t.spec.Bytes()), t.bundles, p.Identities(), r.cfg.Signing)
		*s = standing{policy: r.trust.digest(), digest: t.Digest, bundles: t.bundles, signers: found.Signers()}
	}
	now := r.now()
	why := p.Holds(t.Roles, s.signers, now)
	before := r.cursor.Revoked
	switch {
	case why != "":
		why = fmt.Sprintf("generation %d is live, and %s", t.Number, why)
	case before != nil && before.Generation != t.Number && !p.HasFull(s.signers, now):
		return // a step on top of what does not hold
	}
	if (before == nil) == (why == "") && (before == nil || before.Message == why && before.Generation == t.Number) {
		return
	}
	r.source.walked = walkedFor{} // what was refused, or would have been, is looked at anew
	e := r.newEvent(KindRevoked)
	e.Commit, e.Generation, e.Version, e.Digest, e.Policy, e.Signers = t.Commit, t.Number, t.Version, t.Digest, r.trust.digest(), s.signers
	if why == "" {
		r.cursor.Revoked = nil
		e.Outcome, e.Message = OutcomeApplied, "what is live is held up by its signatures again"
		r.log.Info(e.Message, slog.Uint64("generation", t.Number))
	} else {
		r.cursor.Revoked = &revoked{Generation: t.Number, Message: why}
		e.Outcome, e.Code, e.Message, e.Hint = OutcomeRefused, SignersRevoked, why, signLive
		r.log.Error("what is live is no longer authorized; it stays, and nothing rises", slog.String("message", why), slog.String("hint", signLive))
	}
	r.outcome(ctx, e)
}

const signLive = "have a maintainer sign what is live, and commit the bundle: propose sign --key KEY"

// revoked says since which generation what is live is not held up by its signatures. It is kept in
// state.json.
type revoked struct {
	Generation uint64 `json:"generation"`
	Message    string `json:"message"`
}

func (r *Reconciler) revokedMessage() string {
	if r.cursor.Revoked == nil || r.trust.policy == nil {
		return ""
	}
	return r.cursor.Revoked.Message
}

// thaw holds back what would rise while what is live is not held up, unless a maintainer signed it.
func (k court) thaw(changes []flags.Change, signers []string, r ruling) ruling {
	rises := slices.ContainsFunc(changes, func(c flags.Change) bool { return c.Rises })
	if k.revoked == "" || r.verdict == refused || !rises || k.policy.HasFull(signers, k.now) {
		return r
	}
	r.verdict, r.code, r.hint = refused, SignersRevoked, signLive
	r.message = "nothing rises until a maintainer signs: " + k.revoked
	return r
}
