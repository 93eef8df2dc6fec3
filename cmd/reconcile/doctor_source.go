package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/schema"
	"github.com/rampart-flags/rampart/trust"
)

// soon is how long before a signer expires a person is told.
const soon = 30 * 24 * time.Hour

// checkTrust: the policy reads, nobody else can write it, and its signers last.
func (d *doctor) checkTrust(_ context.Context, l cli.Check) []cli.Check {
	if d.a.insecure {
		return one(l.Warn("give it a policy: --trust FILE (propose init writes one)", "signatures are not checked: whoever can push decides what is live"))
	}
	src, err := os.ReadFile(d.a.trust)
	if err != nil {
		return one(l.Fail("put a copy of trust.json there, from outside the repository", "%v", err))
	}
	policy, err := trust.Parse(d.a.trust, src)
	if err != nil {
		var defects schema.Errors
		if errors.As(err, &defects) {
			return one(l.Fail("mend it: docs/trust.md", "%v", err))
		}
		return one(l.Fail("mend it: docs/trust.md", "reading the trust policy: %v", err))
	}
	d.policy = policy
	out := one(l.OK("%s: %s, %s, for %s", d.a.trust, counted(len(policy.Signers), "signer", "signers"), counted(len(policy.Roles), "role", "roles"), or(policy.Environment, "no environment")))
	if policy.Environment == "" {
		out[0] = l.Warn(`"environment": "NAME" in the policy and in the spec`, "%s asks for no environment: a spec of another one could be replayed here", d.a.trust)
	}
	if worldWritable(d.a.trust) {
		out = append(out, named("trust-file").Fail("chmod o-w "+d.a.trust, "everybody on this machine may change %s, and so what goes live", d.a.trust))
	}
	out = append(out, d.checkAccepted(named("policy"))...)
	return append(out, d.checkSigners(time.Now())...)
}

// checkAccepted: where a policy from the repository is in force, it is that one that all else is about.
func (d *doctor) checkAccepted(l cli.Check) []cli.Check {
	if d.shut {
		return nil // checkState says so
	}
	accepted, commit, err := reconciler.AcceptedPolicy(d.dir)
	if err != nil {
		return one(l.Fail("restore the state folder from a backup: docs/trust.md, Rotation", "%v", err))
	}
	if accepted == nil || accepted.Version <= d.policy.Version {
		return nil
	}
	d.policy, d.inside = accepted, true
	return one(l.OK("version %d, from the repository at %.12s, is in force: %s, %s", accepted.Version, commit,
		counted(len(accepted.Signers), "signer", "signers"), counted(len(accepted.Roles), "role", "roles")))
}

// checkSigners: somebody can still sign everything, and nobody's time runs out unnoticed.
func (d *doctor) checkSigners(now time.Time) []cli.Check {
	l := named("signers")
	var all, gone, going []string
	for _, s := range d.policy.Signers {
		all = append(all, s.Name)
		switch left := s.Expires.Sub(now); {
		case s.Expires.IsZero() || left > soon:
		case left <= 0:
			gone = append(gone, fmt.Sprintf("%s has expired on %s", s.Name, s.Expires.Format(time.DateOnly)))
		default:
			going = append(going, fmt.Sprintf("%s expires on %s", s.Name, s.Expires.Format(time.DateOnly)))
		}
	}
	told := strings.Join(append(gone, going...), "; ")
	switch {
	case !d.policy.HasFull(all, now):
		where := "in the policy that --trust names"
		if d.inside { // nobody could sign its successor
			where += fmt.Sprintf(", numbered %d", d.policy.Version+1)
		}
		return one(l.Fail("give a signer of a role that may \"*\" a new date, "+where, "nobody is left who may do everything; %s", told))
	case told != "":
		return one(l.Warn("give them new dates, or take them out of the policy", "%s", told))
	}
	return one(l.OK("nobody expires within 30 days"))
}

// checkRepository: it answers, has the branch, and the branch has the spec.
func (d *doctor) checkRepository(ctx context.Context, l cli.Check) []cli.Check {
	a := d.a
	repo, err := gitrepo.Open(ctx, gitrepo.Options{URL: a.repo, Branch: a.branch, Timeout: 20 * time.Second, Auth: gitrepo.Auth{
		Username: a.gitUser, Token: a.env.Getenv("RAMPART_GIT_TOKEN"), TokenFile: a.gitTokenFile,
		SSHKeyFile: a.sshKey, SSHKeyPassword: a.env.Getenv("RAMPART_SSH_KEY_PASSWORD"), KnownHosts: a.knownHosts,
	}})
	if err != nil {
		return one(l.Fail(todo(err, "see docs/git.md for what --repo takes"), "%v", err))
	}
	defer repo.Close()
	head, err := repo.Fetch(ctx)
	switch {
	case errors.Is(err, gitrepo.ErrDenied):
		return one(l.Fail("give a token that may read it: --git-token-file FILE or $RAMPART_GIT_TOKEN; or --ssh-key", "%v", err))
	case errors.Is(err, gitrepo.ErrHostKey):
		return one(l.Fail("add the host's key to known_hosts, after you have compared it: --known-hosts", "%v", err))
	case errors.Is(err, gitrepo.ErrNoRepository):
		return one(l.Fail("mend --repo, or let the token see the repository", "%v", err))
	case errors.Is(err, gitrepo.ErrNoBranch):
		return one(l.Fail("push the branch, or name another: --branch", "%v", err))
	case errors.Is(err, gitrepo.ErrSHA256):
		return one(l.Fail("keep the flags in a repository with SHA-1 object names", "%v", err))
	case err != nil:
		return one(again(l.Fail("see that the repository can be reached from here", "%v", err)))
	}
	d.head = head
	branch, _ := repo.Head()
	return append(one(l.OK("%s, %s at %.12s", repo.Address(), branch, head)), d.checkSpec(ctx, repo))
}

func (d *doctor) checkSpec(ctx context.Context, repo *gitrepo.Repo) cli.Check {
	l := named("spec")
	src, err := repo.ReadFile(ctx, d.head, d.a.path, 32<<20+1)
	if err != nil {
		return l.Fail("commit the spec there (propose init), or name it: --path", "reading %s at %.12s: %v", d.a.path, d.head, err)
	}
	spec, err := flags.Decode(d.a.path, src)
	if err != nil {
		return l.Fail("mend it in the repository: propose validate", "%v", err)
	}
	d.specThere, d.environment = true, spec.Environment
	if bundles, err := repo.ReadGlob(ctx, d.head, filepath.ToSlash(d.a.path)+"*.sigstore.json", 1<<20); err == nil && len(bundles) == 0 && !d.a.insecure {
		return l.Fail("in the repository: propose sign --key KEY --commit", "%s, and nobody has signed it", spec.Version)
	}
	if d.policy != nil && d.policy.Environment != "" && d.policy.Environment != spec.Environment {
		return l.Fail("in the repository: propose set --environment "+d.policy.Environment+"; or give the policy of "+or(spec.Environment, "this repository"),
			"%s is for %s, and the policy takes specs for %s only", spec.Version, or(spec.Environment, "no environment"), d.policy.Environment)
	}
	return l.OK("%s for %s: %s, %s", spec.Version, or(spec.Environment, "no environment"), counted(len(spec.Features()), "feature", "features"), counted(spec.Len(), "entry", "entries"))
}
