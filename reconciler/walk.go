package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/pii"
	"github.com/rampart-flags/rampart/signing"
)

// step is one commit that became a generation.
type step struct {
	Generation
	commit  gitrepo.Commit
	spec    *flags.Spec
	bundles []signing.NamedBundle
	changes []flags.Change
	found   []pii.Hit
}

// journey is what a walk found between the last accepted commit and HEAD.
type journey struct {
	steps    []step    // new generations, oldest first; only the last keeps its spec
	trouble  error     // why a commit that was authorized could not be taken
	checked  string    // the newest commit whose content is the last accepted
	signed   *content  // the content of checked, where only its bundles differ from the last step's
	refused  []Refusal // oldest first
	deferred []Refusal
	regime   *regime // that a replay came to
	head     *ruling // of the newest commit that touched the spec; nil when none did
}

// live says whether HEAD's spec is the last accepted one.
func (j journey) live() bool {
	return j.head == nil || j.head.verdict != refused && j.head.verdict != deferred
}

// walker folds commits into a journey. It has no side but load.
type walker struct {
	court
	policy string // the policy's digest, for the record
	// eras are the policies that each commit is judged by; nil: court.policy judges all.
	eras []*regime
	next uint64 // the number of the next generation
	load func(ctx context.Context, c gitrepo.Commit) (content, error)
	// clock is the time at which a commit is judged: now, or in a replay the commit's
	// own date.
	clock func(c gitrepo.Commit) time.Time
	// known answers for a commit that was refused before against the same last spec
	// and policy; nil: nothing is known.
	known func(commit, last, policy string) (Refusal, bool)
	// admit is asked before a commit becomes a generation; an error passes it over, as
	// if it had not been authorized. nil admits all.
	admit func(s step) error
	// rest is asked after each commit whether something else must be looked after first;
	// nil: nothing waits.
	rest func() bool
}

// walk judges each commit against what the ones before it left, oldest first. A commit
// that is refused or deferred is passed over: the next one is judged against the same
// last accepted content. errStillJudging says that it was to rest before its end.
func (w *walker) walk(ctx context.Context, commits []gitrepo.Commit) (journey, error) {
	k := w.begin(commits)
	if done, err := k.on(ctx); !done {
		return journey{}, cmp.Or(err, errStillJudging)
	}
	return k.journey, nil
}

// walk is one that is under way: it may rest between two commits, as long as what it
// began from stands.
type walk struct {
	*walker
	journey journey // whole once all commits are judged
	commits []gitrepo.Commit
	judged  int         // how many of them
	waiting *flags.Spec // the newest deferred content
}

func (w *walker) begin(commits []gitrepo.Commit) *walk {
	w.history = w.history.fork()
	return &walk{walker: w, commits: commits}
}

// on goes on judging, one commit at least, until it is to rest. It says whether all are
// judged. After an error nothing of the walk counts.
func (k *walk) on(ctx context.Context) (done bool, err error) {
	for began := k.judged; k.judged < len(k.commits); k.judged++ {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if k.rest != nil && k.judged > began && k.rest() {
			return false, nil
		}
		if k.eras != nil {
			k.under(k.eras[k.judged])
		}
		if err := k.step(ctx, k.commits[k.judged]); err != nil {
			return false, err
		}
	}
	return true, nil
}

// step judges one commit.
func (k *walk) step(ctx context.Context, commit gitrepo.Commit) error {
	w, j := k.walker, &k.journey
	if r, ok := w.remembered(commit); ok {
		j.refused = append(j.refused, r)
		j.head = &ruling{code: r.Code, message: r.Message, hint: r.Hint}
		return nil
	}
	c, err := w.load(ctx, commit)
	if err != nil {
		return fmt.Errorf("reading commit %.12s: %w", commit.Hash, err)
	}
	w.now = w.clock(commit)
	told := w.trace.judging()
	r := w.judge(c)
	if k.waiting != nil && r.code == NotAuthorized {
		r = w.behind(k.waiting, c, r)
	}
	if c.files != nil && c.files.trouble != nil {
		return fmt.Errorf("reading commit %.12s: %w", commit.Hash, c.files.trouble)
	}
	told(commit.Hash, r)
	j.head = &r
	switch r.verdict {
	case refused:
		j.refused = append(j.refused, w.refusal(commit, r))
	case deferred:
		k.waiting = r.spec
		j.deferred = append(j.deferred, w.refusal(commit, r))
	case same:
		k.waiting = nil
		j.checked, j.signed = commit.Hash, &c
		j.refused, j.deferred = nil, nil
	default:
		if err := w.take(j, c, r); err != nil {
			r.verdict, r.code, r.message, r.hint = refused, RecordFailed, err.Error(), ""
			j.trouble = errors.Join(j.trouble, err)
			j.refused = append(j.refused, w.refusal(commit, r))
			return nil
		}
		k.waiting = nil
	}
	return nil
}

