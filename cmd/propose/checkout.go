package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

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

// versions lists the version of every content that the spec had in the history of the commits. The
// contents are read one after another and dropped: a long history of a large file fits.
func (c *checkout) versions(ctx context.Context, commits ...string) ([]string, error) {
	if err := c.Deepen(ctx); err != nil {
		return nil, fmt.Errorf("looking for the versions that were used before: %w", err)
	}
	list := c.git(ctx, append(append([]string{"rev-list", "--full-history"}, commits...), "--", c.spec)...)
	hashes, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the history of %s: %w", c.spec, err)
	}
	var asks bytes.Buffer
	for line := range bytes.Lines(hashes) {
		fmt.Fprintf(&asks, "%s:%s\n", bytes.TrimSpace(line), c.spec)
	}
	cat := c.git(ctx, "cat-file", "--batch")
	cat.Stdin = &asks
	out, err := cat.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cat.Start(); err != nil {
		return nil, fmt.Errorf("reading the history of %s: %w", c.spec, err)
	}
	seen, err := readVersions(bufio.NewReaderSize(out, 1<<16))
	if err != nil {
		_ = cat.Process.Kill()
	}
	if err = errors.Join(err, cat.Wait()); err != nil {
		return nil, fmt.Errorf("reading the history of %s: %w", c.spec, err)
	}
	return seen, nil
}

func (c *checkout) git(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--literal-pathspecs", "-C", c.Root()}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// readVersions takes the version out of each document in the output of git cat-file --batch.
func readVersions(r *bufio.Reader) ([]string, error) {
	seen, last := []string{}, map[string]bool{}
	for {
		head, err := r.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return seen, nil
		}
		if err != nil {
			return nil, err
		}
		f := strings.Fields(head)
		if len(f) == 0 || f[len(f)-1] == "missing" {
			continue // the commit removed it
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("git cat-file said %q", head)
		}
		size, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("git cat-file said %q", head)
		}
		body := io.LimitReader(r, size)
		if f[1] == "blob" && !last[f[0]] {
			last[f[0]] = true
			if v := versionOf(body); v != "" {
				seen = append(seen, v)
			}
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return nil, err
		}
		if _, err := r.Discard(1); err != nil {
			return nil, err
		}
	}
}

// versionOf is the version that a document names, or "" where it names none that can be read.
func versionOf(r io.Reader) string {
	dec := jsontext.NewDecoder(r)
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return ""
	}
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return ""
		}
		if name.String() == "version" {
			if v, err := dec.ReadToken(); err == nil && v.Kind() == '"' {
				return v.String()
			}
			return ""
		}
		if dec.SkipValue() != nil {
			return ""
		}
	}
	return ""
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
