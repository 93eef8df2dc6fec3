package reconciler

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/pii"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// verdict is what becomes of one commit. The zero verdict changes nothing.
type verdict int

const (
	refused  verdict = iota // quarantined: a person must act
	deferred                // its time has not come
	same                    // equal content: no generation, the walk goes on from here
	accepted                // an authorized transition
	rollback                // content that was accepted before, back again
)

func (v verdict) String() string {
	return [...]string{"refused", "deferred", "same", "accepted", "rollback"}[v]
}

// ruling is the judge's answer about one commit.
type ruling struct {
	verdict   verdict
	code      Code
	message   string
	hint      string
	notBefore time.Time

	spec    *flags.Spec    // where the content could be read
	signers []string       // whose signatures hold
	roles   []string       // which authorized it
	changes []flags.Change // from the last accepted spec
	found   []pii.Hit      // personal data in them, of which the policy warns
}

// passing says whether it waits for nobody but reconcilers.
func (r *ruling) passing() bool { return r.code == NotLeader || r.code == StillJudging }

// content is what one commit holds, as far as it could be read.
type content struct {
	commit  gitrepo.Commit
	path    string
	src     []byte
	blob    string // git's own name for src
	bundles []signing.NamedBundle
	// problem says why src is not there: gitrepo.ErrNotExist, ErrNotRegular or ErrTooLarge;
	// crowd, why bundles is not.
	problem, crowd error
	files          *reader // of the commit; nil where there is none to read
}

// court is everything that a judgement depends on beside the content. Judging is a
// pure function of the two.
type court struct {
	policy  *trust.Policy // nil: whatever is well formed is accepted
	keyless signing.Options
	history *history
	last    *flags.Spec // nil: nothing is accepted yet
	now     time.Time
	head    string // the branch's newest commit, where that is known
	revoked string // why what is live is no longer held up, where it is not
	// earlier is what the branch held before the first generation that is known.
	earlier *prehistory
	decode  *flags.Decoder
	trace   *tracing // only watches
}

// judge says what becomes of c. The order is fixed: bytes that nobody known has signed
// are never parsed.
func (k court) judge(c content) ruling {
	if c.problem != nil {
		return unreadable(c)
	}
	artifact := signing.NewArtifact(c.src)
	if k.last != nil && artifact.Digest() == k.last.Digest() {
		return ruling{verdict: same, code: Accepted, spec: k.last}
	}
	var signers []string
	if k.policy != nil {
		verified := k.trace.time("verify")
		result := signing.Verify(artifact, c.bundles, k.policy.Identities(), k.keyless)
		signers = result.Signers()
		k.trace.part(verified(map[string]any{"signers": signers}, nil))
		if len(signers) == 0 {
			return unsigned(c, result)
		}
	}
	validated := k.trace.time("validate")
	spec, err := k.decode.DecodeHashed(c.path, c.src, artifact.SHA256())
	k.trace.part(validated(nil, nil))
	if err != nil {
		return ruling{code: SpecInvalid, message: err.Error(), hint: ReasonFor(SpecInvalid).Do, signers: signers}
	}
	authorized := k.trace.time("authorize")
	r := k.transition(spec, signers, c)
	r.spec, r.signers = spec, signers
	k.trace.part(authorized(map[string]any{"roles": r.roles}, nil))
	return r
}

// signers are whose signatures on c hold.
func (k court) signers(c content) []string {
	if k.policy == nil || c.problem != nil {
		return nil
	}
	return signing.Verify(signing.NewArtifact(c.src), c.bundles, k.policy.Identities(), k.keyless).Signers()
}

