package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

func staleCommand(a *app) *cobra.Command {
	var days int
	var nowText string
	cmd := &cobra.Command{
		Use:   "stale [flags]",
		Short: "Name the features that should go, or that nobody answers for",
		Long: `stale names the features that have been on for everyone or off for everyone for --days, by git's history;
those whose "expires" is past; and those that have no owner. On for everyone means 100 % for every tenant,
off for everyone that no tenant has it, cohorts included.

The dates are those of the commits. Outside a repository there is no history, and the first question is
left out. Exit 3 when something was found.`,
		Example: `  propose stale
  propose stale --days 90 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now, err := parseTime("--now", nowText, time.Now())
			if err != nil {
				return err
			}
			if days < 1 {
				return usage(fmt.Errorf("--days %d: at least 1", days))
			}
			return a.stale(cmd.Context(), days, now.UTC())
		},
	}
	cmd.Flags().IntVar(&days, "days", 30, "after `N` days on or off for everyone a feature is stale")
	cmd.Flags().StringVar(&nowText, "now", "", "judge as of this `TIME` (default now)")
	cli.NoEnv(cmd, "now")
	return cmd
}

type staleLine struct {
	Feature string     `json:"feature"`
	Owner   string     `json:"owner,omitempty"`
	Kind    string     `json:"kind"` // on-for-all, off-for-all, expired, no-owner
	Since   *time.Time `json:"since,omitempty"`
	Days    int        `json:"days,omitzero"`
	Text    string     `json:"text"`
}

func (a *app) stale(ctx context.Context, days int, now time.Time) error {
	path := a.specPath()
	spec, err := a.readSpec(path)
	if err != nil {
		return err
	}
	since, err := a.settledSince(ctx, path, spec)
	if err != nil {
		return err
	}
	found := 0
	for _, name := range spec.Features() {
		for _, line := range staleLines(spec.Feature(name), since, days, now) {
			found++
			if a.json {
				err = cli.JSONLine(a.env.Stdout, "stale/v1", line)
			} else {
				owner := ""
				if line.Owner != "" {
					owner = " (" + line.Owner + ")"
				}
				_, err = io.WriteString(a.env.Stdout, cli.Printable(fmt.Sprintf("%s%s: %s\n", name, owner, line.Text)))
			}
			if err != nil {
				return err
			}
		}
	}
	if found > 0 {
		return cli.Exit(cli.ExitChanges, nil)
	}
	if a.json {
		return nil
	}
	_, err = fmt.Fprintf(a.env.Stdout, "nothing stale in %s\n", counted(len(spec.Features()), "feature", "features"))
	return err
}

func staleLines(f *flags.Feature, since map[string]time.Time, days int, now time.Time) (out []staleLine) {
	add := func(kind, text string, at *time.Time, n int) {
		out = append(out, staleLine{f.Name, f.Owner, kind, at, n, text})
	}
	if at, ok := since[f.Name]; ok {
		if n := int(now.Sub(at) / (24 * time.Hour)); n >= days {
			state := settled(f)
			add(state+"-for-all", fmt.Sprintf("%s for everyone for %d days, since %s", state, n, at.Format(time.DateOnly)), &at, n)
		}
	}
	if f.Expires != "" && strings.Compare(now.Format(time.DateOnly), f.Expires) > 0 {
		add("expired", "should have gone by "+f.Expires, nil, 0)
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

// settledSince is when each feature that is on or off for everyone became so: the oldest commit of
// an unbroken line of those that say the same. One that only the work tree says is missing.
func (a *app) settledSince(ctx context.Context, path string, spec *flags.Spec) (map[string]time.Time, error) {
	since := map[string]time.Time{}
	c, err := checkoutOf(path)
	if err != nil || c == nil {
		return since, err
	}
	if _, head, err := c.Head(ctx); err != nil || head == "" {
		return since, err
	}
	c.dec = &a.dec
	pending := map[string]string{}
	for _, name := range spec.Features() {
		if state := settled(spec.Feature(name)); state != "" {
			pending[name] = state
		}
	}
	commits, err := c.History(ctx, "HEAD", c.spec)
	if err != nil {
		return nil, err
	}
	for _, commit := range commits { // newest first
		if len(pending) == 0 {
			break
		}
		past, err := c.specAt(ctx, commit.Hash)
		if err != nil {
			continue // it was never live
		}
		for name, state := range pending {
			if f := featureOf(past, name); f != nil && settled(f) == state {
				since[name] = commit.When.UTC()
			} else {
				delete(pending, name)
			}
		}
	}
	return since, nil
}

func featureOf(spec *flags.Spec, name string) *flags.Feature {
	if spec == nil {
		return nil
	}
	return spec.Feature(name)
}
