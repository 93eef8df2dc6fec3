package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrConverted: git would store other bytes than the file holds (line ends, a
// filter), and a signature over the file would not fit what is committed.
var ErrConverted = errors.New("git would change the file's bytes")

// ErrBusy: a merge, rebase or the like is under way in the checkout.
var ErrBusy = errors.New("an unfinished operation is in the way")

// CommitPaths commits the named files as they are on disk, and nothing else:
// what is staged or edited beside them stays so. New and removed files count.
// Hooks run, and the commit is signed if git is set up so. An author who is nil
// is who git thinks it is. It returns the new commit.
//
// ErrUnchanged when the files are as HEAD has them; ErrConverted when git would
// not store their very bytes; ErrBusy during a merge. When it fails, the index
// is as before.
func (l *Local) CommitPaths(ctx context.Context, message string, author *Person, paths ...string) (string, error) {
	for _, p := range paths {
		if err := checkPath(p); err != nil {
			return "", fmt.Errorf("committing: %w", err)
		}
	}
	if m, err := l.Merging(ctx); err != nil {
		return "", err
	} else if m != nil {
		return "", fmt.Errorf("committing: %w: a %s is under way", ErrBusy, m.Kind)
	}
	changed, err := l.git(ctx, nil, append([]string{"status", "--porcelain", "-z", "--untracked-files=all", "--"}, paths...)...)
	if err != nil {
		return "", err
	}
	if len(changed) == 0 {
		if err := l.ignored(ctx, paths); err != nil {
			return "", err
		}
		return "", ErrUnchanged
	}
	if err := l.checkBytes(ctx, paths); err != nil {
		return "", err
	}
	fresh, err := l.untracked(ctx, paths)
	if err != nil {
		return "", err
	}
	if len(fresh) > 0 {
		if _, err := l.git(ctx, nil, append([]string{"add", "--intent-to-add", "--"}, fresh...)...); err != nil {
			return "", err
		}
	}
	args := append([]string{"commit", "--quiet", "--only", "-F", "-", "--"}, l.known(ctx, paths)...)
	if _, err := l.gitEnv(ctx, author.env(), strings.NewReader(message), args...); err != nil {
		if len(fresh) > 0 {
			_, uerr := l.git(context.WithoutCancel(ctx), nil, append([]string{"rm", "--cached", "--quiet", "--force", "--"}, fresh...)...)
			err = errors.Join(err, uerr)
		}
		return "", fmt.Errorf("committing: %w", err)
	}
	return l.Resolve(ctx, "HEAD")
}

// env is the person as git commands take it.
func (p *Person) env() []string {
	if p == nil {
		return nil
	}
	env := []string{
		"GIT_AUTHOR_NAME=" + p.Name, "GIT_AUTHOR_EMAIL=" + p.Email,
		"GIT_COMMITTER_NAME=" + p.Name, "GIT_COMMITTER_EMAIL=" + p.Email,
	}
	if !p.When.IsZero() {
		date := p.When.Format(time.RFC3339)
		env = append(env, "GIT_AUTHOR_DATE="+date, "GIT_COMMITTER_DATE="+date)
	}
	return env
}

// ignored says so when a path is not committed because .gitignore names it.
func (l *Local) ignored(ctx context.Context, paths []string) error {
	// check-ignore knows no pathspecs, and refuses to be told how to take them.
	out, err := l.gitEnv(ctx, []string{"GIT_LITERAL_PATHSPECS=0"}, nil, append([]string{"check-ignore", "--"}, paths...)...)
	if err == nil && len(out) > 0 {
		return fmt.Errorf("committing %s: .gitignore excludes it", strings.Join(strings.Fields(string(out)), ", "))
	}
	return nil
}

// untracked lists those of the paths that exist and are not in the index.
func (l *Local) untracked(ctx context.Context, paths []string) ([]string, error) {
	out, err := l.git(ctx, nil, append([]string{"ls-files", "-z", "--others", "--"}, paths...)...)
	return splitNul(out), err
}

// known leaves out the paths that git has never heard of: a bundle that is not
// there and never was may be named all the same.
func (l *Local) known(ctx context.Context, paths []string) []string {
	out, err := l.git(ctx, nil, append([]string{"ls-files", "-z", "--"}, paths...)...)
	if err != nil {
		return paths
	}
	tracked := splitNul(out)
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
		return !slices.Contains(tracked, p)
	})
}

