package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/redisstore"
)

// Plan is what a pass would do now: the commits with their verdicts, the changes by
// meaning, and the entries by key. It is printed, encoded and tested from this one
// type (format "plan/v1").
type Plan struct {
	Format  string          `json:"format"`
	From    *Mark           `json:"from,omitempty"` // what is live
	To      *Mark           `json:"to,omitempty"`   // what would be
	Commits []PlannedCommit `json:"commits"`
	// Changes lead from what is live to what would be, by meaning.
	Changes []flags.Change `json:"changes"`
	// Set and Delete are the entries that would be written and deleted, as
	// feature:tenant; what drifted is among them.
	Set    []string `json:"set"`
	Delete []string `json:"delete"`
	// AcceptHistory is the commit of a rewritten branch that the plan goes on from, as if a maintainer had said so, or as one
	// has whose statement waits.
	AcceptHistory string `json:"accept_history,omitempty"`
	// HeadLive says that afterwards the newest spec in git would be live.
	HeadLive bool `json:"head_live"`
	// Policy would be in force; nil where unsigned specs are accepted.
	Policy *PolicyStatus `json:"policy,omitempty"`
	// Overrides are the statements in force; what they lower stays as they say.
	Overrides []InForce `json:"overrides,omitempty"`
	// Stopped says why nothing would be done at all.
	Stopped *Refusal `json:"stopped,omitempty"`
}

const planFormat = "plan/v1"

// PlannedCommit is one commit of a plan.
type PlannedCommit struct {
	Verdict    string   `json:"verdict"` // accepted, rollback, same, refused, deferred; policy: it brings one into force
	Generation uint64   `json:"generation,omitzero"`
	Kind       Kind     `json:"kind,omitempty"`
	Roles      []string `json:"roles,omitempty"`
	Refusal
}

// Empty says whether a pass would write nothing.
func (p *Plan) Empty() bool { return len(p.Set) == 0 && len(p.Delete) == 0 && len(p.Changes) == 0 }

// Plan says what a pass would do, and does nothing: neither the store nor what is
// accepted changes. The error is trouble.
func (r *Reconciler) Plan(ctx context.Context) (*Plan, error) { return r.PlanAccepting(ctx, "") }

// PlanAccepting is [Reconciler.Plan] for a branch that was rewritten, as if a maintainer had said to go on from a commit: its
// full hash, or the beginning of the head's.
func (r *Reconciler) PlanAccepting(ctx context.Context, commit string) (*Plan, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := ctx.Err(); err != nil { // whoever asked went away while it waited
		return nil, err
	}
	if err := r.trust.read(); err != nil {
		return nil, err
	}
	live, err := r.cfg.Store.Live(ctx)
	if err != nil && !errors.Is(err, redisstore.ErrNoMeta) {
		return nil, err
	}
	head, err := r.observeForPlan(ctx)
	if err != nil {
		return nil, err
	}
	p := &Plan{Format: planFormat, AcceptHistory: commit, Commits: []PlannedCommit{}, Changes: []flags.Change{}, Set: []string{}, Delete: []string{}}
	want, err := r.foresee(ctx, p, head, live.Meta)
	if s, serr := readSuspension(r.cfg.Dir); serr == nil && s != nil && r.target != nil && len(p.Commits) > 0 && (s.Until.IsZero() || r.now().Before(s.Until)) {
		p.Stopped = &Refusal{Commit: head, Code: Held, Message: s.String(), Hint: "reconcile resume", Since: s.Since}
		p.To, want, p.HeadLive = r.mark(r.target), r.target.spec, false
	}
	if err != nil || want == nil {
		return p, err
	}
	var before *flags.Spec
	if m := live.Meta; m.Generation > 0 {
		p.From = &Mark{Commit: m.Commit, Generation: m.Generation, Epoch: m.Epoch, Version: m.Version, Digest: m.Digest}
		if before, err = new(flags.Decoder).Decode(r.cfg.path(), live.Spec); err != nil {
			before = nil // damaged: then everything is news
		}
	}
	if changes := flags.Diff(before, want); len(changes) > 0 {
		p.Changes = changes
	}
	if err := r.adoptOverrides(ctx, want); err != nil {
		return nil, err
	}
	p.Overrides = slices.Clone(r.status.Overrides)
	d, err := r.compare(ctx, r.desire(want))
	if err != nil {
		return nil, err
	}
	for _, kv := range d.set {
		p.Set = append(p.Set, kv.Key.String())
	}
	for _, k := range d.del {
		p.Delete = append(p.Delete, k.String())
	}
	return p, nil
}

// observeForPlan looks at git. Beside a loop it does not hold the passes up for long: a
// plan from where the branch was seen last is better than a store that nobody watches.
func (r *Reconciler) observeForPlan(ctx context.Context) (string, error) {
	var patience time.Duration
	if r.looping.Load() {
		patience = r.cfg.interval()
	}
	r.hurried.Store(true)
	head, err := r.observeUntil(ctx, patience)
	if head != "" && errors.Is(err, errStillFetching) {
		err = nil
	}
	return head, err
}

// foresee fills in the commits and gives the spec that would be live, nil when a pass
// would stop before.
func (r *Reconciler) foresee(ctx context.Context, p *Plan, head string, meta redisstore.Meta) (*flags.Spec, error) {
	if _, ok := r.history.last(); !ok {
		return r.foreseeStart(ctx, p, head, meta)
	}
	if r.target == nil {
		if err := r.recover(ctx); err != nil {
			return nil, err
		}
	}
	w := r.walker()
	w.last = r.target.spec
	if r.looping.Load() { // others wait: what the passes have judged is not judged again, and a plan that takes too long is none
		w.known, w.rest = r.known, r.restless()
	}
	p.To = r.mark(r.target)
	return r.foreseeWalk(ctx, p, w, r.trust.regime(), r.checked(), head)
}

