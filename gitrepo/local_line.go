package gitrepo

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"slices"
)

// Line tells what a branch said over time: each commit on rev's first-parent line that changed the
// file, oldest first, with the file's content then; nil where the commit has no such file, or one of
// more than max bytes. A commit's When is when the branch came to say so. Contents are read one after
// another and not kept. A shallow clone is deepened first.
func (l *Local) Line(ctx context.Context, rev, name string, max int64, tell func(Commit, []byte) error) error {
	if err := checkPath(name); err != nil {
		return err
	}
	if err := l.Deepen(ctx); err != nil {
		return err
	}
	hash, err := l.Resolve(ctx, rev)
	if err != nil {
		return err
	}
	out, err := l.git(ctx, nil, "log", "--first-parent", logFormat, hash, "--", name)
	if err != nil {
		return err
	}
	commits, err := parseLog(out)
	if err != nil {
		return err
	}
	slices.Reverse(commits)
	var asks bytes.Buffer
	for _, c := range commits {
		fmt.Fprintf(&asks, "%s:%s\n", c.Hash, name)
	}
	return l.stream(ctx, &asks, func(r *bufio.Reader) error {
		for _, c := range commits {
			data, err := nextBlob(r, max)
			if err != nil {
				return fmt.Errorf("reading %s at %s: %w", name, short(c.Hash), err)
			}
			if err := tell(c, data); err != nil {
				return err
			}
		}
		return nil
	}, "cat-file", "--batch")
}

// Advance moves the branch that is checked out, and the files in the work tree, from one commit on to
// a descendant. What the person changed beside it stays; where a changed file is in the way, and where
// HEAD is not at from any more, nothing happens: [ErrBusy] or [ErrMoved].
func (l *Local) Advance(ctx context.Context, from, to string) error {
	_, head, err := l.Head(ctx)
	if err != nil {
		return err
	}
	if head != from {
		return fmt.Errorf("moving on to %s: %w: HEAD is at %s", short(to), ErrMoved, short(head))
	}
	if _, err := l.git(ctx, nil, "merge", "--quiet", "--ff-only", "--no-verify-signatures", to); err != nil {
		// A commit in between makes a fast-forward impossible, and that is all it does.
		if _, now, herr := l.Head(ctx); herr == nil && now != from {
			return fmt.Errorf("moving on to %s: %w: HEAD is at %s", short(to), ErrMoved, short(now))
		}
		return fmt.Errorf("moving on to %s: %w: %w", short(to), ErrBusy, err)
	}
	return nil
}

// Between lists the commits that to has and from has not, newest first.
func (l *Local) Between(ctx context.Context, from, to string) ([]Commit, error) {
	var hashes [2]string
	for i, rev := range []string{from, to} {
		h, err := l.Resolve(ctx, rev)
		if err != nil {
			return nil, err
		}
		hashes[i] = h
	}
	out, err := l.git(ctx, nil, "log", logFormat, hashes[1], "^"+hashes[0], "--")
	if err != nil {
		return nil, err
	}
	return parseLog(out)
}
