package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/reconciler"
)

func lineageCommand(a *app) *cobra.Command {
	r := reader{a: a}
	cmd := &cobra.Command{
		Use:   "lineage CHAIN|OPERATION|COMMIT [flags]",
		Short: "Draw what led to a change, and what came of it",
		Long: `lineage rebuilds a chain from the receipts: the proposal that a commit names in its trailers, the announcement
and the outcome of what was applied, repairs, and the notaries that confirmed it. A parent that is named and
recorded nowhere is said to be missing; nothing is guessed. It exits 4 when a chain is not complete.`,
		Example: `  reconcile lineage 4f1c0f7e
  reconcile lineage 0af7651916cd43dd8448eb211c80319c --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dirs, err := r.dirs()
			if err != nil {
				return err
			}
			var scans []func(fn func(receipt.Record) error) error
			for _, dir := range dirs {
				src, err := receipt.OpenSource(dir)
				if err != nil {
					return err
				}
				scans = append(scans, src.Scan)
			}
			chains, err := receipt.Lineage(args[0], scans...)
			if err != nil {
				return err
			}
			if len(chains) == 0 {
				return cli.Hint(fmt.Errorf("no receipt belongs to %q", args[0]), "give a chain id, an operation's id, or at least seven digits of a commit: reconcile receipts list")
			}
			complete := true
			for _, c := range chains {
				complete = complete && c.Complete()
				if err := a.printChain(c); err != nil {
					return err
				}
			}
			if !complete {
				return cli.Exit(cli.ExitRefused, errors.New("the chain is not complete"))
			}
			return nil
		},
	}
	r.bind(cmd)
	return cmd
}

func (a *app) printChain(c receipt.Chain) error {
	if a.json {
		return cli.JSONLine(a.env.Stdout, "lineage/v1", struct {
			Complete bool `json:"complete"`
			receipt.Chain
		}{c.Complete(), c})
	}
	p := a.env.OutPalette()
	var b strings.Builder
	fmt.Fprintf(&b, "chain %s\n", p.Bold(c.ID))
	depth := map[string]int{}
	for _, s := range c.Steps {
		d, known := depth[s.ParentID]
		if known {
			d++
		}
		depth[s.OpID] = d
		fmt.Fprintf(&b, "%s└─ %s\n", strings.Repeat("   ", d), stepText(s, p))
	}
	for _, m := range c.Missing {
		fmt.Fprintf(&b, "%s\n", p.Red("missing: operation "+m+" is named as a parent and recorded nowhere"))
	}
	for _, an := range c.Anchors {
		fmt.Fprintf(&b, "anchored by %s: %s\n", an.Notary, an.NotaryID)
	}
	_, err := fmt.Fprint(a.env.Stdout, cli.Printable(b.String()))
	return err
}

func stepText(s receipt.Step, p cli.Palette) string {
	text := fmt.Sprintf("%s %s", s.Kind, s.OpID)
	if s.Commit != "" {
		text += fmt.Sprintf(" commit %.12s", s.Commit)
	}
	switch r := s.Outcome; {
	case r != nil:
		text += fmt.Sprintf(": %s %s", r.Result, r.Time.Format(time.RFC3339))
		if r.Generation > 0 {
			text += fmt.Sprintf(" generation %d", r.Generation)
		}
		if r.Reason != "" {
			text += " " + r.Reason
		}
	case s.Intent != nil:
		text += ": " + p.Red("announced, and no outcome was recorded")
	}
	if s.Attempts > 1 {
		text += fmt.Sprintf(" (%d attempts)", s.Attempts)
	}
	return text
}

func coverageCommand(a *app) *cobra.Command {
	r := reader{a: a}
	var notaries []string
	var prom bool
	cmd := &cobra.Command{
		Use:   "coverage [flags]",
		Short: "Say which changes have a complete record",
		Long: `coverage checks, for each generation that was accepted, that its receipt is there, that the log's checkpoint
commits to it, that every notary confirmed it, and that it names the proposal that it came from. 100 % is the
normal state; it exits 4 below.

With --json it prints what ramps read as coverage evidence, with --prometheus a page for a textfile collector.`,
		Example: `  reconcile coverage --notary main
  reconcile coverage --json >coverage.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cov, err := a.coverage(r, notaries)
			if err != nil {
				return err
			}
			switch {
			case prom:
				printCoverageMetrics(a, cov)
			case a.json:
				err = cli.JSONLine(a.env.Stdout, "receipt-coverage/v1", cov)
			default:
				printCoverage(a, cov)
			}
			if err == nil && cov.Overall.Complete < cov.Overall.All {
				err = cli.Exit(cli.ExitRefused, fmt.Errorf("%d of %d generations have no complete record", cov.Overall.All-cov.Overall.Complete, cov.Overall.All))
			}
			return err
		},
	}
	r.bind(cmd)
	cmd.Flags().StringArrayVar(&notaries, "notary", nil, "a notary's `NAME` that must have confirmed everything; may be repeated")
	cmd.Flags().BoolVar(&prom, "prometheus", false, "print metrics")
	cli.NoEnv(cmd, "notary", "prometheus")
	return cmd
}

