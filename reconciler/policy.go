package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/internal/wholefile"
	"github.com/rampart-flags/rampart/trust"
)

// KindPolicy is the kind of the event that another trust policy came into force: one from the repository, or one that a
// person put in the place of the file.
const KindPolicy Kind = "policy"

// acceptedPolicy is policy.json in the state folder: the newest policy that was taken from the repository. It is replaced as a
// whole and fsynced before the policy judges anything, so that no restart falls back behind it.
type acceptedPolicy struct {
	Format   string    `json:"format"`   // "policy/v1"
	Document string    `json:"document"` // the policy, byte for byte
	Commit   string    `json:"commit"`   // that brought it
	Signers  []string  `json:"signers"`  // whose signatures brought it into force
	At       time.Time `json:"at"`
	// Chain are the policies before it, oldest first: none of them comes back.
	Chain []PolicyName `json:"chain"`

	policy *trust.Policy
}

// PolicyName is a policy's own number and its digest.
type PolicyName struct {
	Version int    `json:"version"`
	Digest  string `json:"digest"`
}

func nameOf(p *trust.Policy) PolicyName { return PolicyName{p.Version, p.Digest()} }

const (
	policyName   = "policy.json"
	policyFormat = "policy/v1"
)

// load reads what an earlier process accepted. A file that cannot be read is no reason to fall back to an older policy: the
// error is [ErrStateDamaged].
func (t *trustFile) load(dir string) error {
	if t.path == "" {
		return nil
	}
	src, err := os.ReadFile(filepath.Join(dir, policyName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var a acceptedPolicy
	if err == nil {
		err = json.Unmarshal(src, &a)
	}
	if err == nil && a.Format != policyFormat {
		err = fmt.Errorf("format %q, this version writes %q", a.Format, policyFormat)
	}
	if err == nil {
		a.policy, err = trust.Parse(policyName, []byte(a.Document))
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w: %w", policyName, err, ErrStateDamaged)
	}
	t.accepted = &a
	t.choose()
	return nil
}

// takePolicy brings a policy from the repository into force: recorded, written down, and only then used. It is not taken where
// it cannot be recorded, for it may give power to anybody.
func (r *Reconciler) takePolicy(ctx context.Context, next *regime) error {
	before := r.trust.policy
	e := r.policyEvent(before, next.policy)
	e.Commit, e.Subject, e.Author, e.Signers, e.Committed = next.from.Hash, next.from.Subject(), next.from.Author.String(), next.signers, next.from.When.UTC()
	if err := r.intent(ctx, e); err != nil {
		return fmt.Errorf("taking policy %d into force: %w", next.policy.Version, err)
	}
	a := &acceptedPolicy{
		Format: policyFormat, Document: string(next.src), Commit: next.from.Hash, Signers: next.signers,
		At: r.now().UTC(), Chain: next.chain, policy: next.policy,
	}
	src, err := json.MarshalIndent(a, "", "  ")
	if err == nil {
		err = wholefile.Write(filepath.Join(r.folder.dir, policyName), append(src, '\n'), 0o600)
	}
	if err != nil {
		e.Outcome, e.Code, e.Error = OutcomeFailed, StateUnwritable, err.Error()
		r.outcome(ctx, e)
		return fmt.Errorf("taking policy %d into force: %w", next.policy.Version, err)
	}
	r.trust.accepted = a
	r.trust.choose()
	r.cursor.Policy = ptr(nameOf(next.policy))
	r.policyChanged(ctx, e)
	return nil
}

func ptr[T any](v T) *T { return &v }

func (r *Reconciler) policyEvent(before, after *trust.Policy) Event {
	e := r.newEvent(KindPolicy)
	e.Environment, e.Digest, e.Policy, e.Code = after.Environment, after.Digest(), r.trust.nameOf(after), Accepted
	e.Message = fmt.Sprintf("policy version %d is in force", after.Version)
	if before != nil {
		e.Previous = before.Digest()
		e.Message += fmt.Sprintf(" in place of %d", before.Version)
	}
	return e
}

func (r *Reconciler) policyChanged(ctx context.Context, e Event) {
	e.Outcome = OutcomeApplied
	r.outcome(ctx, e)
	r.metrics.policies.WithLabelValues(string(OutcomeApplied)).Inc()
	r.log.Info(e.Message, slog.Any("signers", e.Signers), slog.String("digest", e.Digest), slog.String("commit", e.Commit))
	r.showPolicy()
}

// notePolicyFile tells of a policy that came into force because a person replaced the file.
func (r *Reconciler) notePolicyFile(ctx context.Context) {
	p := r.trust.policy
	if p == nil {
		return
	}
	before := r.cursor.Policy
	r.cursor.Policy = ptr(nameOf(p))
	if before == nil || *before == *r.cursor.Policy {
		r.showPolicy()
		return
	}
	e := r.policyEvent(nil, p)
	e.Previous = before.Digest
	e.Message += fmt.Sprintf(" in place of %d: the file that --trust names was replaced", before.Version)
	r.policyChanged(ctx, e)
}

// PolicyStatus says which trust policy is in force and where it came from.
type PolicyStatus struct {
	PolicyName
	// Source is "file", the one outside the repository, or "repository".
	Source string `json:"source"`
	// Path is the policy's place in the repository; "" where none there is followed.
	Path string `json:"path,omitempty"`
	// Commit, Signers and At say what brought it into force, where Source is "repository".
	Commit  string    `json:"commit,omitempty"`
	Signers []string  `json:"signers,omitempty"`
	At      time.Time `json:"at,omitzero"`
	// File is what the file outside says, where another one is in force.
	File *PolicyName `json:"file,omitempty"`
	// Note says what is odd about the file: it is lower than what was accepted, and no predecessor of it.
	Note string `json:"note,omitempty"`
	// Refused is the newest policy in the repository, where it is not in force, and why.
	Refused *Refusal `json:"refused,omitempty"`
}

// showPolicy brings status up to date with the policy in force.
func (r *Reconciler) showPolicy() {
	t := r.trust
	if t.policy == nil {
		r.status.Policy = nil
		return
	}
	s := &PolicyStatus{PolicyName: nameOf(t.policy), Source: "file", Path: r.cfg.trustPath(), Refused: r.policyUnfit()}
	if a := t.accepted; t.fromRepository() {
		s.Source, s.Commit, s.Signers, s.At = "repository", a.Commit, a.Signers, a.At
		s.File = ptr(nameOf(t.file))
		if !slices.Contains(a.Chain, *s.File) {
			s.Note = fmt.Sprintf("the file that --trust names is version %d and none of the policies before this one; it does not take its place. To put another in force by hand, number it %d or higher", t.file.Version, t.policy.Version)
		}
	}
	r.status.Policy = s
}
