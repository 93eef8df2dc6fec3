package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
)

// app is what the subcommands share: the world and the flags of every command.
type app struct {
	env cli.Env
	settings
	receipts     ledgerSettings
	environments environments
	sharing      *sharing // nil: this process has one environment
}

// subcommands make the command tree. One file a subcommand: a new one adds its line here.
var subcommands = []func(*app) *cobra.Command{
	runCommand,
	onceCommand,
	planCommand,
	statusCommand,
	demoCommand,
	doctorCommand,
	receiptsCommand,
	lineageCommand,
	coverageCommand,
	purgeCommand,
	dsarCommand,
	acceptHistoryCommand,
	suspendCommand,
	resumeCommand,
	overrideCommand,
}

// aliases are the older names of settings, beside RAMPART_<NAME>.
var aliases = map[string][]string{
	"redis":     {"FLAGS_REDIS_URL", "REDIS_URL"},
	"namespace": {"FLAGS_NS", "FLAGS_NAMESPACE"},
}

const rootLong = `reconcile makes Redis hold what git says: the newest flags.json that its signers were allowed to
make. It verifies each change since the last one it accepted, applies what holds, refuses what does
not and says why, and puts right what somebody else changed in Redis.

Every failure leaves the last good flags live. reconcile cannot write git and decides nothing.`

const rootExample = `  reconcile demo                                       the whole story in a terminal
  reconcile plan --repo https://git.example/flags --trust trust.json --redis redis://localhost
  reconcile run  --repo https://git.example/flags --trust trust.json --redis redis://localhost
  reconcile status`

func newRoot(env cli.Env) *cobra.Command {
	a := &app{env: env}
	root := &cobra.Command{
		Use:     "reconcile",
		Short:   "Make Redis hold the newest authorized flags in git",
		Long:    rootLong,
		Example: rootExample,
	}
	for _, make := range subcommands {
		root.AddCommand(make(a))
	}
	return root
}

func run(ctx context.Context, env cli.Env) error {
	return cli.Run(ctx, newRoot(env), env, aliases)
}

// line writes a value that names its own format, on one line.
func (a *app) line(v any) error {
	enc := json.NewEncoder(a.env.Stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