func splitNul(b []byte) []string {
	return strings.FieldsFunc(string(b), func(c rune) bool { return c == 0 })
}

// checkBytes compares each file with what git would store of it.
func (l *Local) checkBytes(ctx context.Context, paths []string) error {
	for _, p := range paths {
		full := filepath.Join(l.root, filepath.FromSlash(p))
		info, err := os.Lstat(full)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("committing %s: %w", p, ErrNotRegular)
		}
		plain, err := l.git(ctx, nil, "hash-object", "--no-filters", "--", p)
		if err != nil {
			return err
		}
		stored, err := l.git(ctx, nil, "hash-object", "--", p)
		if err != nil {
			return err
		}
		if !bytes.Equal(plain, stored) {
			return fmt.Errorf("committing %s: %w (line ends or a filter); put %q into .gitattributes", p, ErrConverted, p+" -text -filter")
		}
	}
	return nil
}

// CommitFiles makes a commit on top of parent in which the files have the given
// contents; nil removes one. The work tree, the index and all branches stay as
// they are, and hooks do not run: it is for a commit that goes to a branch of
// its own by [Local.Push]. An empty parent makes a first commit. ErrUnchanged when the parent holds
// exactly this.
func (l *Local) CommitFiles(ctx context.Context, parent string, files map[string][]byte, message string, author Person) (string, error) {
	base, onto := emptyTree.String(), []string{}
	if parent != "" {
		var err error
		if base, err = l.Resolve(ctx, parent); err != nil {
			return "", err
		}
		onto = []string{"-p", base}
	}
	dir, err := os.MkdirTemp("", "rampart-index-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	env := append(author.env(), "GIT_INDEX_FILE="+filepath.Join(dir, "index"))
	if _, err := l.gitEnv(ctx, env, nil, "read-tree", base); err != nil {
		return "", err
	}
	var index bytes.Buffer
	for name, data := range files {
		line, err := l.indexLine(ctx, base, name, data)
		if err != nil {
			return "", fmt.Errorf("committing: %w", err)
		}
		index.WriteString(line)
	}
	if _, err := l.gitEnv(ctx, env, &index, "update-index", "-z", "--index-info"); err != nil {
		return "", err
	}
	out, err := l.gitEnv(ctx, env, nil, "write-tree")
	if err != nil {
		return "", err
	}
	tree := strings.TrimSpace(string(out))
	if old, err := l.git(ctx, nil, "rev-parse", base+"^{tree}"); parent != "" && err != nil {
		return "", err
	} else if strings.TrimSpace(string(old)) == tree {
		return "", ErrUnchanged
	}
	args := append([]string{"commit-tree", "-F", "-"}, onto...)
	if sign, err := l.git(ctx, nil, "config", "--type=bool", "--get", "commit.gpgsign"); err == nil && strings.TrimSpace(string(sign)) == "true" {
		args = append(args, "-S")
	}
	out, err = l.gitEnv(ctx, env, strings.NewReader(strings.TrimRight(message, "\n")+"\n"), append(args, tree)...)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

// indexLine is one line of update-index --index-info, with the content stored.
func (l *Local) indexLine(ctx context.Context, base, name string, data []byte) (string, error) {
	if err := checkPath(name); err != nil {
		return "", err
	}
	out, err := l.git(ctx, nil, "ls-tree", "-z", "--full-tree", base, "--", name)
	if err != nil {
		return "", err
	}
	mode, _, exists := strings.Cut(string(out), " ")
	if kind, ok := irregular[mode]; ok {
		return "", fmt.Errorf("%w: %s is a %s", ErrNotRegular, name, kind)
	}
	if data == nil {
		if !exists {
			return "", fmt.Errorf("removing %s: %w", name, ErrNotExist)
		}
		return fmt.Sprintf("0 %040d\t%s\x00", 0, name), nil
	}
	if !exists {
		mode = "100644"
	}
	blob, err := l.git(ctx, bytes.NewReader(data), "hash-object", "-w", "--no-filters", "--stdin")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %s\t%s\x00", mode, strings.TrimSpace(string(blob)), name), nil
}
