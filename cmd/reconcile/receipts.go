package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/reconciler"
)

// reader are the settings of commands that read ledgers.
type reader struct {
	a       *app
	ledgers []string
}

func (r *reader) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&r.ledgers, "ledger", nil, "a ledger's `DIR`; may be repeated, for several instances (default: ledger in the state folder)")
	f.StringVar(&r.a.stateDir, "state-dir", "", "the state folder, a `DIR`")
	f.StringVar(&r.a.repo, "repo", "", "the `URL` of the repository, which names the default state folder")
	f.StringVar(&r.a.branch, "branch", "main", "the `BRANCH`, likewise")
	f.StringVar(&r.a.path, "path", "specs/flags.json", "the spec's `PATH`, likewise")
	f.StringVar(&r.a.namespace, "namespace", "flags:v1:", "the `PREFIX` of every key, likewise")
	f.BoolVar(&r.a.json, "json", false, "print JSON, one object a line")
}

// dirs are the ledgers to read.
func (r *reader) dirs() ([]string, error) {
	dirs := r.ledgers
	if len(dirs) == 0 {
		state, err := r.a.stateFolder(r.a.env)
		if err != nil {
			return nil, err
		}
		dirs = []string{filepath.Join(state, "ledger")}
	}
	for _, d := range dirs {
		if _, err := os.Stat(filepath.Join(d, "key.pub")); err != nil {
			return nil, cli.Hint(fmt.Errorf("no ledger in %s: %w", d, err), "set --ledger DIR or --state-dir DIR as the reconciler has it")
		}
	}
	return dirs, nil
}

// each calls fn for every receipt of every ledger, in order.
func (r *reader) each(fn func(dir string, rec receipt.Record) error) error {
	dirs, err := r.dirs()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		src, err := receipt.OpenSource(dir)
		if err != nil {
			return err
		}
		if err := src.Scan(func(rec receipt.Record) error { return fn(dir, rec) }); err != nil {
			return err
		}
	}
	return nil
}

func receiptsCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "receipts",
		Short: "Read, prove and verify the record of what happened",
		Long: `receipts reads the ledger: a receipt for each generation, refusal, rollback, repair and anchor. Its records
stand in a Merkle log with signed checkpoints (C2SP tlog-tiles), so anybody can check that none was changed,
dropped or reordered.`,
	}
	cmd.AddCommand(receiptsList(a), receiptsVerify(a), receiptsProve(a), receiptsBackfill(a))
	return cmd
}

