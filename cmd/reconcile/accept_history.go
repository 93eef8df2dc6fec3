package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/trust"
)

func acceptHistoryCommand(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "accept-history COMMIT [flags]",
		Short: "Go on from a commit after history was rewritten on purpose",
		Long: `accept-history signs a statement that the reconciler may go on from COMMIT, which does not descend from the last
accepted one, and leaves it in the state folder. The reconciler takes it at its next pass when the key is of a
maintainer: a role that may do everything, and whose threshold is one. The commit is then judged like any other.

COMMIT is a full hash, or the beginning (seven digits or more) of where the branch was last seen.`,
		Example: `  reconcile accept-history 9f3c2ab --reason "moved to a new host" --key alice.key`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return cli.Exit(cli.ExitUsage, errors.New("--reason says why, to everyone who looks later"))
			}
			dir, err := a.stateFolder(a.env)
			if err != nil {
				return err
			}
			status, err := reconciler.LastStatus(dir)
			if err != nil {
				return err
			}
			if status.Verified == nil {
				return cli.Exit(cli.ExitRefused, errors.New("nothing was accepted yet, so no history was left"))
			}
			to := strings.ToLower(args[0])
			if o := status.Observed; len(to) >= 7 && o != nil && strings.HasPrefix(o.Commit, to) {
				to = o.Commit
			}
			statement := trust.AcceptHistory{
				Environment: status.Environment, ID: trust.NewID(), Issued: time.Now().UTC().Truncate(time.Second),
				From: status.Verified.Commit, To: to, Reason: reason,
			}
			text, err := statement.Encode()
			if err != nil {
				return cli.Exit(cli.ExitUsage, err)
			}
			signer, err := a.signer()
			if err != nil {
				return err
			}
			if signer == nil {
				return cli.Exit(cli.ExitUsage, errors.New("--key names the maintainer's private key"))
			}
			bundle, err := signer.Sign(cmd.Context(), text)
			if err != nil {
				return fmt.Errorf("signing the statement: %w", err)
			}
			sealed, err := trust.Sealed{Statement: text, Bundles: [][]byte{bundle}}.Encode()
			if err != nil {
				return err
			}
			if err := reconciler.AcceptHistory(dir, sealed); err != nil {
				return err
			}
			a.env.Talk("the next pass judges it: reconcile status")
			_, err = fmt.Fprintf(a.env.Stdout, "history may go on from %.12s in place of %.12s\n", to, statement.From)
			return err
		},
	}
	a.bind(cmd)
	cmd.Flags().Lookup("key").Usage = "the maintainer's private key, a `FILE`"
	cmd.Flags().StringVar(&reason, "reason", "", "why: `TEXT` that stays with the record")
	cli.NoEnv(cmd, "reason")
	return cmd
}
