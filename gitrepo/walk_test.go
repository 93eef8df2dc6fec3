package gitrepo_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

func TestWalkSeesWhatTouchesThePaths(t *testing.T) {
	r := flagtest.Repo(t)
	r.CommitFile("README", "r\n", "no spec yet")
	start := r.CommitFile(spec, "1\n", "first spec")
	var want []string
	touch := func(path, content string) { want = append(want, r.CommitFile(path, content, path)) }
	leave := func(path, content string) { r.CommitFile(path, content, path) }

	touch(spec, "2\r\n")
	leave("specs/other.json", "x\n")
	leave("flags.json", "x\n")
	leave("other/specs/flags.json", "x\n")
	touch(spec+".sigstore.json", "sig\n")
	touch(spec+".alice.sigstore.json", "sig\n")
	touch("specs/trust.json", "t\n")
	touch("specs/trust.json.sigstore.json", "t\n")
	touch("specs/evidence/deep/er.json", "{}\n")
	leave("specs/evidence.json", "{}\n")
	r.Git("update-index", "--chmod=+x", spec)
	r.Git("commit", "-q", "-m", "executable now")
	want = append(want, r.Head())
	r.Git("rm", "-q", "-r", "specs/evidence")
	want = append(want, r.Commit("evidence removed"))
	r.Git("rm", "-q", spec+".alice.sigstore.json")
	want = append(want, r.Commit("bundle removed"))
	r.Git("rm", "-q", "-r", "specs")
	want = append(want, r.Commit("all removed"))
	leave("specs", "a file where the folder was\n")
	leave("README", "end\n")
	r.Push()

	repo := follow(t, r, t.TempDir())
	head := fetch(t, repo)
	got := walk(t, repo, start, head)
	// A file in the folder's place is a change of what stands there.
	wantSlice(t, "touched", hashes(got)[:len(want)], want)
	if len(got) != len(want)+1 || got[len(want)].Subject() != "specs" {
		t.Errorf("%d commits, want %d and the last to be the file in the folder's place", len(got), len(want)+1)
	}
	if c := got[0]; c.Subject() != spec || c.Author.String() != "Ada Author <ada@example.org>" || len(c.Parents) != 1 || c.When.IsZero() || c.Joined {
		t.Errorf("the first commit reads as %+v", c)
	}
	b, err := repo.ReadFile(t.Context(), want[0], spec, 10)
	if err != nil || string(b) != "2\r\n" {
		t.Errorf("line ends: %q, %v", b, err)
	}
	wantSlice(t, "from the very beginning", hashes(walk(t, repo, "", start)), []string{start})
	wantSlice(t, "from itself", hashes(walk(t, repo, head, head)), nil)
}

func TestWalkFollowsFirstParents(t *testing.T) {
	r := flagtest.Repo(t)
	base := r.CommitFile(spec, "a\nb\nc\nd\ne\n", "base")

	r.Branch("merged", "")
	r.CommitFile(spec, "A\nb\nc\nd\ne\n", "on the branch")
	r.CommitFile(spec, "AA\nb\nc\nd\ne\n", "and again")
	r.Checkout("main")
	merge := r.Merge("merged")

	r.Branch("squashed", "")
	r.CommitFile(spec, "AA\nb\nC\nd\ne\n", "s1")
	r.CommitFile(spec, "AA\nb\nCC\nd\ne\n", "s2")
	r.Checkout("main")
	squash := r.Squash("squashed", "s1 and s2")

	r.Branch("rebased", "")
	r.CommitFile(spec, "AA\nb\nCC\nd\nE\n", "r1")
	r.CommitFile("README", "r\n", "r2")
	r.Checkout("main")
	r.CommitFile("other", "o\n", "meanwhile")
	r.Checkout("rebased")
	rebased := r.Rebase("main")
	r.Checkout("main")
	r.Git("merge", "-q", "--ff-only", "rebased")
	r1 := r.Git("rev-parse", "HEAD~1")

	r.Branch("nothing", "")
	r.CommitFile("docs", "d\n", "d")
	r.Checkout("main")
	r.Merge("nothing")
	revert := r.Revert(squash)
	r.Push()

	repo := follow(t, r, "")
	head := fetch(t, repo)
	wantSlice(t, "since base", hashes(walk(t, repo, base, head)), []string{merge, squash, r1, revert})
	wantSlice(t, "since the rebased head", hashes(walk(t, repo, rebased, head)), []string{revert})
	got := walk(t, repo, base, head)
	wantSlice(t, "what the revert says", gitrepo.Reverts(got[3].Message), []string{squash})
	if len(got[0].Parents) != 2 {
		t.Errorf("the merge has parents %q", got[0].Parents)
	}
}