func (r *Reconciler) foreseeWalk(ctx context.Context, p *Plan, w *walker, in *regime, from, head string) (*flags.Spec, error) {
	commits, err := r.walkAfter(ctx, from, head)
	var rewritten *gitrepo.RewrittenError
	if errors.As(err, &rewritten) {
		onto, why, serr := r.supposed(ctx, p.AcceptHistory, rewritten)
		if serr != nil {
			return nil, serr
		}
		if p.AcceptHistory = onto; onto == "" {
			code := rewriteCode(rewritten.How)
			p.Stopped = &Refusal{Commit: head, Code: code, Message: rewritten.Error(), Hint: ReasonFor(code).Do, Since: r.now().UTC()}
			if why != "" {
				p.Stopped.Message += "; " + why
			}
			return w.last, nil
		}
		from = onto
		first, ferr := r.cfg.Repo.Commit(ctx, onto)
		if ferr != nil {
			return nil, ferr
		}
		if commits, err = r.cfg.Repo.Walk(ctx, onto, head, r.paths()); err == nil {
			commits = append([]gitrepo.Commit{first}, commits...)
		}
	} else {
		p.AcceptHistory = "" // nothing was rewritten
	}
	if err != nil {
		return nil, fmt.Errorf("looking at the new commits: %w", err)
	}
	if len(commits) > 0 {
		if w.earlier, err = r.earlierThan(ctx, w.history.first().Commit); err != nil {
			return nil, err
		}
	}
	eras, err := r.erasFrom(ctx, in, from, commits)
	if err != nil {
		return nil, fmt.Errorf("looking at the policy: %w", err)
	}
	r.foretellPolicies(p, in, eras)
	w.eras = eras[1:]
	w.clock = func(gitrepo.Commit) time.Time { return r.now() }
	j, err := w.walk(ctx, commits)
	if err != nil {
		return nil, fmt.Errorf("looking at the new commits: %w", err)
	}
	r.foretell(p, j)
	return w.last, nil
}

func (r *Reconciler) foreseeStart(ctx context.Context, p *Plan, head string, meta redisstore.Meta) (*flags.Spec, error) {
	if meta.Generation > 0 {
		st, under, err := r.resume(ctx, head, meta)
		if err != nil {
			return nil, err
		}
		if st != nil {
			w := r.walker()
			w.history = newHistory([]Generation{st.Generation})
			w.last, w.next = st.spec, st.Number+1
			return r.foreseeWalk(ctx, p, w, under, st.Commit, head)
		}
	}
	j, err := r.replay(ctx, head, meta.Generation+1)
	if errors.Is(err, errNoStart) {
		ref := noStart(head, err)
		ref.Since = r.now().UTC()
		p.Stopped = &ref
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if j.regime != nil {
		r.foretellPolicies(p, r.trust.regime(), []*regime{j.regime})
	}
	r.foretell(p, j)
	last := j.steps[len(j.steps)-1]
	differs, err := r.diverges(ctx, last.spec)
	if err == nil && differs != "" && !r.goAhead(last.Commit, head) {
		p.Stopped = r.divergence(last, differs)
		p.HeadLive = false
	}
	return last.spec, err
}

// foretell turns a journey into a plan's commits.
func (r *Reconciler) foretell(p *Plan, j journey) {
	p.HeadLive = j.live()
	for _, st := range j.steps {
		verdict := accepted
		if st.Kind == KindRollback {
			verdict = rollback
		}
		p.Commits = append(p.Commits, PlannedCommit{
			Verdict: verdict.String(), Generation: st.Number, Kind: st.Kind, Roles: st.Roles,
			Refusal: Refusal{
				Commit: st.Commit, Subject: st.commit.Subject(), Author: st.commit.Author.String(),
				Version: st.Version, Signers: st.Signers, Code: Accepted, Since: st.At,
			},
		})
		if st.spec != nil {
			p.To = r.mark(&target{Generation: st.Generation, spec: st.spec, subject: st.commit.Subject(), author: st.commit.Author.String()})
		}
	}
	for _, ref := range j.refused {
		p.Commits = append(p.Commits, PlannedCommit{Verdict: refused.String(), Refusal: ref})
	}
	for _, ref := range j.deferred {
		p.Commits = append(p.Commits, PlannedCommit{Verdict: deferred.String(), Refusal: ref})
	}
}

// foretellPolicies names the policies that would come into force, and the newest where it would not.
func (r *Reconciler) foretellPolicies(p *Plan, in *regime, eras []*regime) {
	was := in.policy
	for _, e := range eras {
		if e.policy == nil || e.policy.Digest() == was.Digest() {
			continue
		}
		p.Commits = append(p.Commits, PlannedCommit{Verdict: string(KindPolicy), Kind: KindPolicy, Refusal: Refusal{
			Commit: e.from.Hash, Subject: e.from.Subject(), Author: e.from.Author.String(), Signers: e.signers, Code: Accepted,
			Message: fmt.Sprintf("policy version %d is in force in place of %d", e.policy.Version, was.Version), Since: r.now().UTC(),
		}})
		was = e.policy
	}
	last := eras[len(eras)-1]
	if last.policy == nil {
		return
	}
	p.Policy = &PolicyStatus{PolicyName: nameOf(last.policy), Source: "file", Path: r.cfg.trustPath(), Refused: last.refused}
	if last.from.Hash != "" {
		p.Policy.Source, p.Policy.Commit, p.Policy.Signers = "repository", last.from.Hash, last.signers
	}
	if last.refused != nil {
		p.Commits = append(p.Commits, PlannedCommit{Verdict: refused.String(), Kind: KindPolicy, Refusal: *last.refused})
	}
}