func receiptsList(a *app) *cobra.Command {
	r := reader{a: a}
	var kind, since string
	var last int
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "List receipts, oldest first",
		Example: `  reconcile receipts list --last 20
  reconcile receipts list --kind refusal --since 24h --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			from := time.Time{}
			if since != "" {
				d, err := time.ParseDuration(since)
				if err != nil {
					return cli.Exit(cli.ExitUsage, fmt.Errorf("--since: %w", err))
				}
				from = time.Now().Add(-d)
			}
			var lines []func() error
			err := r.each(func(_ string, rec receipt.Record) error {
				if rec.Purged() {
					return nil
				}
				got, err := rec.Decode()
				if err != nil || (kind != "" && string(got.Kind) != kind) || got.Time.Before(from) {
					return err
				}
				lines = append(lines, func() error { return a.printReceipt(rec.Seq, got) })
				if last > 0 && len(lines) > last {
					lines = lines[1:]
				}
				return nil
			})
			if err != nil {
				return err
			}
			for _, print := range lines {
				if err := print(); err != nil {
					return err
				}
			}
			return nil
		},
	}
	r.bind(cmd)
	cmd.Flags().StringVar(&kind, "kind", "", "only of this `KIND`: generation, rollback, refusal, repair, override, suspension, policy, anchor, purge")
	cmd.Flags().StringVar(&since, "since", "", "only younger than `TIME`, such as 24h")
	cmd.Flags().IntVar(&last, "last", 0, "only the last `N`")
	cli.NoEnv(cmd, "kind", "since", "last")
	return cmd
}

func (a *app) printReceipt(seq uint64, r receipt.Receipt) error {
	if a.json {
		return cli.JSONLine(a.env.Stdout, receipt.Format, struct {
			Format *string `json:"format,omitempty"` // the line has it already
			Seq    uint64  `json:"seq"`
			receipt.Receipt
		}{nil, seq, r})
	}
	var signers []string
	for _, s := range r.Signers {
		signers = append(signers, s.Name)
	}
	about := r.Detail
	if len(r.Changes) > 0 {
		about = fmt.Sprintf("%d changes", len(r.Changes)+r.ChangesOmitted)
	}
	if r.Anchored != nil {
		about = fmt.Sprintf("%d receipts confirmed by %s: %s", r.Anchored.Size, r.Anchored.Notary, r.Anchored.NotaryID)
	}
	text := fmt.Sprintf("%6d  %s  %-10s %-7s %-9s gen %-4d %.10s  %s  %s", seq, r.Time.Format(time.RFC3339), r.Kind, r.Phase, r.Result, r.Generation, r.Commit, strings.Join(signers, ","), about)
	if r.Reason != "" {
		text += "  " + r.Reason
	}
	_, err := fmt.Fprintln(a.env.Stdout, cli.Printable(strings.TrimRight(text, " ")))
	return err
}

func receiptsVerify(a *app) *cobra.Command {
	r := reader{a: a}
	var key, trustedRoot string
	var witnesses []string
	cmd := &cobra.Command{
		Use:   "verify [flags]",
		Short: "Check that no receipt was changed, dropped, reordered or forked",
		Long: `verify checks ledgers offline, from their files alone: the checkpoint's signature, every record against its
leaf, the leaves against the checkpoint's root, and every checkpoint that a notary confirmed as a prefix of
this log. It exits 4 when something is wrong, and names it.

With --witness it checks the cosignatures of a C2SP witness, with --trusted-root the entries of a Rekor log,
both without network; each must be there, and cover what it says.

Without --key it takes the key.pub that lies beside the ledger, which proves only that the ledger agrees with
itself: keep the key elsewhere and give it.`,
		Example: `  reconcile receipts verify --state-dir /var/lib/rampart --key "$(cat ledger.pub)"
  reconcile receipts verify --ledger a/ledger --ledger b/ledger
  reconcile receipts verify --witness "$(cat witness.pub)" --trusted-root trusted_root.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks, err := outsideChecks(witnesses, trustedRoot)
			if err != nil {
				return err
			}
			dirs, err := r.dirs()
			if err != nil {
				return err
			}
			bad := 0
			for _, dir := range dirs {
				rep, err := receipt.Verify(cmd.Context(), dir, key, checks...)
				if err != nil {
					return err
				}
				bad += len(rep.Findings)
				if err := a.printReport(dir, rep); err != nil {
					return err
				}
			}
			if bad > 0 {
				return cli.Exit(cli.ExitRefused, cli.Hint(errors.New("the ledger is not what was written"), "keep it as it is for whoever looks into it; receipts go on in a new one after the folder was moved away"))
			}
			return nil
		},
	}
	r.bind(cmd)
	cmd.Flags().StringVar(&key, "key", "", "the log's public `KEY`, as key.pub has it")
	cli.NoEnv(cmd, "key") // RAMPART_KEY is somebody's private key
	cmd.Flags().StringArrayVar(&witnesses, "witness", nil, "the public `KEY` of a C2SP witness whose cosignatures must be there; may be repeated")
	cmd.Flags().StringVar(&trustedRoot, "trusted-root", "", "the trusted root, a `FILE`, with a Rekor log whose entries must be there")
	return cmd
}

// outsideChecks are those of the answers that are kept as proofs.
func outsideChecks(witnesses []string, trustedRoot string) ([]receipt.Check, error) {
	var checks []receipt.Check
	for _, key := range witnesses {
		c, err := receipt.WitnessCheck(key)
		if err != nil {
			return nil, cli.Exit(cli.ExitUsage, fmt.Errorf("--witness: %w", err))
		}
		checks = append(checks, c)
	}
	if trustedRoot != "" {
		c, err := rekorCheck(trustedRoot)
		if err != nil {
			return nil, cli.Exit(cli.ExitUsage, fmt.Errorf("--trusted-root: %w", err))
		}
		checks = append(checks, c)
	}
	return checks, nil
}

func (a *app) printReport(dir string, rep receipt.Report) error {
	if a.json {
		return cli.JSONLine(a.env.Stdout, "receipts-verify/v1", struct {
			Dir string `json:"dir"`
			OK  bool   `json:"ok"`
			receipt.Report
		}{dir, rep.OK(), rep})
	}
	p := a.env.OutPalette()
	word := p.Green("ok")
	if !rep.OK() {
		word = p.Red("WRONG")
	}
	fmt.Fprintf(a.env.Stdout, "%s  %s: %d receipts, %d in the log, %d not logged yet, %d purged, %d anchors\n", word, rep.Origin, rep.Records, rep.Leaves, rep.Unlogged, rep.Purged, rep.Anchors)
	for _, c := range rep.Checked {
		fmt.Fprintf(a.env.Stdout, "  %s: %d proofs hold, up to %d receipts\n", cli.Printable(c.Name), c.Proofs, c.Size)
	}
	for _, f := range rep.Findings {
		fmt.Fprintf(a.env.Stdout, "  %s: %s\n", p.Red(string(f.Problem)), cli.Printable(f.Detail))
	}
	if rep.MoreFound > 0 {
		fmt.Fprintf(a.env.Stdout, "  and %d more\n", rep.MoreFound)
	}
	return nil
}

