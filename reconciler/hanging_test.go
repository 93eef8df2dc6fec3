package reconciler

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/trust"
)

// hangingRemote serves a repository by git's own http-backend until hang is set: then it takes requests and never answers.
type hangingRemote struct {
	*httptest.Server
	hang    atomic.Bool
	waiting atomic.Int32 // requests that hang
}

func newHangingRemote(t *testing.T, repo *flagtest.GitRepo) *hangingRemote {
	t.Helper()
	h := &hangingRemote{}
	end := make(chan struct{})
	backend := &cgi.Handler{
		Path: filepath.Join(repo.Git("--exec-path"), "git-http-backend"), Stderr: io.Discard,
		Env: append(repo.Env(), "GIT_PROJECT_ROOT="+filepath.Dir(repo.Origin), "GIT_HTTP_EXPORT_ALL=1"),
	}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if h.hang.Load() {
			h.waiting.Add(1)
			defer h.waiting.Add(-1)
			select {
			case <-end:
			case <-req.Context().Done():
			}
			return
		}
		backend.ServeHTTP(w, req)
	}))
	t.Cleanup(func() { close(end); h.Close() })
	return h
}

// What a person commands does not wait for a remote that hangs, not even when the loop is in the midst of asking it and would
// wait for an hour. That the remote hung all the while is seen on the remote.
func TestCommandsWhileTheRemoteHangs(t *testing.T) {
	w := newWorld(t, flagtest.Redis(t), withBrake)
	remote := newHangingRemote(t, w.Repo)
	w.url = remote.URL + "/" + filepath.Base(w.Repo.Origin)
	w.cfg.Interval = time.Hour
	w.release("flags-v1", "receipts", 50, "exports", 50)
	w.pass()
	w.is("receipts", "__default__", "50")
	remote.hang.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.r.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	// do runs a command that must end while a request hangs.
	do := func(what string, command func() error) {
		t.Helper()
		w.r.Nudge()
		flagtest.Eventually(t, "a request that hangs, before "+what, func() bool { return remote.waiting.Load() > 0 })
		done := make(chan error, 1)
		go func() { done <- command() }()
		var err error
		flagtest.Eventually(t, what, func() bool {
			select {
			case err = <-done:
				return true
			default:
				return false
			}
		})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if remote.waiting.Load() == 0 {
			t.Errorf("%s: the remote does not hang any more, so nothing was shown", what)
		}
	}
	off := w.seal([]trust.OverrideItem{{Feature: "receipts"}}, "bob")
	do("an override", func() error { _, err := w.r.Override(ctx, off); return err })
	w.is("receipts", "__default__", "off")
	w.is("exports", "__default__", "50")
	do("a suspension", func() error { return w.r.Suspend(ctx, &Suspension{Reason: "in a test"}) })
	if s := w.r.Status().Suspended; s == nil {
		t.Error("status does not say that it is suspended")
	}
	do("the end of the suspension", func() error { return w.r.Suspend(ctx, nil) })
	do("a refused statement about history", func() error {
		if _, err := w.r.AcceptHistory(ctx, off); !errors.Is(err, ErrHistoryRefused) {
			return errors.Join(errors.New("it was not refused"), err)
		}
		return nil
	})
	w.is("receipts", "__default__", "off")
}
