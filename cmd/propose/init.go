package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/schema"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

func initCommand(a *app) *cobra.Command {
	var in initSettings
	cmd := &cobra.Command{
		Use:   "init [flags]",
		Short: "Make a first spec, a trust policy and a key",
		Long: `init makes what a repository of flags needs: specs/flags.json, its JSON Schema for editors, trust.json
with you as its only maintainer, the lines in .gitattributes that keep git from touching signed bytes,
and the first signature. The key pair goes outside the repository. Nothing is overwritten.

trust.json says whose signatures count. reconcile is given a copy of it from outside this repository,
so that a push alone can never change who may push what.

A repository can hold several environments: each has a --path of its own, such as specs/staging/flags.json, and its
trust.json beside the spec.

With --github it makes the whole of a repository for GitHub: workflows that check pull requests and that
ramp by night, a bot that may move percentages and nothing else, code owners, rules for the branch, and a
README with the first steps. Where a spec, a signature and a policy are there already, they stay, and
only the rest is made. Run again, it says what is up to date and refuses to replace what differs;
--force replaces what it generates, never the spec, a signature, the policy or a key.`,
		Example: `  git init shop-flags && cd shop-flags
  propose init --environment prod --commit
  propose init --environment staging --path specs/staging/flags.json --commit
  propose init --github --repository acme/flags --reviewer @acme/flags --commit`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.init(cmd.Context(), in) },
	}
	cmd.Flags().StringVar(&in.environment, "environment", "prod", "bind the spec and the policy to the environment `NAME`")
	cmd.Flags().StringVar(&in.signer, "signer", "", "your `NAME` in the policy (default from git's user.email)")
	cmd.Flags().StringVar(&in.key, "key", "", "use this private key `FILE`, or make it (default rampart/<repository>.key in the user's configuration folder)")
	cmd.Flags().StringVar(&in.kind, "kind", string(signing.ECDSAP256), "a new key's `ALGORITHM`, ecdsa-p256 or ed25519")
	cmd.Flags().BoolVar(&in.commit, "commit", false, "commit what was made")
	cli.NoEnv(cmd, "kind")
	in.github.define(cmd)
	return cmd
}

type initSettings struct {
	environment, signer, key, kind string
	commit                         bool
	github                         githubSettings
	rampKey                        string // the ramp's private key, with --github
	further                        string // the spec, where it is not the repository's usual one
}

// newFile is a file that init makes: path is relative to the current folder.
type newFile struct {
	path      string
	content   []byte
	keep      bool // one that is there is left as it is
	generated bool // one that is there and differs may be replaced with --force
}

func (a *app) init(ctx context.Context, in initSettings) error {
	wd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("finding the current folder: %w", err)
	}
	root := workTreeOf(wd)
	if root == "" {
		return usage(cli.Hint(errors.New("making a spec: this folder is not in a git repository"), "git init"))
	}
	top, err := filepath.Rel(wd, root)
	if err != nil {
		return fmt.Errorf("finding the repository: %w", err)
	}
	if in.commit && !hasIdentity(ctx, root) {
		return usage(noIdentity(errors.New("making a spec: git does not know who commits, and nothing was made")))
	}
	if err := in.github.check(ctx, a, root); err != nil {
		return err
	}
	spec, policyPath := a.specPath(), filepath.Join(top, "trust.json")
	if filepath.IsAbs(spec) { // as the other files are named
		if spec, err = filepath.Rel(wd, spec); err != nil {
			return fmt.Errorf("making a spec: %w", err)
		}
	}
	further := ""
	if rel, err := filepath.Rel(top, spec); err == nil && filepath.ToSlash(rel) != defaultPath && !in.github.on {
		// One environment of several: the policy is the spec's own, and lies where reconcile looks for it.
		further, policyPath = spec, policyBeside(spec)
	}
	var there []string
	for _, path := range []string{spec, bundlePath(spec, ""), policyPath} {
		if _, err := os.Lstat(path); err == nil {
			there = append(there, path)
		}
	}
	adopting := in.github.on && len(there) == 3
	if len(there) > 0 && !adopting {
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("making a spec: %s exists, and is not overwritten", there[0]),
			"change what is there: propose set --help; a further environment has a path of its own: propose init --environment NAME --path specs/NAME/flags.json"))
	}
	if in.signer == "" {
		in.signer = signerFromGit(ctx, root)
	}
	keyPath := cmp.Or(in.key, filepath.Join(defaultKeyDir(), filepath.Base(root)+".key"))
	var files []newFile
	if in.github.on {
		// Before a key is made, so that a refusal leaves nothing behind.
		if files, err = in.github.githubFiles(starterFactsOf(ctx, in, root, adopting), top); err != nil {
			return err
		}
		if err := in.github.mayWrite(files); err != nil {
			return err
		}
	}
	if !adopting {
		first, err := a.firstFiles(ctx, &in, root, keyPath, spec, policyPath, top)
		if err != nil {
			return err
		}
		files = append(first, files...)
	}
	done, err := writeFiles(files, in.github.force)
	if err != nil {
		return err
	}
	attributes, changed, err := addAttributes(filepath.Join(top, ".gitattributes"), in.github.attributes())
	if err != nil {
		return err
	}
	if changed {
		done.made = append(done.made, attributes)
	}
	in.further = further
	return a.finishInit(ctx, in, spec, policyPath, keyPath, done)
}

