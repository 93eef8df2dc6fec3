package gitrepo_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// countedHTTP is gitHTTP that counts how often the branches were listed, and hangs where told to.
type countedHTTP struct {
	*httptest.Server
	looks atomic.Int32
	hang  atomic.Pointer[chan struct{}]
}

func newCountedHTTP(t *testing.T, origin *flagtest.GitRepo) *countedHTTP {
	t.Helper()
	behind := gitHTTP(t, origin, "")
	c := &countedHTTP{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/info/refs") {
			c.looks.Add(1)
		}
		if hang := c.hang.Load(); hang != nil {
			select {
			case <-*hang:
			case <-req.Context().Done():
			}
			http.Error(w, "gone", http.StatusBadGateway)
			return
		}
		behind.Config.Handler.ServeHTTP(w, req)
	}))
	t.Cleanup(c.Close)
	return c
}

func pushed(origin *flagtest.GitRepo, content string) string {
	origin.CommitFile("specs/flags.json", content, content)
	return origin.Push()
}

func TestPoolFetchesOnceForAll(t *testing.T) {
	origin := flagtest.Repo(t)
	first := pushed(origin, "1")
	srv := newCountedHTTP(t, origin)
	pool := gitrepo.NewPool(t.TempDir())
	const users = 40
	var repos [users]*gitrepo.Repo
	var moved [users]atomic.Int32
	for i := range repos {
		var err error
		repos[i], err = pool.Open(t.Context(), gitrepo.Options{URL: srv.URL + "/origin.git", Branch: "main"}, time.Hour, func() { moved[i].Add(1) })
		if err != nil {
			t.Fatal(err)
		}
	}
	fetchAll := func(want string) {
		t.Helper()
		var wg sync.WaitGroup
		for _, r := range repos {
			wg.Go(func() {
				if head, err := r.Fetch(t.Context()); err != nil || head != want {
					t.Errorf("fetched %s, %v, want %s", head, err, want)
				}
			})
		}
		wg.Wait()
	}
	fetchAll(first)
	fetchAll(first)
	if n := srv.looks.Load(); n != 1 {
		t.Errorf("%d users looked at the remote %d times, want once", users, n)
	}

	// One hurries and finds the branch moved: all others are told, and have it without asking.
	second := pushed(origin, "2")
	repos[0].Hurry()
	if head, err := repos[0].Fetch(t.Context()); err != nil || head != second {
		t.Fatalf("fetched %s, %v, want %s", head, err, second)
	}
	flagtest.Eventually(t, "all others to be told", func() bool {
		for i := 1; i < users; i++ {
			if moved[i].Load() == 0 {
				return false
			}
		}
		return true
	})
	fetchAll(second)
	if n := srv.looks.Load(); n != 2 {
		t.Errorf("the remote was looked at %d times, want twice", n)
	}

	// The clone stays for those who use it.
	for _, r := range repos[1:] {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if src, err := repos[0].ReadFile(t.Context(), second, "specs/flags.json", 10); err != nil || string(src) != "2" {
		t.Errorf("read %q, %v", src, err)
	}
	if err := errors.Join(repos[0].Close(), repos[0].Close()); err != nil {
		t.Error(err)
	}
	again, err := pool.Open(t.Context(), gitrepo.Options{URL: srv.URL + "/origin.git", Branch: "main"}, time.Hour, nil)
	if err != nil {
		t.Fatalf("the folder was not let go: %v", err)
	}
	defer again.Close()
	if _, head := again.Head(); head != second {
		t.Errorf("the clone was not kept: its head is %q", head)
	}
}

// A remote that hangs keeps nobody longer than he wants to wait, and its trouble is shared.
func TestPoolSharesTrouble(t *testing.T) {
	origin := flagtest.Repo(t)
	want := pushed(origin, "1")
	srv := newCountedHTTP(t, origin)
	pool := gitrepo.NewPool(t.TempDir())
	open := func(moved func()) *gitrepo.Repo {
		r, err := pool.Open(t.Context(), gitrepo.Options{URL: srv.URL + "/origin.git", Branch: "main"}, time.Hour, moved)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	var told atomic.Int32
	hasty, patient, third := open(nil), open(nil), open(func() { told.Add(1) })
	hang := make(chan struct{})
	srv.hang.Store(&hang)

	ctx, cancel := context.WithCancel(t.Context())
	gaveUp, ended := make(chan error, 1), make(chan error, 1)
	go func() { _, err := hasty.Fetch(ctx); gaveUp <- err }()
	flagtest.Eventually(t, "the remote to be asked", func() bool { return srv.looks.Load() > 0 })
	go func() { _, err := patient.Fetch(t.Context()); ended <- err }()
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	close(hang)
	if err := <-ended; err == nil {
		t.Error("who waited got no trouble")
	}
	before := srv.looks.Load()
	if _, err := third.Fetch(t.Context()); err == nil && srv.looks.Load() == before {
		t.Error("the trouble was not shared")
	}
	srv.hang.Store(nil)
	patient.Hurry()
	if head, err := patient.Fetch(t.Context()); err != nil || head != want {
		t.Errorf("fetched %s, %v, want %s", head, err, want)
	}
	flagtest.Eventually(t, "somebody to be told that the remote is back", func() bool { return told.Load() > 0 })
}

// A shared clone keeps what the one that is furthest behind needs.
func TestPoolTidiesForTheSlowest(t *testing.T) {
	origin := flagtest.Repo(t)
	pool := gitrepo.NewPool(t.TempDir())
	open := func() *gitrepo.Repo {
		r, err := pool.Open(t.Context(), gitrepo.Options{URL: origin.URL(), Branch: "main", MaxPacks: 2}, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	slow, quick := open(), open()
	var commits []string
	for i := range 6 {
		commits = append(commits, pushed(origin, strings.Repeat("x", i+1)))
		if _, err := quick.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if did, err := slow.Tidy(t.Context(), commits[2]); err != nil || !did {
		t.Fatalf("tidied: %v, %v", did, err)
	}
	for range 4 {
		pushed(origin, strings.Repeat("y", len(commits)))
		commits = append(commits, origin.Git("rev-parse", "HEAD"))
		if _, err := quick.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if did, err := quick.Tidy(t.Context(), commits[len(commits)-1]); err != nil || !did {
		t.Fatalf("tidied: %v, %v", did, err)
	}
	if _, err := slow.Commit(t.Context(), commits[2]); err != nil {
		t.Errorf("what the slow one keeps is gone: %v", err)
	}
	if _, err := slow.Commit(t.Context(), commits[0]); !errors.Is(err, gitrepo.ErrNoCommit) {
		t.Errorf("what nobody keeps is there still: %v", err)
	}
}
