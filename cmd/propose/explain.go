package main

import (
	"cmp"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

func explainCommand(a *app) *cobra.Command {
	var tenant, user string
	cmd := &cobra.Command{
		Use:   "explain FEATURE [flags]",
		Short: "Say whether a feature is on for somebody, and why",
		Long: `explain says whether a feature is on for a tenant and a user, by which entry and which rule.

It decides as every client does, from the spec in the work tree: what will be live once that is
committed, signed and applied. Without --user the tenant is the one who is dealt into a bucket.`,
		Example: `  propose explain receipts --user user-123
  propose explain receipts --tenant acme --user user-123 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			spec, err := a.readSpec(a.specPath())
			if err != nil {
				return err
			}
			tenant = cmp.Or(tenant, a.env.Getenv("DEFAULT_TENANT"), "public")
			return a.explain(spec, args[0], tenant, user)
		},
	}
	cmd.Flags().StringVar(&tenant, "tenant", "", "the `TENANT` (default $DEFAULT_TENANT, else public)")
	cmd.Flags().StringVar(&user, "user", "", "the `USER` (default none: the tenant counts)")
	cli.NoEnv(cmd, "tenant", "user")
	return cmd
}

type explainLine struct {
	Feature string         `json:"feature"`
	Tenant  string         `json:"tenant"`
	User    string         `json:"user"`
	On      bool           `json:"on"`
	Reason  flags.Reason   `json:"reason"`
	Version string         `json:"version"`
	Bucket  *flags.Pct     `json:"bucket,omitempty"` // in percent, with pct-hash only
	From    string         `json:"from"`             // whose entry decided: the tenant's or __default__
	Entry   jsontext.Value `json:"entry"`
}

func (a *app) explain(spec *flags.Spec, feature, tenant, user string) error {
	f := spec.Feature(feature)
	if f == nil {
		return noFeature(spec, feature)
	}
	from := flags.DefaultTenant
	if f.Tenant(tenant) != nil {
		from = tenant
	}
	entry := f.Entry(tenant)
	d := flags.Decide(&entry, tenant, user)
	line := explainLine{
		Feature: feature, Tenant: tenant, User: user, On: d.On, Reason: d.Reason, Version: d.Version, From: from,
		Entry: entry.AppendJSON(nil),
	}
	if d.Reason == flags.ReasonHash {
		line.Bucket = &d.Bucket
	}
	if a.json {
		return cli.JSONLine(a.env.Stdout, "explain/v1", line)
	}
	return a.printExplanation(line, entry)
}

func (a *app) printExplanation(line explainLine, entry flags.Entry) error {
	who := "tenant " + line.Tenant
	key := line.Tenant
	if line.User != "" {
		who, key = "user "+line.User+" of "+who, line.User
	}
	paint := a.env.OutPalette()
	state := paint.Bold("off")
	if line.On {
		state = paint.Green("on")
	}
	var why string
	switch line.Reason {
	case flags.ReasonDisabled:
		why = "the entry is switched off"
	case flags.ReasonCohort:
		why = fmt.Sprintf("%s is a member of the cohorts", key)
	case flags.ReasonFull:
		why = "it is on for everyone"
	case flags.ReasonHash:
		why = fmt.Sprintf("%s falls into bucket %s, and it is on below %s", key, *line.Bucket, entry.Pct)
	}
	source := "the feature's own entry: the tenant has none"
	if line.From != flags.DefaultTenant {
		source = "the tenant's entry"
	}
	_, err := fmt.Fprint(a.env.Stdout, cli.Printable(fmt.Sprintf("%s is ", line.Feature)), state, cli.Printable(fmt.Sprintf(
		" for %s\n  reason  %s: %s\n  entry   %s\n          %s, version %s\n",
		who, line.Reason, why, line.Entry, source, line.Version)))
	return err
}
