package gitrepo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// RemoteBranch asks a remote such as "origin" where one of its branches is;
// empty: nowhere.
func (l *Local) RemoteBranch(ctx context.Context, remote, branch string) (string, error) {
	out, err := l.git(ctx, nil, "ls-remote", "--refs", "--", remote, "refs/heads/"+branch)
	if err != nil {
		return "", fmt.Errorf("asking %s for its branch %s: %w", remote, branch, err)
	}
	for _, line := range strings.Split(string(out), "\n") {
		if hash, name, ok := strings.Cut(line, "\t"); ok && name == "refs/heads/"+branch {
			return hash, nil
		}
	}
	return "", nil
}

// Fetch brings a remote's branch and returns its head. No branch of the
// checkout moves, but for the remote's tracking branch.
func (l *Local) Fetch(ctx context.Context, remote, branch string) (string, error) {
	head, err := l.RemoteBranch(ctx, remote, branch)
	if err != nil {
		return "", err
	}
	if head == "" {
		return "", fmt.Errorf("fetching from %s: %w: %q", remote, ErrNoBranch, branch)
	}
	if _, err := l.git(ctx, nil, "fetch", "--quiet", "--no-tags", "--", remote, "refs/heads/"+branch); err != nil {
		return "", fmt.Errorf("fetching %s from %s: %w", branch, remote, err)
	}
	return l.Resolve(ctx, head)
}

// Push points a remote's branch at a commit, if the branch is now at expect; an
// empty expect means that the branch must not exist, an empty hash deletes it.
// ErrMoved and ErrRejected are those of [Repo.Push].
func (l *Local) Push(ctx context.Context, remote, hash, branch, expect string) error {
	if _, err := pushCommand(hash, branch, expect); err != nil {
		return err
	}
	ref := "refs/heads/" + branch
	out, err := l.git(ctx, nil, "push", "--porcelain", "--force-with-lease="+ref+":"+expect, "--", remote, hash+":"+ref)
	if err == nil {
		return nil
	}
	// One line a ref: <flag> TAB <from>:<to> TAB <summary> (<reason>)
	why := ""
	for _, line := range strings.Split(string(out), "\n") {
		if f := strings.Split(line, "\t"); len(f) == 3 && f[0] == "!" {
			why = f[2]
		}
	}
	if why == "" {
		return fmt.Errorf("pushing %s to %s: %w", branch, remote, err)
	}
	now, lerr := l.RemoteBranch(ctx, remote, branch)
	switch {
	case lerr == nil && now == hash:
		return nil
	case lerr == nil && now != expect:
		if now == "" {
			return fmt.Errorf("pushing %s to %s: %w: it does not exist", branch, remote, ErrMoved)
		}
		return fmt.Errorf("pushing %s to %s: %w: it is at %s", branch, remote, ErrMoved, short(now))
	}
	return fmt.Errorf("pushing %s to %s: %w: %s: %w", branch, remote, ErrRejected, why, err)
}

// exists looks for a path that git gave, which is relative to the work tree.
func exists(root, path string) bool {
	if !filepath.IsAbs(path) {
		path = filepath.Join(root, path)
	}
	_, err := os.Stat(path)
	return err == nil
}