// firstFiles makes or opens the keys, and returns what they sign and what names them.
func (a *app) firstFiles(ctx context.Context, in *initSettings, root, keyPath, spec, policyPath, top string) ([]newFile, error) {
	signer, err := a.initKey(ctx, *in, keyPath)
	if err != nil {
		return nil, err
	}
	var bot []field
	if in.github.on {
		if bot, err = a.rampBot(ctx, in, keyPath, root); err != nil {
			return nil, err
		}
	}
	return initFiles(ctx, *in, signer, bot, spec, policyPath, top)
}

// initDone are the files that init made, and those that it left as they were.
type initDone struct{ made, kept []string }

// writeFiles makes the files that are not there, and with force replaces generated ones.
func writeFiles(files []newFile, force bool) (done initDone, err error) {
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return done, fmt.Errorf("making a spec: %w", err)
		}
		err := writeNew(f.path, f.content, 0o644)
		if errors.Is(err, os.ErrExist) && (f.keep || f.generated) {
			src, rerr := os.ReadFile(f.path)
			switch {
			case rerr != nil:
				err = rerr
			case bytes.Equal(src, f.content):
				continue
			case f.keep || !force:
				done.kept = append(done.kept, f.path)
				continue
			default:
				err = replaceFile(f.path, f.content)
			}
		}
		if err != nil {
			return done, fmt.Errorf("making %s: %w", f.path, err)
		}
		done.made = append(done.made, f.path)
	}
	return done, nil
}

// initKey opens the key that was named, or makes it.
func (a *app) initKey(ctx context.Context, in initSettings, path string) (*signing.Signer, error) {
	_, err := os.Lstat(path)
	switch {
	case strings.Contains(path, "://"), err == nil && in.key != "":
	case err == nil:
		return nil, cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("making a key: %s exists, and is not overwritten", path),
			"use it: --key %s; or name another file, which is made", path))
	default:
		prefix, ok := strings.CutSuffix(path, ".key")
		if !ok {
			return nil, usage(cli.Hint(fmt.Errorf("making a key: %s does not end in .key", path), "--key %s.key makes that and %s.pub", path, path))
		}
		if _, err := a.newKey(ctx, prefix, signing.Kind(in.kind)); err != nil {
			return nil, err
		}
	}
	return a.signer(ctx, path)
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// signerFromGit is who git says the user is, as a signer's name.
func signerFromGit(ctx context.Context, root string) string {
	email := gitAnswer(ctx, root, "config", "user.email")
	name, _, _ := strings.Cut(email, "@")
	return cmp.Or(strings.Trim(notInName.ReplaceAllString(strings.ToLower(name), "-"), "-_"), "maintainer")
}

// initFiles are the files to make, checked as every later change will be.
// bot is the ramp's entry among the signers, nil where there is none.
func initFiles(ctx context.Context, in initSettings, signer *signing.Signer, bot []field, spec, policyPath, top string) ([]newFile, error) {
	schemas, toSchema, err := schemaFiles(filepath.Dir(spec), filepath.Join(top, "schema"))
	if err != nil {
		return nil, err
	}
	src := layOut(object([]field{
		{"$schema", text(toSchema)}, {"version", text("flags-v1")},
		{"environment", textOrNothing(in.environment)}, {"features", jsontext.Value("{}")},
	}))
	if _, err := flags.Decode(spec, src); err != nil {
		return nil, err
	}
	policy := layOut(object([]field{
		{"version", jsontext.Value("1")}, {"environment", textOrNothing(in.environment)},
		{"signers", object(append([]field{{in.signer, object([]field{{"key", text(string(signer.Public().PEM()))}})}}, bot...))},
		{"roles", object(append([]field{{"maintainer", object([]field{
			{"signers", texts([]string{in.signer})}, {"threshold", jsontext.Value("1")}, {"may", texts([]string{"*"})},
		})}}, rampRole(bot)...))},
	}))
	if _, err := trust.Parse(policyPath, policy); err != nil {
		return nil, err
	}
	bundle, err := signer.Sign(ctx, src)
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", spec, err)
	}
	return append([]newFile{
		{path: spec, content: src},
		{path: bundlePath(spec, ""), content: bundle},
		{path: policyPath, content: policy},
	}, schemas...), nil
}

// schemaFiles are the schemas that editors read, to be put into dir, and the way there from the spec.
func schemaFiles(specDir, dir string) ([]newFile, string, error) {
	var out []newFile
	for _, name := range []string{"flags", "ramp"} {
		src, err := schema.Source(name)
		if err != nil {
			return nil, "", fmt.Errorf("reading the schema %s: %w", name, err)
		}
		out = append(out, newFile{path: filepath.Join(dir, name+".schema.json"), content: src, keep: true})
	}
	way, err := filepath.Rel(specDir, out[0].path)
	if err != nil {
		return nil, "", fmt.Errorf("finding the schema: %w", err)
	}
	return out, filepath.ToSlash(way), nil
}

// layOut indents a JSON document the way people write it.
func layOut(v jsontext.Value) []byte {
	if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
		return v // it is made of valid values
	}
	return append(v, '\n')
}
