package gitrepo_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

const spec = "specs/flags.json"

var specPaths = []string{"specs/flags.json", "specs/flags.json.*", "specs/trust.json*", "specs/evidence/"}

// follow opens a clone of the repository's branch main in a state folder.
func follow(t testing.TB, r *flagtest.GitRepo, dir string) *gitrepo.Repo {
	t.Helper()
	repo, err := gitrepo.Open(t.Context(), gitrepo.Options{URL: r.URL(), Branch: "main", Dir: dir, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repo.Close() })
	return repo
}

func fetch(t testing.TB, repo *gitrepo.Repo) string {
	t.Helper()
	head, err := repo.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

func walk(t testing.TB, repo *gitrepo.Repo, from, to string) []gitrepo.Commit {
	t.Helper()
	commits, err := repo.Walk(t.Context(), from, to, specPaths)
	if err != nil {
		t.Fatal(err)
	}
	return commits
}

func hashes(commits []gitrepo.Commit) []string {
	var out []string
	for _, c := range commits {
		out = append(out, c.Hash)
	}
	return out
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	}
}

func wantSlice(t testing.TB, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: got %q, want %q", what, got, want)
		}
	}
}

func TestFetchFollowsTheBranch(t *testing.T) {
	origin := flagtest.Repo(t)
	one := origin.CommitFile(spec, "1\n", "one")
	two := origin.CommitFile(spec, "2\n", "two")
	origin.Push()
	repo := follow(t, origin, t.TempDir())

	if branch, head := repo.Head(); branch != "" || head != "" {
		t.Errorf("before the first fetch the head is %s %s", branch, head)
	}
	remote, err := repo.RemoteHead(t.Context())
	if err != nil || remote != two {
		t.Fatalf("RemoteHead = %s, %v; want %s", remote, err, two)
	}
	if got := fetch(t, repo); got != two {
		t.Fatalf("head is %s, want %s", got, two)
	}
	b, err := repo.ReadFile(t.Context(), two, spec, 10)
	if err != nil || string(b) != "2\n" {
		t.Fatalf("ReadFile = %q, %v", b, err)
	}
	_, err = repo.Commit(t.Context(), one)
	wantErr(t, err, gitrepo.ErrNoCommit) // depth 1

	origin.CommitFile("README", "r\n", "three")
	four := origin.CommitFile(spec, "4\n", "four")
	origin.Push()
	if got := fetch(t, repo); got != four {
		t.Fatalf("head is %s, want %s", got, four)
	}
	wantSlice(t, "since two", hashes(walk(t, repo, two, four)), []string{four})
	wantSlice(t, "since one, which needs the whole branch", hashes(walk(t, repo, one, four)), []string{two, four})
	wantSlice(t, "all", hashes(walk(t, repo, "", four)), []string{one, two, four})
	if again := fetch(t, repo); again != four {
		t.Fatalf("a fetch of nothing gives %s", again)
	}
}

func TestCommitFilesAndPush(t *testing.T) {
	origin := flagtest.Repo(t)
	origin.CommitFile("deep/er/file", "x\n", "zero")
	one := origin.CommitFile(spec, "1\n", "one")
	origin.Push()
	repo := follow(t, origin, "")
	fetch(t, repo)
	bot := gitrepo.Person{Name: "Ramp Bot", Email: "bot@example.org", When: time.Unix(1e9, 0).UTC()}
	ctx := context.Background()
	two, err := repo.CommitFiles(ctx, one, map[string][]byte{spec: []byte("2\n"), "specs/evidence/a.json": []byte("{}\n")}, "two", bot)
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Push(ctx, two, "main", one); err != nil {
		t.Fatal(err)
	}
	origin.GitOrigin("fsck", "--strict", "--full")
	if got := origin.GitOrigin("rev-parse", "main"); got != two {
		t.Fatalf("origin is at %s, want %s", got, two)
	}
	if got := origin.GitOrigin("show", "--stat=80", "--format=%an %ae %s", "main"); got == "" {
		t.Fatal("nothing shown")
	}
	wantErr(t, repo.Push(ctx, two, "main", one), nil)
	three, err := repo.CommitFiles(ctx, one, map[string][]byte{spec: []byte("3\n")}, "three", bot)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, repo.Push(ctx, three, "main", one), gitrepo.ErrMoved)
}
