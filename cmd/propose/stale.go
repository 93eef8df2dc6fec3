package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

// staleSettings are the command line of stale.
type staleSettings struct {
	days, soon            int
	nowText               string
	decisions, prometheus string
	github                bool

	now time.Time
}

func staleCommand(a *app) *cobra.Command {
	var s staleSettings
	cmd := &cobra.Command{
		Use:   "stale [flags]",
		Short: "Name the features that should go, or that nobody answers for",
		Long: `stale names the features that have been on for everyone or off for everyone for --days, by git's history;
those whose "expires" is past, or near; those that have no owner; and, where --decisions or --prometheus
says how often each was asked for, those that nobody has asked for. On for everyone means 100 % for every
tenant, off for everyone that no tenant has it, cohorts included.

The dates are those of the commits. Outside a repository there is no history, and what rests on it is
left out. Exit 3 when something was found.`,
		Example: `  propose stale
  propose stale --days 90 --json
  propose stale --prometheus http://prometheus:9090
  curl -s http://evaluate:8081/metrics | propose stale --decisions -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now, err := parseTime("--now", s.nowText, time.Now())
			if err != nil {
				return err
			}
			switch {
			case s.days < 1:
				return usage(fmt.Errorf("--days %d: at least 1", s.days))
			case s.soon < 0:
				return usage(fmt.Errorf("--soon %d: at least 0", s.soon))
			case s.decisions != "" && s.prometheus != "":
				return usage(errors.New("--decisions or --prometheus, not both"))
			}
			s.now = now.UTC()
			return a.stale(cmd.Context(), s)
		},
	}
	cmd.Flags().IntVar(&s.days, "days", 30, "after `N` days on or off for everyone, or not asked for, a feature is stale")
	cmd.Flags().IntVar(&s.soon, "soon", 14, "tell of an expiry `N` days ahead")
	cmd.Flags().StringVar(&s.decisions, "decisions", "", "how often each feature was asked for: a `FILE`, \"-\" for stdin, or an address such as evaluate's /metrics")
	cmd.Flags().StringVar(&s.prometheus, "prometheus", "", "ask the Prometheus server at `URL` for that")
	cmd.Flags().StringVar(&s.nowText, "now", "", "judge as of this `TIME` (default now)")
	cmd.Flags().BoolVar(&s.github, "github", false, "print annotations for a pull request's checks on GitHub")
	cli.NoEnv(cmd, "now", "github")
	return cmd
}

type staleLine struct {
	Feature string     `json:"feature"`
	Owner   string     `json:"owner,omitempty"`
	Kind    string     `json:"kind"` // on-for-all, off-for-all, expired, expires-soon, no-owner, never-decided
	Since   *time.Time `json:"since,omitempty"`
	Days    int        `json:"days,omitzero"`
	Text    string     `json:"text"`
	Line    int        `json:"line,omitzero"` // in the spec
}

// past is what git's history says of the features: since when each is on or off for everyone, and
// since when it is there at all. What only the work tree says is missing.
type past struct {
	settled, there map[string]time.Time
}

func (a *app) stale(ctx context.Context, s staleSettings) error {
	path := a.specPath()
	spec, err := a.readSpec(path)
	if err != nil {
		return err
	}
	counts, err := a.decisions(ctx, s)
	if err != nil {
		return err
	}
	history, err := a.pastOf(ctx, path, spec, counts)
	if err != nil {
		return err
	}
	lines := memberLines(spec.Bytes(), "features")
	found := 0
	for _, name := range spec.Features() {
		for _, line := range staleLines(spec.Feature(name), history, counts, s) {
			found++
			line.Line = lines[name]
			if err := a.tellStale(path, line, s.github); err != nil {
				return err
			}
		}
	}
	if found > 0 {
		return cli.Exit(cli.ExitChanges, nil)
	}
	if a.json || s.github {
		return nil
	}
	_, err = fmt.Fprintf(a.env.Stdout, "nothing stale in %s\n", counted(len(spec.Features()), "feature", "features"))
	return err
}

func (a *app) tellStale(path string, line staleLine, github bool) error {
	owner := ""
	if line.Owner != "" {
		owner = " (" + line.Owner + ")"
	}
	text := line.Feature + owner + ": " + line.Text
	switch {
	case github:
		return annotate(a.env.Stdout, annotation{level: "warning", file: displayName(path), line: line.Line, title: "a flag that should go", text: text})
	case a.json:
		return cli.JSONLine(a.env.Stdout, "stale/v1", line)
	}
	_, err := io.WriteString(a.env.Stdout, cli.Printable(text)+"\n")
	return err
}

func staleLines(f *flags.Feature, history past, counts map[string]float64, s staleSettings) (out []staleLine) {
	add := func(kind, text string, at *time.Time, n int) {
		out = append(out, staleLine{Feature: f.Name, Owner: f.Owner, Kind: kind, Since: at, Days: n, Text: text})
	}
	old := func(since map[string]time.Time) (at time.Time, n int, ok bool) {
		if at, ok = since[f.Name]; ok {
			n = int(s.now.Sub(at) / (24 * time.Hour))
		}
		return at, n, ok && n >= s.days
	}
	if at, n, ok := old(history.settled); ok {
		state := settled(f)
		add(state+"-for-all", fmt.Sprintf("%s for everyone for %d days, since %s", state, n, at.Format(time.DateOnly)), &at, n)
	}
	if n, measured := counts[f.Name]; measured && n == 0 {
		if at, age, ok := old(history.there); ok {
			add("never-decided", fmt.Sprintf("nobody has asked for it, and it is there since %s", at.Format(time.DateOnly)), &at, age)
		}
	}
	if f.Expires != "" {
		today := s.now.Format(time.DateOnly)
		switch {
		case strings.Compare(today, f.Expires) > 0:
			add("expired", "should have gone by "+f.Expires, nil, 0)
		case s.soon > 0 && strings.Compare(s.now.AddDate(0, 0, s.soon).Format(time.DateOnly), f.Expires) >= 0:
			add("expires-soon", "should go by "+f.Expires, nil, 0)
		}
	}
	if f.Owner == "" {
		add("no-owner", "has no owner", nil, 0)
	}
	return out
}

// settled is "on" or "off" where a feature is that for everybody of every tenant, else "".
func settled(f *flags.Feature) string {
	of := func(e flags.Entry) string {
		switch {
		case !e.Enabled, e.Pct == 0 && len(e.Cohorts) == 0:
			return "off"
		case e.Pct == flags.Full:
			return "on"
		}
		return ""
	}
	state := of(f.Entry(flags.DefaultTenant))
	for tenant := range f.Tenants() {
		if of(f.Entry(tenant)) != state {
			return ""
		}
	}
	return state
}

// pastOf walks back through the history, newest first: as far as a feature goes on being on or off
// for everyone, and, for those that were counted and not asked for, as far as it is there.
func (a *app) pastOf(ctx context.Context, path string, spec *flags.Spec, counts map[string]float64) (past, error) {
	out := past{map[string]time.Time{}, map[string]time.Time{}}
	c, err := checkoutOf(path)
	if err != nil || c == nil {
		return out, err
	}
	if _, head, err := c.Head(ctx); err != nil || head == "" {
		return out, err
	}
	c.dec = &a.dec
	states, unasked := map[string]string{}, map[string]bool{}
	for _, name := range spec.Features() {
		if state := settled(spec.Feature(name)); state != "" {
			states[name] = state
		}
		if n, measured := counts[name]; measured && n == 0 {
			unasked[name] = true
		}
	}
	commits, err := c.History(ctx, "HEAD", c.spec)
	if err != nil {
		return out, err
	}
	for _, commit := range commits {
		if len(states)+len(unasked) == 0 {
			break
		}
		then, err := c.specAt(ctx, commit.Hash)
		if err != nil {
			continue // it was never live
		}
		for name, state := range states {
			if f := featureOf(then, name); f != nil && settled(f) == state {
				out.settled[name] = commit.When.UTC()
			} else {
				delete(states, name)
			}
		}
		for name := range unasked {
			if featureOf(then, name) != nil {
				out.there[name] = commit.When.UTC()
			} else {
				delete(unasked, name)
			}
		}
	}
	return out, nil
}

func featureOf(spec *flags.Spec, name string) *flags.Feature {
	if spec == nil {
		return nil
	}
	return spec.Feature(name)
}
