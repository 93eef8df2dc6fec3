package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rampart-flags/rampart/internal/cli"
)

// attributes keep git from converting what signatures cover byte by byte.
const attributes = "# Signatures cover raw bytes: git leaves these files alone.\nspecs/**/*.json -text\n"

// githubAttributes are those of propose resolve --install, and what keeps a review readable.
const githubAttributes = `# The spec is merged by meaning where propose resolve --install was run; a signature is made anew.
specs/flags.json merge=rampart
specs/*.sigstore.json -merge
# No diff of a signature tells anybody anything.
specs/**/*.sigstore.json -diff linguist-generated
specs/evidence/** linguist-generated
schema/** linguist-generated
`

func (g *githubSettings) attributes() string {
	if g.on {
		return attributes + githubAttributes
	}
	return attributes
}

// addAttributes makes sure that .gitattributes has our lines, and says whether any had to be added.
// A comment comes only with the line that it is about.
func addAttributes(path, want string) (string, bool, error) {
	there, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return path, false, fmt.Errorf("reading %s: %w", path, err)
	}
	text := string(there)
	if len(text) > 0 && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	comment, added := "", false
	for line := range strings.Lines(want) {
		switch {
		case strings.HasPrefix(line, "#"):
			comment = line
		case !slices.Contains(strings.Split(text, "\n"), strings.TrimSuffix(line, "\n")):
			text += comment + line
			comment, added = "", true
		}
	}
	if !added {
		return path, false, nil
	}
	if err := replaceFile(path, []byte(text)); err != nil {
		return path, false, fmt.Errorf("writing %s: %w", path, err)
	}
	return path, true, nil
}

func (a *app) finishInit(ctx context.Context, in initSettings, spec, policyPath, keyPath string, done initDone) error {
	commit := ""
	made := done.made
	if in.commit && len(made) > 0 {
		message := "flags: a first signed spec\n"
		if in.github.on {
			message = "flags: a repository of flags\n"
		}
		var err error
		if commit, err = a.commitFiles(ctx, spec, made, message); err != nil {
			return err
		}
	}
	if a.json {
		return cli.JSONLine(a.env.Stdout, "init/v1", struct {
			Files  []string `json:"files"`
			Kept   []string `json:"kept,omitempty"`
			Key    string   `json:"key"`
			Public string   `json:"public_key"`
			Ramp   string   `json:"ramp_key,omitempty"`
			Commit string   `json:"commit,omitempty"`
		}{append([]string{}, made...), done.kept, keyPath, strings.TrimSuffix(keyPath, ".key") + ".pub", in.rampKey, commit})
	}
	for _, path := range made {
		fmt.Fprintln(a.env.Stdout, path)
	}
	for _, path := range done.kept {
		a.env.Talk("kept as it is: %s", path)
	}
	if len(made) == 0 {
		a.env.Talk("nothing to do: everything is there")
		return nil
	}
	if !slices.Contains(made, spec) {
		a.env.Talk("\nthe spec, its signature and %s are as they were", policyPath)
		a.env.Talk("next: look at .github/branch-protection.md, give the ramp a role (docs/ramps.md), then: propose doctor")
		return nil
	}
	a.env.Talk("")
	a.env.Talk("the private key is %s: keep it out of the repository, and keep a copy", keyPath)
	if in.rampKey != "" {
		a.env.Talk("the ramp's private key is %s: it goes into the secret RAMP_KEY, and nowhere else", in.rampKey)
	}
	if !in.commit {
		a.env.Talk("\nnext, commit what was made:")
		a.env.Talk("  git add %s && git commit -m \"A first signed spec\"", strings.Join(made, " "))
	}
	if in.github.on {
		a.nextAtGitHub(in)
	}
	a.env.Talk("\nthen make a feature, and raise it when it is ready:")
	a.env.Talk("  KEY=%s", keyPath)
	at, from := "", ""
	if in.further != "" {
		at, from = " --path "+in.further, " --path "+pathInRepository(ctx, in.further)
	}
	a.env.Talk("  propose set receipts --new%s --key $KEY --commit", at)
	a.env.Talk("  propose set receipts --pct 10%s --key $KEY --commit", at)
	a.env.Talk("\nand let reconcile bring it to Redis, with a copy of the policy from outside the repository:")
	a.env.Talk("  cp %s /etc/rampart/trust.json", policyPath)
	a.env.Talk("  reconcile run --repo URL%s --trust /etc/rampart/trust.json --redis redis://HOST", from)
	return nil
}

// pathInRepository is path as reconcile names it.
func pathInRepository(ctx context.Context, path string) string {
	if dir := filepath.Dir(path); gitAnswer(ctx, dir, "rev-parse", "--is-inside-work-tree") == "true" {
		return gitAnswer(ctx, dir, "rev-parse", "--show-prefix") + filepath.Base(path)
	}
	return path
}

// nextAtGitHub says what only an administrator of the repository can do.
func (a *app) nextAtGitHub(in initSettings) {
	name := cmp.Or(in.github.repository, "OWNER/NAME")
	a.env.Talk("\nthen, at GitHub (README.md has this too):")
	a.env.Talk("  gh repo create %s --private --source . --push", name)
	switch {
	case in.rampKey != "":
		a.env.Talk("  gh secret set RAMP_KEY --repo %s < %s", name, in.rampKey)
		a.env.Talk("  gh secret set RAMP_KEY_PASSWORD --repo %s", name)
	case in.github.rampSigner == "keyless":
		a.env.Talk("  cosign trusted-root create --with-default-services --out trusted_root.json   # and commit it")
	}
	a.env.Talk("  gh api -X POST repos/%s/rulesets --input .github/rulesets/main.json   # .github/branch-protection.md says why", name)
	if in.github.reviewer == "" {
		a.env.Talk("and name who reviews, in .github/CODEOWNERS")
	}
}
