package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
)

// checkout is the repository that a spec file lies in.
type checkout struct {
	*gitrepo.Local
	spec string // the spec's path in the repository
	dec  *flags.Decoder
}

// checkoutOf opens the repository around a file. It returns nil where there is none.
func checkoutOf(path string) (*checkout, error) {
	dir := filepath.Dir(path)
	for !isDir(dir) && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
	}
	l, err := gitrepo.OpenLocal(dir)
	if errors.Is(err, gitrepo.ErrNoRepository) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	name, err := l.Path(path)
	if err != nil {
		return nil, err
	}
	return &checkout{l, name, new(flags.Decoder)}, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// needCheckout is checkoutOf where nothing can be done without a repository.
func needCheckout(path string) (*checkout, error) {
	c, err := checkoutOf(path)
	if err == nil && c == nil {
		err = usage(cli.Hint(fmt.Errorf("%s lies in no git repository", path), "git init, then propose init"))
	}
	return c, err
}

// specAt reads the spec that a commit has. It returns nil, without an error, where there is none.
func (c *checkout) specAt(ctx context.Context, commit string) (*flags.Spec, error) {
	src, err := c.ReadFile(ctx, commit, c.spec, maxSpec)
	if errors.Is(err, gitrepo.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return c.dec.Decode(fmt.Sprintf("%s at %.12s", c.spec, commit), src)
}

// specAt reads the spec that ref names: "" is the work tree's, "-" stdin; then a file, a commit, or
// COMMIT:PATH. It also says what was read. The spec is nil where a commit has none.
func (a *app) specAt(ctx context.Context, ref string) (*flags.Spec, string, error) {
	if ref == "" {
		ref = a.specPath()
	}
	if info, err := os.Stat(ref); ref == "-" || (err == nil && info.Mode().IsRegular()) {
		spec, err := a.readSpec(ref)
		return spec, displayName(ref), err
	}
	c, err := checkoutOf(a.specPath())
	if err != nil {
		return nil, ref, err
	}
	if c == nil {
		return nil, ref, usage(fmt.Errorf("%s is no file, and there is no git repository to look it up in", ref))
	}
	c.dec = &a.dec
	rev, path, hasPath := strings.Cut(ref, ":")
	if hasPath {
		c.spec = path
	}
	if rev == "HEAD" {
		if _, head, err := c.Head(ctx); err == nil && head == "" {
			return nil, "nothing", nil // no commit yet
		}
	}
	commit, err := c.Resolve(ctx, rev)
	if err != nil {
		return nil, ref, usage(cli.Hint(fmt.Errorf("%q is neither a file nor a commit", ref), "name a file, a commit, or COMMIT:PATH"))
	}
	spec, err := c.specAt(ctx, commit)
	return spec, ref, err
}

// basis is what a change to the spec at path starts from: the spec of the given commit, or the
// newest one before it that is valid, and all versions in the history of HEAD. Outside a repository
// it is the file as it stands.
func (a *app) basis(ctx context.Context, path, rev string) (basis, error) {
	from := basis{file: path, dec: &a.dec}
	c, err := checkoutOf(path)
	if err != nil {
		return from, err
	}
	if c == nil {
		from.made, err = a.readSpec(path)
		return from, err
	}
	c.dec = &a.dec
	_, head, err := c.Head(ctx)
	if err != nil || (head == "" && rev == "HEAD") {
		return from, err
	}
	commit, err := c.Resolve(ctx, rev)
	if err != nil {
		return from, usage(fmt.Errorf("--previous: %w", err))
	}
	if from.made, err = c.newestValid(ctx, commit); err != nil {
		return from, err
	}
	from.seen, err = c.versions(ctx, slices.DeleteFunc([]string{commit, head}, func(s string) bool { return s == "" })...)
	return from, err
}

// newestValid is the spec of commit, or the newest before it that holds every rule.
func (c *checkout) newestValid(ctx context.Context, commit string) (*flags.Spec, error) {
	spec, first := c.specAt(ctx, commit)
	if first == nil {
		return spec, nil
	}
	commits, err := c.History(ctx, commit, c.spec)
	if err != nil {
		return nil, err
	}
	for _, past := range commits {
		if spec, err := c.specAt(ctx, past.Hash); err == nil && spec != nil {
			return spec, nil
		}
	}
	return nil, first
}

func (c *checkout) git(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--literal-pathspecs", "-C", c.Root()}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// gitAnswer is the first line of what a git command says, "" where it says nothing.
func gitAnswer(ctx context.Context, dir string, args ...string) string {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
