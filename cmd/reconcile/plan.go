package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
)

func planCommand(a *app) *cobra.Command {
	var onto string
	cmd := &cobra.Command{
		Use:   "plan [flags]",
		Short: "Say what a pass would do, and do nothing",
		Long: `plan reads the branch and Redis and says what a pass would do now: which commits it would take or
refuse and why, what that changes by meaning, and which entries it would write. Nothing is changed.

Where a reconciler runs on the same state folder, that one is asked. It exits 0 when there is nothing
to do, 3 when there are changes, and 4 when the newest commit would be refused.

After a rewrite of history it says what would happen if a maintainer let the reconciler go on from a
commit: --accept-history COMMIT, or a statement that waits in the state folder.`,
		Example: `  reconcile plan --repo https://git.example/flags --trust trust.json --redis redis://localhost`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.plan(cmd.Context(), onto)
			if err != nil {
				return err
			}
			if a.json {
				err = a.line(p)
			} else {
				a.printPlan(p)
			}
			if err != nil {
				return err
			}
			return planVerdict(p)
		},
	}
	a.bind(cmd)
	cmd.Flags().StringVar(&onto, "accept-history", "", "after a rewrite: as if a maintainer had said to go on from this `COMMIT`")
	cli.NoEnv(cmd, "accept-history")
	return cmd
}

func (a *app) plan(ctx context.Context, onto string) (*reconciler.Plan, error) {
	o, err := a.open(ctx, a.logger(), silent{}, nil)
	if errors.Is(err, reconciler.ErrStateInUse) || errors.Is(err, gitrepo.ErrLocked) {
		return a.planOfRunning(ctx, onto, err)
	}
	if err != nil {
		return nil, err
	}
	defer o.Close()
	p, err := o.PlanAccepting(ctx, onto)
	if err != nil {
		return nil, explain(fmt.Errorf("planning: %w", err), "")
	}
	return p, nil
}

// planOfRunning asks the reconciler that holds the state folder.
func (a *app) planOfRunning(ctx context.Context, onto string, held error) (*reconciler.Plan, error) {
	dir, err := a.stateFolder(a.env)
	if err != nil {
		return nil, err
	}
	path := "/api/v1/plan"
	if onto != "" {
		path += "?accept_history=" + url.QueryEscape(onto)
	}
	body, err := askRunning(ctx, dir, path)
	if err != nil {
		return nil, errors.Join(held, err)
	}
	var p reconciler.Plan
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, fmt.Errorf("reading the plan of the running reconciler: %w", err)
	}
	return &p, nil
}

func planVerdict(p *reconciler.Plan) error {
	switch {
	case p.Stopped != nil:
		err := fmt.Errorf("refused: %.12s: %s: %s", p.Stopped.Commit, p.Stopped.Code, p.Stopped.Message)
		return cli.Exit(cli.ExitRefused, cli.Hint(err, "%s", p.Stopped.Hint))
	case !p.HeadLive:
		last := p.Commits[len(p.Commits)-1]
		err := fmt.Errorf("%s: %.12s: %s: %s", last.Verdict, last.Commit, last.Code, last.Message)
		if last.Hint != "" {
			err = cli.Hint(err, "%s", last.Hint)
		}
		return cli.Exit(cli.ExitRefused, err)
	case p.Policy != nil && p.Policy.Refused != nil:
		ref := p.Policy.Refused
		err := fmt.Errorf("refused: %.12s: %s: %s", ref.Commit, ref.Code, ref.Message)
		return cli.Exit(cli.ExitRefused, cli.Hint(err, "%s", ref.Hint))
	case !p.Empty():
		return cli.Exit(cli.ExitChanges, nil)
	}
	return nil
}

func (a *app) printPlan(p *reconciler.Plan) {
	paint := a.env.OutPalette()
	say := func(format string, args ...any) {
		fmt.Fprintln(a.env.Stdout, cli.Printable(fmt.Sprintf(format, args...)))
	}
	if p.From != nil {
		say("live: generation %d, %s at %.12s", p.From.Generation, p.From.Version, p.From.Commit)
	} else {
		say("live: nothing")
	}
	if p.AcceptHistory != "" {
		say("if history goes on from %.12s:", p.AcceptHistory)
	}
	for _, c := range p.Commits {
		switch c.Verdict {
		case "policy":
			say("%s %.12s %s: %s, signed by %s", paint.Green(c.Verdict), c.Commit, c.Subject, c.Message, strings.Join(c.Signers, ", "))
		case "accepted", "rollback":
			say("%s %.12s %s: generation %d, %s", paint.Green(c.Verdict), c.Commit, c.Subject, c.Generation, c.Version)
		default:
			say("%s %.12s %s: %s: %s", paint.Red(c.Verdict), c.Commit, c.Subject, c.Code, c.Message)
		}
	}
	for _, f := range p.Overrides {
		say("override in force: %s, signed by %s: %s", f.Text, strings.Join(f.Signers, ", "), f.Reason)
	}
	for i, c := range p.Changes {
		if i == maxLines {
			say("  and %d more changes", len(p.Changes)-maxLines)
			break
		}
		say("  %s", c)
	}
	if p.Empty() && p.Stopped == nil && p.HeadLive && len(p.Commits) == 0 {
		say("nothing to do")
		return
	}
	say("entries: %d to set, %d to delete", len(p.Set), len(p.Delete))
}
