package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Merge is an operation that git stopped in the middle of, for a person (or
// propose resolve) to finish.
type Merge struct {
	Kind         string // "merge", "cherry-pick", "revert" or "rebase"
	Ours, Theirs string // the commits whose changes meet; Ours is HEAD
	Base         string // what both come from; empty if nothing
	Unmerged     []string
}

// Merging looks for such an operation. Nil when there is none.
func (l *Local) Merging(ctx context.Context) (*Merge, error) {
	for _, at := range []struct{ kind, ref string }{
		{"merge", "MERGE_HEAD"}, {"revert", "REVERT_HEAD"}, {"rebase", "REBASE_HEAD"}, {"cherry-pick", "CHERRY_PICK_HEAD"},
	} {
		theirs, err := l.Resolve(ctx, at.ref)
		if errors.Is(err, ErrNoCommit) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if at.kind == "rebase" && !l.rebasing(ctx) {
			continue // the ref outlives its rebase
		}
		return l.merging(ctx, at.kind, theirs)
	}
	return nil, nil
}

func (l *Local) rebasing(ctx context.Context) bool {
	for _, name := range []string{"rebase-merge", "rebase-apply"} {
		out, err := l.git(ctx, nil, "rev-parse", "--git-path", name)
		if err == nil && exists(l.root, strings.TrimSpace(string(out))) {
			return true
		}
	}
	return false
}

func (l *Local) merging(ctx context.Context, kind, theirs string) (*Merge, error) {
	m := &Merge{Kind: kind, Theirs: theirs}
	var err error
	if m.Ours, err = l.Resolve(ctx, "HEAD"); err != nil {
		return nil, err
	}
	switch kind {
	case "merge":
		m.Base, err = l.MergeBase(ctx, m.Ours, m.Theirs)
	case "revert": // from the commit back to its parent
		m.Base = theirs
		m.Theirs, err = l.Resolve(ctx, theirs+"^")
	default:
		m.Base, err = l.Resolve(ctx, theirs+"^")
	}
	if err != nil && !errors.Is(err, ErrNoCommit) {
		return nil, err
	}
	out, err := l.git(ctx, nil, "diff", "--name-only", "--diff-filter=U", "-z")
	if err != nil {
		return nil, err
	}
	m.Unmerged = splitNul(out)
	return m, nil
}

// FinishMerge stages the files as they are on disk and, when nothing else is
// left unmerged, concludes the merge with git's own message (or the given one).
// It returns the merge commit. For a revert, cherry-pick or rebase it stages
// only, and returns "": git's own --continue goes on from there.
func (l *Local) FinishMerge(ctx context.Context, message string, paths ...string) (string, error) {
	m, err := l.Merging(ctx)
	if err != nil {
		return "", err
	}
	if m == nil {
		return "", errors.New("finishing the merge: none is under way")
	}
	if err := l.checkBytes(ctx, paths); err != nil {
		return "", err
	}
	left := slices.DeleteFunc(slices.Clone(m.Unmerged), func(p string) bool { return slices.Contains(paths, p) })
	if _, err := l.git(ctx, nil, append([]string{"add", "--all", "--"}, paths...)...); err != nil {
		return "", fmt.Errorf("staging what was resolved: %w", err)
	}
	if len(left) > 0 {
		return "", fmt.Errorf("finishing the merge: %w: %s is still unmerged", ErrBusy, strings.Join(left, ", "))
	}
	if m.Kind != "merge" {
		return "", nil
	}
	args := []string{"commit", "--quiet", "--no-edit"}
	if message != "" {
		args = append(args, "-F", "-")
	}
	if _, err := l.git(ctx, strings.NewReader(message), args...); err != nil {
		return "", fmt.Errorf("finishing the merge: %w", err)
	}
	return l.Resolve(ctx, "HEAD")
}
