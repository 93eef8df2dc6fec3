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
.gitattributes, the signature, private keys, the environment, the chain of previous specs, workflows, and
who reviews. Each line says ok, warn or fail, and what to do. It changes nothing and asks no server.

Exit 4 when a check fails; a warning is for you to judge. The live side is reconcile doctor's.`,
		Example: `  propose doctor
  propose doctor --json | jq -r 'select(.state == "fail") | .todo'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context(), policy) },
	}
	cmd.Flags().StringVar(&policy, "trust", "", "the trust policy `FILE` (default trust.json of the repository, if it has one)")
	return cmd
}

type checkLine struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, warn, fail
	Text  string `json:"text"`
	Todo  string `json:"todo,omitempty"`
}

func (c checkLine) as(state, todo, format string, args ...any) checkLine {
	c.State, c.Todo, c.Text = state, todo, fmt.Sprintf(format, args...)
	return c
}

func (c checkLine) ok(format string, args ...any) checkLine { return c.as("ok", "", format, args...) }

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
		check func(checkLine) checkLine
		ready func() bool
	}{
		{"git", func(l checkLine) checkLine { return checkGit(ctx, l) }, func() bool { return true }},
		{"repository", func(l checkLine) checkLine { return p.checkRepository(ctx, l) }, func() bool { _, err := exec.LookPath("git"); return err == nil }},
		{"spec", func(l checkLine) checkLine { return a.checkSpec(l, p) }, func() bool { return true }},
		{"attributes", func(l checkLine) checkLine { return p.checkAttributes(ctx, l) }, func() bool { return p.c != nil }},
		{"signature", func(l checkLine) checkLine { return a.checkSignature(l, p, policyPath) }, func() bool { return p.spec != nil }},
		{"keys", func(l checkLine) checkLine { return p.checkKeys(ctx, l) }, func() bool { return p.c != nil }},
		{"environment", p.checkEnvironment, func() bool { return p.spec != nil }},
		{"previous", func(l checkLine) checkLine { return p.checkPrevious(ctx, l) }, func() bool { return p.spec != nil && p.head != "" }},
		{"workflows", p.checkWorkflows, func() bool { return p.c != nil }},
		{"review", p.checkReview, func() bool { return p.c != nil }},
	}
	failed := 0
	for _, step := range steps {
		if !step.ready() {
			continue
		}
		line := step.check(checkLine{Check: step.name})
		if line.State == "fail" {
			failed++
		}
		if err := a.tellCheck(line); err != nil {
			return err
		}
	}
	if failed > 0 {
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("%s failed", counted(failed, "check", "checks")), "mend the first one, then look again: propose doctor"))
	}
	return nil
}

func (a *app) tellCheck(line checkLine) error {
	if a.json {
		return cli.JSONLine(a.env.Stdout, "doctor/v1", line)
	}
	paint := a.env.OutPalette()
	state := fmt.Sprintf("%-4s", line.State)
	switch line.State {
	case "ok":
		state = paint.Green(state)
	case "fail":
		state = paint.Red(state)
	default:
		state = paint.Bold(state)
	}
	out := fmt.Sprintf("%s  %-11s  %s\n", state, line.Check, cli.Printable(strings.ReplaceAll(line.Text, "\n", "; ")))
	if line.Todo != "" {
		out += "                   do: " + cli.Printable(line.Todo) + "\n"
	}
	_, err := fmt.Fprint(a.env.Stdout, out)
	return err
}

func checkGit(ctx context.Context, l checkLine) checkLine {
	out, err := exec.CommandContext(ctx, "git", "--version").Output()
	if err != nil {
		return l.as("fail", "install git, and see that it is on the PATH", "git cannot be run: %v", err)
	}
	return l.ok("%s", strings.TrimSpace(string(out)))
}

func (p *patient) checkRepository(ctx context.Context, l checkLine) checkLine {
	c, err := checkoutOf(p.path)
	switch {
	case err != nil:
		return l.as("fail", "git status, there", "the repository of %s cannot be read: %v", p.path, err)
	case c == nil:
		return l.as("fail", "git init, then propose init", "%s lies in no git repository", p.path)
	}
	branch, head, err := c.Head(ctx)
	if err != nil {
		return l.as("fail", "git status, there", "%v", err)
	}
	p.c, p.head = c, head
	if head == "" {
		return l.as("warn", "commit what propose init made", "%s has no commit yet", c.Root())
	}
	return l.ok("%s, on %s", c.Root(), cmp.Or(branch, "no branch"))
}

func (a *app) checkSpec(l checkLine, p *patient) checkLine {
	spec, err := a.readSpec(p.path)
	if err != nil {
		return l.as("fail", cmp.Or(strings.Join(cli.Hints(err), "; "), "mend it, then: propose validate"), "%v", err)
	}
	p.spec = spec
	return l.ok("%s, %s, %s", spec.Version, counted(len(spec.Features()), "feature", "features"), counted(spec.Len(), "entry", "entries"))
}

// checkAttributes: a signature covers bytes, so git must not convert line ends.
func (p *patient) checkAttributes(ctx context.Context, l checkLine) checkLine {
	for _, name := range []string{p.c.spec, bundlePath(p.c.spec, "")} {
		out, err := p.c.git(ctx, "check-attr", "-z", "text", "--", name).Output()
		f := strings.Split(string(out), "\x00") // path, attribute, value
		if err != nil || len(f) < 3 || f[2] != "unset" {
			return l.as("fail", `add to .gitattributes: specs/**/*.json -text`, "git may convert line ends in %s, which breaks its signature", name)
		}
	}
	return l.ok("git leaves the spec and its signatures as they are")
}

func (a *app) checkSignature(l checkLine, p *patient, policyPath string) checkLine {
	policy, name, err := a.readTrust(policyPath)
	if err != nil {
		return l.as("fail", "mend the policy: docs/trust.md", "%v", err)
	}
	if policy == nil {
		return l.as("fail", "propose init makes one; or name yours: --trust FILE", "there is no trust.json, so nobody's signature counts")
	}
	p.policy = policy
	bundles, err := a.readBundles(p.path)
	if err != nil {
		return l.as("fail", "propose sign --key KEY", "%v", err)
	}
	opt, err := a.verifyOptions()
	if err != nil {
		return l.as("fail", "see --trusted-root", "%v", err)
	}
	result := signing.Verify(signing.NewArtifact(p.spec.Bytes()), bundles, policy.Identities(), opt)
	if err := unsignedError(p.path, result); err != nil {
		return l.as("fail", strings.Join(cli.Hints(err), "; "), "%v", err)
	}
	return l.ok("signed by %s, by %s", strings.Join(result.Signers(), ", "), name)
}

// checkKeys looks for private keys among the files that git tracks.
func (p *patient) checkKeys(ctx context.Context, l checkLine) checkLine {
	out, err := p.c.git(ctx, "grep", "-l", "-z", "-I", "-E", "-e", "^-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----").Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
		return l.ok("git tracks no private key")
	}
	if err != nil {
		return l.as("warn", "git grep -l 'PRIVATE KEY'", "the tracked files cannot be searched: %v", err)
	}
	names := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	return l.as("fail", "take their public halves out of trust.json, and make new keys outside the repository: propose keygen",
		"git tracks private keys: %s", some(names, 3))
}

func (p *patient) checkEnvironment(l checkLine) checkLine {
	if p.policy == nil {
		if p.spec.Environment == "" {
			return l.as("warn", "propose set --environment NAME", "the spec is bound to no environment")
		}
		return l.ok("%s", p.spec.Environment)
	}
	switch spec, policy := p.spec.Environment, p.policy.Environment; {
	case policy == "" && spec == "":
		return l.as("warn", `propose set --environment NAME, and "environment" in trust.json`, "a spec that is bound to no environment can be replayed in another one")
	case policy == "":
		return l.as("warn", fmt.Sprintf(`"environment": %q in trust.json`, spec), "the spec is for %s, and the policy does not ask", spec)
	case policy != spec:
		return l.as("fail", "propose set --environment "+policy, "the policy takes specs for %s, and this one is for %s", policy, cmp.Or(spec, "none"))
	default:
		return l.ok("%s", spec)
	}
}

// checkPrevious follows the spec to the one before it.
func (p *patient) checkPrevious(ctx context.Context, l checkLine) checkLine {
	commits, err := p.c.History(ctx, "HEAD", p.c.spec)
	if err != nil {
		return l.as("warn", "git fetch --unshallow", "%v", err)
	}
	var before *flags.Spec
	for _, commit := range commits { // newest first
		if past, err := p.c.specAt(ctx, commit.Hash); err == nil && past != nil && past.Digest() != p.spec.Digest() {
			before = past
			break
		}
	}
	bad := "warn"
	if p.policy != nil && p.policy.RequirePrevious {
		bad = "fail"
	}
	switch {
	case before == nil:
		return l.ok("this is the first spec")
	case p.spec.Previous == before.Digest():
		return l.ok("follows %s", before.Version)
	case p.spec.Previous == "":
		return l.as(bad, "change the spec with propose set, which writes it", "the spec does not say which one it was made from")
	}
	return l.as(bad, "if that was no revert: make the change anew with propose set", "the spec was made from another one than %s, which is before it", before.Version)
}

func (p *patient) checkWorkflows(l checkLine) checkLine {
	root := p.c.Root()
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.y*ml"))
	if err != nil {
		return l.as("warn", "", "%v", err)
	}
	for _, name := range append(files, filepath.Join(root, ".gitlab-ci.yml"), filepath.Join(root, ".forgejo", "workflows", "flags.yml")) {
		if src, err := os.ReadFile(name); err == nil && strings.Contains(string(src), "propose") {
			rel, _ := filepath.Rel(root, name)
			return l.ok("%s runs propose", filepath.ToSlash(rel))
		}
	}
	return l.as("warn", "have each pull request run: propose validate, propose verify --from main", "no workflow checks what is proposed")
}

// checkReview: whether a branch is protected is the forge's to say, not git's.
func (p *patient) checkReview(l checkLine) checkLine {
	const protect = "on the forge, let nobody push to the branch without a review by a code owner, nor force a push"
	for _, name := range []string{"CODEOWNERS", ".github/CODEOWNERS", ".gitlab/CODEOWNERS", "docs/CODEOWNERS"} {
		if _, err := os.Stat(filepath.Join(p.c.Root(), filepath.FromSlash(name))); err == nil {
			return l.as("ok", protect, "%s says who reviews", name)
		}
	}
	return l.as("warn", "a CODEOWNERS for specs/ and trust.json; "+protect, "nothing in the repository says who reviews")
}
