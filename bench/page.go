package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func pageCommand(stdout io.Writer) *cobra.Command {
	out := "docs/scale.md"
	cmd := &cobra.Command{
		Use: "page", Short: "Write docs/scale.md from the unit costs",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			text, err := page(measuredCosts)
			if err != nil {
				return err
			}
			if err := os.WriteFile(out, []byte(text), 0o644); err != nil {
				return fmt.Errorf("writing the page: %w", err)
			}
			_, err = fmt.Fprintln(stdout, out)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", out, "write to this `FILE`")
	return cmd
}

// page is docs/scale.md.
func page(src []byte) (string, error) {
	c, v, err := readCosts(src)
	if err != nil {
		return "", err
	}
	a := defaultAssumptions()
	var b strings.Builder
	b.WriteString(`# Size

<!-- Made by "go run ./bench page" from bench/costs.json: change those, then run "make golden". -->

What Rampart takes at some size, and what ten and a hundred times more takes. The figures follow from unit costs that
were measured on one machine, and from assumptions; both stand below. For your own numbers:

` + "```sh" + `
go run ./bench --entries 1000000 --environments 100 --evaluators 10000 --changes 500
go run ./bench --help
go run ./bench measure        # the unit costs of your machine; then --costs FILE
` + "```" + `

## Ten and a hundred times more

Clients believe Redis, so that each reads only the entries that a message names.

`)
	base := baseLoad()
	three := func(l Load) []Answer {
		return []Answer{predict(c, a, l), predict(c, a, l.times(10)), predict(c, a, l.times(100))}
	}
	markdown(&b, []string{"×1", "×10", "×100"}, three(base))
	b.WriteString(`
## The same, with clients that check signatures

A signature covers a whole spec, so each client reads the whole spec at each change. That is what costs most of all here.

`)
	base.Verify = true
	markdown(&b, []string{"×1", "×10", "×100"}, three(base))
	b.WriteString(`
## More in one place

More entries in one environment, and more followers of one environment. A node more does not help one environment by itself: it
is one namespace, and its followers listen to one node. Where the nodes below are more than the environments, they are a master
and its replicas, and followers read from those as well (` + "`--read-replicas`" + `).

`)
	markdown(&b, []string{"10,000 followers", "10,000 that verify", "1,000,000 entries, ten specs", "1,000 environments"}, []Answer{
		predict(c, a, Load{Entries: 10_000, Environments: 1, Evaluators: 10_000, Changes: 100}),
		predict(c, a, Load{Entries: 10_000, Environments: 1, Evaluators: 10_000, Changes: 100, Verify: true}),
		predict(c, a, Load{Entries: 1_000_000, Environments: 10, Evaluators: 1000, Changes: 100}),
		predict(c, a, Load{Entries: 100_000, Environments: 1000, Evaluators: 1000, Changes: 1000}),
	})
	simulations(&b, c, a)
	checked(&b, v)
	assumptions(&b, a)
	units(&b, c)
	return b.String(), nil
}

func checked(b *strings.Builder, v Validation) {
	fmt.Fprintf(b, `
## The model beside the real thing

%s entries and %s real clients, a size at which no unit cost was measured:

| | the model says | measured | off by |
|---|---|---|---|
`, count(float64(v.Entries)), count(float64(v.Clients)))
	for _, k := range v.Checks {
		off := "–"
		if k.Measured != 0 {
			off = fmt.Sprintf("%+.0f %%", 100*(k.Predicted/k.Measured-1))
		}
		say := func(x float64) string {
			if strings.Contains(k.What, "CPU") {
				return fmt.Sprintf("%.4f", x)
			}
			return size(x)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", k.What, say(k.Predicted), say(k.Measured), off)
	}
	if len(v.Fed) == 0 {
		return
	}
	b.WriteString("\nReal clients, as many as this machine bore beside Redis (`go run ./bench feed`). The clients share its cores, so the latency is theirs more than Redis':\n\n")
	b.WriteString("| clients | entries | median | 99 of 100 | the last | Redis' CPU | out of Redis | memory a client |\n|---|---|---|---|---|---|---|---|\n")
	for _, f := range v.Fed {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", count(float64(f.Clients)), count(float64(f.Entries)),
			seconds(f.Median), seconds(f.P99), seconds(f.Last), seconds(f.CPU), size(f.Bytes), size(f.Memory))
	}
}

func assumptions(b *strings.Builder, a Assumptions) {
	fmt.Fprintf(b, `
## Assumptions

* A Redis node has %s of memory, of which %.0f %% is used; a network of %s a second and one core, of which %.0f %% are used; %s connections.
* An evaluator or client holds %s connections, looks at `+"`meta`"+` every %v and once in %v by its subscription, and reads the ten entries that a message names. One that verifies reads the spec, at a time of its own within a second for each MiB (0.1 to 10 s in all).
* A change touches %s entries. %.0f %% of a day's changes fall into its busiest hour.
* A reconciler looks every %v. It reads all entries and the spec back each time up to 10,000 entries, above that all of them within five minutes.
* A spec has at most %s entries (32 MiB). More are spread over several environments, each with a namespace of its own.
* Entries are like those of the benchmarks: three cohort members of twelve bytes. Salts, long names and large cohorts make them larger in proportion.
* Nodes are counted for the busiest hour, with what the reconciler reads back. Several share whole environments evenly; where one environment's clients are too many for a node, replicas share them, and each does the rest of the work again.
* Not in it: git's host, TLS (about a third more of Redis' CPU), replication (each replica doubles what is written, not what is read), and the network's own delay.
`, size(a.NodeBytes), a.NodeFill*100, size(a.NodeNetwork), a.NodeBusy*100, count(a.NodeClients), number(a.PerEvaluator), a.Poll, lookEvery, number(a.PerChange), a.BusyHourShare*100, a.Interval, count(a.SpecEntries))
}

func units(b *strings.Builder, c Costs) {
	fmt.Fprintf(b, `
## Unit costs

Measured on %s with `+"`%s`"+`: %s, %s. The machine was busy with other work, so that times are on the high side; bytes do not care.

| | |
|---|---|
`, c.Date, c.Command, c.Machine, c.Software)
	for _, u := range []struct{ name, value string }{
		{"an entry in Redis", size(c.EntryBytes)},
		{"an entry in a spec", size(c.SpecBytes)},
		{"a connection in Redis", size(c.ConnectionBytes)},
		{"entries applied to an empty Redis, a second", count(c.ColdPerSecond)},
		{"an apply of ten entries", seconds(c.ChangeSeconds)},
		{"Redis' CPU for that", seconds(c.ChangeCPU)},
		{"a message that names ten entries", size(c.MessageBytes)},
		{"Redis' CPU, one message to one subscriber", seconds(c.PublishSeconds)},
		{"Redis' CPU, one look at `meta`", seconds(c.MetaSeconds)},
		{"the answer to it", size(c.MetaBytes)},
		{"Redis' CPU, one entry read among ten", seconds(c.ReadSeconds)},
		{"the answer to it", size(c.ReadBytes)},
		{"a change of ten entries, out of Redis to one client", size(c.FollowerBytes)},
		{"Redis' CPU for that", seconds(c.FollowerSeconds)},
		{"Redis' CPU, one subscriber that comes", seconds(c.SubscribeSeconds)},
		{"an entry in a client", size(c.ClientBytes)},
		{"a client's CPU, one entry decoded and compiled", seconds(c.DecodeSeconds)},
		{"an entry in the reconciler, while a change is under way", size(c.ReconcilerBytes)},
		{"a reconciler's pass without news", seconds(c.PassSeconds)},
		{"a commit verified, judged, planned and applied, without its entries", seconds(c.CommitSeconds)},
		{"what each entry of the spec adds to that", seconds(c.CommitEntrySeconds)},
		{"a receipt with ten changes on disk", size(c.ReceiptBytes)},
	} {
		fmt.Fprintf(b, "| %s | %s |\n", u.name, u.value)
	}
}
