package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/rampart-flags/rampart/console"
	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/reconciler"
)

const maxSpec = 32 << 20

// newConsole is the web page over this reconciler.
func newConsole(log *slog.Logger, a *app, o *opened, told *pushed) (*console.Console, error) {
	opt := console.Options{
		Status: o.Status, Live: o.Live, Plan: o.Plan, Log: log,
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
