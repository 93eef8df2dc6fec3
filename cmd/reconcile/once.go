package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
)

func onceCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "once [flags]",
		Short: "Make one pass and say what it did",
		Long: `once makes one pass: it reads the branch, takes what is authorized, makes Redis hold it, puts right what
differs there, and prints what it did.

It exits 0 when the newest spec in git is live, 4 when it is not and a person must act (good commits
below it are applied all the same), and 1 when something broke that trying again may mend.

Where another instance leads, once writes nothing: it judges for itself, says whether the newest spec is
live, and exits 1 while it is not. It waits for nobody.`,
		Example: `  reconcile once --repo https://git.example/flags --trust trust.json --redis redis://localhost`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelWarn
			if a.debug {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(a.env.Stderr, &slog.HandlerOptions{Level: level}))
			a.writes = true
			o, err := a.open(cmd.Context(), log, silent{}, nil)
			if err != nil {
				return err
			}
			defer o.Close()
			res, err := o.Pass(cmd.Context())
			if perr := a.printResult(res, err); perr != nil {
				return perr
			}
			return withOverrides(res, verdictOf(res, err, a.path))
		},
	}
	a.bind(cmd)
	a.receipts.bind(cmd)
	a.bindLease(cmd)
	return cmd
}

// silent keeps no record: once prints its events itself.
type silent struct{}

func (silent) Intent(context.Context, reconciler.Event) error  { return nil }
func (silent) Outcome(context.Context, reconciler.Event) error { return nil }

// withOverrides adds to a verdict the statements left as files that were refused: whoever left them believes something is off.
func withOverrides(res reconciler.Result, verdict error) error {
	for _, e := range res.Events {
		if e.Kind == reconciler.KindOverride && e.Outcome == reconciler.OutcomeRefused {
			verdict = cli.Exit(cli.ExitRefused, errors.Join(verdict, cli.Hint(fmt.Errorf("refused: a statement left as a file: %s: %s", e.Code, e.Message),
				"%s", or(e.Hint, "make it anew, if it is still needed: propose override"))))
		}
	}
	return verdict
}

// verdictOf turns a pass into the command's error and exit code.
func verdictOf(res reconciler.Result, err error, path string) error {
	if res.Refused && res.Status != nil {
		s := res.Status
		if s.Suspended != nil {
			return cli.Exit(cli.ExitRefused, errors.Join(cli.Hint(fmt.Errorf("%s: nothing new from git is taken", s.Suspended), "reconcile resume"), err))
		}
		all := append(append([]reconciler.Refusal{}, s.Deferred...), s.Refused...)
		refusal := errors.New("refused: the newest commit is not live")
		if len(all) > 0 {
			last := all[len(all)-1]
			word := "refused"
			if reconciler.ReasonFor(last.Code).Class == reconciler.ClassWaiting {
				word = "not yet"
			}
			refusal = fmt.Errorf("%s: %s at %.12s: %s: %s", word, path, last.Commit, last.Code, last.Message)
			if p := s.Policy; p != nil && p.Refused != nil && p.Refused.Commit == last.Commit && p.Refused.Code == last.Code { // its message names its file
				refusal = fmt.Errorf("%s: %.12s: %s: %s", word, last.Commit, last.Code, last.Message)
			}
			if last.Hint != "" {
				refusal = cli.Hint(refusal, "%s", last.Hint)
			}
		}
		return cli.Exit(cli.ExitRefused, errors.Join(refusal, err))
	}
	if err != nil {
		return explain(fmt.Errorf("reconciling %s: %w", path, err), "")
	}
	if s := res.Status; s.Role == reconciler.RoleFollower && !s.HeadLive {
		return cli.Hint(fmt.Errorf("%w: %s makes live what is authorized, and has not yet", reconciler.ErrNotLeader, leaderName(s.Leader)), "try again; or ask it to look now: POST /admin/reconcile")
	}
	return nil
}

