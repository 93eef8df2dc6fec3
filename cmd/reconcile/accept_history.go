package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/trust"
)

type acceptSettings struct{ reason, file, key string }

func acceptHistoryCommand(a *app) *cobra.Command {
	var s acceptSettings
	cmd := &cobra.Command{
		Use:   "accept-history [COMMIT] [flags]",
		Short: "Go on from a commit after history was rewritten on purpose",
		Long: `accept-history signs a statement that the reconciler may go on from COMMIT, which does not descend from the last
accepted one, and hands it over: to the reconciler that runs on the state folder, else to the next one there.
It counts when maintainers signed it: enough of a role that may do everything. The commit is then judged like
any other. reconcile plan --accept-history COMMIT says beforehand what that would do.

Where several must sign, --statement FILE keeps the statement. The first makes it, each further one adds a
signature with --key alone, on any machine; without --key it is handed over. Until it counts, it is only kept.

COMMIT is a full hash, or the beginning (seven digits or more) of where the branch was last seen.`,
		Example: `  reconcile accept-history 9f3c2ab --reason "moved to a new host" --key alice.key
  reconcile accept-history 9f3c2ab --reason "moved to a new host" --key alice.key --statement s.json
  reconcile accept-history --statement s.json --key bob.key
  reconcile accept-history --statement s.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.acceptHistory(cmd.Context(), args, s) },
	}
	cmd.Flags().StringVar(&s.key, "key", "", "the maintainer's private key, a `FILE`")
	a.bind(cmd)
	_ = cmd.Flags().MarkHidden("attest-key") // it vouches for nothing
	cmd.Flags().StringVar(&s.reason, "reason", "", "why: `TEXT` that stays with the record")
	cmd.Flags().StringVar(&s.file, "statement", "", "keep the statement in this `FILE`, for several to sign")
	cli.NoEnv(cmd, "reason", "statement")
	return cmd
}

func (a *app) acceptHistory(ctx context.Context, args []string, s acceptSettings) error {
	signer, err := a.signer(s.key)
	if err != nil {
		return err
	}
	if signer == nil && (s.file == "" || len(args) > 0) {
		return cli.Exit(cli.ExitUsage, errors.New("--key names the maintainer's private key"))
	}
	dir, err := a.stateFolder(a.env)
	if err != nil {
		return err
	}
	sealed, h, err := a.historyStatement(dir, args, s)
	if err != nil {
		return err
	}
	if signer != nil {
		bundle, err := signer.Sign(ctx, sealed.Statement)
		if err != nil {
			return fmt.Errorf("signing the statement: %w", err)
		}
		sealed.Bundles = append(sealed.Bundles, bundle)
	}
	body, err := sealed.Encode()
	if err != nil {
		return err
	}
	if s.file != "" && signer != nil {
		if err := os.WriteFile(s.file, body, 0o600); err != nil {
			return fmt.Errorf("keeping the statement: %w", err)
		}
		a.env.Talk("%s holds %s; the next signs with --statement %s --key KEY, the last hands it over without --key", s.file, counted(len(sealed.Bundles), "signature", "signatures"), s.file)
		a.tellCounted(dir, sealed)
		_, err := fmt.Fprintf(a.env.Stdout, "signed: history may go on from %.12s in place of %.12s\n", h.To, h.From)
		return err
	}
	_, err = a.tellRunning(ctx, dir, "/admin/accept-history", body)
	if errors.Is(err, errNoneRuns) {
		if err := used(dir); err != nil {
			return fmt.Errorf("leaving the statement for the next reconciler: %w", err)
		}
		a.env.Talk("no reconciler runs on %s: the next pass judges it: reconcile status", dir)
		a.tellCounted(dir, sealed)
		err = reconciler.AcceptHistory(dir, body)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.env.Stdout, "history may go on from %.12s in place of %.12s\n", h.To, h.From)
	return err
}

// tellCounted says whose signatures on a statement count, and by which policy, as far as this machine knows it. It only tells: the
// reconciler judges by its own, and whoever signs on another machine may have none.
func (a *app) tellCounted(dir string, sealed trust.Sealed) {
	policy, name, err := a.policyHere(dir)
	if err != nil {
		a.env.Warn("mend it: docs/trust.md", "whose signatures count cannot be told: %v", err)
		return
	}
	if policy == nil {
		a.env.Talk("whose signatures count cannot be told: there is no policy here; name it with --trust FILE")
		return
	}
	verify, _, err := a.verification()
	if err != nil {
		a.env.Warn(strings.Join(cli.Hints(err), "; "), "whose signatures count cannot be told: %v", err)
		return
	}
	result, now := sealed.Verify(policy, verify), time.Now()
	signers := result.Signers()
	count := policy.Maintainers(signers, now)
	for _, r := range result.Rejected {
		a.env.Warn("", "a signature counts for nothing (%s): %v", r.Path, r.Reason)
	}
	for _, s := range signers {
		if !slices.Contains(count, s) {
			a.env.Warn("", "the signature of %s counts for nothing: no role in which %s still is may do everything", s, s)
		}
	}
	a.env.Talk("judged by %s, the signatures that count: %s", name, or(strings.Join(count, ", "), "none"))
	if !policy.HasFull(signers, now) {
		a.env.Talk("hint: that is not enough of a role that may rewrite history; have more maintainers of that policy sign")
	}
}

// policyHere is the policy in force as far as the file of --trust and the state folder know it, and what to call it; nil where
// neither has one.
func (a *app) policyHere(dir string) (p *trust.Policy, name string, err error) {
	if a.trust != "" {
		src, err := os.ReadFile(a.trust)
		if err != nil {
			return nil, "", fmt.Errorf("reading the trust policy: %w", err)
		}
		if p, err = trust.Parse(a.trust, src); err != nil {
			return nil, "", fmt.Errorf("reading the trust policy: %w", err)
		}
		name = fmt.Sprintf("version %d of the policy, %s", p.Version, a.trust)
	}
	accepted, commit, err := reconciler.AcceptedPolicy(dir)
	if err != nil {
		return nil, "", err
	}
	if accepted != nil && (p == nil || accepted.Version > p.Version) {
		p, name = accepted, fmt.Sprintf("version %d of the policy, from the repository at %.12s", accepted.Version, commit)
	}
	return p, name, nil
}

// historyStatement is the statement of the file, where there is one, else a new one about COMMIT.
func (a *app) historyStatement(dir string, args []string, s acceptSettings) (trust.Sealed, *trust.AcceptHistory, error) {
	if len(args) == 0 {
		if s.file == "" {
			return trust.Sealed{}, nil, cli.Exit(cli.ExitUsage, errors.New("name the commit to go on from"))
		}
		src, err := os.ReadFile(s.file)
		if err != nil {
			return trust.Sealed{}, nil, fmt.Errorf("reading the statement: %w", err)
		}
		sealed, err := trust.ParseSealed(s.file, src)
		if err != nil {
			return trust.Sealed{}, nil, cli.Exit(cli.ExitRefused, err)
		}
		h, err := trust.ParseAcceptHistory(s.file, sealed.Statement)
		if err != nil {
			return trust.Sealed{}, nil, cli.Exit(cli.ExitRefused, err)
		}
		a.env.Talk("it says: go on from %.12s in place of %.12s, in %s: %s", h.To, h.From, or(h.Environment, "no environment"), h.Reason)
		return sealed, h, nil
	}
	if strings.TrimSpace(s.reason) == "" {
		return trust.Sealed{}, nil, cli.Exit(cli.ExitUsage, errors.New("--reason says why, to everyone who looks later"))
	}
	if _, err := os.Stat(s.file); s.file != "" && !errors.Is(err, fs.ErrNotExist) {
		return trust.Sealed{}, nil, cli.Exit(cli.ExitUsage, cli.Hint(fmt.Errorf("%s is there already", s.file), "to sign it as well, leave COMMIT out"))
	}
	status, err := reconciler.LastStatus(dir)
	if errors.Is(err, reconciler.ErrNoState) {
		err = cli.Exit(cli.ExitRefused, cli.Hint(err, "%s", otherFolder))
	}
	if err != nil {
		return trust.Sealed{}, nil, err
	}
	if status.Verified == nil {
		return trust.Sealed{}, nil, cli.Exit(cli.ExitRefused, errors.New("nothing was accepted yet, so no history was left"))
	}
	to := strings.ToLower(args[0])
	if o := status.Observed; len(to) >= 7 && o != nil && strings.HasPrefix(o.Commit, to) {
		to = o.Commit
	}
	h := &trust.AcceptHistory{
		Environment: status.Environment, ID: trust.NewID(), Issued: time.Now().UTC().Truncate(time.Second),
		From: status.Verified.Commit, To: to, Reason: s.reason,
	}
	text, err := h.Encode()
	if err != nil {
		return trust.Sealed{}, nil, cli.Exit(cli.ExitUsage, err)
	}
	return trust.Sealed{Statement: text}, h, nil
}

// acceptHistoryRoute takes what reconcile accept-history makes.
func acceptHistoryRoute(mux *http.ServeMux, g *guard, o *opened) {
	mux.Handle("POST /admin/accept-history", g.admin(func(w http.ResponseWriter, r *http.Request) {
		src, ok := wholeBody(w, r)
		if !ok {
			return
		}
		to, err := o.AcceptHistory(r.Context(), src)
		switch {
		case errors.Is(err, reconciler.ErrHistoryRefused):
			answer(w, http.StatusUnprocessableEntity, map[string]string{"error": err.Error()})
		case errors.Is(err, reconciler.ErrNotLeader):
			notLeader(w, o, err)
		case err != nil:
			answer(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		default:
			answer(w, http.StatusAccepted, map[string]any{"ok": true, "to": to})
		}
	}))
}