// The last accepted commit came by a fast-forward push; then a merge made on
// another clone puts it on the second-parent side.
func TestWalkFromOffTheChain(t *testing.T) {
	for _, whole := range []bool{false, true} {
		r := flagtest.Repo(t)
		r.CommitFile(spec, "a\nb\nc\nd\ne\n", "base")
		r.Branch("foxtrot", "")
		r.CommitFile(spec, "a\nb\nc\nd\nE\n", "theirs")
		r.CommitFile("README", "r\n", "theirs too")
		r.Checkout("main")
		accepted := r.CommitFile(spec, "A\nb\nc\nd\ne\n", "ours")
		r.Push()
		repo := follow(t, r, "")
		fetch(t, repo)
		if whole {
			walk(t, repo, "", accepted)
		}
		r.Checkout("foxtrot")
		joined := r.Merge("main") // first parent: theirs
		after := r.CommitFile(spec, "A\nb\nc\nd\nEE\n", "after")
		r.CommitFile("README", "rr\n", "after that")
		r.Git("push", "-q", "origin", "foxtrot:main")
		head := fetch(t, repo)
		got := walk(t, repo, accepted, head)
		wantSlice(t, "commits", hashes(got), []string{joined, after})
		if !got[0].Joined || got[1].Joined {
			t.Errorf("joined: %v %v, want only the merge", got[0].Joined, got[1].Joined)
		}
	}
}

// When the joining merge holds what was accepted, nothing is to be judged.
func TestWalkFromOffTheChainWithEqualContent(t *testing.T) {
	r := flagtest.Repo(t)
	r.CommitFile(spec, "1\n", "base")
	r.Branch("foxtrot", "")
	r.CommitFile("README", "r\n", "theirs")
	r.Checkout("main")
	accepted := r.CommitFile(spec, "2\n", "ours")
	r.Checkout("foxtrot")
	r.Merge("main")
	r.CommitFile("README", "rr\n", "after")
	r.Git("push", "-q", "origin", "foxtrot:main")
	repo := follow(t, r, "")
	head := fetch(t, repo)
	wantSlice(t, "commits", hashes(walk(t, repo, accepted, head)), nil)
}

func TestWalkRefusesBadArguments(t *testing.T) {
	r := flagtest.Repo(t)
	one := r.CommitFile(spec, "1\n", "one")
	r.Push()
	repo := follow(t, r, "")
	_, err := repo.Walk(t.Context(), "", one, specPaths)
	wantErr(t, err, gitrepo.ErrNoCommit) // nothing fetched yet
	fetch(t, repo)
	for _, paths := range [][]string{nil, {""}, {"/specs"}, {"../x"}, {"a*b"}, {"specs//x"}, {"a/**"}} {
		if _, err := repo.Walk(t.Context(), "", one, paths); err == nil {
			t.Errorf("paths %q are taken", paths)
		}
	}
	for _, bad := range []string{"HEAD", "main", one[:10], strings.ToUpper(one) + "x", "--all"} {
		_, err := repo.Walk(t.Context(), bad, one, specPaths)
		wantErr(t, err, gitrepo.ErrNoCommit)
		_, err = repo.ReadFile(t.Context(), bad, spec, 9)
		wantErr(t, err, gitrepo.ErrNoCommit)
	}
	none := strings.Repeat("ab", 20)
	_, err = repo.Walk(t.Context(), one, none, specPaths)
	wantErr(t, err, gitrepo.ErrNoCommit)
	_, err = repo.Walk(t.Context(), none, one, specPaths)
	wantErr(t, err, gitrepo.ErrRewritten)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	_, err = repo.Walk(ctx, "", one, specPaths)
	wantErr(t, err, stop)
}

func TestTheWholeTreeAndRootFiles(t *testing.T) {
	r := flagtest.Repo(t)
	one := r.CommitFile("flags.json", "1\n", "one")
	two := r.CommitFile("docs/x", "1\n", "two")
	three := r.CommitFile("flags.json", "2\n", "three")
	r.Push()
	repo := follow(t, r, "")
	head := fetch(t, repo)
	for paths, want := range map[string][]string{"flags.json*": {one, three}, "*": {one, two, three}, "docs/": {two}} {
		got, err := repo.Walk(t.Context(), "", head, []string{paths})
		if err != nil {
			t.Fatal(err)
		}
		wantSlice(t, paths, hashes(got), want)
	}
}
