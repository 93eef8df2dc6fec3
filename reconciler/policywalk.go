package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// regime is a policy and how it came into force: what a walk over history is under at one point.
type regime struct {
	policy  *trust.Policy
	name    string         // as trustFile.digest says it
	chain   []PolicyName   // the policies before it, oldest first
	from    gitrepo.Commit // that brought it; the zero commit: the file outside did
	src     []byte         // its bytes, where a commit brought it
	signers []string
	blob    string // git's name for its bytes, as far as it was seen
	// refused is why the policy in the branch is another one, nil where it is not.
	refused *Refusal
}

// regime is where a walk that goes on begins.
func (t *trustFile) regime() *regime {
	in := &regime{policy: t.policy, name: t.digest()}
	if a := t.accepted; a != nil {
		in.chain = a.Chain
		if t.fromRepository() {
			in.from = gitrepo.Commit{Hash: a.Commit}
		} else {
			in.chain = append(in.chain[:len(in.chain):len(in.chain)], nameOf(a.policy))
		}
	}
	return in
}

// follows says whether successors of the policy are looked for in the repository.
func (r *Reconciler) follows() bool { return r.trust.file != nil && r.cfg.trustPath() != "" }

// policyPaths are what a walk for policies looks for: the policy and the bundles beside it.
func (r *Reconciler) policyPaths() []string {
	if p := r.cfg.trustPath(); r.follows() {
		return []string{p, p + ".*"}
	}
	return nil
}

// eras says under which policy each of the commits is judged, oldest first: the one that its own tree brings, where that may
// take over, else the one before. It changes nothing.
func (r *Reconciler) eras(ctx context.Context, in *regime, commits []gitrepo.Commit, clock func(gitrepo.Commit) time.Time) ([]*regime, error) {
	out := make([]*regime, len(commits))
	for i, c := range commits {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if r.follows() {
			if in, err = r.succession(ctx, in, c, clock(c)); err != nil {
				return nil, fmt.Errorf("reading commit %.12s: %w", c.Hash, err)
			}
		}
		out[i] = in
	}
	return out, nil
}

// succession is the regime after one commit.
func (r *Reconciler) succession(ctx context.Context, in *regime, c gitrepo.Commit, now time.Time) (*regime, error) {
	name := r.cfg.trustPath()
	blob, err := r.cfg.Repo.FileID(ctx, c.Hash, name)
	switch {
	case errors.Is(err, gitrepo.ErrNotExist) && in.from.Hash == "":
		return in.without(), nil // it never left the file outside
	case errors.Is(err, gitrepo.ErrNotExist):
		return in.refuse(c, now, PolicyMissing, name+" is gone from the branch; the policy in force stays"), nil
	case errors.Is(err, gitrepo.ErrNotRegular):
		return in.refuse(c, now, PolicyInvalid, name+" is no plain file"), nil
	case err != nil:
		return nil, err
	case blob == in.blob:
		return in.without(), nil
	}
	files := r.reader(ctx, c.Hash)
	src, bundles, err := files.signed(name, maxPolicy)
	if files.trouble != nil {
		return nil, files.trouble
	}
	if err != nil {
		return in.refuse(c, now, PolicyInvalid, fmt.Sprintf("%s: %v", name, err)), nil
	}
	next, code, why := in.judge(name, src, bundles, r.cfg.Signing, now)
	switch {
	case code != "":
		return in.refuse(c, now, code, name+": "+why), nil
	case next == nil: // it is the one in force
		same := *in.without()
		same.blob = blob
		return &same, nil
	}
	next.name, next.from, next.blob = r.trust.nameOf(next.policy), c, blob
	return next, nil
}

// judge says whether a policy may take over. nil without a code: it is the one in force, or the one that the file outside has
// already left behind. What none of the present signers has signed is never parsed.
func (in *regime) judge(name string, src []byte, bundles []signing.NamedBundle, keyless signing.Options, now time.Time) (next *regime, code Code, why string) {
	artifact := signing.NewArtifact(src)
	known := func(p PolicyName) bool { return p.Digest == artifact.Digest() }
	switch {
	case artifact.Digest() == in.policy.Digest():
		return nil, "", ""
	case artifact.Digest() == in.policy.Previous && in.from.Hash == "":
		return nil, "", "" // brought to the file by hand first; the branch will follow
	case slices.ContainsFunc(in.chain, known):
		i := slices.IndexFunc(in.chain, known)
		return nil, PolicyReplayed, fmt.Sprintf("it is number %d, which was in force before; number %d is now", in.chain[i].Version, in.policy.Version)
	}
	old := signing.Verify(artifact, bundles, in.policy.Identities(), keyless)
	if len(old.Signers()) == 0 {
		r := unsigned(content{path: name}, old)
		if r.code == SignerUnknown {
			return nil, PolicyOldMaintainers, "nobody of the policy in force has signed it: " + r.message
		}
		return nil, PolicyUnsigned, r.message
	}
	policy, err := trust.Parse(name, src)
	if err != nil {
		return nil, PolicyInvalid, err.Error()
	}
	own := signing.Verify(artifact, bundles, policy.Identities(), keyless)
	err = trust.Succeeds(in.policy, policy, old.Signers(), own.Signers(), now)
	if unfit := (*trust.RotationError)(nil); errors.As(err, &unfit) {
		return nil, Code(unfit.Reason), unfit.Sentence()
	}
	signers := append(old.Signers(), own.Signers()...)
	slices.Sort(signers)
	return &regime{
		policy: policy, src: src, signers: slices.Compact(signers),
		chain: append(in.chain[:len(in.chain):len(in.chain)], nameOf(in.policy)),
	}, "", ""
}

// without is the same regime with nothing refused.
func (in *regime) without() *regime {
	if in.refused == nil {
		return in
	}
	out := *in
	out.refused = nil
	return &out
}

// refuse is the same regime, and why the branch's policy is not in force. The commit that it is first true of is the one named.
func (in *regime) refuse(c gitrepo.Commit, now time.Time, code Code, why string) *regime {
	if r := in.refused; r != nil && r.Code == code && r.Message == why {
		return in
	}
	out := *in
	out.refused = &Refusal{
		Commit: c.Hash, Subject: c.Subject(), Author: c.Author.String(), Code: code,
		Message: strings.TrimSpace(why), Hint: ReasonFor(code).Do, Since: now.UTC(),
	}
	return &out
}