// transition judges well-formed content with valid signatures against what was
// accepted before it.
func (k court) transition(next *flags.Spec, signers []string, c content) ruling {
	changes := flags.Diff(k.last, next)
	latest, _ := k.history.last()
	if before, ok := k.history.acceptedBefore(next.Digest()); ok {
		return k.again(c, next, signers, changes, earlier{int(latest.Number - before.Number), before.until, before.Roles})
	}
	if p, ok := k.earlier.find(c.blob); ok && k.last != nil {
		return k.again(c, next, signers, changes, earlier{int(latest.Number-k.history.first().Number) + p.Ago, p.Until, nil})
	}
	r := ruling{changes: changes}
	if r.code, r.message = k.versionRule(next); r.code != "" {
		r.hint = ReasonFor(r.code).Do
		return r
	}
	if k.policy == nil {
		r.verdict, r.code = accepted, UnsignedOK
		return r
	}
	answer := k.policy.Authorize(trust.Request{
		Previous: k.last, Next: next, Changes: changes, Signers: signers,
		Now: k.now, Committed: c.commit.When, LastUp: k.history.lastRaised, Proof: k.proof(c, next),
	})
	return k.commitSigned(c, k.thaw(changes, signers, k.personal(c, next, changes, r.with(answer, accepted))))
}

// earlier says when content was accepted before.
type earlier struct {
	generations int       // ago
	until       time.Time // when it was last live
	roles       []string  // that covered it then; nil: not known
}

// again judges content that was accepted before: git revert, or a replay.
func (k court) again(c content, next *flags.Spec, signers []string, changes []flags.Change, before earlier) ruling {
	r := ruling{changes: changes}
	if k.policy == nil {
		r.verdict, r.code = rollback, UnsignedOK
		return r
	}
	answer := k.policy.AuthorizeRollback(trust.RollbackRequest{
		Previous: k.last, Next: next, Changes: changes, Signers: signers, Now: k.now,
		Roles: before.roles, Generations: before.generations, LastLive: before.until,
	})
	return k.commitSigned(c, k.thaw(changes, signers, r.with(answer, rollback)))
}

func (r ruling) with(a trust.Answer, yes verdict) ruling {
	r.code, r.message, r.hint, r.roles = Code(a.Reason), a.Sentence(), a.Hint, a.Roles
	switch a.Verdict {
	case trust.Allowed:
		r.verdict, r.code = yes, Accepted
	case trust.Deferred:
		r.verdict, r.notBefore = deferred, a.NotBefore
	default:
		r.verdict = refused
	}
	return r
}

// versionRule holds that content that changed has another version, and that a version
// once accepted never stands for other content.
func (k court) versionRule(next *flags.Spec) (Code, string) {
	if k.last != nil && next.Version == k.last.Version {
		return VersionUnchanged, fmt.Sprintf("the content changed and the version is still %s", next.Version)
	}
	if digest, ok := k.history.stoodFor(next.Version); ok && digest != next.Digest() {
		return VersionReused, fmt.Sprintf("version %s stood for other content before", next.Version)
	}
	return "", ""
}

func unreadable(c content) ruling {
	r := ruling{message: c.problem.Error()}
	switch {
	case errors.Is(c.problem, gitrepo.ErrNotExist):
		r.code, r.message = SpecMissing, fmt.Sprintf("the commit has no file %s", c.path)
	case errors.Is(c.problem, gitrepo.ErrTooLarge):
		r.code = SpecTooLarge
	default:
		r.code = SpecNotRegular
	}
	r.hint = ReasonFor(r.code).Do
	return r
}

// unsigned says why none of the bundles counts.
func unsigned(c content, result signing.Result) ruling {
	r := ruling{code: SignatureStale}
	if c.crowd != nil {
		r.code, r.message = SignatureInvalid, c.crowd.Error()
	} else if len(result.Rejected) == 0 {
		r.code, r.message = SignatureMissing, fmt.Sprintf("no bundle lies beside %s", c.path)
	}
	var why []string
	for _, rej := range result.Rejected {
		why = append(why, fmt.Sprintf("%s: %v", path.Base(rej.Path), rej.Reason))
		switch {
		case errors.Is(rej.Reason, signing.ErrOtherBytes):
		case errors.Is(rej.Reason, signing.ErrUnknownSigner):
			r.code = SignerUnknown
		case r.code == SignatureStale:
			r.code = SignatureInvalid
		}
	}
	if len(why) > 0 {
		r.message = strings.Join(why, "; ")
	}
	r.hint = ReasonFor(r.code).Do
	if r.code == SignatureStale && len(c.commit.Parents) > 1 {
		r.hint = "a merge mixed two signed files; make and sign their sum: propose resolve"
	}
	return r
}
