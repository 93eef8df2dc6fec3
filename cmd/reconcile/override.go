package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/trust"
)

const maxSealed = 1 << 20

func overrideCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "override FILE [flags]",
		Short: "Apply a signed break-glass statement: off or down, for its time",
		Long: `override gives a statement that propose override made to the reconciler that runs on the state folder; "-"
reads it from stdin. It goes live at once, without git, if a role that may disable (for down: or
ramp.down) signed it. docs/override.md describes statements.

Where no reconciler runs, the statement is left in the state folder for the next one.`,
		Example: `  propose override --off receipts --tenant acme --ttl 1h --key oncall.key > statement.json
  reconcile override statement.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := a.stateFolder(a.env)
			if err != nil {
				return err
			}
			src, err := a.env.Read(args[0], maxSealed)
			if err != nil {
				return fmt.Errorf("reading the statement: %w", err)
			}
			out, err := a.tellRunning(cmd.Context(), dir, "/admin/override", src)
			if errors.Is(err, errNoneRuns) {
				if err := readStatement(args[0], src); err != nil {
					return err
				}
				if err := used(dir); err != nil {
					return fmt.Errorf("leaving the statement for the next reconciler: %w", err)
				}
				if err = reconciler.DropOverride(dir, src); err == nil {
					a.env.Talk("no reconciler runs on %s: the next one will take it up", dir)
				}
				return err
			}
			if err == nil {
				_, err = a.env.Stdout.Write(out)
			}
			return err
		},
	}
	a.bind(cmd)
	return cmd
}

// readStatement refuses what no reconciler could take up.
func readStatement(file string, src []byte) error {
	sealed, err := trust.ParseSealed(file, src)
	if err == nil {
		_, err = trust.ParseOverride(file, sealed.Statement)
	}
	if err != nil {
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("reading the statement: %w", err), "give it what propose override made; docs/override.md describes statements"))
	}
	return nil
}

// overrideRoute takes what propose override makes.
func overrideRoute(mux *http.ServeMux, g *guard, o *opened) {
	mux.Handle("POST /admin/override", g.admin(func(w http.ResponseWriter, r *http.Request) {
		src, err := io.ReadAll(r.Body)
		if err != nil {
			answer(w, http.StatusRequestEntityTooLarge, map[string]string{"error": fmt.Sprintf("the statement is larger than %d bytes", maxSealed)})
			return
		}
		in, err := o.Override(r.Context(), src)
		var refused *reconciler.RefusedOverride
		switch {
		case errors.As(err, &refused):
			answer(w, http.StatusUnprocessableEntity, map[string]string{"error": refused.Message, "code": string(refused.Code), "hint": refused.Hint})
		case errors.Is(err, reconciler.ErrNotLeader) && !errors.Is(err, reconciler.ErrOverridePending):
			notLeader(w, o, err)
		case errors.Is(err, reconciler.ErrOverridePending):
			answer(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error(), "hint": "nothing is to be done: it goes live by itself as soon as Redis answers"})
		case err != nil:
			answer(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		default:
			answer(w, http.StatusOK, struct {
				Format string `json:"format"`
				reconciler.InForce
			}{"override-in-force/v1", in})
		}
	}))
}
