package main

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/signing"
)

// starter are the files of a new repository of flags that do not come from this project's own.
//
//go:embed starter
var starter embed.FS

// githubSettings say what init --github writes.
type githubSettings struct {
	on, force            bool
	repository, reviewer string
	rampSigner, action   string
}

func (g *githubSettings) define(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&g.on, "github", false, "make a whole repository for GitHub: workflows, code owners, branch protection, README, and a bot that may ramp")
	f.StringVar(&g.repository, "repository", "", "with --github: its `OWNER/NAME` (default from the remote origin)")
	f.StringVar(&g.reviewer, "reviewer", "", "with --github: who reviews, `@NAME` or @ORG/TEAM (default the repository's owner)")
	f.StringVar(&g.rampSigner, "ramp-signer", "key", "with --github: how the nightly ramp signs, `HOW`: key (a key pair for a secret), keyless (as its workflow), none")
	f.StringVar(&g.action, "action", "", "with --github: the `COMMIT` of rampart-flags/rampart that the workflows run, or a release (default the one this program was built from)")
	f.BoolVar(&g.force, "force", false, "with --github: replace generated files that differ; the spec, its signatures, the policy and keys never are")
	cli.NoEnv(cmd, "github", "force", "repository", "reviewer", "ramp-signer", "action")
}

var (
	ownerName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$`)
	reviewerOf = regexp.MustCompile(`^@[A-Za-z0-9][A-Za-z0-9-]*(/[A-Za-z0-9._-]+)?$`)
	commitHash = regexp.MustCompile(`^[0-9a-f]{40}$`)
	release    = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+$`)
)

// releaseOf is version where that is a release's own, "" for what lies between two.
func releaseOf(version string) string {
	if release.MatchString(version) {
		return version
	}
	return ""
}

// check refuses what cannot be written into a workflow, before anything is made.
func (g *githubSettings) check(ctx context.Context, a *app, root string) error {
	if !g.on {
		if g.force || g.repository != "" || g.reviewer != "" || g.action != "" {
			return usage(errors.New("--repository, --reviewer, --action and --force go with --github"))
		}
		return nil
	}
	if spec, err := filepath.Abs(a.specPath()); err != nil || spec != filepath.Join(root, filepath.FromSlash(defaultPath)) {
		return usage(cli.Hint(fmt.Errorf("--github lays out %s at the top of the repository, not %s", defaultPath, a.specPath()), "leave --path away"))
	}
	if g.repository == "" {
		g.repository = githubName(gitAnswer(ctx, root, "config", "remote.origin.url"))
	}
	g.action = cmp.Or(g.action, cli.Commit(), releaseOf(cli.Version()))
	switch {
	case g.repository != "" && !ownerName.MatchString(g.repository):
		return usage(fmt.Errorf("--repository %s: want OWNER/NAME", g.repository))
	case g.reviewer != "" && !reviewerOf.MatchString(g.reviewer):
		return usage(fmt.Errorf("--reviewer %s: want @NAME or @ORG/TEAM", g.reviewer))
	case g.action != "" && !commitHash.MatchString(g.action) && releaseOf(g.action) == "":
		return usage(cli.Hint(fmt.Errorf("--action %s: want a full commit, 40 hex digits, or a release's tag", g.action), "git ls-remote https://github.com/rampart-flags/rampart HEAD"))
	case g.action == "":
		return usage(cli.Hint(errors.New("which commit of rampart-flags/rampart shall the workflows run? This build does not know its own"), "--action COMMIT: git ls-remote https://github.com/rampart-flags/rampart HEAD"))
	case g.rampSigner != "key" && g.rampSigner != "keyless" && g.rampSigner != "none":
		return usage(fmt.Errorf("--ramp-signer %s: want key, keyless or none", g.rampSigner))
	case g.rampSigner == "keyless" && g.repository == "":
		return usage(cli.Hint(errors.New("a keyless signer is named by its repository, and there is no remote origin"), "--repository OWNER/NAME"))
	}
	if g.reviewer == "" && g.repository != "" {
		owner, _, _ := strings.Cut(g.repository, "/")
		g.reviewer = "@" + owner
	}
	return nil
}

// githubName is OWNER/NAME of an address at GitHub, "" of any other.
func githubName(address string) string {
	path := ""
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		if u.Hostname() == "github.com" {
			path = u.Path
		}
	} else if host, rest, ok := strings.Cut(address, ":"); ok && strings.HasSuffix(host, "github.com") {
		path = rest
	}
	name := strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	if !ownerName.MatchString(name) {
		return ""
	}
	return name
}

// starterFacts fill the templates.
type starterFacts struct {
	Name, Environment, Repository, Reviewer, Branch, URL string
	RampKey                                              string // its name, not its place: the README is for everybody
	Keyless                                              bool
}

// githubFiles are the files that --github adds, relative to top.
func (g *githubSettings) githubFiles(facts starterFacts, top string) ([]newFile, error) {
	var out []newFile
	add := func(path string, content []byte, keep bool) {
		out = append(out, newFile{path: filepath.Join(top, filepath.FromSlash(path)), content: content, keep: keep, generated: true})
	}
	for _, f := range []struct {
		from, to string
		keep     bool
	}{
		{"CODEOWNERS", ".github/CODEOWNERS", false}, {"branch-protection.md", ".github/branch-protection.md", false},
		{"ruleset.json", ".github/rulesets/main.json", false}, {"pull_request_template.md", ".github/pull_request_template.md", true},
		{"README.md", "README.md", true}, {"queries.json", "specs/queries.json", true},
	} {
		src, err := starter.ReadFile("starter/" + f.from)
		if err != nil {
			return nil, fmt.Errorf("making %s: %w", f.to, err)
		}
		t, err := template.New(f.from).Option("missingkey=error").Parse(string(src))
		var b bytes.Buffer
		if err == nil {
			err = t.Execute(&b, facts)
		}
		if err != nil {
			return nil, fmt.Errorf("making %s: %w", f.to, err)
		}
		add(f.to, b.Bytes(), f.keep)
	}
	for _, name := range []string{"flags-validate.yml", "flags-toggle.yml", "ramp.yml"} {
		src, err := rampart.Workflows.ReadFile(".github/workflows/" + name)
		if err != nil {
			return nil, fmt.Errorf("making a workflow: %w", err)
		}
		if name == "ramp.yml" && g.rampSigner == "none" {
			continue
		}
		add(".github/workflows/"+name, g.workflow(src, facts.Branch), false)
	}
	return out, nil
}

