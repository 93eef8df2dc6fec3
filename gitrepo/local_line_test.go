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
