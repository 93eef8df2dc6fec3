package main

import (
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
so that a push alone can never change who may push what.`,
		Example: `  git init shop-flags && cd shop-flags
  propose init --environment prod --commit`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.init(cmd.Context(), in) },
	}
	cmd.Flags().StringVar(&in.environment, "environment", "prod", "bind the spec and the policy to the environment `NAME`")
	cmd.Flags().StringVar(&in.signer, "signer", "", "your `NAME` in the policy (default from git's user.email)")
	cmd.Flags().StringVar(&in.key, "key", "", "use this private key `FILE`, or make it (default rampart/<repository>.key in the user's configuration folder)")
	cmd.Flags().StringVar(&in.kind, "kind", string(signing.ECDSAP256), "a new key's `ALGORITHM`, ecdsa-p256 or ed25519")
	cmd.Flags().BoolVar(&in.commit, "commit", false, "commit what was made")
	return cmd
}

type initSettings struct {
	environment, signer, key, kind string
	commit                         bool
}

// newFile is a file that init makes: path is relative to the current folder.
type newFile struct {
	path    string
	content []byte
	keep    bool // one that is there is left as it is
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
	spec, policyPath := a.specPath(), filepath.Join(top, "trust.json")
	for _, path := range []string{spec, bundlePath(spec, ""), policyPath} {
		if _, err := os.Lstat(path); err == nil {
			return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("making a spec: %s exists, and is not overwritten", path),
				"change what is there: propose set --help"))
		}
	}
	if in.signer == "" {
		in.signer = signerFromGit(ctx, root)
	}
	signer, keyPath, err := a.initKey(ctx, in, filepath.Base(root))
	if err != nil {
		return err
	}
	files, err := initFiles(ctx, in, signer, spec, policyPath, top)
	if err != nil {
		return err
	}
	var made []string
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
			return fmt.Errorf("making a spec: %w", err)
		}
		if err := writeNew(f.path, f.content, 0o644); err != nil {
			if f.keep && errors.Is(err, os.ErrExist) {
				continue
			}
			return fmt.Errorf("making a spec: %w", err)
		}
		made = append(made, f.path)
	}
	attributes, changed, err := addAttributes(filepath.Join(top, ".gitattributes"))
	if err != nil {
		return err
	}
	if changed {
		made = append(made, attributes)
	}
	return a.finishInit(ctx, in, spec, keyPath, made)
}

// initKey opens the key that was named, or makes it.
func (a *app) initKey(ctx context.Context, in initSettings, repository string) (*signing.Signer, string, error) {
	path := cmp.Or(in.key, filepath.Join(defaultKeyDir(), repository+".key"))
	_, err := os.Lstat(path)
	switch {
	case strings.Contains(path, "://"), err == nil && in.key != "":
	case err == nil:
		return nil, path, cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("making a key: %s exists, and is not overwritten", path),
			"use it: --key %s; or name another file, which is made", path))
	default:
		prefix, ok := strings.CutSuffix(path, ".key")
		if !ok {
			return nil, path, usage(cli.Hint(fmt.Errorf("making a key: %s does not end in .key", path), "--key %s.key makes that and %s.pub", path, path))
		}
		if _, err := a.newKey(ctx, prefix, signing.Kind(in.kind)); err != nil {
			return nil, path, err
		}
	}
	signer, err := a.signer(ctx, path)
	return signer, path, err
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// signerFromGit is who git says the user is, as a signer's name.
func signerFromGit(ctx context.Context, root string) string {
	email := gitAnswer(ctx, root, "config", "user.email")
	name, _, _ := strings.Cut(email, "@")
	return cmp.Or(strings.Trim(notInName.ReplaceAllString(strings.ToLower(name), "-"), "-_"), "maintainer")
}

// initFiles are the files to make, checked as every later change will be.
func initFiles(ctx context.Context, in initSettings, signer *signing.Signer, spec, policyPath, top string) ([]newFile, error) {
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
		{"signers", object([]field{{in.signer, object([]field{{"key", text(string(signer.Public().PEM()))}})}})},
		{"roles", object([]field{{"maintainer", object([]field{
			{"signers", texts([]string{in.signer})}, {"threshold", jsontext.Value("1")}, {"may", texts([]string{"*"})},
		})}})},
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
