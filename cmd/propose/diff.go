package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

func diffCommand(a *app) *cobra.Command {
	var markdown bool
	cmd := &cobra.Command{
		Use:   "diff [FROM [TO]] [flags]",
		Short: "Show what changed, and whom it touches",
		Long: `diff shows what really changes between two specs, for each entry, and who is turned on or off by it.
A change of salt, which deals everyone into new buckets, is marked "!" and shown in red.

FROM and TO are files, commits or COMMIT:PATH; "-" is stdin. Without TO it is the work tree's spec,
without FROM the committed one. Exit 3 when there are changes, 0 when there are none.`,
		Example: `  propose diff
  propose diff main
  propose diff v1.2 v1.3 --json
  propose diff origin/main --markdown > comment.md`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return a.diff(cmd.Context(), args, markdown) },
	}
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print Markdown for a pull request's comment")
	return cmd
}

// difference is two specs and what lies between them.
type difference struct {
	fromName, toName string
	from, to         *flags.Spec // from is nil where there was none
	changes          []flags.Change
	effects          []effect
}

func newDifference(fromName string, from *flags.Spec, toName string, to *flags.Spec) difference {
	d := difference{fromName: fromName, toName: toName, from: from, to: to, changes: flags.Diff(from, to)}
	d.effects = effects(d.changes)
	return d
}

func (a *app) diff(ctx context.Context, args []string, markdown bool) error {
	if markdown && a.json {
		return usage(errors.New("--markdown and --json are two answers: choose one"))
	}
	args = append(args, make([]string, 2-len(args))...)
	from, fromName, err := a.specAt(ctx, orCommitted(args[0]))
	if err != nil {
		return err
	}
	to, toName, err := a.specAt(ctx, args[1])
	if err != nil {
		return err
	}
	if to == nil {
		return fmt.Errorf("comparing with %s: it has no spec", toName)
	}
	d := newDifference(fromName, from, toName, to)
	switch {
	case markdown:
		_, err = io.WriteString(a.env.Stdout, d.markdown())
	case a.json:
		err = d.writeJSON(a.env.Stdout)
	default:
		err = d.writeText(a.env.Stdout, a.env.OutPalette())
	}
	if err == nil && len(d.changes) > 0 {
		err = cli.Exit(cli.ExitChanges, nil)
	}
	return err
}

func orCommitted(ref string) string {
	if ref == "" {
		return "HEAD"
	}
	return ref
}

// versions is "flags-v1 -> flags-v1+ramp.1", or one of them where nothing came before.
func (d difference) versions() string {
	if d.from == nil {
		return d.to.Version
	}
	return d.from.Version + " -> " + d.to.Version
}

func (d difference) writeText(w io.Writer, paint cli.Palette) error {
	if len(d.changes) == 0 {
		_, err := fmt.Fprintf(w, "no changes: %s\n", d.versions())
		return err
	}
	var b strings.Builder
	b.WriteString(paint.Bold(cli.Printable(d.versions())) + "\n")
	writeChanges(&b, d.changes, d.effects, paint)
	b.WriteString(cli.Printable("reach: " + sumUp(d.effects).String() + "\n"))
	_, err := io.WriteString(w, b.String())
	return err
}

// writeChanges prints one line a change, and for each entry what its changes do, together, to the
// people behind it.
func writeChanges(b *strings.Builder, changes []flags.Change, all []effect, paint cli.Palette) {
	does := map[flags.Key]string{}
	for _, e := range all {
		if !e.none() {
			does[flags.Key{Feature: e.Feature, Tenant: e.Tenant}] = cli.Printable(e.String())
		}
	}
	left := map[flags.Key]int{} // how many of an entry's changes are still to come
	width := 0
	for _, c := range changes {
		left[c.Key()]++
		width = max(width, min(60, len(c.String())))
	}
	alone := maps.Clone(left)
	for _, c := range changes {
		mark := "  "
		if c.Kind == flags.Salt {
			mark = "! "
		}
		line := mark + cli.Printable(c.String())
		left[c.Key()]--
		does := does[c.Key()]
		if does != "" && alone[c.Key()] == 1 {
			line = fmt.Sprintf("%-*s  %s", width+len(mark), line, does)
		}
		if c.Kind == flags.Salt {
			line = paint.Red(line)
		}
		b.WriteString(line + "\n")
		if does != "" && alone[c.Key()] > 1 && left[c.Key()] == 0 {
			b.WriteString("    = " + does + "\n")
		}
	}
}

func (d difference) writeJSON(w io.Writer) error {
	for _, c := range d.changes {
		if err := cli.JSONLine(w, "diff/v1", c); err != nil {
			return err
		}
	}
	for _, e := range d.effects {
		if err := cli.JSONLine(w, "diff.effect/v1", e); err != nil {
			return err
		}
	}
	line := struct {
		From        string `json:"from"`
		To          string `json:"to"`
		FromVersion string `json:"from_version,omitempty"`
		ToVersion   string `json:"to_version"`
		FromDigest  string `json:"from_digest,omitempty"`
		ToDigest    string `json:"to_digest"`
		Changes     int    `json:"changes"`
		Reach       blast  `json:"reach"`
	}{From: d.fromName, To: d.toName, ToVersion: d.to.Version, ToDigest: d.to.Digest(), Changes: len(d.changes), Reach: sumUp(d.effects)}
	if d.from != nil {
		line.FromVersion, line.FromDigest = d.from.Version, d.from.Digest()
	}
	return cli.JSONLine(w, "diff.summary/v1", line)
}
