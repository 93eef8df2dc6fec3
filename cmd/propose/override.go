package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/trust"
)

const overrideLong = `override makes a break-glass statement: signed, for a short time, and only ever off or down. It is for
when something must go off now and git, the forge or the review cannot be waited for. reconcile applies
it on top of what git says, if a role that may disable (for --down: or ramp.down) signed it; it ends at
its time, or as soon as git says the same.

With --post it goes to a reconciler's /admin/override (the bearer token comes from
RAMPART_ADMIN_TOKEN); without, it is printed, to be kept in a file or posted by hand. Nothing in git
changes: follow it up with propose set or propose rollback.`

type overrideSettings struct {
	off, down         []string
	tenant, reason    string
	environment, post string
	ttl               time.Duration
	signSettings
}

func overrideCommand(a *app) *cobra.Command {
	var o overrideSettings
	cmd := &cobra.Command{
		Use:   "override [flags]",
		Short: "Turn something off now, for a short time, without git",
		Long:  overrideLong,
		Example: `  propose override --off receipts --ttl 1h --reason "time-outs" --key "$KEY" --post https://rampart.internal
  propose override --off receipts --tenant acme --ttl 30m --key "$KEY" > statement.json
  propose override --down receipts=5 --ttl 2h --key "$KEY" --post http://127.0.0.1:8080`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.override(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.off, "off", nil, "turn this `FEATURE` off, cohorts too")
	f.StringSliceVar(&o.down, "down", nil, "lower this `FEATURE=PCT`; cohorts stay on")
	f.StringVar(&o.tenant, "tenant", "", "for this `TENANT` only (default: for all)")
	f.DurationVar(&o.ttl, "ttl", time.Hour, "how long it holds: a `TIME`")
	f.StringVar(&o.reason, "reason", "", "why: `TEXT` for everyone who sees it in force")
	f.StringVar(&o.environment, "environment", "", "the environment `NAME` (default that of the spec)")
	f.StringVar(&o.post, "post", "", "send it to the reconciler at this `URL`")
	cli.NoEnv(cmd, "off", "down", "tenant", "ttl", "reason", "environment")
	o.defineKey(cmd)
	return cmd
}

func (a *app) override(ctx context.Context, o overrideSettings) error {
	if !o.signs() {
		return usage(cli.Hint(errors.New("a statement that nobody signed is applied by nobody"), "give --key KEY, or --keyless"))
	}
	spec, err := a.readSpec(a.specPath())
	if err != nil {
		return err
	}
	statement, err := o.statement(spec)
	if err != nil {
		return err
	}
	text, err := statement.Encode()
	if err != nil {
		return usage(fmt.Errorf("making the statement: %w", err))
	}
	bundle, _, err := a.makeBundle(ctx, text, o.signSettings)
	if err != nil {
		return fmt.Errorf("signing the statement: %w", err)
	}
	sealed := trust.Sealed{Statement: text, Bundles: [][]byte{bundle}}
	if err := a.mayOverride(sealed, statement, spec, o.trust); err != nil {
		return err
	}
	body, err := sealed.Encode()
	if err != nil {
		return err
	}
	if o.post == "" {
		if _, err := a.env.Stdout.Write(body); err != nil {
			return err
		}
		a.env.Talk("%s; not sent: post it to /admin/override, or use --post URL", statement)
		return nil
	}
	answer, err := a.postAdmin(ctx, o.post, "/admin/override", body)
	if err != nil {
		return err
	}
	if a.json {
		return cli.JSONLine(a.env.Stdout, "override.sent/v1", struct {
			ID      string    `json:"id"`
			To      string    `json:"to"`
			Expires time.Time `json:"expires"`
			Answer  string    `json:"answer"`
		}{statement.ID, o.post, statement.Expires, strings.TrimSpace(string(answer))})
	}
	fmt.Fprintln(a.env.Stdout, statement)
	a.env.Talk("in force; it ends by itself, so follow it up in git: propose set, or propose rollback")
	return nil
}

// statement is what the command line asks for.
func (o overrideSettings) statement(spec *flags.Spec) (*trust.Override, error) {
	now := time.Now().UTC().Truncate(time.Second)
	s := &trust.Override{
		Environment: cmp.Or(o.environment, spec.Environment), ID: trust.NewID(), Issued: now, Expires: now.Add(o.ttl.Truncate(time.Second)),
		Reason: cmp.Or(o.reason, "no reason given"),
	}
	if o.ttl < time.Second {
		return nil, usage(fmt.Errorf("--ttl %s: a statement holds for a second at least", o.ttl))
	}
	if len(o.off)+len(o.down) == 0 {
		return nil, usage(cli.Hint(errors.New("nothing to turn off"), "--off FEATURE, or --down FEATURE=PCT"))
	}
	for _, feature := range o.off {
		if spec.Feature(feature) == nil {
			return nil, noFeature(spec, feature)
		}
		s.Set = append(s.Set, trust.OverrideItem{Feature: feature, Tenant: o.tenant})
	}
	for _, down := range o.down {
		feature, value, _ := strings.Cut(down, "=")
		if spec.Feature(feature) == nil {
			return nil, noFeature(spec, feature)
		}
		pct, err := flags.ParsePct(strings.TrimSuffix(value, "%"))
		if err != nil {
			return nil, usage(cli.Hint(fmt.Errorf("--down %s: %w", down, err), "such as --down %s=5", feature))
		}
		s.Set = append(s.Set, trust.OverrideItem{Feature: feature, Tenant: o.tenant, Pct: &pct})
	}
	return s, nil
}

// mayOverride asks the policy, where there is one at hand, what the reconciler will ask its own: at
// three in the morning a refusal is better had at once.
func (a *app) mayOverride(sealed trust.Sealed, statement *trust.Override, spec *flags.Spec, policyPath string) error {
	policy, _, err := a.readTrust(policyPath)
	if err != nil || policy == nil {
		return err
	}
	opt, err := a.verifyOptions()
	if err != nil {
		return err
	}
	answer := policy.AuthorizeOverride(trust.OverrideRequest{
		Override: statement, Spec: spec, Signers: sealed.Verify(policy, opt).Signers(), Now: time.Now(),
		Used: func(string) bool { return false }, // its id is a minute old
	})
	if answer.Verdict == trust.Allowed {
		return nil
	}
	return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("refused (%s): %s", answer.Reason, answer.Sentence()), "%s", answer.Hint))
}
