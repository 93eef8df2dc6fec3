package gitrepo_test

import (
	"testing"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// checkout opens the clone as a person's, with git's environment as the
// repository's own.
func checkout(t *testing.T, r *flagtest.GitRepo) *gitrepo.Local {
	t.Helper()
	r.Setenv()
	l, err := gitrepo.OpenLocal(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestCommitPathsLeavesTheRestAlone(t *testing.T) {
	r := flagtest.Repo(t)
	r.Write("staged", "a\n")
	r.Write("edited", "a\n")
	r.CommitFile(spec, "1\n", "one")
	l := checkout(t, r)
	r.Write("staged", "b\n")
	r.Git("add", "staged")
	r.Write("edited", "b\n")
	r.Write("new", "b\n")
	r.Write(spec, "2\n")
	r.Write(spec+".sigstore.json", "sig\n")
	hash, err := l.CommitPaths(t.Context(), "two\n\nRamp-Decision: up\n", nil, spec, spec+".sigstore.json")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Git("show", "--name-status", "--format=%s", hash), "two\n\nM\tspecs/flags.json\nA\tspecs/flags.json.sigstore.json"; got != want {
		t.Errorf("the commit holds\n%s\nwant\n%s", got, want)
	}
	if got, want := r.Git("status", "--porcelain"), " M edited\nM  staged\n?? new"; got != want {
		t.Errorf("the checkout is left as\n%s\nwant\n%s", got, want)
	}
	_, err = l.CommitPaths(t.Context(), "three", nil, spec)
	wantErr(t, err, gitrepo.ErrUnchanged)
}
