package flagtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// GitRepo is a bare origin and a person's clone of it, both driven by stock
// git. Nothing outside its own temporary folder is read or written: no user
// or system configuration, no hooks, no prompts. Each commit is a minute later
// than the one before, so that the same history has the same hashes.
type GitRepo struct {
	Origin string    // the bare repository's path
	Dir    string    // the clone's work tree, on branch main
	Now    time.Time // the next commit's date

	t    testing.TB
	home string
}

// Repo makes an empty bare origin and a clone of it on branch main.
func Repo(t testing.TB) *GitRepo {
	t.Helper()
	Need(t, "git")
	root := t.TempDir()
	r := &GitRepo{
		Origin: filepath.Join(root, "origin.git"),
		Dir:    filepath.Join(root, "clone"),
		Now:    time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC),
		t:      t,
		home:   root,
	}
	r.git(root, "init", "-q", "--bare", "-b", "main", r.Origin)
	r.git(root, "init", "-q", "-b", "main", r.Dir)
	r.Git("remote", "add", "origin", r.Origin)
	return r
}

// URL is the origin's address as a file:// URL.
func (r *GitRepo) URL() string { return "file://" + r.Origin }

// Env is the environment that this repository's git runs in, for tests that
// start programs of their own.
func (r *GitRepo) Env() []string {
	var env []string
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "GIT_") || name == "HOME" || name == "XDG_CONFIG_HOME" {
			continue
		}
		env = append(env, kv)
	}
	date := r.Now.Format(time.RFC3339)
	return append(env,
		"HOME="+r.home, "LC_ALL=C", "TZ=UTC",
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_EDITOR=true", "GIT_MERGE_AUTOEDIT=no",
		"GIT_AUTHOR_NAME=Ada Author", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_AUTHOR_DATE="+date,
		"GIT_COMMITTER_NAME=Ada Author", "GIT_COMMITTER_EMAIL=ada@example.org", "GIT_COMMITTER_DATE="+date,
		// file:// clones inside tests; commits are never signed unless a test asks.
		"GIT_CONFIG_COUNT=3",
		"GIT_CONFIG_KEY_0=protocol.file.allow", "GIT_CONFIG_VALUE_0=always",
		"GIT_CONFIG_KEY_1=gc.auto", "GIT_CONFIG_VALUE_1=0",
		"GIT_CONFIG_KEY_2=advice.detachedHead", "GIT_CONFIG_VALUE_2=false",
	)
}

// Git runs git in the clone and returns its standard output, without the last
// line end. A non-zero exit fails the test.
func (r *GitRepo) Git(args ...string) string { r.t.Helper(); return r.git(r.Dir, args...) }

// GitOrigin runs git in the bare origin.
func (r *GitRepo) GitOrigin(args ...string) string { r.t.Helper(); return r.git(r.Origin, args...) }