// under lets a policy judge what follows.
func (w *walker) under(e *regime) { w.court.policy, w.policy = e.policy, e.name }

func (w *walker) remembered(commit gitrepo.Commit) (Refusal, bool) {
	if w.known == nil || w.last == nil {
		return Refusal{}, false
	}
	return w.known(commit.Hash, w.last.Digest(), w.policy)
}

// take makes a generation of an accepted commit.
func (w *walker) take(j *journey, c content, r ruling) error {
	kind := KindAccept
	if r.verdict == rollback {
		kind = KindRollback
	} else if w.last == nil {
		kind = KindStart
	}
	g := Generation{
		Format: generationFormat, Number: w.next, Kind: kind, Commit: c.commit.Hash,
		Version: r.spec.Version, Digest: r.spec.Digest(), Environment: r.spec.Environment,
		Signers: r.signers, Roles: r.roles, Policy: w.policy, At: w.now.UTC(), Committed: c.commit.When.UTC(),
	}
	if w.last != nil {
		g.Previous = w.last.Digest()
	}
	g.Raised, g.RaisedMany = raisedBy(r.changes)
	s := step{Generation: g, commit: c.commit, spec: r.spec, bundles: c.bundles, changes: r.changes, found: r.found}
	if w.admit != nil {
		if err := w.admit(s); err != nil {
			return err
		}
	}
	if n := len(j.steps); n > 0 {
		j.steps[n-1].spec, j.steps[n-1].bundles = nil, nil // a long replay keeps one spec
	}
	j.steps = append(j.steps, s)
	j.checked, j.signed, j.refused, j.deferred = c.commit.Hash, nil, nil, nil
	w.history.add(g)
	w.last = r.spec
	if w.court.policy != nil && w.court.policy.HasFull(r.signers, w.now) {
		w.revoked = ""
	}
	w.next++
	return nil
}

// behind asks whether a commit that is not covered now will be, once the deferred one
// before it is taken. Then it waits too, for nobody must act.
func (w *walker) behind(waiting *flags.Spec, c content, r ruling) ruling {
	k := w.court
	k.last = waiting
	later := k.transition(r.spec, r.signers, c)
	if later.verdict == refused {
		return r
	}
	r.verdict, r.code, r.notBefore, r.hint = deferred, BehindDeferred, later.notBefore, ""
	r.message = "waits for the deferred commit before it"
	return r
}

func (w *walker) refusal(commit gitrepo.Commit, r ruling) Refusal {
	out := Refusal{
		Commit: commit.Hash, Subject: commit.Subject(), Author: commit.Author.String(), Signers: r.signers,
		Code: r.code, Message: r.message, Hint: r.hint, NotBefore: r.notBefore, Since: w.now.UTC(),
	}
	if r.spec != nil {
		out.Version = r.spec.Version
	}
	return out
}

// errNoStart: no commit carries a spec that a "*" role signed.
var errNoStart = errors.New("no commit of the branch carries a spec signed by a role that may do everything")

// noSpec: no commit has a file at the spec's path at all, so that no signature is what lacks. It is an errNoStart.
type noSpec struct{ path string }

func (e noSpec) Error() string      { return "no commit of the branch has a file at " + e.path }
func (noSpec) Is(target error) bool { return target == errNoStart }

// newestFull finds the newest commit, looking back from HEAD, whose spec a role signed
// that may do everything: where a cold start begins. It gives the index into commits
// (oldest first).
func (w *walker) newestFull(ctx context.Context, commits []gitrepo.Commit) (int, error) {
	why, missing := "", 0
	for i, commit := range slices.Backward(commits) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		c, err := w.load(ctx, commit)
		if err != nil {
			return 0, fmt.Errorf("reading commit %.12s: %w", commit.Hash, err)
		}
		if errors.Is(c.problem, gitrepo.ErrNotExist) {
			missing++
		}
		k := w.court
		k.last, k.now = nil, w.clock(commit)
		signers := k.signers(c)
		full := k.policy == nil || k.policy.HasFull(signers, k.now)
		var r ruling
		if full || why == "" {
			r = k.judge(c)
		}
		if full && r.verdict == accepted {
			return i, nil
		}
		if why == "" {
			why = fmt.Sprintf("; the newest, %.12s: %s: %s", commit.Hash, r.code, r.message)
			if r.verdict == accepted {
				why = fmt.Sprintf("; the newest, %.12s, was signed by %s", commit.Hash, strings.Join(r.signers, ", "))
			}
		}
	}
	if missing == len(commits) {
		return 0, noSpec{}
	}
	return 0, fmt.Errorf("%w%s", errNoStart, why)
}