func (a *app) coverage(r reader, notaries []string) (receipt.Coverage, error) {
	state, err := a.stateFolder(a.env)
	if err != nil {
		return receipt.Coverage{}, err
	}
	dirs, err := r.dirs()
	if err != nil {
		return receipt.Coverage{}, err
	}
	return coverageOf(state, dirs, notaries)
}

// coverageOf compares the accepted generations of a state folder with ledgers.
func coverageOf(state string, dirs, notaries []string) (receipt.Coverage, error) {
	for i, n := range notaries { // NAME=URL is taken as well, as run has it
		notaries[i], _, _ = strings.Cut(n, "=")
	}
	all, err := reconciler.Generations(state)
	if err != nil {
		return receipt.Coverage{}, err
	}
	var sources []receipt.Source
	entries := map[uint64]map[receipt.Entry]bool{}
	for _, dir := range dirs {
		src, err := receipt.OpenSource(dir)
		if err != nil {
			return receipt.Coverage{}, err
		}
		sources = append(sources, src)
		err = src.Scan(func(rec receipt.Record) error {
			if rec.Purged() {
				return nil
			}
			got, err := rec.Decode()
			if err != nil || got.Generation == 0 {
				return err
			}
			if entries[got.Generation] == nil {
				entries[got.Generation] = map[receipt.Entry]bool{}
			}
			for _, c := range got.Changes {
				if c.Feature != "" {
					tenant := c.Tenant
					if tenant == "" {
						tenant = "__default__"
					}
					entries[got.Generation][receipt.Entry{Feature: c.Feature, Tenant: tenant}] = true
				}
			}
			return nil
		})
		if err != nil {
			return receipt.Coverage{}, err
		}
	}
	var want []receipt.Expected
	for _, g := range all {
		e := receipt.Expected{Generation: g.Number, Commit: g.Commit, Version: g.Version, Digest: g.Digest}
		for entry := range entries[g.Number] {
			e.Entries = append(e.Entries, entry)
		}
		want = append(want, e)
	}
	return receipt.Cover(time.Now(), want, notaries, sources...)
}

func printCoverage(a *app, cov receipt.Coverage) {
	p := a.env.OutPalette()
	for _, g := range cov.Generations {
		if g.OK() {
			continue
		}
		var lacks []string
		for what, has := range map[string]bool{"receipt": g.Receipt, "inclusion in the log": g.Inclusion, "lineage to a proposal": g.Lineage} {
			if !has {
				lacks = append(lacks, what)
			}
		}
		slices.Sort(lacks)
		for _, n := range g.Missing {
			lacks = append(lacks, "notary "+n)
		}
		fmt.Fprintf(a.env.Stdout, "%s generation %d, %s at %.12s: no %s\n", p.Red("incomplete"), g.Generation, g.Version, g.Commit, strings.Join(lacks, ", no "))
	}
	fmt.Fprintf(a.env.Stdout, "%d of %d generations complete, %s %%\n", cov.Overall.Complete, cov.Overall.All, strconv.FormatFloat(cov.Overall.Pct, 'f', -1, 64))
	for _, name := range sortedKeys(cov.Tenants) {
		s := cov.Tenants[name]
		fmt.Fprintf(a.env.Stdout, "  tenant %s: %d of %d, %.1f %%\n", name, s.Complete, s.All, s.Pct)
	}
}

func printCoverageMetrics(a *app, cov receipt.Coverage) {
	fmt.Fprintln(a.env.Stdout, "# HELP rampart_receipt_coverage_pct Share of a tenant's changes that have a complete record.\n# TYPE rampart_receipt_coverage_pct gauge")
	for _, name := range sortedKeys(cov.Tenants) {
		fmt.Fprintf(a.env.Stdout, "rampart_receipt_coverage_pct{tenant=%q} %s\n", name, strconv.FormatFloat(cov.Tenants[name].Pct, 'f', -1, 64))
	}
}

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
