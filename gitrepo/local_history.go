package gitrepo

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Version is one content that a file had in history.
type Version struct {
	Commit string // the newest commit that has it
	Blob   string // git's name of the content
	Data   []byte // nil where the file was not a regular file of at most max bytes
}

// History lists the commits in the history of rev that touched one of the
// paths, newest first; merges that only bring in what a side had are left out.
// A shallow clone is deepened first.
func (l *Local) History(ctx context.Context, rev string, paths ...string) ([]Commit, error) {
	if err := l.Deepen(ctx); err != nil {
		return nil, err
	}
	hash, err := l.Resolve(ctx, rev)
	if err != nil {
		return nil, err
	}
	args := []string{"log", logFormat, hash, "--"}
	out, err := l.git(ctx, nil, append(args, paths...)...)
	if err != nil {
		return nil, err
	}
	return parseLog(out)
}

// Commit reads one commit.
func (l *Local) Commit(ctx context.Context, rev string) (Commit, error) {
	hash, err := l.Resolve(ctx, rev)
	if err != nil {
		return Commit{}, err
	}
	out, err := l.git(ctx, nil, "log", "-1", logFormat, hash, "--")
	if err != nil {
		return Commit{}, err
	}
	cs, err := parseLog(out)
	if err != nil || len(cs) != 1 {
		return Commit{}, fmt.Errorf("reading commit %s: %w", short(hash), err)
	}
	return cs[0], nil
}

// logFormat is what [parseLog] reads. NUL cannot stand in a commit, so it parts the fields; messages
// come last.
const logFormat = "--format=tformat:%H%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B%x00"

func parseLog(out []byte) ([]Commit, error) {
	const fields = 9
	parts := strings.Split(string(out), "\x00")
	var cs []Commit
	for ; len(parts) > fields; parts = parts[fields:] {
		c := Commit{
			Hash:      strings.TrimPrefix(parts[0], "\n"),
			Parents:   strings.Fields(parts[1]),
			Author:    Person{Name: parts[2], Email: parts[3]},
			Committer: Person{Name: parts[5], Email: parts[6]},
			Message:   parts[8],
		}
		// A date that does not read (people do push those) stays zero.
		c.Author.When, _ = time.Parse(time.RFC3339, parts[4])
		c.Committer.When, _ = time.Parse(time.RFC3339, parts[7])
		c.When = c.Committer.When
		cs = append(cs, c)
	}
	if len(parts) != 1 || strings.TrimSpace(parts[0]) != "" {
		return nil, fmt.Errorf("reading git log: %d fields left over", len(parts))
	}
	return cs, nil
}

// Versions tells every content that a file had in the history of the revs, on
// all sides of all merges, each once, newest first. Contents are read one after
// another and not kept. A shallow clone is deepened first.
func (l *Local) Versions(ctx context.Context, name string, max int64, tell func(Version) error, revs ...string) error {
	if err := checkPath(name); err != nil {
		return err
	}
	if err := l.Deepen(ctx); err != nil {
		return err
	}
	list := []string{"rev-list", "--full-history"}
	for _, rev := range revs {
		hash, err := l.Resolve(ctx, rev)
		if err != nil {
			return err
		}
		list = append(list, hash)
	}
	commits, err := l.git(ctx, nil, append(list, "--", name)...)
	if err != nil {
		return err
	}
	var asks bytes.Buffer
	for line := range bytes.Lines(commits) {
		fmt.Fprintf(&asks, "%s:%s\n", bytes.TrimSpace(line), name)
	}
	found, err := l.git(ctx, &asks, "cat-file", "--batch-check=%(objecttype) %(objectname)")
	if err != nil {
		return err
	}
	versions := distinct(strings.Fields(string(commits)), string(found))
	asks.Reset()
	for _, v := range versions {
		fmt.Fprintln(&asks, v.Blob)
	}
	return l.stream(ctx, &asks, func(r *bufio.Reader) (err error) {
		for _, v := range versions {
			if v.Data, err = nextBlob(r, max); err != nil {
				return fmt.Errorf("reading %s at %s: %w", name, short(v.Commit), err)
			}
			if err := tell(v); err != nil {
				return err
			}
		}
		return nil
	}, "cat-file", "--batch")
}

// distinct pairs commits with what git cat-file --batch-check said of the file
// in each, and keeps the first of each content.
func distinct(commits []string, found string) []Version {
	var out []Version
	seen := map[string]bool{}
	for i, line := range strings.Split(strings.TrimSuffix(found, "\n"), "\n") {
		blob, ok := strings.CutPrefix(line, "blob ")
		if !ok || i >= len(commits) || seen[blob] {
			continue // "missing" where the commit removed it
		}
		seen[blob] = true
		out = append(out, Version{Commit: commits[i], Blob: blob})
	}
	return out
}

// nextBlob reads one answer of git cat-file --batch.
func nextBlob(r *bufio.Reader, max int64) ([]byte, error) {
	head, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	f := strings.Fields(head)
	if len(f) > 0 && f[len(f)-1] == "missing" {
		return nil, nil
	}
	if len(f) != 3 {
		return nil, fmt.Errorf("git cat-file said %q", head)
	}
	size, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("git cat-file said %q", head)
	}
	if f[1] != "blob" || size > max {
		_, err = io.CopyN(io.Discard, r, size+1)
		return nil, err
	}
	data := make([]byte, size+1) // and a line end
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	return data[:size], nil
}

// Shallow tells whether the checkout's history is cut off.
func (l *Local) Shallow(ctx context.Context) (bool, error) {
	out, err := l.git(ctx, nil, "rev-parse", "--is-shallow-repository")
	return strings.TrimSpace(string(out)) == "true", err
}

// Deepen fetches what a shallow clone lacks of its history, and does nothing to
// a whole one. ErrShallow, with the command to run, when it cannot.
func (l *Local) Deepen(ctx context.Context) error {
	shallow, err := l.Shallow(ctx)
	if err != nil || !shallow {
		return err
	}
	if _, err := l.git(ctx, nil, "fetch", "--quiet", "--unshallow"); err != nil {
		return fmt.Errorf("%w; run: git fetch --unshallow (in CI, check out with fetch-depth: 0): %w", ErrShallow, err)
	}
	return nil
}

// MergeBase is the newest common ancestor of two commits. ErrNoCommit when they
// have none.
func (l *Local) MergeBase(ctx context.Context, a, b string) (string, error) {
	var hs [2]string
	for i, rev := range []string{a, b} {
		h, err := l.Resolve(ctx, rev)
		if err != nil {
			return "", err
		}
		hs[i] = h
	}
	out, err := l.git(ctx, nil, "merge-base", hs[0], hs[1])
	if exitCode(err) == 1 {
		return "", fmt.Errorf("%w: %s and %s have no common ancestor", ErrNoCommit, short(hs[0]), short(hs[1]))
	}
	return strings.TrimSpace(string(out)), err
}
