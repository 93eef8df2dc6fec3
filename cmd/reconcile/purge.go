package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/receipt"
)

func purgeCommand(a *app) *cobra.Command {
	var s ledgerSettings
	var older, holds string
	var dry bool
	cmd := &cobra.Command{
		Use:   "purge --older-than TIME [flags]",
		Short: "Remove receipts past their time; the log still verifies",
		Long: `purge removes the bodies of receipts that are older than --older-than, and notaries' proofs that newer ones
cover. Digests stay, so the log verifies as before. With them goes the evidence of that age that was pushed to the
reconciler and lies in its state folder. It leaves a receipt of its own. The newest few megabytes of receipts,
which are being written, are left for the next time. Stop the reconciler first. What git holds, evidence among
it, is not touched (docs/receipts.md).

--holds names a file of legal holds, one word a line: a receipt that holds the word (a commit, an operation, a
chain, a feature, a tenant, a signer) is kept whatever its age. Lines that begin with # are comments.`,
		Example: `  reconcile purge --older-than 400d --dry-run
  reconcile purge --older-than 400d --holds holds.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			age, err := parseAge(older)
			if err != nil {
				return cli.Exit(cli.ExitUsage, fmt.Errorf("--older-than: %w", err))
			}
			hold, err := readHolds(holds)
			if err != nil {
				return err
			}
			opt := receipt.PurgeOptions{Before: time.Now().Add(-age), DryRun: dry}
			if len(hold) > 0 {
				opt.Hold = hold.receipt
			}
			done, err := a.purge(cmd.Context(), s, opt, hold)
			if err != nil {
				return err
			}
			if a.json {
				return cli.JSONLine(a.env.Stdout, "purge/v1", done)
			}
			word := "removed"
			if dry {
				word = "would be removed"
			}
			fmt.Fprintf(a.env.Stdout, "%d receipts, %d notaries' proofs and %d values of evidence %s, %d held, %d bytes\n", done.Bodies, done.Proofs, done.Evidence, word, done.Held, done.Bytes)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&older, "older-than", "", "the age `TIME` of what may go, such as 400d or 9600h")
	f.StringVar(&holds, "holds", "", "legal holds, a `FILE`")
	f.BoolVar(&dry, "dry-run", false, "only say what would go")
	f.StringVar(&a.stateDir, "state-dir", "", "the state folder, a `DIR`")
	f.StringVar(&s.ledger, "ledger", "", "the ledger's `DIR` (default: ledger in the state folder)")
	f.BoolVar(&a.json, "json", false, "print JSON")
	return cmd
}

func (a *app) purge(ctx context.Context, s ledgerSettings, opt receipt.PurgeOptions, held holds) (receipt.Purged, error) {
	state, err := a.stateFolder(a.env)
	if err != nil {
		return receipt.Purged{}, err
	}
	l, err := s.openLedger(ctx, a.logger(), state, a.name, nil)
	if err != nil {
		return receipt.Purged{}, err
	}
	if l == nil {
		return receipt.Purged{}, cli.Exit(cli.ExitUsage, errors.New("there is no ledger to purge: --ledger is off"))
	}
	opt.Evidence = func() (int, error) { return purgePushed(state, opt.Before, held, opt.DryRun) }
	done, err := l.Purge(ctx, opt)
	return done, errors.Join(err, l.Close())
}

// parseAge reads a duration that may be in days.
func parseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 1 || n > 36500 {
			return 0, fmt.Errorf("%q is no number of days", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d <= 0 {
		err = fmt.Errorf("%q is no age", s)
	}
	return d, err
}

// holds are the words of legal holds.
type holds map[string]bool

// readHolds reads legal holds, none where there is no file.
func readHolds(path string) (holds, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the holds: %w", err)
	}
	defer f.Close()
	held := holds{}
	in := bufio.NewScanner(f)
	for in.Scan() {
		if word := strings.TrimSpace(in.Text()); word != "" && !strings.HasPrefix(word, "#") {
			held[word] = true
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("reading the holds: %w", err)
	}
	return held, nil
}

// receipt reports whether a hold names a receipt.
func (held holds) receipt(r receipt.Receipt) bool {
	if held[r.Commit] || held[r.OpID] || held[r.ParentID] || held[r.ChainID] || held[r.Version] || held[r.Digest] {
		return true
	}
	for _, s := range r.Signers {
		if held[s.Name] {
			return true
		}
	}
	for _, c := range r.Changes {
		if held[c.Feature] || held[c.Tenant] {
			return true
		}
	}
	return false
}
