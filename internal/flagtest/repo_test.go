package flagtest_test

import (
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

func TestRepoTellsTheSameHistoryTwice(t *testing.T) {
	story := func() (heads []string) {
		r := flagtest.Repo(t)
		heads = append(heads, r.CommitFile("specs/flags.json", "{}\n", "first"))
		r.Push()
		r.Branch("work", "")
		r.CommitFile("specs/flags.json", "{ }\n", "second")
		r.Checkout("main")
		heads = append(heads, r.Merge("work"))
		heads = append(heads, r.Push())
		heads = append(heads, r.Revert("HEAD"))
		if got := r.Read("specs/flags.json"); got != "{}\n" {
			t.Fatalf("after the revert the file says %q", got)
		}
		if got := r.GitOrigin("rev-parse", "main"); got != heads[1] {
			t.Fatalf("origin is at %s, want the merge %s", got, heads[1])
		}
		return heads
	}
	a, b := story(), story()
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("commit %d: %s in one run, %s in the other", i, a[i], b[i])
		}
	}
}
