// Command bench says what a load takes in Redis nodes, memory, network and seconds, from
// unit costs that were measured (costs.json), and measures them.
//
//	go run ./bench                       what the default load takes, ×1, ×10 and ×100
//	go run ./bench --entries 1e6 --evaluators 10000 --json
//	go run ./bench measure               measure the unit costs and check the model (minutes)
//	go run ./bench feed --clients 2000   feed so many real clients and look at the latency
//	go run ./bench page                  write docs/scale.md
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

//go:embed costs.json
var measuredCosts []byte

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := command(os.Stdout).ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		code := 1
		if errors.Is(err, errUsage) {
			code = 2
		}
		os.Exit(code)
	}
}

var errUsage = errors.New("wrong command line")

// baseLoad is what docs/scale.md begins from: a company of some size.
func baseLoad() Load { return Load{Entries: 100_000, Environments: 10, Evaluators: 200, Changes: 100} }

func readCosts(src []byte) (Costs, Validation, error) {
	var f costsFile
	if err := json.Unmarshal(src, &f); err != nil {
		return Costs{}, Validation{}, fmt.Errorf("reading the unit costs: %w", err)
	}
	if f.Format != costsFormat {
		return Costs{}, Validation{}, fmt.Errorf("reading the unit costs: format %q, want %q", f.Format, costsFormat)
	}
	f.Validation.predict(f.Costs)
	return f.Costs, f.Validation, nil
}

const costsFormat = "bench-costs/v1"

// costsFile is costs.json.
type costsFile struct {
	Costs
	Validation Validation `json:"validation"`
}

func command(stdout io.Writer) *cobra.Command {
	load, a, asJSON, file := baseLoad(), defaultAssumptions(), false, ""
	cmd := &cobra.Command{
		Use: "bench", Short: "Say what a load takes", SilenceUsage: true, SilenceErrors: true,
		Long: `bench says what a load takes in Redis nodes, memory, network and seconds, and what ten and a hundred times as
much takes. It computes from unit costs that were measured, and from assumptions that are flags.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if load.Entries < 1 || load.Environments < 1 || load.Evaluators < 0 || load.Changes < 0 {
				return fmt.Errorf("%w: a load has at least one entry and one environment, and nothing below zero", errUsage)
			}
			src := measuredCosts
			if file != "" {
				var err error
				if src, err = os.ReadFile(file); err != nil {
					return fmt.Errorf("reading the unit costs: %w", err)
				}
			}
			c, _, err := readCosts(src)
			if err != nil {
				return err
			}
			answers := []Answer{predict(c, a, load), predict(c, a, load.times(10)), predict(c, a, load.times(100))}
			if asJSON {
				enc := json.NewEncoder(stdout)
				for _, r := range answers {
					if err := enc.Encode(struct {
						Format string `json:"format"`
						Answer
					}{"bench-load/v1", r}); err != nil {
						return fmt.Errorf("printing: %w", err)
					}
				}
				return nil
			}
			_, err = io.WriteString(stdout, table(answers))
			return err
		},
	}
	f := cmd.Flags()
	f.Float64Var(&load.Entries, "entries", load.Entries, "entries in all environments together")
	f.Float64Var(&load.Environments, "environments", load.Environments, "environments")
	f.Float64Var(&load.Evaluators, "evaluators", load.Evaluators, "clients and evaluators together")
	f.Float64Var(&load.Changes, "changes", load.Changes, "changes a day")
	f.BoolVar(&load.Verify, "verify", false, "clients check signatures, so that each reads the whole spec at each change")
	f.Float64Var(&a.PerChange, "per-change", a.PerChange, "entries that one change touches")
	f.DurationVar(&a.Interval, "interval", a.Interval, "the reconcilers' interval")
	f.DurationVar(&a.Poll, "poll", a.Poll, "the clients' poll")
	f.Float64Var(&a.NodeBytes, "node-bytes", a.NodeBytes, "memory of one Redis node")
	f.Float64Var(&a.NodeFill, "node-fill", a.NodeFill, "how much of that may be used")
	f.Float64Var(&a.NodeNetwork, "node-network", a.NodeNetwork, "bytes a second of one node's network")
	f.Float64Var(&a.NodeBusy, "node-busy", a.NodeBusy, "how much of a node's core and network may be used")
	f.Float64Var(&a.NodeClients, "node-clients", a.NodeClients, "connections that one node takes")
	f.StringVar(&file, "costs", "", "unit costs from another `FILE` than the one built in")
	f.BoolVar(&asJSON, "json", false, "print JSON, one object a line")
	cmd.SetOut(stdout)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.AddCommand(measureCommand(stdout), feedCommand(stdout), pageCommand(stdout))
	return cmd
}
