package gitrepo

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
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Local is a person's checkout, driven through the git binary: what git would
// do there by hand is what happens, hooks, attributes and signing included.
// Nothing of it is kept between calls, so the person may use git beside us.
type Local struct {
	root string
}

// ErrNoGit: the git program is not on the PATH.
var ErrNoGit = errors.New("git is not installed")

// OpenLocal finds the work tree that a folder lies in; linked work trees
// (git worktree) are fine. ErrNoRepository when it lies in none.
func OpenLocal(dir string) (*Local, error) {
	l := &Local{root: dir}
	out, err := l.git(context.Background(), nil, "rev-parse", "--show-object-format", "--show-toplevel")
	if errors.Is(err, ErrNoGit) {
		return nil, err
	}
	if err != nil {
		var failed *gitError
		if errors.As(err, &failed) && strings.Contains(failed.said, "dubious ownership") {
			return nil, fmt.Errorf("opening the repository at %s: %w: git refuses a repository that another user owns (see safe.directory in git-config)", dir, ErrDenied)
		}
		return nil, fmt.Errorf("opening the repository at %s: %w: the folder is in no work tree of git", dir, ErrNoRepository)
	}
	format, root, _ := strings.Cut(strings.TrimSuffix(string(out), "\n"), "\n")
	if format != "sha1" {
		return nil, fmt.Errorf("opening the repository at %s: %w", dir, ErrSHA256)
	}
	l.root = filepath.FromSlash(root)
	return l, nil
}

// Root is the top folder of the work tree.
func (l *Local) Root() string { return l.root }

// Path gives the path in the repository, with slashes, of a file on disk. The
// file need not exist; one outside the work tree is an error.
func (l *Local) Path(file string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	// The root that git tells has its links resolved; a file that is to be made
	// has at least a folder that exists.
	if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(dir, filepath.Base(abs))
	}
	rel, err := filepath.Rel(l.root, abs)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", fmt.Errorf("%s lies outside the repository at %s", file, l.root)
	}
	return filepath.ToSlash(rel), nil
}

// Head is the branch and commit that are checked out. The branch is empty when
// HEAD is detached, the commit when the branch has none yet.
func (l *Local) Head(ctx context.Context) (branch, commit string, err error) {
	if out, err := l.git(ctx, nil, "symbolic-ref", "-q", "--short", "HEAD"); err == nil {
		branch = strings.TrimSpace(string(out))
	} else if exitCode(err) != 1 {
		return "", "", err
	}
	commit, err = l.Resolve(ctx, "HEAD")
	if errors.Is(err, ErrNoCommit) {
		return branch, "", nil
	}
	return branch, commit, err
}

