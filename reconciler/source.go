package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/signing"
)

// maxSpec is how large a spec may be, in bytes.
const maxSpec = 32 << 20

// sourceState is what is known of the branch.
type sourceState struct {
	head     string        // where it was seen last
	fetch    *fetch        // one that is still under way
	took     time.Duration // by the last look at the remote
	fresh    bool          // it answered in the pass under way
	trouble  backoff       // fetches that went wrong in a row
	retry    time.Time     // not before this
	walked   walkedFor     // what the last whole walk was made for
	due      time.Time     // when the earliest deferred commit's time comes
	newest   *ruling       // of the newest commit that touched the spec, nil when it is live
	rewrite  *Refusal      // why the branch as a whole is refused
	refused  map[string]quarantined
	earlier  *prehistory
	diverged *Refusal  // why a cold start stopped
	under    *underWay // a walk that rests between two passes
	standing standing  // of what is live
	// started is the last cold start's replay, which need not be made again.
	started    *journey
	startedFor startedFor
}

// walkedFor names everything that a walk's answer depends on beside time.
type walkedFor struct{ head, policy, last string }

// quarantined is a refusal and what it was judged against.
type quarantined struct {
	Refusal
	Last    string `json:"last"`   // the digest of the last accepted spec then
	Policy  string `json:"policy"` // the policy's
	Waiting bool   `json:"waiting,omitzero"`
}

// fetch is one that runs beside the passes, so that a remote that hangs does not keep
// the store from being looked after.
type fetch struct {
	cancel context.CancelFunc
	done   chan struct{}
	took   time.Duration
	head   string
	err    error
}

// errStillFetching: the remote has not answered yet; the next pass looks again.
var errStillFetching = errors.New("the fetch is still under way")

// observe brings the branch's new commits and returns its head. It waits for patience
// at most, zero being for ever.
func (r *Reconciler) observe(ctx context.Context, patience time.Duration) (string, error) {
	s := &r.source
	hurried := r.hurried.Swap(false)
	if s.fetch == nil {
		if r.now().Before(s.retry) && !hurried {
			return s.head, nil // trouble before; what was seen then still counts
		}
		s.fetch = r.startFetch(ctx)
	}
	var late <-chan time.Time
	if patience > 0 {
		t := time.NewTimer(patience)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-s.fetch.done:
	case <-late:
		return s.head, errStillFetching
	case <-ctx.Done():
		return s.head, ctx.Err()
	}
	f := s.fetch
	f.cancel()
	s.fetch, s.took = nil, f.took
	now := r.now().UTC()
	if f.err != nil {
		if ctx.Err() != nil {
			return s.head, ctx.Err()
		}
		s.retry = r.now().Add(s.trouble.next()) // not in UTC: a clock that is set back must not put it off
		r.status.set(now, CondFetchFailed, True, FetchFailed, f.err.Error())
		return s.head, fmt.Errorf("fetching: %w", f.err)
	}
	s.trouble.reset()
	s.retry, s.fresh = time.Time{}, true
	r.status.set(now, CondFetchFailed, False, Fetched, "")
	if s.head != f.head {
		s.head = f.head
		r.status.Observed = &Mark{Commit: f.head, At: now}
		if c, err := r.cfg.Repo.Commit(ctx, f.head); err == nil {
			r.status.Observed.Subject, r.status.Observed.Author = c.Subject(), c.Author.String()
			r.status.Observed.Committed = c.When.UTC()
		}
	}
	return s.head, nil
}

func (r *Reconciler) startFetch(ctx context.Context) *fetch {
	ctx, cancel := context.WithCancel(ctx)
	f := &fetch{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		started := time.Now()
		f.head, f.err = r.cfg.Repo.Fetch(ctx)
		f.took = time.Since(started)
	}()
	return f
}

// stopFetch ends a fetch that runs beside the passes.
func (r *Reconciler) stopFetch() {
	if f := r.source.fetch; f != nil {
		f.cancel()
		<-f.done
		r.source.fetch = nil
	}
}

// paths are what a walk looks for: the spec, the policy where it is followed, and the bundles beside them.
func (r *Reconciler) paths() []string {
	return append([]string{r.cfg.path(), r.cfg.path() + ".*"}, r.policyPaths()...)
}

// load reads what a commit holds. An error is trouble; what the commit itself is to
// blame for stands in the content.
func (r *Reconciler) load(ctx context.Context, commit gitrepo.Commit) (content, error) {
	c := content{commit: commit, path: r.cfg.path(), files: r.reader(ctx, commit.Hash)}
	var err error
	if c.blob, err = r.cfg.Repo.FileID(ctx, commit.Hash, c.path); err != nil && !errors.Is(err, gitrepo.ErrNotExist) && !errors.Is(err, gitrepo.ErrNotRegular) {
		return content{}, err
	}
	c.src, err = r.cfg.Repo.ReadFile(ctx, commit.Hash, c.path, maxSpec)
	if errors.Is(err, gitrepo.ErrNotExist) || errors.Is(err, gitrepo.ErrNotRegular) || errors.Is(err, gitrepo.ErrTooLarge) {
		c.problem = err
		return c, nil
	}
	if err != nil {
		return content{}, err
	}
	files, err := r.cfg.Repo.ReadGlob(ctx, commit.Hash, globQuote(c.path)+".*sigstore.json", signing.MaxBundle)
	if errors.Is(err, gitrepo.ErrTooLarge) {
		c.crowd = err
		return c, nil
	}
	if err != nil {
		return content{}, err
	}
	for _, f := range files {
		c.bundles = append(c.bundles, signing.NamedBundle{Path: f.Path, Data: f.Data, Err: f.Err})
	}
	return c, nil
}

