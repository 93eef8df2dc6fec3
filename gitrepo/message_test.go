package gitrepo_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// What git revert writes is what is read, and what is written is what git
// revert writes.
func TestRevertMessages(t *testing.T) {
	r := flagtest.Repo(t)
	r.CommitFile(spec, "1\n", "one")
	two := r.CommitFile(spec, "2\n", `says "two"`)
	revert := r.Revert(two)
	message := r.Git("show", "-s", "--format=%B", revert)
	wantSlice(t, "a revert", gitrepo.Reverts(message), []string{two})
	if want := gitrepo.RevertMessage(`says "two"`, two); strings.TrimSpace(message) != strings.TrimSpace(want) {
		t.Errorf("git wrote\n%s\nwe write\n%s", message, want)
	}
	r.Branch("side", "")
	r.CommitFile("other", "x\n", "beside")
	r.Checkout("main")
	merge := r.Merge("side")
	wantSlice(t, "the revert of a merge", gitrepo.Reverts(r.Git("show", "-s", "--format=%B", r.Revert(merge))), []string{merge})

	for _, none := range []string{"", "one", "see: This reverts commit " + two, "This reverts commit abc.", "This reverts commit " + two + "0"} {
		wantSlice(t, none, gitrepo.Reverts(none), nil)
	}
	again := gitrepo.RevertMessage(`Revert "one"`, revert)
	if subject, _, _ := strings.Cut(again, "\n"); subject != `Reapply "one"` {
		t.Errorf("the revert of a revert is called %s", subject)
	}
}

func TestTrailers(t *testing.T) {
	got := gitrepo.Trailers("subject: no trailer\n\nbody: no trailer either\n\nOp-Id: 1\r\nRamp-Decision: up: to 20\nOp-Id: 2\nno trailer here\nnot one: x\n\n")
	want := map[string][]string{"Op-Id": {"1", "2"}, "Ramp-Decision": {"up: to 20"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("trailers %q, want %q", got, want)
	}
	if got := gitrepo.Trailers("subject: only\n"); len(got) != 0 {
		t.Errorf("a subject is no trailer: %q", got)
	}
}
