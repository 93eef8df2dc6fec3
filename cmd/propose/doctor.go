package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

func doctorCommand(a *app) *cobra.Command {
	var policy string
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Check a flags repository, and say what to mend",
		Long: `doctor checks the git side of a set-up, in the order in which to mend it: git, the repository, the spec,
.gitattributes, the merge driver, the signature, private keys, the environment, the chain of previous specs,
workflows, and who reviews. Each line begins with ✓, ! or ✗, and says what to do. It changes nothing and
asks no server.

Exit 4 when a check fails; a warning is for you to judge. The live side is reconcile doctor's.`,
		Example: `  propose doctor
  propose doctor --json | jq -r 'select(.state == "fail") | .todo'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context(), policy) },
	}
	cmd.Flags().StringVar(&policy, "trust", "", "the trust policy `FILE` (default trust.json of the repository, if it has one)")
	return cmd
}

// patient is what the checks have found so far. What is nil was not there, and whatever needs it is
// passed over.
type patient struct {
	path   string // of the spec
	c      *checkout
	head   string
	spec   *flags.Spec
	policy *trust.Policy
}

func (a *app) doctor(ctx context.Context, policyPath string) error {
	p := &patient{path: a.specPath()}
	steps := []struct {
		name  string
		check func(cli.Check) cli.Check
		ready func() bool
	}{
		{"git", func(l cli.Check) cli.Check { return checkGit(ctx, l) }, func() bool { return true }},
		{"repository", func(l cli.Check) cli.Check { return p.checkRepository(ctx, l) }, func() bool { _, err := exec.LookPath("git"); return err == nil }},
		{"spec", func(l cli.Check) cli.Check { return a.checkSpec(l, p) }, func() bool { return true }},
		{"attributes", func(l cli.Check) cli.Check { return p.checkAttributes(ctx, l) }, func() bool { return p.c != nil }},
		{"merge", func(l cli.Check) cli.Check { return p.checkMerge(ctx, l) }, func() bool { return p.c != nil && p.mergesByMeaning(ctx) }},
		{"signature", func(l cli.Check) cli.Check { return a.checkSignature(l, p, policyPath) }, func() bool { return p.spec != nil }},
		{"keys", func(l cli.Check) cli.Check { return p.checkKeys(ctx, l) }, func() bool { return p.c != nil }},
		{"environment", p.checkEnvironment, func() bool { return p.spec != nil }},
		{"previous", func(l cli.Check) cli.Check { return p.checkPrevious(ctx, l) }, func() bool { return p.spec != nil && p.head != "" }},
		{"workflows", p.checkWorkflows, func() bool { return p.c != nil }},
		{"review", p.checkReview, func() bool { return p.c != nil }},
	}
	list := &cli.Checklist{Env: a.env, JSON: a.json}
	for _, step := range steps {
		if !step.ready() {
			continue
		}
		if err := list.Tell(step.check(cli.Check{Check: step.name})); err != nil {
			return err
		}
	}
	return list.Verdict("propose doctor")
}

func checkGit(ctx context.Context, l cli.Check) cli.Check {
	out, err := exec.CommandContext(ctx, "git", "--version").Output()
	if err != nil {
		return l.Fail("install git, and see that it is on the PATH", "git cannot be run: %v", err)
	}
	return l.OK("%s", strings.TrimSpace(string(out)))
}

func (p *patient) checkRepository(ctx context.Context, l cli.Check) cli.Check {
	c, err := checkoutOf(p.path)
	switch {
	case err != nil:
		return l.Fail("git status, there", "the repository of %s cannot be read: %v", p.path, err)
	case c == nil:
		return l.Fail("git init, then propose init", "%s lies in no git repository", p.path)
	}
	branch, head, err := c.Head(ctx)
	if err != nil {
		return l.Fail("git status, there", "%v", err)
	}
	p.c, p.head = c, head
	if head == "" {
		return l.Warn("commit what propose init made", "%s has no commit yet", c.Root())
	}
	return l.OK("%s, on %s", c.Root(), cmp.Or(branch, "no branch"))
}

func (a *app) checkSpec(l cli.Check, p *patient) cli.Check {
	spec, err := a.readSpec(p.path)
	if err != nil {
		return l.Fail(cmp.Or(strings.Join(cli.Hints(err), "; "), "mend it, then: propose validate"), "%v", err)
	}
	p.spec = spec
	return l.OK("%s, %s, %s", spec.Version, counted(len(spec.Features()), "feature", "features"), counted(spec.Len(), "entry", "entries"))
}

// checkAttributes: a signature covers bytes, so git must not convert line ends.
func (p *patient) checkAttributes(ctx context.Context, l cli.Check) cli.Check {
	for _, name := range []string{p.c.spec, bundlePath(p.c.spec, "")} {
		out, err := p.c.git(ctx, "check-attr", "-z", "text", "--", name).Output()
		f := strings.Split(string(out), "\x00") // path, attribute, value
		if err != nil || len(f) < 3 || f[2] != "unset" {
			return l.Fail(`add to .gitattributes: specs/**/*.json -text`, "git may convert line ends in %s, which breaks its signature", name)
		}
	}
	return l.OK("git leaves the spec and its signatures as they are")
}

// mergesByMeaning says whether .gitattributes asks for our merge driver.
func (p *patient) mergesByMeaning(ctx context.Context) bool {
	out, err := p.c.git(ctx, "check-attr", "-z", "merge", "--", p.c.spec).Output()
	f := strings.Split(string(out), "\x00")
	return err == nil && len(f) > 2 && f[2] == "rampart"
}

// checkMerge: git takes no program from a repository, so each clone is asked once.
func (p *patient) checkMerge(ctx context.Context, l cli.Check) cli.Check {
	if gitAnswer(ctx, p.c.Root(), "config", "merge.rampart.driver") == "" {
		return l.Warn("propose resolve --install", ".gitattributes wants the spec merged by meaning, and this clone does not know how")
	}
	return l.OK("git merges the spec by meaning here")
}

// soon is how long before a signer expires a person is told.
const soon = 30 * 24 * time.Hour

// expiring names the signers who do not sign much longer, or no more.
func expiring(policy *trust.Policy, now time.Time) (names []string) {
	for _, s := range policy.Signers {
		switch left := s.Expires.Sub(now); {
		case s.Expires.IsZero() || left > soon:
		case left <= 0:
			names = append(names, fmt.Sprintf("%s has expired on %s", s.Name, s.Expires.Format(time.DateOnly)))
		default:
			names = append(names, fmt.Sprintf("%s expires on %s", s.Name, s.Expires.Format(time.DateOnly)))
		}
	}
	return names
}

func (a *app) checkSignature(l cli.Check, p *patient, policyPath string) cli.Check {
	policy, name, err := a.readTrust(policyPath)
	if err != nil {
		return l.Fail("mend the policy: docs/trust.md", "%v", err)
	}
	if policy == nil {
		return l.Fail("propose init makes one; or name yours: --trust FILE", "there is no trust.json, so nobody's signature counts")
	}
	p.policy = policy
	bundles, err := a.readBundles(p.path)
	if err != nil {
		return l.Fail("propose sign --key KEY", "%v", err)
	}
	opt, err := a.verifyOptions()
	if err != nil {
		return l.Fail("see --trusted-root", "%v", err)
	}
	result := signing.Verify(signing.NewArtifact(p.spec.Bytes()), bundles, policy.Identities(), opt)
	if err := unsignedError(p.path, result); err != nil {
		return l.Fail(strings.Join(cli.Hints(err), "; "), "%v", err)
	}
	if names := expiring(policy, time.Now()); len(names) > 0 {
		return l.Warn("give them new dates, or take them out of "+name, "signed by %s; %s", strings.Join(result.Signers(), ", "), strings.Join(names, "; "))
	}
	return l.OK("signed by %s, by %s", strings.Join(result.Signers(), ", "), name)
}

// checkKeys looks for private keys among the files that git tracks.
func (p *patient) checkKeys(ctx context.Context, l cli.Check) cli.Check {
	out, err := p.c.git(ctx, "grep", "-l", "-z", "-I", "-E", "-e", "^-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----").Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
		return l.OK("git tracks no private key")
	}
	if err != nil {
		return l.Warn("git grep -l 'PRIVATE KEY'", "the tracked files cannot be searched: %v", err)
	}
	names := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	return l.Fail("take their public halves out of trust.json, and make new keys outside the repository: propose keygen",
		"git tracks private keys: %s", some(names, 3))
}

func (p *patient) checkEnvironment(l cli.Check) cli.Check {
	if p.policy == nil {
		if p.spec.Environment == "" {
			return l.Warn("propose set --environment NAME", "the spec is bound to no environment")
		}
		return l.OK("%s", p.spec.Environment)
	}
	switch spec, policy := p.spec.Environment, p.policy.Environment; {
	case policy == "" && spec == "":
		return l.Warn(`propose set --environment NAME, and "environment" in trust.json`, "a spec that is bound to no environment can be replayed in another one")
	case policy == "":
		return l.Warn(fmt.Sprintf(`"environment": %q in trust.json`, spec), "the spec is for %s, and the policy does not ask", spec)
	case policy != spec:
		return l.Fail(environmentHint(spec, policy), "the policy takes specs for %s, and this one is for %s", policy, cmp.Or(spec, "none"))
	default:
		return l.OK("%s", spec)
	}
}

// checkPrevious follows the spec to the one before it.
func (p *patient) checkPrevious(ctx context.Context, l cli.Check) cli.Check {
	commits, err := p.c.History(ctx, "HEAD", p.c.spec)
	if err != nil {
		return l.Warn("git fetch --unshallow", "%v", err)
	}
	var before *flags.Spec
	for _, commit := range commits { // newest first
		if past, err := p.c.specAt(ctx, commit.Hash); err == nil && past != nil && past.Digest() != p.spec.Digest() {
			before = past
			break
		}
	}
	reused, err := p.c.stoodFor(ctx, p.spec)
	if err != nil {
		return l.Warn("", "%v", err)
	}
	bad := l.Warn
	if p.policy != nil && p.policy.RequirePrevious {
		bad = l.Fail
	}
	switch {
	case before == nil:
		return l.OK("this is the first spec")
	case reused != "":
		return bad(newVersion, "version %s stands for other content at %.12s: the spec was edited by hand, and signed as it was", p.spec.Version, reused)
	case p.spec.Previous == before.Digest():
		return l.OK("follows %s", before.Version)
	case p.spec.Previous == "":
		return bad("change the spec with propose set, which writes it", "the spec does not say which one it was made from")
	}
	return bad("if that was no revert: make the change anew with propose set", "the spec was made from another one than %s, which is before it", before.Version)
}

func (p *patient) checkWorkflows(l cli.Check) cli.Check {
	root := p.c.Root()
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.y*ml"))
	if err != nil {
		return l.Warn("", "%v", err)
	}
	for _, name := range append(files, filepath.Join(root, ".gitlab-ci.yml"), filepath.Join(root, ".forgejo", "workflows", "flags.yml")) {
		if src, err := os.ReadFile(name); err == nil && strings.Contains(string(src), "propose") {
			rel, _ := filepath.Rel(root, name)
			return l.OK("%s runs propose", filepath.ToSlash(rel))
		}
	}
	return l.Warn("have each pull request run: propose validate, propose verify --from main", "no workflow checks what is proposed")
}

// checkReview: whether a branch is protected is the forge's to say, not git's.
func (p *patient) checkReview(l cli.Check) cli.Check {
	const protect = "on the forge, let nobody push to the branch without a review by a code owner, nor force a push"
	for _, name := range []string{"CODEOWNERS", ".github/CODEOWNERS", ".gitlab/CODEOWNERS", "docs/CODEOWNERS"} {
		if _, err := os.Stat(filepath.Join(p.c.Root(), filepath.FromSlash(name))); err == nil {
			l = l.OK("%s says who reviews", name)
			l.Todo = protect
			return l
		}
	}
	return l.Warn("a CODEOWNERS for specs/ and trust.json; "+protect, "nothing in the repository says who reviews")
}