// TryGit runs git in the clone and returns its combined output and error, for
// commands that are expected to fail.
func (r *GitRepo) TryGit(args ...string) (string, error) {
	out, err := r.command(r.Dir, args...).CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

func (r *GitRepo) command(dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = r.Env()
	return cmd
}

func (r *GitRepo) git(dir string, args ...string) string {
	r.t.Helper()
	cmd := r.command(dir, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("git %s: %v\n%s%s", strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return strings.TrimSuffix(stdout.String(), "\n")
}

// Write puts content into the work tree's file, folders included, and changes
// nothing in git.
func (r *GitRepo) Write(path, content string) {
	r.t.Helper()
	full := filepath.Join(r.Dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// Read returns the content of the work tree's file.
func (r *GitRepo) Read(path string) string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.Dir, filepath.FromSlash(path)))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// Commit commits everything in the work tree, changed or not, and returns the
// new commit's hash.
func (r *GitRepo) Commit(message string) string {
	r.t.Helper()
	r.Git("add", "-A")
	return r.commit(message)
}

// CommitFile writes one file and commits it.
func (r *GitRepo) CommitFile(path, content, message string) string {
	r.t.Helper()
	r.Write(path, content)
	return r.Commit(message)
}

func (r *GitRepo) commit(message string, more ...string) string {
	r.t.Helper()
	r.Git(append([]string{"commit", "-q", "--allow-empty", "-m", message}, more...)...)
	r.tick()
	return r.Head()
}

func (r *GitRepo) tick() { r.Now = r.Now.Add(time.Minute) }

// Head is the hash of the clone's current commit.
func (r *GitRepo) Head() string { r.t.Helper(); return r.Git("rev-parse", "HEAD") }

// Push pushes the current branch to the origin as it is; a push that the
// origin refuses fails the test.
func (r *GitRepo) Push() string {
	r.t.Helper()
	r.Git("push", "-q", "origin", "HEAD")
	return r.Head()
}

// ForcePush overwrites the origin's branch of the current name.
func (r *GitRepo) ForcePush() string {
	r.t.Helper()
	r.Git("push", "-q", "--force", "origin", "HEAD")
	return r.Head()
}

// Branch makes a branch at the given start (HEAD when empty) and changes to it.
func (r *GitRepo) Branch(name, start string) {
	r.t.Helper()
	if start == "" {
		start = "HEAD"
	}
	r.Git("checkout", "-q", "-b", name, start)
}

// Checkout changes to a branch or commit that exists.
func (r *GitRepo) Checkout(name string) { r.t.Helper(); r.Git("checkout", "-q", name) }

// Merge merges a branch into the current one with a merge commit, as a forge's
// button does, and returns its hash.
func (r *GitRepo) Merge(branch string) string {
	r.t.Helper()
	r.Git("merge", "-q", "--no-ff", "-m", fmt.Sprintf("Merge branch '%s'", branch), branch)
	r.tick()
	return r.Head()
}

// Squash lands a branch's sum as one commit on the current one.
func (r *GitRepo) Squash(branch, message string) string {
	r.t.Helper()
	r.Git("merge", "-q", "--squash", branch)
	return r.commit(message)
}

// Rebase moves the current branch on top of another and returns its new head.
func (r *GitRepo) Rebase(onto string) string {
	r.t.Helper()
	r.Git("rebase", "-q", onto)
	r.tick()
	return r.Head()
}

// Revert runs git revert on each commit in turn and returns the last new one.
// A merge is reverted against its first parent.
func (r *GitRepo) Revert(commits ...string) string {
	r.t.Helper()
	for _, c := range commits {
		args := []string{"revert", "--no-edit", c}
		if strings.Contains(r.Git("show", "-s", "--format=%P", c), " ") {
			args = append(args, "-m", "1")
		}
		r.Git(args...)
		r.tick()
	}
	return r.Head()
}

// Clone clones the origin into a new folder with git's own arguments (such as
// "--depth=1") and returns the folder.
func (r *GitRepo) Clone(args ...string) string {
	r.t.Helper()
	dir := filepath.Join(r.t.TempDir(), "clone")
	r.git(r.home, append(append([]string{"clone", "-q"}, args...), r.URL(), dir)...)
	return dir
}

// In is the same origin seen from another work tree, such as one that [GitRepo.Clone] made.
func (r *GitRepo) In(dir string) *GitRepo {
	other := *r
	other.Dir = dir
	return &other
}

// Setenv puts Env into the test's own environment, for code under test that
// runs git itself. It cannot be used in parallel tests.
func (r *GitRepo) Setenv() {
	r.t.Helper()
	t, ok := r.t.(interface{ Setenv(key, value string) })
	if !ok {
		r.t.Fatal("this test cannot set its environment")
	}
	for _, kv := range r.Env() {
		if name, value, ok := strings.Cut(kv, "="); ok && os.Getenv(name) != value {
			t.Setenv(name, value)
		}
	}
}
