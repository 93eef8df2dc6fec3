package gitrepo_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// A server with bitmaps leaves out everything that it thinks we have. Behind a
// cut there are files that we do not have, and a revert brings one back.
func TestFetchOfARevertIntoAShallowClone(t *testing.T) {
	origin := flagtest.Repo(t)
	old := strings.Repeat("old content that no later commit has\n", 50)
	origin.CommitFile(spec, old, "one")
	origin.CommitFile(spec, "2\n", "two")
	three := origin.CommitFile("README", "r\n", "three")
	origin.Push()
	origin.GitOrigin("repack", "-adb")
	repo := follow(t, origin, t.TempDir())
	if got := fetch(t, repo); got != three {
		t.Fatalf("head is %s", got)
	}
	four := origin.Revert(origin.Git("rev-parse", "HEAD~1"))
	origin.Push()
	if got := fetch(t, repo); got != four {
		t.Fatalf("head is %s, want %s", got, four)
	}
	b, err := repo.ReadFile(t.Context(), four, spec, 1<<20)
	if err != nil || string(b) != old {
		t.Fatalf("ReadFile = %d bytes, %v", len(b), err)
	}
	wantSlice(t, "since three", hashes(walk(t, repo, three, four)), []string{four})
}

func TestRewrittenHistory(t *testing.T) {
	type world struct {
		origin      *flagtest.GitRepo
		first, from string
	}
	for name, c := range map[string]struct {
		rewrite func(w world) string
		how     gitrepo.Rewrite
	}{
		"rewound": {func(w world) string {
			w.origin.Git("reset", "-q", "--hard", w.first)
			return w.origin.ForcePush()
		}, gitrepo.Rewound},
		"diverged": {func(w world) string {
			w.origin.Git("reset", "-q", "--hard", w.first)
			w.origin.CommitFile(spec, "other\n", "other")
			return w.origin.ForcePush()
		}, gitrepo.Diverged},
		"amended": {func(w world) string {
			w.origin.Git("commit", "-q", "--amend", "-m", "amended")
			return w.origin.ForcePush()
		}, gitrepo.Diverged},
		"orphan": {func(w world) string {
			w.origin.Git("checkout", "-q", "--orphan", "new")
			w.origin.CommitFile(spec, "orphan\n", "orphan")
			w.origin.Git("branch", "-M", "main")
			return w.origin.ForcePush()
		}, gitrepo.Unrelated},
	} {
		for _, whole := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " whole", false: " shallow"}[whole], func(t *testing.T) {
				w := world{origin: flagtest.Repo(t)}
				w.first = w.origin.CommitFile(spec, "1\n", "one")
				w.from = w.origin.CommitFile(spec, "2\n", "two")
				w.origin.Push()
				repo := follow(t, w.origin, "")
				fetch(t, repo)
				if whole {
					walk(t, repo, "", w.from)
				}
				to := c.rewrite(w)
				if got := fetch(t, repo); got != to {
					t.Fatalf("head is %s, want %s", got, to)
				}
				_, err := repo.Walk(t.Context(), w.from, to, specPaths)
				wantErr(t, err, gitrepo.ErrRewritten)
				wantHow(t, err, c.how, !whole)
				ok, err := repo.IsAncestor(t.Context(), w.from, to)
				if ok || err != nil {
					t.Errorf("IsAncestor = %v, %v", ok, err)
				}
			})
		}
	}
}

// wantHow checks the kind of a rewrite. A shallow clone may know less.
func wantHow(t *testing.T, err error, want gitrepo.Rewrite, shallow bool) {
	t.Helper()
	re, ok := err.(*gitrepo.RewrittenError)
	if !ok {
		t.Fatalf("%T: %v", err, err)
	}
	if re.How != want && (!shallow || re.How != gitrepo.Vanished) {
		t.Errorf("the rewrite is %q, want %q: %v", re.How, want, err)
	}
}

func TestBranchGone(t *testing.T) {
	origin := flagtest.Repo(t)
	repo := follow(t, origin, "")
	_, err := repo.RemoteHead(t.Context())
	wantErr(t, err, gitrepo.ErrNoBranch)
	_, err = repo.Fetch(t.Context())
	wantErr(t, err, gitrepo.ErrNoBranch)

	origin.CommitFile(spec, "1\n", "one")
	one := origin.Push()
	origin.Git("push", "-q", "origin", "HEAD:refs/heads/other")
	fetch(t, repo)
	origin.GitOrigin("branch", "-D", "main")
	_, err = repo.RemoteHead(t.Context())
	wantErr(t, err, gitrepo.ErrNoBranch)
	_, err = repo.Fetch(t.Context())
	wantErr(t, err, gitrepo.ErrNoBranch)
	if b, err := repo.ReadFile(t.Context(), one, spec, 9); err != nil || string(b) != "1\n" {
		t.Errorf("what was fetched is gone: %q, %v", b, err)
	}
	if err := os.RemoveAll(origin.Origin); err != nil {
		t.Fatal(err)
	}
	_, err = repo.Fetch(t.Context())
	wantErr(t, err, gitrepo.ErrNoRepository)
}

func TestDefaultBranch(t *testing.T) {
	origin := flagtest.Repo(t)
	origin.Git("checkout", "-q", "-b", "trunk")
	origin.CommitFile(spec, "1\n", "one")
	origin.Push()
	origin.GitOrigin("symbolic-ref", "HEAD", "refs/heads/trunk")
	repo, err := gitrepo.Open(t.Context(), gitrepo.Options{URL: origin.Origin})
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	head := fetch(t, repo)
	if branch, commit := repo.Head(); branch != "trunk" || commit != head {
		t.Errorf("head is %s %s, want trunk %s", branch, commit, head)
	}
}

func TestSHA256IsRefusedClearly(t *testing.T) {
	origin := flagtest.Repo(t)
	dir := filepath.Join(t.TempDir(), "sha256")
	origin.Git("init", "-q", "--object-format=sha256", "-b", "main", dir)
	origin.In(dir).CommitFile(spec, "1\n", "one")
	repo, err := gitrepo.Open(t.Context(), gitrepo.Options{URL: "file://" + dir, Branch: "main"})
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	_, err = repo.Fetch(t.Context())
	wantErr(t, err, gitrepo.ErrSHA256)
	origin.Setenv()
	_, err = gitrepo.OpenLocal(dir)
	wantErr(t, err, gitrepo.ErrSHA256)
}

func TestShallowRemote(t *testing.T) {
	origin := flagtest.Repo(t)
	one := origin.CommitFile(spec, "1\n", "one")
	two := origin.CommitFile(spec, "2\n", "two")
	three := origin.CommitFile(spec, "3\n", "three")
	origin.Push()
	cut := origin.Clone("--bare", "--depth=2")
	repo, err := gitrepo.Open(t.Context(), gitrepo.Options{URL: "file://" + cut, Branch: "main"})
	if err != nil {
		t.Fatal(err)
	}
	defer repo.Close()
	fetch(t, repo)
	wantSlice(t, "within the cut", hashes(walk(t, repo, two, three)), []string{three})
	for range 2 {
		_, err = repo.Walk(t.Context(), one, three, specPaths)
		wantErr(t, err, gitrepo.ErrShallow)
	}
}
