package gitrepo_test

import (
	"testing"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

func TestMergingAndFinishing(t *testing.T) {
	r := flagtest.Repo(t)
	base := r.CommitFile(spec, "base\n", "base")
	r.Branch("theirs", "")
	theirs := r.CommitFile(spec, "theirs\n", "theirs")
	r.Checkout("main")
	ours := r.CommitFile(spec, "ours\n", "ours")
	l := checkout(t, r)
	if m, err := l.Merging(t.Context()); m != nil || err != nil {
		t.Fatalf("nothing is under way: %+v, %v", m, err)
	}
	if _, err := r.TryGit("merge", "theirs"); err == nil {
		t.Fatal("no conflict")
	}
	m, err := l.Merging(t.Context())
	if err != nil || m == nil {
		t.Fatal(m, err)
	}
	if m.Kind != "merge" || m.Ours != ours || m.Theirs != theirs || m.Base != base {
		t.Errorf("merging %+v", m)
	}
	wantSlice(t, "unmerged", m.Unmerged, []string{spec})
	_, err = l.CommitPaths(t.Context(), "x", nil, spec)
	wantErr(t, err, gitrepo.ErrBusy)
	_, err = l.FinishMerge(t.Context(), "")
	wantErr(t, err, gitrepo.ErrBusy)
	r.Write(spec, "both\n")
	r.Write(spec+".sigstore.json", "new signature\n")
	merged, err := l.FinishMerge(t.Context(), "", spec, spec+".sigstore.json")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Git("show", "-s", "--format=%P %s", merged); got != ours+" "+theirs+" Merge branch 'theirs'" {
		t.Errorf("the merge is %s", got)
	}
	if got := r.Git("status", "--porcelain"); got != "" {
		t.Errorf("left over: %s", got)
	}

	r.Checkout("theirs")
	if _, err := r.TryGit("rebase", "main~1"); err == nil {
		t.Fatal("no conflict in the rebase")
	}
	m, err = l.Merging(t.Context())
	if err != nil || m == nil || m.Kind != "rebase" || m.Ours != ours || m.Theirs != theirs || m.Base != base {
		t.Fatalf("rebasing %+v, %v", m, err)
	}
	r.Write(spec, "rebased\n")
	if hash, err := l.FinishMerge(t.Context(), "", spec); hash != "" || err != nil {
		t.Errorf("a rebase goes on by git's own hand: %s, %v", hash, err)
	}
	r.Git("rebase", "--continue")
	if m, err := l.Merging(t.Context()); m != nil || err != nil {
		t.Errorf("the rebase is over: %+v, %v", m, err)
	}

	if _, err := r.TryGit("revert", "--no-edit", ours); err == nil {
		t.Fatal("no conflict in the revert")
	}
	m, err = l.Merging(t.Context())
	if err != nil || m == nil || m.Kind != "revert" || m.Base != ours || m.Theirs != base {
		t.Fatalf("reverting %+v, %v", m, err)
	}
	r.Git("revert", "--abort")
}
