package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/rampart-flags/rampart/console"
	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/reconciler"
)

const maxSpec = 32 << 20

// console adds the console's pages to mux and gives what ends their streams. Where a process has many environments, an
// environment's pages are made when somebody first asks for one: most are never looked at.
func (w *web) console(mux *http.ServeMux, log *slog.Logger, a *app, o *opened, told *pushed) (func(), error) {
	if a.sharing == nil {
		pages, err := newConsole(log, a, o, told, w.base, w.room)
		if err != nil {
			return nil, err
		}
		pages.Register(mux)
		return pages.Close, nil
	}
	late := &lateConsole{make: func() (*console.Console, error) { return newConsole(log, a, o, told, w.base, w.room) }}
	mux.Handle("/", late)
	return late.close, nil
}

// lateConsole is a console that is made at the first request.
type lateConsole struct {
	make func() (*console.Console, error)

	mu     sync.Mutex
	mux    *http.ServeMux
	pages  *console.Console
	closed bool
}

func (l *lateConsole) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux, err := l.open()
	if err != nil {
		answer(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	mux.ServeHTTP(w, r)
}

func (l *lateConsole) open() (*http.ServeMux, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mux != nil {
		return l.mux, nil
	}
	if l.closed {
		return nil, errors.New("the environment is being closed")
	}
	pages, err := l.make()
	if err != nil {
		return nil, err
	}
	l.pages, l.mux = pages, http.NewServeMux()
	pages.Register(l.mux)
	return l.mux, nil
}

func (l *lateConsole) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed = true; l.pages != nil {
		l.pages.Close()
	}
}

// newConsole is the web page over this reconciler.
func newConsole(log *slog.Logger, a *app, o *opened, told *pushed, base string, room *room) (*console.Console, error) {
	opt := console.Options{
		Base: base, Status: o.Status, Live: o.Live, Log: log, Admit: room.stream,
		Plan:        func(ctx context.Context) (*reconciler.Plan, error) { return o.plans.get(ctx, "") },
		Generations: func() ([]reconciler.Generation, error) { return reconciler.Generations(o.dir) },
		SpecAt: func(ctx context.Context, commit string) (*flags.Spec, error) {
			src, err := o.repo.ReadFile(ctx, commit, a.path, maxSpec)
			if err != nil {
				return nil, fmt.Errorf("reading %s at %.12s: %w", a.path, commit, err)
			}
			return flags.Decode(a.path, src)
		},
		Decision: func(feature, tenant string) (console.Decision, bool) {
			d, ok := told.Decision(feature, tenant)
			return console.Decision{Action: d.Action, Verdict: d.Verdict, Code: d.Code, Reason: d.Reason, From: d.From, To: d.To,
				Approval: d.Approval, Until: d.Until, At: d.At, PullRequest: webAddress(d.PullRequest)}, ok
		},
		Commit: commitAddress(a.repo),
		Author: func(ctx context.Context, commit string) (author, subject string, err error) {
			c, err := o.repo.Commit(ctx, commit)
			return c.Author.Name, c.Subject(), err
		},
		Actions: []console.Action{{Name: "Look at git now", Path: "/admin/reconcile"},
			{Name: "Suspend", Path: "/admin/suspend"}, {Name: "Resume", Path: "/admin/resume"}},
	}
	if o.ledger != nil {
		opt.Ledger, opt.Anchors = o.ledger.dir, o.ledger.anchors.State
	}
	return console.New(opt)
}

// webAddress lets only addresses through that a link may lead to.
func webAddress(s string) string {
	if u, err := url.Parse(s); err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" {
		return s
	}
	return ""
}

// commitAddress is where the forge of an https or ssh repository shows a commit; "" for a repository that no forge serves.
func commitAddress(repo string) func(string) string {
	path, host := "", ""
	if u, err := url.Parse(repo); err == nil && (u.Scheme == "https" || u.Scheme == "ssh") && u.Host != "" {
		host, path = u.Hostname(), u.Path
		if u.Scheme == "https" {
			host = u.Host
		}
	}
	path = strings.TrimSuffix(strings.Trim(path, "/"), ".git")
	if host == "" || strings.Count(path, "/") < 1 {
		return func(string) string { return "" }
	}
	middle := "/commit/"
	if strings.Contains(host, "gitlab") {
		middle = "/-/commit/"
	}
	return func(hash string) string { return "https://" + host + "/" + path + middle + hash }
}