// printResult says what a pass did.
func (a *app) printResult(res reconciler.Result, trouble error) error {
	if res.Status == nil {
		return nil
	}
	if a.json {
		for _, e := range res.Events {
			if err := cli.JSONLine(a.env.Stdout, "event/v1", e); err != nil {
				return err
			}
		}
		return a.line(res.Status)
	}
	p := a.env.OutPalette()
	for _, e := range res.Events {
		fmt.Fprint(a.env.Stdout, describe(e, p))
	}
	if s := res.Status; s.Role == reconciler.RoleFollower {
		if s.Leader == nil && trouble != nil { // Redis was not reached: who leads and what is live is not known
			return nil
		}
		fmt.Fprintf(a.env.Stdout, "%s\n", cli.Printable(fmt.Sprintf("%s leads, and nothing was written: %s", leaderName(s.Leader), res.Describe())))
		return nil
	}
	if len(res.Events) == 0 && res.Status.Applied != nil {
		fmt.Fprintln(a.env.Stdout, "nothing to do: "+res.Describe())
	}
	return nil
}

// leaderName is who leads, for a person.
func leaderName(l *reconciler.Leader) string {
	switch {
	case l == nil:
		return "nobody"
	case l.Address != "":
		return fmt.Sprintf("%s (%s)", l.Name, l.Address)
	}
	return l.Name
}

const maxLines = 40

// describe is an event for a person: a headline, and what it did below it.
func describe(e reconciler.Event, p cli.Palette) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	by := ""
	if len(e.Signers) > 0 {
		by = ", signed by " + strings.Join(e.Signers, ", ")
	}
	switch e.Outcome {
	case reconciler.OutcomeApplied:
		switch e.Kind {
		case reconciler.KindPolicy, reconciler.KindAcceptHistory, reconciler.KindRevoked:
			line("%s%s", p.Bold(e.Message), by)
		case reconciler.KindSuspension, reconciler.KindRequest:
			line("%s", p.Bold(e.Message))
		case reconciler.KindOverride:
			line("%s %s%s", p.Bold("override"), e.Message, by)
			changeLines(&b, e.Changes, p)
		case reconciler.KindRepair:
			line("%s entries in Redis that differed from generation %d: %s", p.Bold("repaired"), e.Generation, e.Drift)
			driftLines(&b, e.Drift)
		case reconciler.KindRefill:
			line("%s Redis, which had lost its content, from generation %d", p.Bold("refilled"), e.Generation)
		default:
			word := map[reconciler.Kind]string{reconciler.KindRollback: " (rolled back)", reconciler.KindResume: " (resumed)"}[e.Kind]
			line("%s generation %d%s: %s at %.12s%s", p.Green("live"), e.Generation, word, e.Version, e.Commit, by)
			changeLines(&b, e.Changes, p)
		}
		if e.Counts != nil {
			line("  %d set, %d deleted", e.Counts.Set, e.Counts.Deleted)
		}
	case reconciler.OutcomeSuperseded:
		line("accepted generation %d: %s at %.12s%s", e.Generation, e.Version, e.Commit, by)
	case reconciler.OutcomeDeferred:
		line("%s %.12s: %s: %s", p.Bold("not yet"), e.Commit, e.Code, e.Message)
	default:
		if e.Kind == reconciler.KindOverride { // it is about no commit
			line("%s override: %s: %s", p.Red(string(e.Outcome)), e.Code, strings.TrimSpace(e.Message+" "+e.Error))
			break
		}
		line("%s %.12s: %s: %s", p.Red(string(e.Outcome)), e.Commit, e.Code, strings.TrimSpace(e.Message+" "+e.Error))
	}
	return cli.Printable(b.String())
}

func changeLines(b *strings.Builder, changes []flags.Change, p cli.Palette) {
	for i, c := range changes {
		if i == maxLines {
			fmt.Fprintf(b, "  and %d more changes\n", len(changes)-maxLines)
			return
		}
		text := c.String()
		if c.Kind == flags.Salt {
			text = p.Red(text)
		}
		fmt.Fprintln(b, "  "+text)
	}
}

func driftLines(b *strings.Builder, d *reconciler.Drift) {
	if d == nil {
		return
	}
	for _, f := range d.Found {
		fmt.Fprintf(b, "  %s %s\n", f.Entry, f.Kind)
		if f.Was != "" {
			fmt.Fprintf(b, "    was  %s\n", f.Was)
		}
		if f.Want != "" {
			fmt.Fprintf(b, "    now  %s\n", f.Want)
		}
	}
}