var globQuote = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace

// advance looks at what lies between the last accepted commit and head. What a person
// must mend is no error: it stands in r.source and in status.
func (r *Reconciler) advance(ctx context.Context, head string) error {
	s := &r.source
	want := walkedFor{head: head, policy: r.trust.digest()}
	if g, ok := r.history.last(); ok {
		want.last = g.Digest
	}
	if want == s.walked && !(s.rewrite != nil && (r.statementWaits() || r.wasTold())) && (s.due.IsZero() || r.now().Before(s.due)) {
		return nil
	}
	started, traced := r.now(), r.trace.time("walk")
	defer func() { r.metrics.took("walk", r.now().Sub(started)); r.trace.share(traced(nil, nil)) }()
	if want.last == "" {
		return r.coldStart(ctx, head)
	}
	if r.target == nil {
		if err := r.recover(ctx); err != nil {
			return err
		}
	}
	return r.walkOn(ctx, head, want)
}

// checked is the commit that the next walk starts from.
func (r *Reconciler) checked() string {
	g, _ := r.history.last()
	if r.cursor.Generation == g.Number && r.cursor.Checked != "" {
		return r.cursor.Checked
	}
	return g.Commit
}

func (r *Reconciler) walker() *walker {
	g, _ := r.history.last()
	return &walker{
		court: court{
			policy: r.trust.policy, keyless: r.cfg.Signing, history: r.history, decode: &r.decoder,
			earlier: r.source.earlier, head: r.source.head, revoked: r.revokedMessage(),
			trace: r.trace,
		},
		policy: r.trust.digest(), next: g.Number + 1, load: r.load,
	}
}

// known answers for a commit that was refused against the same last spec and policy.
func (r *Reconciler) known(commit, last, policy string) (Refusal, bool) {
	q, ok := r.source.refused[commit]
	elsewhere := q.Code == CommitUnsigned || q.Code == CommitSignature || q.Code == SignersRevoked // others may vouch for it by now
	return q.Refusal, ok && !q.Waiting && !elsewhere && q.Last == last && q.Policy == policy
}

// recover finds the last accepted spec's bytes where the state folder lost them.
func (r *Reconciler) recover(ctx context.Context) error {
	g, _ := r.history.last()
	commit, err := r.cfg.Repo.Commit(ctx, g.Commit)
	if err == nil {
		var c content
		if c, err = r.load(ctx, commit); err == nil && c.problem == nil && r.adopt(g, c.src, c.bundles) {
			return nil
		}
	}
	live, lerr := r.cfg.Store.Live(ctx)
	if lerr == nil && r.adopt(g, live.Spec, splitBundles(r.cfg.path(), live.Bundle)) {
		return nil
	}
	return fmt.Errorf("finding the accepted spec %s of commit %.12s: %w", g.Digest, g.Commit, errors.Join(err, lerr, ErrStateDamaged))
}

// rewritten takes note of a branch that left its own history.
func (r *Reconciler) rewritten(ctx context.Context, err *gitrepo.RewrittenError, why string) {
	code := rewriteCode(err.How)
	now := r.now().UTC()
	ref := Refusal{Commit: err.To, Code: code, Message: err.Error(), Hint: ReasonFor(code).Do, Since: now}
	if why != "" {
		ref.Message += "; " + why
	}
	before := r.source.rewrite
	known := before != nil && before.Commit == ref.Commit && before.Code == code && before.Message == ref.Message
	r.source.rewrite = &ref
	r.source.newest = &ruling{code: code, message: ref.Message, hint: ref.Hint}
	r.status.set(now, CondHistoryRewritten, True, code, ref.Message)
	r.status.Refused, r.status.Deferred = []Refusal{ref}, nil
	if known {
		return
	}
	r.metrics.commits.WithLabelValues(refused.String(), string(code)).Inc()
	e := r.newEvent(KindRewritten)
	e.Commit, e.Code, e.Message, e.Hint, e.Outcome = ref.Commit, code, ref.Message, ref.Hint, OutcomeRefused
	r.outcome(ctx, e)
}

func rewriteCode(how gitrepo.Rewrite) Code {
	switch how {
	case gitrepo.Rewound:
		return BranchRewound
	case gitrepo.Unrelated:
		return BranchUnrelated
	}
	return BranchRewritten
}

// readTrust takes a changed policy into force. One that cannot be read leaves the last
// in force, for a brake must go through all the same.
func (r *Reconciler) readTrust(ctx context.Context) error {
	if err := r.trust.read(); err != nil {
		r.source.walked = walkedFor{} // so that the condition is set anew once it reads again
		return err
	}
	if p := r.trust.policy; p != nil && p.Environment != "" {
		r.status.Environment = p.Environment
	}
	r.notePolicyFile(ctx)
	return nil
}
