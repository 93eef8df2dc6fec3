package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
)

func suspendCommand(a *app) *cobra.Command {
	var ask suspendRequest
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "suspend [flags]",
		Short: "Take nothing new from git until resume",
		Long: `suspend stops the acceptance of new commits. What is live stays live and is looked after: drift is put
right, and an emptied Redis is filled again. A break-glass statement still works. It survives restarts.

It tells the reconciler that runs on the state folder; where none runs, it leaves a note there.`,
		Example: `  reconcile suspend --reason "database migration" --for 2h
  reconcile resume`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if length < 0 {
				return cli.Exit(cli.ExitUsage, errors.New("--for must be longer than nothing"))
			}
			if length > 0 {
				ask.For = length.String()
			}
			return a.tellSuspension(cmd.Context(), "/admin/suspend", ask)
		},
	}
	a.bind(cmd)
	cmd.Flags().StringVar(&ask.Reason, "reason", "", "why: `TEXT` for everyone who looks at status")
	cmd.Flags().DurationVar(&length, "for", 0, "resume by itself after this `TIME` (default: when told to)")
	cli.NoEnv(cmd, "reason", "for")
	return cmd
}

func resumeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume [flags]",
		Short: "Take new commits again after suspend",
		Long: `resume ends what suspend began: the next pass judges every commit that came meanwhile. Where nothing is
suspended it changes nothing.`,
		Example: `  reconcile resume --state-dir /var/lib/rampart`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.tellSuspension(cmd.Context(), "/admin/resume", suspendRequest{})
		},
	}
	a.bind(cmd)
	return cmd
}

// suspendRequest is the body of POST /admin/suspend; that of /admin/resume is an empty object.
type suspendRequest struct {
	Reason string `json:"reason,omitempty"`
	For    string `json:"for,omitempty"` // such as 2h; none: until resume
}

func (q suspendRequest) suspension(now time.Time) (*reconciler.Suspension, error) {
	s := &reconciler.Suspension{Reason: q.Reason, Since: now.UTC()}
	if q.For != "" {
		d, err := time.ParseDuration(q.For)
		if err != nil || d <= 0 {
			return nil, fmt.Errorf("%q is no time to suspend for; try 2h", q.For)
		}
		s.Until = s.Since.Add(d)
	}
	return s, nil
}

// tellSuspension tells the running reconciler, or leaves the marker where none runs.
func (a *app) tellSuspension(ctx context.Context, route string, q suspendRequest) error {
	dir, err := a.stateFolder(a.env)
	if err != nil {
		return err
	}
	var s *reconciler.Suspension
	if route == "/admin/suspend" {
		if s, err = q.suspension(time.Now()); err != nil {
			return cli.Exit(cli.ExitUsage, err)
		}
	}
	_, err = a.tellRunning(ctx, dir, route, q)
	if errors.Is(err, errNoneRuns) {
		if err = used(dir); err != nil {
			return fmt.Errorf("leaving a note for the next reconciler: %w", err)
		}
		if err = reconciler.Suspend(dir, s); err == nil {
			a.env.Talk("no reconciler runs on %s: the next one will know", dir)
		}
	}
	if err != nil {
		return err
	}
	text := "resumed"
	if s != nil {
		text = s.String()
	}
	_, err = fmt.Fprintln(a.env.Stdout, cli.Printable(text))
	return err
}

// tellRunning posts JSON to the reconciler that uses the state folder, with the token that stands there. The error is
// errNoneRuns where none does, also where one left its address behind when it was killed.
func (a *app) tellRunning(ctx context.Context, dir, route string, v any) ([]byte, error) {
	address, err := runningAddress(dir)
	if err != nil {
		return nil, err
	}
	body, ok := v.([]byte)
	if !ok {
		if body, err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
	}
	token := a.env.Getenv("RAMPART_ADMIN_TOKEN")
	if token == "" {
		src, err := os.ReadFile(filepath.Join(dir, tokenName))
		if err != nil {
			if errors.Is(err, fs.ErrPermission) {
				err = cli.Exit(cli.ExitRefused, cli.Hint(err, "run it as its owner, or set RAMPART_ADMIN_TOKEN"))
			}
			return nil, fmt.Errorf("reading the admin token: %w", err)
		}
		token = string(bytes.TrimSpace(src))
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+route, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("telling the reconciler at %s: %w", address, err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return nil, fmt.Errorf("%w: %w", errNoneRuns, err)
	}
	if err != nil {
		return nil, fmt.Errorf("telling the reconciler at %s: %w", address, err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("telling the reconciler at %s: %w", address, err)
	}
	if res.StatusCode >= 300 {
		var said struct{ Error, Hint string }
		if json.Unmarshal(out, &said) != nil || said.Error == "" {
			said.Error = string(out)
		}
		err = fmt.Errorf("the reconciler at %s answered %s: %.1000s", address, res.Status, said.Error)
		if said.Hint != "" {
			err = cli.Hint(err, "%s", said.Hint)
		}
		if res.StatusCode < 500 {
			err = cli.Exit(cli.ExitRefused, err)
		}
		return nil, err
	}
	return out, nil
}

// notLeader answers a command that this instance cannot carry out, and names who can.
func notLeader(w http.ResponseWriter, o *opened, err error) {
	answer(w, http.StatusConflict, map[string]any{"error": err.Error(), "code": reconciler.NotLeader, "leader": o.Status().Leader})
}

// suspensionRoutes let whoever has the token suspend and resume.
func suspensionRoutes(mux *http.ServeMux, g *guard, o *opened) {
	set := func(w http.ResponseWriter, r *http.Request, s *reconciler.Suspension) {
		err := o.Suspend(r.Context(), s)
		if errors.Is(err, reconciler.ErrNotLeader) {
			notLeader(w, o, err)
			return
		}
		if err != nil {
			answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
			return
		}
		answer(w, http.StatusOK, map[string]any{"ok": true, "suspended": o.Status().Suspended})
	}
	mux.Handle("POST /admin/suspend", g.admin(func(w http.ResponseWriter, r *http.Request) {
		var q suspendRequest
		if body, ok := wholeBody(w, r); !ok {
			return
		} else if len(bytes.TrimSpace(body)) > 0 {
			dec := json.NewDecoder(bytes.NewReader(body))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&q); err != nil {
				bad(w, `want {"reason": "…", "for": "2h"}, both optional`)
				return
			}
		}
		s, err := q.suspension(time.Now())
		if err == nil && len(s.Reason) > 500 {
			err = errors.New("the reason is longer than 500 bytes")
		}
		if err != nil {
			bad(w, err.Error())
			return
		}
		set(w, r, s)
	}))
	mux.Handle("POST /admin/resume", g.admin(func(w http.ResponseWriter, r *http.Request) { set(w, r, nil) }))
}