// pathsFilter is the part of a trigger that keeps it from other pull requests. A check that is
// required must run on each of them, else those without a spec wait for ever.
var pathsFilter = regexp.MustCompile(`(?m)^    paths:\n(      - .*\n)+`)

// workflow turns one of this project's workflows into another repository's: the action is called by
// its address and commit rather than as "./".
func (g *githubSettings) workflow(src []byte, branch string) []byte {
	pin := "uses: rampart-flags/rampart@" + g.action
	switch v := releaseOf(cli.Version()); {
	case !commitHash.MatchString(g.action):
		pin += " # a tag can be moved: put the commit here"
	case v != "" && g.action == cli.Commit():
		pin += " # " + v
	}
	text := strings.ReplaceAll(string(src), "uses: ./", pin)
	text = pathsFilter.ReplaceAllString(text, "")
	text = strings.ReplaceAll(text, "branches: [main]", "branches: ["+branch+"]")
	var kept []string
	for line := range strings.Lines(text) {
		if len(kept) == 0 && strings.HasPrefix(line, "#") {
			continue // what it says of this project
		}
		kept = append(kept, line)
	}
	return []byte("# Written by propose init --github; bring it up to date with propose init --github --force.\n" + strings.Join(kept, ""))
}

// mayWrite refuses to replace generated files that somebody has changed, all of them at once.
func (g *githubSettings) mayWrite(files []newFile) error {
	if g.force {
		return nil
	}
	var differ []string
	for _, f := range files {
		src, err := os.ReadFile(f.path)
		if f.generated && !f.keep && err == nil && !bytes.Equal(src, f.content) {
			differ = append(differ, f.path)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("making a repository: %s would be replaced, and differ from what would be written", strings.Join(differ, ", ")),
		"--force replaces them; git shows what that changes"))
}

// simpleBranch is a branch's name that needs no quotes in YAML.
var simpleBranch = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`)

func starterFactsOf(ctx context.Context, in initSettings, root string, adopting bool) starterFacts {
	f := starterFacts{
		Name: filepath.Base(root), Environment: cmp.Or(in.environment, "(none)"), Repository: in.github.repository, Reviewer: in.github.reviewer,
		Branch: gitAnswer(ctx, root, "symbolic-ref", "--short", "HEAD"), URL: "URL", Keyless: in.github.rampSigner == "keyless",
	}
	if f.Repository != "" {
		f.URL = "https://github.com/" + f.Repository
	}
	if !simpleBranch.MatchString(f.Branch) {
		f.Branch = "main"
	}
	if !adopting && in.github.rampSigner == "key" {
		f.RampKey = f.Name + "-ramp.key"
	}
	return f
}

// rampKeyPrefix is where the bot's key pair lies: beside the maintainer's.
func rampKeyPrefix(keyPath, repository string) string {
	dir := filepath.Dir(keyPath)
	if strings.Contains(keyPath, "://") {
		dir = defaultKeyDir()
	}
	return filepath.Join(dir, repository+"-ramp")
}

// rampBot is the nightly ramp among the policy's signers. A key pair is made for it where it signs with one.
func (a *app) rampBot(ctx context.Context, in *initSettings, keyPath, root string) ([]field, error) {
	switch in.github.rampSigner {
	case "none":
		return nil, nil
	case "keyless":
		subject := fmt.Sprintf("https://github.com/%s/.github/workflows/ramp.yml@refs/heads/%s", in.github.repository, starterFactsOf(ctx, *in, root, false).Branch)
		return []field{{"ramp-bot", object([]field{{"issuer", text("https://token.actions.githubusercontent.com")}, {"subject", text(subject)}})}}, nil
	}
	prefix := rampKeyPrefix(keyPath, filepath.Base(root))
	if _, err := os.Lstat(prefix + ".key"); err != nil {
		if _, err := a.newKey(ctx, prefix, signing.ECDSAP256); err != nil {
			return nil, err
		}
	}
	pub, err := os.ReadFile(prefix + ".pub")
	if err != nil {
		return nil, fmt.Errorf("reading the ramp's public key: %w", err)
	}
	if _, err := signing.ParsePublicKey(pub); err != nil {
		return nil, fmt.Errorf("reading the ramp's public key %s.pub: %w", prefix, err)
	}
	in.rampKey = prefix + ".key"
	return []field{{"ramp-bot", object([]field{{"key", text(string(pub))}})}}, nil
}

// rampRole lets the bot move percentages, a little at a time, and nothing else.
func rampRole(bot []field) []field {
	if bot == nil {
		return nil
	}
	return []field{{"ramp", object([]field{
		{"signers", texts([]string{"ramp-bot"})}, {"may", texts([]string{"ramp.up", "ramp.down"})},
		{"max_step", jsontext.Value("10")}, {"min_interval", text("1h")},
	})}}
}
