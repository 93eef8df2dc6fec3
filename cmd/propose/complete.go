package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
)

// choices are the values that flags take, where there are few.
var choices = map[string][]string{
	"take": {"ours", "theirs"}, "kind": {"ecdsa-p256", "ed25519"}, "ramp-signer": {"key", "keyless", "none"},
	"auto-merge": {"never", "down", "always"}, "inherit": {"enabled", "pct", "cohorts", "salt"},
	"scenario": {"healthy", "incident", "flaky", "blind"},
}

// complete lets a shell complete what the spec here names: features, tenants, segments, cohorts. It reads and never
// complains; where there is no spec, there is nothing to offer.
func (a *app) complete(root *cobra.Command) {
	features := func(s *flags.Spec) (names []string) {
		for _, name := range s.Features() {
			names = append(names, name+"\t"+s.Feature(name).Description)
		}
		return names
	}
	members := func(s *flags.Spec) (names []string) {
		for _, name := range s.Segments() {
			names = append(names, "@"+name)
		}
		return names
	}
	flagValues := map[string]func(*flags.Spec) []string{
		"feature": features, "tenant": tenantsOf, "remove-tenant": tenantsOf, "segment": (*flags.Spec).Segments, "add-cohort": members, "remove-cohort": members,
	}
	var each func(*cobra.Command)
	each = func(c *cobra.Command) {
		if strings.Contains(c.Use, "FEATURE") && c.ValidArgsFunction == nil {
			c.ValidArgsFunction = func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
				if len(args) > 0 && !strings.Contains(c.Use, "FEATURE…") {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return a.offer(features, begun)
			}
		}
		for name, values := range flagValues {
			if c.Flags().Lookup(name) != nil {
				_ = c.RegisterFlagCompletionFunc(name, func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
					return a.offer(values, begun)
				})
			}
		}
		for name, values := range choices {
			if c.Flags().Lookup(name) != nil {
				_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
			}
		}
		for _, sub := range c.Commands() {
			each(sub)
		}
	}
	each(root)
}

// offer gives what of the spec begins with what was typed.
func (a *app) offer(names func(*flags.Spec) []string, begun string) ([]string, cobra.ShellCompDirective) {
	for _, name := range []string{"RAMPART_PATH", "FLAGS_JSON_PATH"} { // cobra completes before it reads the environment
		if value, _ := a.env.Lookup(name); a.path == "" {
			a.path = value
		}
	}
	spec, err := a.readSpec(a.specPath())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, name := range names(spec) {
		if strings.HasPrefix(name, begun) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// tenantsOf are the tenants that any feature names, each once.
func tenantsOf(s *flags.Spec) (names []string) {
	seen := map[string]bool{}
	for _, feature := range s.Features() {
		for name := range s.Feature(feature).Tenants() {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}
