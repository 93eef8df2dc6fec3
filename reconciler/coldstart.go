package reconciler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
)

// startedFor names everything that a cold start's replay depends on.
type startedFor struct {
	walkedFor
	commit, digest string
	generation     uint64
}

// coldStart finds the first generation of an empty state folder: what this or another
// reconciler left in the store, where it verifies and lies behind head; else the newest
// commit that a role signed which may do everything, and what follows it. Where that
// would change entries that are live, it stops and says so.
func (r *Reconciler) coldStart(ctx context.Context, head string) error {
	live, err := r.cfg.Store.Live(ctx)
	if err != nil && !errors.Is(err, redisstore.ErrNoMeta) {
		return fmt.Errorf("looking for what is live before a cold start: %w", err)
	}
	want := walkedFor{head: head, policy: r.trust.digest()}
	seen := startedFor{want, live.Meta.Commit, live.Meta.Digest, live.Meta.Generation}
	j := r.source.started
	if j == nil || r.source.startedFor != seen {
		if err == nil {
			switch st, under, err := r.resume(ctx, head, live.Meta); {
			case err != nil:
				return fmt.Errorf("resuming from the store: %w", err)
			case st != nil:
				if err := r.comeTo(ctx, under); err != nil {
					return err
				}
				want.policy = r.trust.digest()
				if err := r.settle(ctx, journey{steps: []step{*st}, checked: st.Commit}, nil, want); err != nil {
					return err
				}
				r.source.walked = walkedFor{}
				return r.advance(ctx, head)
			}
		}
		next := live.Meta.Generation + 1
		if next >= redisstore.MaxGeneration {
			next = 1
		}
		found, err := r.replay(ctx, head, next)
		if err != nil && !errors.Is(err, errNoStart) {
			return fmt.Errorf("looking for where to start: %w", err)
		}
		found.trouble = err
		if err := r.comeTo(ctx, found.regime); err != nil {
			return err
		}
		want.policy = r.trust.digest()
		seen.walkedFor = want
		j, r.source.started, r.source.startedFor = &found, &found, seen
	}
	if len(j.steps) == 0 {
		r.halt(ctx, KindRefuse, noStart(head, j.trouble))
		return nil // each new head is looked at
	}
	return r.start(ctx, *j, head, want)
}

// noStart is the refusal of a branch that nothing can begin with.
func noStart(head string, why error) Refusal {
	ref := Refusal{Commit: head, Code: NoTrustedStart, Message: why.Error(), Hint: ReasonFor(NoTrustedStart).Do}
	if errors.As(why, new(noSpec)) {
		ref.Hint = "check --path and --branch, or commit the spec there: propose init"
	}
	return ref
}

// start takes a replay's generations, unless that would move what is live.
func (r *Reconciler) start(ctx context.Context, j journey, head string, want walkedFor) error {
	last := j.steps[len(j.steps)-1]
	differs, err := r.diverges(ctx, last.spec)
	if err != nil {
		return fmt.Errorf("comparing with what is live: %w", err)
	}
	if differs != "" && !r.goAhead(last.Commit, head) {
		r.halt(ctx, KindDiverge, *r.divergence(last, differs))
		return nil
	}
	r.source.diverged, r.source.started = nil, nil
	intents := map[string]Event{}
	for _, st := range j.steps {
		e := r.stepEvent(st)
		if err := r.intent(ctx, e); err != nil {
			return err
		}
		intents[st.Commit] = e
	}
	r.status.set(r.now().UTC(), CondHistoryRewritten, False, Descends, "")
	return r.settle(ctx, j, intents, want)
}

// divergence says why a cold start stopped at its last step.
func (r *Reconciler) divergence(last step, differs string) *Refusal {
	return &Refusal{
		Commit: last.Commit, Version: last.Version, Signers: last.Signers, Subject: last.commit.Subject(),
		Author: last.commit.Author.String(), Code: ColdStartDiverges, Message: differs, Since: r.now().UTC(),
		Hint: fmt.Sprintf("compare with reconcile plan; to allow it: --accept-cold-start %.12s", last.Commit),
	}
}

