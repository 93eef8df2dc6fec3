package gitrepo_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// Two who push to one branch: the second is told, whichever way it pushes.
func TestPushComparesAndSwaps(t *testing.T) {
	r := flagtest.Repo(t)
	one := r.CommitFile(spec, "1\n", "one")
	r.Push()
	l := checkout(t, r)
	bare := follow(t, r, t.TempDir())
	fetch(t, bare)
	bot := gitrepo.Person{Name: "Bot", Email: "bot@example.org"}
	make := func(content string) string {
		t.Helper()
		files := map[string][]byte{spec: []byte(content)}
		a, err := l.CommitFiles(t.Context(), one, files, content, gitrepo.Person{Name: "Bot", Email: "bot@example.org", When: time.Unix(1e9, 0).UTC()})
		if err != nil {
			t.Fatal(err)
		}
		bot.When = time.Unix(1e9, 0).UTC()
		b, err := bare.CommitFiles(t.Context(), one, files, content, bot)
		if err != nil || a != b {
			t.Fatalf("%s, %s, %v", a, b, err)
		}
		return a
	}
	two, three := make("2\n"), make("3\n")
	for name, push := range map[string]func(hash, branch, expect string) error{
		"local": func(hash, branch, expect string) error { return l.Push(t.Context(), "origin", hash, branch, expect) },
		"bare":  func(hash, branch, expect string) error { return bare.Push(t.Context(), hash, branch, expect) },
	} {
		t.Run(name, func(t *testing.T) {
			b := "work/" + name
			at := func(want string) {
				t.Helper()
				got, err := l.RemoteBranch(t.Context(), "origin", b)
				if err != nil || got != want {
					t.Fatalf("the branch is at %q, want %q: %v", got, want, err)
				}
			}
			wantErr(t, push(two, b, one), gitrepo.ErrMoved) // does not exist
			at("")
			wantErr(t, push(two, b, ""), nil)
			at(two)
			wantErr(t, push(two, b, ""), nil) // twice is as good as once
			wantErr(t, push(three, b, ""), gitrepo.ErrMoved)
			wantErr(t, push(three, b, one), gitrepo.ErrMoved)
			at(two)
			wantErr(t, push(three, b, two), nil) // not a descendant, but what was expected
			at(three)
			wantErr(t, push("", b, two), gitrepo.ErrMoved)
			at(three)
			wantErr(t, push("", b, three), nil)
			at("")
			for _, bad := range []string{"", "a..b", "-x", "a b", "x.lock", "/x"} {
				if err := push(two, bad, ""); err == nil {
					t.Errorf("branch name %q is taken", bad)
				}
			}
			if err := push("", b, ""); err == nil {
				t.Error("a push of nothing to nothing")
			}
		})
	}
	branches, err := bare.RemoteBranches(t.Context(), "ma")
	if err != nil || len(branches) != 1 || branches["main"] != one {
		t.Errorf("branches: %v, %v", branches, err)
	}

	hook := filepath.Join(r.Origin, "hooks", "pre-receive")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho protected branch\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{l.Push(t.Context(), "origin", two, "main", one), bare.Push(t.Context(), two, "main", one)} {
		wantErr(t, err, gitrepo.ErrRejected)
		if err != nil && !strings.Contains(err.Error(), "protected branch") {
			t.Errorf("the server's word is missing: %v", err)
		}
	}
}

func TestPushIntoAnEmptyRepository(t *testing.T) {
	r := flagtest.Repo(t)
	repo := follow(t, r, "")
	if branches, err := repo.RemoteBranches(t.Context(), ""); err != nil || len(branches) != 0 {
		t.Errorf("%v, %v", branches, err)
	}
	first, err := repo.CommitFiles(t.Context(), "", map[string][]byte{spec: []byte("1\n")}, "first", gitrepo.Person{Name: "Bot", Email: "b@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, repo.Push(t.Context(), first, "main", ""), nil)
	if got := fetch(t, repo); got != first {
		t.Errorf("head is %s, want %s", got, first)
	}
	r.GitOrigin("fsck", "--strict")
}

func TestRemoteURLAndFetch(t *testing.T) {
	r := flagtest.Repo(t)
	r.CommitFile(spec, "1\n", "one")
	r.Push()
	other := r.In(r.Clone())
	two := other.CommitFile(spec, "2\n", "two")
	other.Git("push", "-q", "origin", "HEAD:work")
	l := checkout(t, r)
	if got, err := l.Fetch(t.Context(), "origin", "work"); err != nil || got != two {
		t.Errorf("fetched %s, %v", got, err)
	}
	_, err := l.Fetch(t.Context(), "origin", "none")
	wantErr(t, err, gitrepo.ErrNoBranch)
	r.Git("remote", "add", "forge", "https://me:"+secret+"@example.org/a/b.git")
	url, err := l.RemoteURL(t.Context(), "forge")
	if err != nil || url != "https://example.org/a/b.git" {
		t.Errorf("the address is %s, %v", url, err)
	}
	r.Git("remote", "set-url", "forge", "http://me:"+"s3cret"+"@127.0.0.1:1/x")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = l.RemoteBranch(ctx, "forge", "main")
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error: %v", err)
	}
	if _, err := l.RemoteURL(t.Context(), "none"); err == nil {
		t.Error("a remote that is not there has an address")
	}
}