// Resolve gives the full hash of a commit named in any way that git knows.
func (l *Local) Resolve(ctx context.Context, rev string) (string, error) {
	out, err := l.git(ctx, nil, "rev-parse", "-q", "--verify", "--end-of-options", rev+"^{commit}")
	if err != nil {
		if exitCode(err) > 0 {
			return "", fmt.Errorf("%w: %q", ErrNoCommit, rev)
		}
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

// ReadFile reads a regular file of at most max bytes as a commit has it:
// ErrNotExist, ErrNotRegular or ErrTooLarge where it is not one.
func (l *Local) ReadFile(ctx context.Context, commit, name string, max int64) ([]byte, error) {
	b, err := l.readFile(ctx, commit, name, max)
	if err != nil {
		return nil, fmt.Errorf("reading %s at %s: %w", name, short(commit), err)
	}
	return b, nil
}

func (l *Local) readFile(ctx context.Context, commit, name string, max int64) ([]byte, error) {
	if err := checkPath(name); err != nil {
		return nil, err
	}
	hash, err := l.Resolve(ctx, commit)
	if err != nil {
		return nil, err
	}
	out, err := l.git(ctx, nil, "ls-tree", "-z", "-l", "--full-tree", hash, "--", name)
	if err != nil {
		return nil, err
	}
	// <mode> SP <type> SP <object> SP <padded size> TAB <path> NUL
	info, _, ok := strings.Cut(string(out), "\t")
	fields := strings.Fields(info)
	if !ok || len(fields) != 4 {
		return nil, ErrNotExist
	}
	if kind, ok := irregular[fields[0]]; ok {
		return nil, fmt.Errorf("%w: it is a %s", ErrNotRegular, kind)
	}
	if size, err := strconv.ParseInt(fields[3], 10, 64); err != nil || size > max {
		return nil, fmt.Errorf("%w: %s bytes, at most %d", ErrTooLarge, fields[3], max)
	}
	return l.git(ctx, nil, "cat-file", "blob", fields[2])
}

// irregular names the modes of tree entries that are no files.
var irregular = map[string]string{"120000": "symbolic link", "160000": "submodule", "040000": "folder"}

// RawCommit gives a commit's bytes, as [VerifyCommit] needs them.
func (l *Local) RawCommit(ctx context.Context, commit string) ([]byte, error) {
	hash, err := l.Resolve(ctx, commit)
	if err != nil {
		return nil, err
	}
	return l.git(ctx, nil, "cat-file", "commit", hash)
}

// RemoteURL is the address of a remote such as "origin", without credentials.
func (l *Local) RemoteURL(ctx context.Context, name string) (string, error) {
	out, err := l.git(ctx, nil, "remote", "get-url", "--", name)
	if err != nil {
		return "", fmt.Errorf("looking for the remote %q: %w", name, err)
	}
	return Redact(strings.TrimSpace(string(out))), nil
}

// gitError is a git command that ended with another code than 0.
type gitError struct {
	command string // the subcommand; arguments may be long
	said    string // its standard error, without credentials
	err     error
}

func (e *gitError) Error() string {
	if e.said == "" {
		return fmt.Sprintf("git %s: %v", e.command, e.err)
	}
	return fmt.Sprintf("git %s: %s", e.command, e.said)
}

func (e *gitError) Unwrap() error { return e.err }

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// git runs a git command in the work tree and gives its standard output. Paths
// among the arguments are taken literally.
func (l *Local) git(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	return l.gitEnv(ctx, nil, stdin, args...)
}

func (l *Local) gitEnv(ctx context.Context, env []string, stdin io.Reader, args ...string) ([]byte, error) {
	cmd := l.command(ctx, env, stdin, args)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), gitFailed(ctx, args[0], stderr.String(), err)
	}
	return stdout.Bytes(), nil
}

// stream runs a git command and reads its output as it comes. A reader that
// stops early stops git.
func (l *Local) stream(ctx context.Context, stdin io.Reader, read func(*bufio.Reader) error, args ...string) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	cmd := l.command(running, nil, stdin, args)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return gitFailed(ctx, args[0], "", err)
	}
	if err := read(bufio.NewReaderSize(out, 1<<16)); err != nil {
		stop()
		_ = cmd.Wait() // killed by us; why the reader stopped is what counts
		return err
	}
	if err := cmd.Wait(); err != nil {
		return gitFailed(ctx, args[0], stderr.String(), err)
	}
	return nil
}

func (l *Local) command(ctx context.Context, env []string, stdin io.Reader, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stdin = l.root, stdin
	// Messages are read here and there, so they must not be translated.
	cmd.Env = append(append(os.Environ(), "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_LITERAL_PATHSPECS=1"), env...)
	// A hook may leave a child behind that holds the pipes open.
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func gitFailed(ctx context.Context, subcommand, stderr string, err error) error {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: it is needed to work in a checkout", ErrNoGit)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return &gitError{command: subcommand, said: tidyStderr(stderr), err: err}
}

var userinfo = regexp.MustCompile(`://[^/\s@]+@`)

// tidyStderr keeps the last lines of what git said, on one line.
func tidyStderr(s string) string {
	var lines []string
	for _, line := range strings.FieldsFunc(s, func(c rune) bool { return c == '\n' || c == '\r' }) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "hint:") {
			lines = append(lines, line)
		}
	}
	if len(lines) > 6 {
		lines = lines[len(lines)-6:]
	}
	s = userinfo.ReplaceAllString(strings.Join(lines, "; "), "://")
	if len(s) > 600 {
		s = "…" + strings.ToValidUTF8(s[len(s)-600:], "")
	}
	return s
}