// resume makes a generation of what meta says is live, when the commit that it names
// is behind head, holds that content, and was authorized. It is nil when it does not
// verify.
func (r *Reconciler) resume(ctx context.Context, head string, meta redisstore.Meta) (*step, *regime, error) {
	behind, err := r.cfg.Repo.IsAncestor(ctx, meta.Commit, head)
	if errors.Is(err, gitrepo.ErrNoCommit) || err == nil && !behind {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	commit, err := r.cfg.Repo.Commit(ctx, meta.Commit)
	if err != nil {
		return nil, nil, err
	}
	c, err := r.load(ctx, commit)
	if err != nil {
		return nil, nil, err
	}
	artifact := signing.NewArtifact(c.src)
	if c.problem != nil || artifact.Digest() != meta.Digest || meta.Generation >= redisstore.MaxGeneration {
		return nil, nil, nil
	}
	st, under, err := r.proven(ctx, c)
	if err != nil || st == nil {
		return nil, nil, err
	}
	now := r.now().UTC()
	st.Number, st.Kind, st.Commit, st.At = meta.Generation, KindResume, meta.Commit, now
	st.commit, st.changes = commit, nil
	// When its entries last rose is not known: the safe answer is just then.
	st.Raised, st.RaisedMany = nil, true
	if at, err := time.Parse(time.RFC3339, meta.AppliedAt); err == nil && at.Before(now) {
		st.At = at.UTC()
	}
	return st, under, nil
}

// proven says whether content in the branch was authorized: by a signature of a role
// that may do everything, or by a replay that ends in it. nil: it was not.
func (r *Reconciler) proven(ctx context.Context, c content) (*step, *regime, error) {
	under, err := r.regimeAt(ctx, c.commit.Hash)
	if err != nil {
		return nil, nil, err
	}
	w := r.walker()
	w.under(under)
	w.load = func(context.Context, gitrepo.Commit) (content, error) { return c, nil }
	w.clock = func(gitrepo.Commit) time.Time { return r.now() }
	if i, err := w.newestFull(ctx, []gitrepo.Commit{c.commit}); err == nil && i == 0 {
		j, err := w.walk(ctx, []gitrepo.Commit{c.commit})
		if err != nil || len(j.steps) == 0 {
			return nil, nil, err
		}
		return &j.steps[0], under, nil
	}
	j, err := r.replay(ctx, c.commit.Hash, 1)
	if errors.Is(err, errNoStart) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	last := j.steps[len(j.steps)-1]
	if !j.live() || !bytes.Equal(last.spec.Bytes(), c.src) {
		return nil, nil, nil
	}
	return &last, under, nil
}

// replay walks from the newest commit that a role signed which may do everything up
// to head, with the commits' own dates as the time.
func (r *Reconciler) replay(ctx context.Context, head string, next uint64) (journey, error) {
	w := r.walker()
	w.next = next
	w.clock = func(gitrepo.Commit) time.Time { return r.now() } // who signed the start must count today
	commit, err := r.cfg.Repo.Commit(ctx, head)
	if err != nil {
		return journey{}, err
	}
	under, err := r.regimeAt(ctx, head)
	if err != nil {
		return journey{}, err
	}
	w.under(under)
	// Where the newest spec itself is such a one, no older specs are needed.
	commits, start := []gitrepo.Commit{commit}, 0
	w.eras = []*regime{under}
	if _, err = w.newestFull(ctx, commits); errors.Is(err, errNoStart) {
		if commits, err = r.cfg.Repo.Walk(ctx, "", head, r.paths()); err != nil {
			return journey{}, err
		}
		if start, err = w.newestFull(ctx, commits); err == nil {
			w.eras, err = r.timeline(ctx, commits)
		}
	}
	if errors.As(err, new(noSpec)) {
		err = noSpec{r.cfg.Path}
	}
	if err != nil {
		return journey{regime: under}, err
	}
	w.clock = claims(r.now)
	w.eras = w.eras[start:]
	w.eras[0] = under // the start itself must stand today
	j, err := w.walk(ctx, commits[start:])
	if err == nil && len(j.steps) == 0 {
		err = errNoStart
	}
	j.regime = under
	return j, err
}

// diverges says in a sentence which live entries a spec would change; "" when none.
func (r *Reconciler) diverges(ctx context.Context, spec *flags.Spec) (string, error) {
	var names []string
	var buf []byte
	if err := r.adoptOverrides(ctx, spec); err != nil {
		return "", err
	}
	over := r.desire(spec)
	for kv, err := range r.cfg.Store.Entries(ctx) {
		if err != nil {
			return "", err
		}
		want, ok := over.entry(kv.Key)
		if buf = want.AppendJSON(buf[:0]); !ok || !bytes.Equal(buf, kv.Value) {
			names = append(names, kv.Key.String())
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	slices.Sort(names)
	return fmt.Sprintf("%d live entries differ from version %s: %s", len(names), spec.Version, shorten(names, 5)), nil
}

func shorten(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:n], ", "), len(names)-n)
}

// goAhead says whether a person allowed this cold start by name.
func (r *Reconciler) goAhead(start, head string) bool {
	named := r.cfg.AcceptColdStart
	return len(named) >= 7 && (strings.HasPrefix(start, named) || strings.HasPrefix(head, named))
}

// halt takes note of why no start was made, and reports it once.
func (r *Reconciler) halt(ctx context.Context, kind Kind, ref Refusal) {
	now := r.now().UTC()
	ref.Since = now
	if ref.Hint == "" {
		ref.Hint = ReasonFor(ref.Code).Do
	}
	before := r.source.diverged
	known := before != nil && before.Commit == ref.Commit && before.Code == ref.Code && before.Message == ref.Message
	if known {
		ref.Since = before.Since
	}
	r.source.diverged = &ref
	r.source.newest = &ruling{code: ref.Code, message: ref.Message, hint: ref.Hint}
	r.status.Refused, r.status.Deferred = []Refusal{ref}, nil
	r.status.set(now, CondSourceVerified, False, ref.Code, ref.Message)
	if known {
		return
	}
	r.metrics.commits.WithLabelValues(refused.String(), string(ref.Code)).Inc()
	e := r.newEvent(kind)
	e.Commit, e.Version, e.Signers, e.Subject, e.Author = ref.Commit, ref.Version, ref.Signers, ref.Subject, ref.Author
	e.Code, e.Message, e.Hint, e.Outcome = ref.Code, ref.Message, ref.Hint, OutcomeRefused
	r.outcome(ctx, e)
}
