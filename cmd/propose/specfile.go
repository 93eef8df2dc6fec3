package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/schema"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// maxSpec is one byte more than a spec may have, so that what is too large is still refused by name.
const maxSpec = 32<<20 + 1

const defaultPath = "specs/flags.json"

// specPath is the spec that the command line means: --path as it was given, else specs/flags.json
// of the repository around the current folder, else of the current folder.
func (a *app) specPath() string {
	if a.path != "" {
		return a.path
	}
	wd, err := os.Getwd()
	if err != nil {
		return defaultPath
	}
	if root := workTreeOf(wd); root != "" {
		if rel, err := filepath.Rel(wd, filepath.Join(root, filepath.FromSlash(defaultPath))); err == nil {
			return rel
		}
	}
	return defaultPath
}

// readFile reads at most limit bytes of a file, "-" being stdin.
func (a *app) readFile(path string, limit int64) ([]byte, error) {
	return a.env.Read(path, limit)
}

// readSpec reads and decodes a spec. One that is invalid is refused (exit 4).
func (a *app) readSpec(path string) (*flags.Spec, error) {
	src, err := a.readFile(path, maxSpec)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Hint(fmt.Errorf("reading the spec: no file %s", path), "make one: propose init; or name it: --path FILE")
	}
	if err != nil {
		return nil, fmt.Errorf("reading the spec: %w", err)
	}
	return a.dec.Decode(displayName(path), src)
}

func displayName(path string) string {
	if path == "-" {
		return "stdin"
	}
	return path
}

// explained gives errors of the packages below their exit code and their hints.
func explained(err error) error {
	var many schema.Errors
	if one := (*schema.Error)(nil); !errors.As(err, &many) && errors.As(err, &one) {
		many = schema.Errors{one}
	}
	if many == nil {
		return err
	}
	// The position must begin the line, so that editors and people can jump to it.
	if len(many) == 1 && many[0].Hint != "" {
		bare := *many[0]
		bare.Hint = ""
		err = cli.Hint(replacedText{err, strings.Replace(err.Error(), many[0].Error(), bare.Error(), 1)}, "%s", many[0].Hint)
	} else {
		err = cli.Hint(err, "mend it, then: propose validate")
	}
	if cli.Code(err) == cli.ExitError {
		err = cli.Exit(cli.ExitRefused, err)
	}
	return err
}

// replacedText is an error with other words.
type replacedText struct {
	error
	text string
}

func (r replacedText) Error() string { return r.text }
func (r replacedText) Unwrap() error { return r.error }

// bundlePath is where a signature on spec goes: beside it, under the signer's name unless that is "".
func bundlePath(spec, signer string) string {
	if signer == "" {
		return spec + bundleSuffix
	}
	return spec + "." + signer + bundleSuffix
}

const bundleSuffix = ".sigstore.json"

// readBundles reads every bundle that lies beside a spec file, by name.
func (a *app) readBundles(spec string) ([]signing.NamedBundle, error) {
	dir, err := os.ReadDir(filepath.Dir(spec))
	if err != nil {
		return nil, fmt.Errorf("looking for signatures: %w", err)
	}
	var out []signing.NamedBundle
	for _, entry := range dir { // sorted by name
		if !isBundleOf(filepath.Base(spec), entry.Name()) {
			continue
		}
		path := filepath.Join(filepath.Dir(spec), entry.Name())
		data, err := a.readFile(path, signing.MaxBundle+1)
		if err != nil {
			return nil, fmt.Errorf("reading a signature: %w", err)
		}
		out = append(out, signing.NamedBundle{Path: path, Data: data})
	}
	return out, nil
}

// isBundleOf: flags.json.sigstore.json and flags.json.<signer>.sigstore.json belong to flags.json.
func isBundleOf(spec, name string) bool {
	rest, ok := strings.CutPrefix(name, spec+".")
	return ok && (strings.HasSuffix(rest, bundleSuffix) || "."+rest == bundleSuffix)
}

const maxTrust = 4 << 20

// readTrust reads the trust policy that path names, else the repository's own: trust.json at its
// root or beside the spec, whichever has the higher number. Where the two are of different environments, the one beside the spec
// is the spec's own, whatever its number. Without any it returns nil.
func (a *app) readTrust(path string) (*trust.Policy, string, error) {
	tries := []string{path}
	if path == "" {
		spec := a.specPath()
		tries = []string{policyBeside(spec)}
		if abs, err := filepath.Abs(spec); err == nil {
			if root := workTreeOf(filepath.Dir(abs)); root != "" {
				up, err := filepath.Rel(filepath.Dir(abs), root)
				if err == nil {
					tries = append([]string{filepath.Join(filepath.Dir(spec), up, "trust.json")}, tries...)
				}
			}
		}
	}
	var newest *trust.Policy
	where := ""
	for _, try := range tries {
		src, err := a.readFile(try, maxTrust)
		if errors.Is(err, fs.ErrNotExist) && path == "" {
			continue
		}
		if err != nil {
			return nil, try, fmt.Errorf("reading the trust policy: %w", err)
		}
		p, err := trust.Parse(try, src)
		if err != nil {
			return nil, try, err
		}
		// The root is tried first.
		if newest == nil || p.Version > newest.Version || p.Environment != newest.Environment {
			newest, where = p, try
		}
	}
	return newest, where, nil
}

// policyBeside is where a spec that shares its repository with others has its policy, as reconcile looks for it.
func policyBeside(spec string) string { return filepath.Join(filepath.Dir(spec), "trust.json") }

// replaceFile gives path new content in one step, with the permissions it had.
func replaceFile(path string, content []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := os.Lstat(path); err == nil {
		if !info.Mode().IsRegular() {
			return errors.New("it is no regular file, and reconcile reads no other")
		}
		mode = info.Mode().Perm()
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already when all went well
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
