package main

import (
	"context"
	"crypto/sha256"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

// app is what the subcommands share: the world and the flags of every command.
type app struct {
	env  cli.Env
	path string // --path, as given; "" means specs/flags.json of the repository
	json bool   // --json

	trustedRoot string // --trusted-root
	keyless     func(bundle []byte, digest [sha256.Size]byte, issuer, subject string) error

	// dec reads every spec of a command: they differ by little, and share the rest.
	dec flags.Decoder
}

// subcommands make the command tree. One file a subcommand: a new one adds its line here.
var subcommands = []func(*app) *cobra.Command{
	assessCommand,
	collectCommand,
	diffCommand,
	doctorCommand,
	explainCommand,
	explainRampCommand,
	exportCommand,
	fixPIICommand,
	historyCommand,
	importCommand,
	initCommand,
	keygenCommand,
	overrideCommand,
	policyCommand,
	promoteCommand,
	rampCommand,
	refsCommand,
	resolveCommand,
	rollbackCommand,
	setCommand,
	signCommand,
	simulateCommand,
	staleCommand,
	testCommand,
	validateCommand,
	verifyCommand,
}

// aliases are the older names of settings, beside RAMPART_<NAME>.
var aliases = map[string][]string{
	"path": {"FLAGS_JSON_PATH"},
}

const rootLong = `propose changes feature flags in git: it edits specs/flags.json, signs it and commits it.

A commit becomes live when reconcile finds that its signers may make that change. propose itself
can write git and nothing else.`

const rootExample = `  propose init                                          a first spec, a trust policy and a key
  propose set receipts --new --pct 0 --key "$KEY" --commit
  propose set receipts --pct 10 --key "$KEY" --commit
  propose explain receipts --user user-123              is it on, and why`

func newRoot(env cli.Env) *cobra.Command {
	a := &app{env: env}
	root := &cobra.Command{
		Use:     "propose",
		Short:   "Change feature flags in git, signed",
		Long:    rootLong,
		Example: rootExample,
	}
	root.PersistentFlags().StringVar(&a.path, "path", "", "the spec `FILE` (default specs/flags.json of the repository)")
	root.PersistentFlags().StringVar(&a.trustedRoot, "trusted-root", "", "verify keyless signatures with this trusted root `FILE`, offline")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON, one object a line")
	for _, command := range subcommands {
		root.AddCommand(command(a))
	}
	a.complete(root)
	return root
}

func run(ctx context.Context, env cli.Env) error {
	return explained(cli.Run(ctx, newRoot(env), env, aliases))
}
