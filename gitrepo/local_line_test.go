package gitrepo_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// What a side branch said on the way is not what the branch said; when a merge brought it counts.
func TestLineFollowsTheFirstParent(t *testing.T) {
	r := flagtest.Repo(t)
	r.CommitFile("f.json", "one", "add")
	r.CommitFile("other", "x", "beside")
	r.Branch("side", "")
	r.CommitFile("f.json", "two", "on the side")
	r.CommitFile("f.json", "three", "still on the side")
	r.Checkout("main")
	r.CommitFile("other", "y", "beside again")
	merged := r.Now
	r.Merge("side")
	r.Git("rm", "-q", "f.json")
	r.Commit("remove")
	r.CommitFile("f.json", "far too long", "back")
	l := checkout(t, r)
	var got []string
	err := l.Line(t.Context(), "HEAD", "f.json", 10, func(c gitrepo.Commit, data []byte) error {
		got = append(got, fmt.Sprintf("%s=%s", c.Subject(), data))
		if string(data) == "three" && !c.When.Equal(merged) {
			t.Errorf("the merge is dated %s, want %s", c.When, merged)
		}
		return nil
	})
	if want := []string{"add=one", "Merge branch 'side'=three", "remove=", "back="}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	stop := errors.New("enough")
	n := 0
	if err := l.Line(t.Context(), "HEAD", "f.json", 10, func(gitrepo.Commit, []byte) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Errorf("stopped after %d with %v", n, err)
	}
}

func TestAdvanceNeverTakesWorkAway(t *testing.T) {
	r := flagtest.Repo(t)
	base := r.CommitFile("f.json", "one", "add")
	l := checkout(t, r)
	me := gitrepo.Person{Name: "Bot", Email: "bot@example.org", When: r.Now}
	next, err := l.CommitFiles(t.Context(), base, map[string][]byte{"f.json": []byte("two")}, "two", me)
	if err != nil {
		t.Fatal(err)
	}
	r.Write("f.json", "mine")
	wantErr(t, l.Advance(t.Context(), base, next), gitrepo.ErrBusy)
	if got := r.Read("f.json"); got != "mine" || r.Head() != base {
		t.Errorf("the work tree holds %q at %s", got, r.Head())
	}
	r.Write("f.json", "one")
	r.Write("beside", "kept")
	if err := l.Advance(t.Context(), base, next); err != nil {
		t.Fatal(err)
	}
	if r.Read("f.json") != "two" || r.Read("beside") != "kept" || r.Head() != next {
		t.Errorf("moved to %s with %q and %q", r.Head(), r.Read("f.json"), r.Read("beside"))
	}
	wantErr(t, l.Advance(t.Context(), base, next), gitrepo.ErrMoved)
	between, err := l.Between(t.Context(), base, next)
	if err != nil || len(between) != 1 || between[0].Hash != next {
		t.Errorf("between: %v, %v", between, err)
	}
}

func TestCommitFilesCanBeginABranch(t *testing.T) {
	r := flagtest.Repo(t)
	r.CommitFile("f.json", "one", "add")
	l := checkout(t, r)
	me := gitrepo.Person{Name: "Bot", Email: "bot@example.org", When: r.Now}
	first, err := l.CommitFiles(t.Context(), "", map[string][]byte{"seen/a.json": []byte("{}")}, "seen", me)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Git("ls-tree", "-r", "--name-only", first) + r.Git("show", "-s", "--format=%P", first); got != "seen/a.json" {
		t.Errorf("the first commit holds %q", got)
	}
	if err := l.Push(t.Context(), ".", first, "rampart/evidence", ""); err != nil {
		t.Fatal(err)
	}
}