func receiptsProve(a *app) *cobra.Command {
	r := reader{a: a}
	var check, key string
	cmd := &cobra.Command{
		Use:   "prove NUMBER [flags]",
		Short: "Prove that a receipt is in the log, or check such a proof",
		Long: `prove prints a proof that receipt NUMBER is in the log (RFC 6962): with the log's public key alone, anybody
can check it, and learns nothing of other receipts. With --check it checks a proof from a file instead.`,
		Example: `  reconcile receipts prove 42 >proof.json
  reconcile receipts prove --check proof.json --key "$(cat ledger.pub)"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if check != "" {
				return a.checkProof(check, key)
			}
			if len(args) != 1 {
				return cli.Exit(cli.ExitUsage, errors.New("which receipt? Give its number, as list shows it"))
			}
			seq, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return cli.Exit(cli.ExitUsage, fmt.Errorf("%q is no receipt's number", args[0]))
			}
			dirs, err := r.dirs()
			if err != nil {
				return err
			}
			proof, err := receipt.Prove(cmd.Context(), dirs[0], seq)
			if err != nil {
				return err
			}
			return cli.JSONLine(a.env.Stdout, "receipt-proof/v1", proof)
		},
	}
	r.bind(cmd)
	cmd.Flags().StringVar(&check, "check", "", "check the proof in `FILE`")
	cmd.Flags().StringVar(&key, "key", "", "the log's public `KEY`, for --check")
	cli.NoEnv(cmd, "key")
	return cmd
}

func (a *app) checkProof(path, key string) error {
	if key == "" {
		return cli.Exit(cli.ExitUsage, errors.New("--check needs --key: the log's public key, from somewhere else than the proof"))
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the proof: %w", err)
	}
	var p receipt.Proof
	if err := json.Unmarshal(src, &p); err != nil {
		return fmt.Errorf("reading the proof in %s: %w", path, err)
	}
	if err := p.Check(key); err != nil {
		return cli.Exit(cli.ExitRefused, fmt.Errorf("checking the proof: %w", err))
	}
	fmt.Fprintf(a.env.Stdout, "ok  receipt %d is in the log of %d receipts\n", p.Seq, p.Size)
	return nil
}

func receiptsBackfill(a *app) *cobra.Command {
	var s ledgerSettings
	cmd := &cobra.Command{
		Use:   "backfill [flags]",
		Short: "Make receipts for generations from before the ledger",
		Long: `backfill makes a receipt for each accepted generation of the state folder that the ledger has none of, marked as
backfilled: they say what the state folder says now, not what was witnessed then. Stop the reconciler first.`,
		Example: `  reconcile receipts backfill --state-dir /var/lib/rampart`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := a.backfill(cmd.Context(), s)
			if err == nil {
				fmt.Fprintf(a.env.Stdout, "%d receipts made\n", n)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&a.stateDir, "state-dir", "", "the state folder, a `DIR`")
	f.StringVar(&a.name, "name", "", "this instance's `NAME`, for a new ledger")
	f.StringVar(&s.ledger, "ledger", "", "the ledger's `DIR` (default: ledger in the state folder)")
	return cmd
}

func (a *app) backfill(ctx context.Context, s ledgerSettings) (int, error) {
	state, err := a.stateFolder(a.env)
	if err != nil {
		return 0, err
	}
	all, err := reconciler.Generations(state)
	if err != nil {
		return 0, err
	}
	l, err := s.openLedger(ctx, a.logger(), state, a.name, nil)
	if err != nil {
		return 0, err
	}
	if l == nil {
		return 0, cli.Exit(cli.ExitUsage, errors.New("there is no ledger to fill: --ledger is off"))
	}
	have := map[uint64]bool{}
	err = l.Scan(0, func(rec receipt.Record) error {
		if rec.Purged() {
			return nil
		}
		r, err := rec.Decode()
		if err == nil && r.Phase == receipt.Outcome && (r.Kind == receipt.Generation || r.Kind == receipt.Rollback) {
			have[r.Generation] = true
		}
		return err
	})
	n := 0
	for _, g := range all {
		if err != nil || have[g.Number] {
			continue
		}
		r := reconciler.NewReceipt(reconciler.Event{Kind: g.Kind, At: g.At, Environment: g.Environment, Commit: g.Commit, Generation: g.Number,
			Version: g.Version, Digest: g.Digest, Previous: g.Previous, Signers: g.Signers, Roles: g.Roles, Outcome: reconciler.OutcomeApplied}, receipt.Outcome)
		r.Backfilled = true
		if _, err = l.Append(ctx, r); err == nil {
			n++
		}
	}
	return n, errors.Join(err, l.Close())
}
