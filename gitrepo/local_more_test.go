package gitrepo_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

func TestOpenLocalFindsTheWorkTree(t *testing.T) {
	r := flagtest.Repo(t)
	one := r.CommitFile(spec, "1\n", "one")
	r.Setenv()
	linked := filepath.Join(t.TempDir(), "linked")
	r.Git("worktree", "add", "-q", "-b", "side", linked)
	for dir, branch := range map[string]string{r.Dir: "main", filepath.Join(r.Dir, "specs"): "main", linked: "side"} {
		l, err := gitrepo.OpenLocal(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, head, err := l.Head(t.Context())
		if err != nil || got != branch || head != one {
			t.Errorf("%s: head is %s %s, %v", dir, got, head, err)
		}
		path, err := l.Path(filepath.Join(l.Root(), "specs", "new.json"))
		if err != nil || path != "specs/new.json" {
			t.Errorf("%s: path is %s, %v", dir, path, err)
		}
		if _, err := l.Path(filepath.Join(l.Root(), "..", "x")); err == nil {
			t.Error("a path outside is taken")
		}
	}
	_, err := gitrepo.OpenLocal(t.TempDir())
	wantErr(t, err, gitrepo.ErrNoRepository)
	_, err = gitrepo.OpenLocal(r.Origin) // bare
	wantErr(t, err, gitrepo.ErrNoRepository)
	t.Setenv("PATH", t.TempDir())
	_, err = gitrepo.OpenLocal(r.Dir)
	wantErr(t, err, gitrepo.ErrNoGit)
}

func TestLocalHeadWithoutABranchOrCommit(t *testing.T) {
	r := flagtest.Repo(t)
	l := checkout(t, r)
	if branch, head, err := l.Head(t.Context()); branch != "main" || head != "" || err != nil {
		t.Errorf("nothing committed: %q %q %v", branch, head, err)
	}
	one := r.CommitFile(spec, "1\n", "one")
	r.Git("checkout", "-q", "--detach")
	if branch, head, err := l.Head(t.Context()); branch != "" || head != one || err != nil {
		t.Errorf("detached: %q %q %v", branch, head, err)
	}
	for _, bad := range []string{"none", "", "--all", "-h", "HEAD:specs"} {
		_, err := l.Resolve(t.Context(), bad)
		wantErr(t, err, gitrepo.ErrNoCommit)
	}
}

func TestCommitPathsRefusesWhatWouldNotVerify(t *testing.T) {
	r := flagtest.Repo(t)
	r.CommitFile(spec, "1\n", "one")
	l := checkout(t, r)

	r.Git("config", "core.autocrlf", "true")
	r.Write(spec, "2\r\n")
	_, err := l.CommitPaths(t.Context(), "two", nil, spec)
	wantErr(t, err, gitrepo.ErrConverted)
	r.Write(".gitattributes", "specs/*.json -text\n")
	two, err := l.CommitPaths(t.Context(), "two", nil, spec, ".gitattributes")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := l.ReadFile(t.Context(), two, spec, 9); err != nil || string(b) != "2\r\n" {
		t.Errorf("the bytes are %q, %v", b, err)
	}

	r.Write(".gitignore", "*.sigstore.json\n")
	r.Write(spec+".sigstore.json", "sig\n")
	_, err = l.CommitPaths(t.Context(), "three", nil, spec+".sigstore.json")
	if err == nil || !strings.Contains(err.Error(), ".gitignore") {
		t.Errorf("an ignored file: %v", err)
	}
	if err := os.Remove(filepath.Join(r.Dir, spec)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("other", filepath.Join(r.Dir, spec)); err != nil {
		t.Fatal(err)
	}
	_, err = l.CommitPaths(t.Context(), "four", nil, spec)
	wantErr(t, err, gitrepo.ErrNotRegular)
	for _, bad := range []string{"../x", "/etc/passwd", ".git/config", "a//b", ""} {
		if _, err := l.CommitPaths(t.Context(), "five", nil, bad); err == nil {
			t.Errorf("path %q is taken", bad)
		}
	}
}

func TestCommitPathsRunsHooksAndUndoesItsTraces(t *testing.T) {
	r := flagtest.Repo(t)
	r.CommitFile(spec, "1\n", "one")
	l := checkout(t, r)
	hook := filepath.Join(r.Dir, ".git", "hooks", "pre-commit")
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho not on a Friday >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.Write(spec, "2\n")
	r.Write("specs/new.json", "new\n")
	before := r.Git("status", "--porcelain")
	_, err := l.CommitPaths(t.Context(), "two", nil, spec, "specs/new.json")
	if err == nil || !strings.Contains(err.Error(), "not on a Friday") {
		t.Errorf("the hook's word: %v", err)
	}
	if after := r.Git("status", "--porcelain"); after != before {
		t.Errorf("the checkout is left as\n%s\nit was\n%s", after, before)
	}
	if err := os.Remove(hook); err != nil {
		t.Fatal(err)
	}
	// Removing a file, naming one that never was, and another author.
	r.Git("rm", "-q", "--cached", "--ignore-unmatch", "specs/none.json")
	if err := os.Remove(filepath.Join(r.Dir, spec)); err != nil {
		t.Fatal(err)
	}
	bot := &gitrepo.Person{Name: "Bot", Email: "bot@example.org", When: time.Unix(1e9, 0).UTC()}
	hash, err := l.CommitPaths(t.Context(), "gone", bot, spec, "specs/none.json", "specs/new.json")
	if err != nil {
		t.Fatal(err)
	}
	got := r.Git("show", "--name-status", "--format=%an %ct", hash)
	if want := "Bot 1000000000\n\nD\tspecs/flags.json\nA\tspecs/new.json"; got != want {
		t.Errorf("the commit is\n%s\nwant\n%s", got, want)
	}
}

func TestHistoryAndVersions(t *testing.T) {
	r := flagtest.Repo(t)
	one := r.CommitFile(spec, "1\n", "one\n\nbody: with\x1b[31m colour\n")
	r.CommitFile("README", "r\n", "beside")
	r.Branch("side", "")
	two := r.CommitFile(spec, "2\n", "two")
	r.CommitFile(spec, "1\n", "back")
	r.Checkout("main")
	r.CommitFile("README", "rr\n", "beside")
	r.Merge("side") // the file is as before on both sides
	r.Git("rm", "-q", spec)
	r.Commit("removed")
	r.CommitFile(spec, "long enough", "again")
	r.Push()
	l := checkout(t, r)
	versions := func(l *gitrepo.Local) (got []string) {
		t.Helper()
		err := l.Versions(t.Context(), spec, 10, func(v gitrepo.Version) error {
			got = append(got, fmt.Sprintf("%q", v.Data))
			return nil
		}, "HEAD")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := []string{`""`, `"1\n"`, `"2\n"`}
	wantSlice(t, "versions", versions(l), want)
	stop := errors.New("stop")
	err := l.Versions(t.Context(), spec, 10, func(gitrepo.Version) error { return stop }, "HEAD")
	wantErr(t, err, stop)

	commits, err := l.History(t.Context(), "side", spec)
	if err != nil || len(commits) != 3 || commits[1].Hash != two || commits[2].Hash != one {
		t.Fatalf("history: %q, %v", hashes(commits), err)
	}
	if c := commits[2]; c.Subject() != "one" || !strings.HasSuffix(c.Message, "colour\n") || c.Author.Email != "ada@example.org" || c.When.IsZero() {
		t.Errorf("a commit reads as %+v", c)
	}

	for _, depth := range []string{"1", "2"} {
		shallow, err := gitrepo.OpenLocal(r.Clone("--depth=" + depth))
		if err != nil {
			t.Fatal(err)
		}
		wantSlice(t, "versions of a shallow clone", versions(shallow), want)
		if cut, err := shallow.Shallow(t.Context()); cut || err != nil {
			t.Errorf("still shallow: %v, %v", cut, err)
		}
	}
	dir := r.Clone("--depth=1")
	if err := os.RemoveAll(r.Origin); err != nil {
		t.Fatal(err)
	}
	lost, err := gitrepo.OpenLocal(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = lost.History(t.Context(), "HEAD", spec)
	wantErr(t, err, gitrepo.ErrShallow)
	if err == nil || !strings.Contains(err.Error(), "git fetch --unshallow") {
		t.Errorf("the error does not say how: %v", err)
	}
}

func TestLocalCommitFilesTouchesNothing(t *testing.T) {
	r := flagtest.Repo(t)
	r.Write("run.sh", "#!/bin/sh\n")
	r.Git("add", "run.sh")
	r.Git("update-index", "--chmod=+x", "run.sh")
	r.CommitFile("keep/file", "k\n", "zero")
	one := r.CommitFile(spec, "1\n", "one")
	r.Push()
	l := checkout(t, r)
	r.Write(spec, "edited\n")
	r.Git("add", spec)
	before := r.Git("status", "--porcelain") + r.Git("rev-parse", "HEAD")
	bot := gitrepo.Person{Name: "Bot", Email: "bot@example.org", When: time.Unix(1e9, 0).UTC()}
	files := map[string][]byte{spec: []byte("2\n"), "specs/evidence/x.json": []byte("{}\n"), "keep/file": nil}
	two, err := l.CommitFiles(t.Context(), one, files, "two", bot)
	if err != nil {
		t.Fatal(err)
	}
	if after := r.Git("status", "--porcelain") + r.Git("rev-parse", "HEAD"); after != before {
		t.Errorf("the checkout is left as\n%s\nit was\n%s", after, before)
	}
	bare := follow(t, r, "")
	fetch(t, bare)
	same, err := bare.CommitFiles(t.Context(), one, files, "two", bot)
	if err != nil || same != two {
		t.Errorf("the bare clone makes %s of the same, %v; the checkout %s", same, err, two)
	}
	r.Git("fsck", "--strict")
	_, err = l.CommitFiles(t.Context(), two, map[string][]byte{spec: []byte("2\n")}, "again", bot)
	wantErr(t, err, gitrepo.ErrUnchanged)
	_, err = bare.CommitFiles(t.Context(), two, map[string][]byte{spec: []byte("2\n")}, "again", bot)
	wantErr(t, err, gitrepo.ErrUnchanged)
	_, err = l.CommitFiles(t.Context(), two, map[string][]byte{"none": nil}, "removes nothing", bot)
	wantErr(t, err, gitrepo.ErrNotExist)
	_, err = bare.CommitFiles(t.Context(), two, map[string][]byte{"none": nil}, "removes nothing", bot)
	wantErr(t, err, gitrepo.ErrNotExist)
}
