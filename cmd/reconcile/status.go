package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/redisstore"
)

func statusCommand(a *app) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "status [flags]",
		Short: "Show what is live, what was refused, and why",
		Long: `status shows the commit that was observed, the one that is verified and the one that is applied, with
generation, version and signers; the conditions with their reasons; and how old the last success is.

It asks the reconciler that runs on the state folder, or at --listen. Where none runs, it shows what the
last one left in the state folder, and what Redis says now. docs/reconcile.md explains every condition
and reason.

With --config it lists all environments of the file, a line each; --environment shows one.`,
		Example: `  reconcile status --state-dir /var/lib/rampart
  reconcile status --listen 127.0.0.1:8080 --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.environments.file != "" && a.environments.name == "" && listen == "" {
				return a.statusOfAll(cmd.Context())
			}
			if err := a.pick(cmd, args); err != nil {
				return err
			}
			s, err := a.status(cmd.Context(), listen)
			if err != nil {
				return err
			}
			if a.json {
				return a.line(s)
			}
			a.printStatus(s)
			return nil
		},
	}
	a.bind(cmd)
	cmd.PreRunE = nil // with --config and no --environment it is about all
	cmd.Flags().StringVar(&listen, "listen", "", "the `ADDRESS` of the reconciler to ask (default: the one that uses the state folder)")
	return cmd
}

// statusOfAll asks the process that runs the environments of the file; where none runs, it reads what is left of each.
func (a *app) statusOfAll(ctx context.Context) error {
	file, err := a.environments.read(a.env.Args)
	if err != nil {
		return err
	}
	all := environmentsStatus{Format: environmentsFormat, Environments: []environmentState{}}
	var asked error
	for _, e := range file.Environments {
		address, err := runningAddress(e.StateDir)
		if err != nil {
			continue
		}
		var body []byte
		if body, asked = ask(ctx, strings.TrimSuffix(address, environmentBase(e.Environment)), "/api/v1/status"); asked != nil {
			break
		}
		if err := json.Unmarshal(body, &all); err != nil || all.Format != environmentsFormat {
			return fmt.Errorf("reading the answer: it is no status of environments: %w", errors.Join(err))
		}
		break
	}
	if asked != nil {
		a.env.Talk("%v; showing what it left behind", asked)
	}
	if len(all.Environments) == 0 {
		for _, e := range file.Environments {
			s := environmentState{Name: e.Environment, State: "stopped", Path: environmentBase(e.Environment)}
			if s.Status, err = reconciler.LastStatus(e.StateDir); err != nil {
				s.Error = err.Error()
			}
			all.Environments = append(all.Environments, s)
		}
	}
	if a.json {
		return a.line(all)
	}
	a.printEnvironments(all)
	return nil
}

func (a *app) printEnvironments(all environmentsStatus) {
	paint := a.env.OutPalette()
	rows := [][]string{}
	for _, s := range all.Environments {
		word, why, good := s.overview()
		generation, last := "-", "never"
		switch {
		case good:
			word = paint.Green(word)
		case word != "stopped" || s.Status == nil:
			word = paint.Red(cli.Printable(word))
		}
		if s.Status != nil {
			if m := s.Status.Applied; m != nil {
				generation = fmt.Sprintf("%d %s", m.Generation, m.Version)
			}
			if !s.Status.LastSuccess.IsZero() {
				last = time.Since(s.Status.LastSuccess).Round(time.Second).String() + " ago"
			}
		}
		rows = append(rows, row("%s\t%s\t%s\t%s\t%s", s.Name, painted(word), generation, last, firstLine(why)))
	}
	printRows(a.env.Stdout, rows)
}

func (a *app) status(ctx context.Context, listen string) (*reconciler.Status, error) {
	if listen != "" {
		body, err := ask(ctx, listen, "/api/v1/status")
		if err != nil {
			return nil, err
		}
		return parseStatus(body)
	}
	dir, err := a.stateFolder(a.env)
	if err != nil {
		return nil, err
	}
	body, err := askRunning(ctx, dir, "/api/v1/status")
	if err == nil {
		return parseStatus(body)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	if !errors.Is(err, errNoneRuns) {
		a.env.Talk("%v; showing what it left behind", err)
	}
	s, err := reconciler.LastStatus(dir)
	if err != nil {
		return nil, cli.Hint(err, "set --state-dir, --listen, or the same --repo, --branch, --path and --namespace that the reconciler has")
	}
	if a.redis != "" {
		a.readStore(ctx, s)
	}
	return s, nil
}

// readStore replaces what the folder says of the store by what the store says.
func (a *app) readStore(ctx context.Context, s *reconciler.Status) {
	store, err := redisstore.Open(ctx, redisstore.Options{URL: a.redis, Namespace: a.namespace, Timeout: 3 * time.Second, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		a.env.Talk("%v", err)
		return
	}
	defer store.Close()
	meta, err := store.Meta(ctx)
	switch {
	case errors.Is(err, redisstore.ErrNoMeta):
		s.Applied = nil
	case err != nil:
		a.env.Talk("%v", err)
	default:
		applied := reconciler.Mark{Commit: meta.Commit, Generation: meta.Generation, Epoch: meta.Epoch, Version: meta.Version, Digest: meta.Digest}
		if s.Verified != nil && s.Verified.Digest == meta.Digest {
			applied.Signers, applied.Roles = s.Verified.Signers, s.Verified.Roles
		}
		applied.At, _ = time.Parse(time.RFC3339, meta.AppliedAt)
		s.Applied = &applied
	}
}

func parseStatus(body []byte) (*reconciler.Status, error) {
	var s reconciler.Status
	if err := json.Unmarshal(body, &s); err != nil || !strings.HasPrefix(s.Format, "status/") {
		return nil, fmt.Errorf("reading the answer: it is no status: %w", errors.Join(err))
	}
	return &s, nil
}

// running is what a reconciler leaves in its state folder while it serves.
type running struct {
	Address string    `json:"address"`
	PID     int       `json:"pid"`
	Since   time.Time `json:"since"`
}

const runningName = "run.json"

var errNoneRuns = errors.New("no reconciler runs on this state folder")

// runningAddress is where the reconciler that uses the state folder serves.
func runningAddress(dir string) (string, error) {
	src, err := os.ReadFile(filepath.Join(dir, runningName))
	if errors.Is(err, fs.ErrPermission) {
		return "", unreadable(dir)
	}
	if err != nil {
		return "", errNoneRuns
	}
	var r running
	if err := json.Unmarshal(src, &r); err != nil || r.Address == "" {
		return "", errNoneRuns
	}
	return r.Address, nil
}

// askRunning asks the reconciler that uses the state folder.
func askRunning(ctx context.Context, dir, path string) ([]byte, error) {
	address, err := runningAddress(dir)
	if err != nil {
		return nil, err
	}
	return ask(ctx, address, path)
}

// ask gets one of the reconciler's own answers.
func ask(ctx context.Context, address, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, _, err := net.SplitHostPort(address); err == nil {
		address = "http://" + address
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+path, nil)
	if err != nil {
		return nil, cli.Exit(cli.ExitUsage, fmt.Errorf("asking the reconciler at %s: %w", address, err))
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the reconciler at %s: %w", address, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 256<<20))
	if err != nil {
		return nil, fmt.Errorf("asking the reconciler at %s: %w", address, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking the reconciler at %s for %s: %s: %.300s", address, path, res.Status, body)
	}
	return body, nil
}

func (a *app) printStatus(s *reconciler.Status) {
	paint := a.env.OutPalette()
	var rows [][]string
	say := func(format string, args ...any) { rows = append(rows, row(format, args...)) }
	head := "newest spec in git is live"
	if !s.HeadLive {
		head = "newest spec in git is not live"
	}
	say("%s\t%s %s %s, %s", painted(paint.Bold("environment")), or(s.Environment, "(none)"), s.Repo, s.Branch, head)
	for _, m := range []struct {
		name string
		mark *reconciler.Mark
	}{{"observed", s.Observed}, {"verified", s.Verified}, {"applied", s.Applied}} {
		say("%s\t%s", m.name, describeMark(m.mark))
	}
	if s.Policy != nil {
		say("policy\t%s", describePolicy(s.Policy))
	}
	switch {
	case s.LastSuccess.IsZero():
		say("last success\tnever")
	default:
		say("last success\t%s ago", time.Duration(s.Age*float64(time.Second)).Round(time.Second))
	}
	switch {
	case s.Role == reconciler.RoleLeader:
		say("leader\t%s, in term %d", s.Reconciler, s.Term)
	case s.Role != "" && s.Leader == nil:
		say("%s\tnobody", paint.Red("leader"))
	case s.Role != "":
		say("leader\t%s, in term %d since %s; this is %s, which follows", leaderName(s.Leader), s.Leader.Term, s.Leader.Since.Format(time.RFC3339), s.Reconciler)
	}
	if s.Suspended != nil {
		say("%s\t%s, since %s", painted(paint.Red("suspended")), s.Suspended, s.Suspended.Since.Format(time.RFC3339))
	}
	for _, f := range s.Overrides {
		say("%s\t%s, signed by %s: %s", painted(paint.Red("override")), f.Text, strings.Join(f.Signers, ", "), f.Reason)
	}
	say("drift\t%d found, %d repaired", s.Drift.Found, s.Drift.Repaired)
	say("")
	for _, c := range s.Conditions {
		state := painted(c.Status)
		switch {
		case c.Good():
			state = painted(paint.Green(string(c.Status)))
		case c.Status != reconciler.Unknown:
			state = painted(paint.Red(string(c.Status)))
		}
		say("%s\t%s\t%s\t%s", c.Type, state, c.Reason, firstLine(c.Message))
	}
	for _, list := range []struct {
		word string
		all  []reconciler.Refusal
	}{{"refused", s.Refused}, {"not yet", s.Deferred}} {
		for _, ref := range list.all {
			say("")
			say("%s\t%.12s %s", painted(paint.Red(list.word)), ref.Commit, ref.Subject)
			say("\t%s: %s", ref.Code, ref.Message)
			if !ref.NotBefore.IsZero() {
				say("\tnot before %s", ref.NotBefore.Format(time.RFC3339))
			}
			if ref.Hint != "" {
				say("\thint: %s", ref.Hint)
			}
		}
	}
	printRows(a.env.Stdout, rows)
}

func describePolicy(p *reconciler.PolicyStatus) string {
	text := fmt.Sprintf("version %d, %.19s…, from the file of --trust", p.Version, p.Digest)
	if p.Source == "repository" {
		text = fmt.Sprintf("version %d, %.19s…, from %s at %.12s, signed by %s", p.Version, p.Digest, p.Path, p.Commit, strings.Join(p.Signers, ", "))
	}
	if p.Refused != nil {
		text += fmt.Sprintf("; the one at %.12s is refused: %s", p.Refused.Commit, p.Refused.Code)
	}
	if p.Note != "" {
		text += "; " + p.Note
	}
	return text
}

func describeMark(m *reconciler.Mark) string {
	if m == nil {
		return "nothing"
	}
	text := fmt.Sprintf("%.12s", m.Commit)
	if m.Generation > 0 {
		text += fmt.Sprintf(", generation %d, %s", m.Generation, m.Version)
	}
	if len(m.Signers) > 0 {
		text += ", signed by " + strings.Join(m.Signers, ", ")
	}
	if m.Subject != "" {
		text += fmt.Sprintf(" (%s)", m.Subject)
	}
	return text
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
