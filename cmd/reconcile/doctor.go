package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/trust"
)

func doctorCommand(a *app) *cobra.Command {
	d := doctor{a: a}
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Check the live side of a set-up, and say what to mend",
		Long: `doctor checks a set-up from end to end, in the order in which to mend it: the trust policy, the repository,
its branch and spec, Redis and what its user may do there, its memory and clock, the state folder, the
reconciler that runs, whether the newest commit is live and if not why, drift, receipts, and notaries.
Give it the flags (or the environment) that reconcile run has.

It writes nothing, neither to Redis nor to the state folder, and may run beside a reconciler.
Each line begins with ✓, ! or ✗, and says what to do. It exits 0 when nothing failed (a warning is for you
to judge), 1 when trying again may mend all that failed, and 4 when a person must act. The git side is
propose doctor's.`,
		Example: `  reconcile doctor --repo https://git.example/flags --trust trust.json --redis redis://localhost
  reconcile doctor --json | jq -r 'select(.state == "fail") | .todo'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd.Context()) },
	}
	a.bind(cmd)
	a.receipts.bind(cmd)
	cmd.Flags().StringVar(&d.url, "url", "", "the `ADDRESS` of the reconciler that should be running (default: the one that uses the state folder)")
	return cmd
}

// doctor is what the checks have found so far. What is nil was not there, and whatever needs it is passed over.
type doctor struct {
	a    *app
	url  string
	dir  string // the state folder
	shut bool   // this user may not look into it
	list cli.Checklist

	policy      *trust.Policy // in force
	inside      bool          // it came from the repository
	head        string        // the branch's newest commit
	environment string        // of the spec at head
	specThere   bool
	redisThere  bool
	status      *reconciler.Status // of the reconciler that runs
	meta        redisstore.Meta
	metaThere   bool
}

func (d *doctor) run(ctx context.Context) error {
	a := d.a
	if err := a.check(); err != nil {
		return err
	}
	var err error
	if d.dir, err = a.stateFolder(a.env); err != nil {
		return err
	}
	_, err = os.ReadDir(d.dir)
	d.shut = errors.Is(err, fs.ErrPermission)
	d.list = cli.Checklist{Env: a.env, JSON: a.json}
	store, err := redisstore.Open(ctx, redisstore.Options{URL: a.redis, Namespace: a.namespace})
	if err != nil {
		return cli.Exit(cli.ExitUsage, err)
	}
	defer store.Close()
	redisstore.RouteDriverLog(slog.New(slog.DiscardHandler))
	for _, step := range []struct {
		name  string
		check func(context.Context, cli.Check) []cli.Check
	}{
		{"trust", d.checkTrust},
		{"repository", d.checkRepository},
		{"redis", func(ctx context.Context, l cli.Check) []cli.Check { return d.checkRedis(ctx, l, store) }},
		{"state", d.checkState},
		{"running", d.checkRunning},
		{"live", d.checkLive},
		{"receipts", d.checkReceipts},
		{"notaries", d.checkNotaries},
		{"token", d.checkToken},
	} {
		for _, line := range step.check(ctx, cli.Check{Check: step.name}) {
			if err := d.list.Tell(line); err != nil {
				return err
			}
		}
	}
	return d.list.Verdict("reconcile doctor")
}

// counted is n and the right word for so many.
func counted(n int, singular, plural string) string {
	if n == 1 {
		return "1 " + singular
	}
	return fmt.Sprintf("%d %s", n, plural)
}

func one(l cli.Check) []cli.Check { return []cli.Check{l} }

func named(name string) cli.Check { return cli.Check{Check: name} }

// again marks a failure that may pass by itself.
func again(l cli.Check) cli.Check {
	l.Again = true
	return l
}

// todo is the next step that an error carries, else other.
func todo(err error, other string) string {
	if hints := cli.Hints(err); len(hints) > 0 {
		return hints[0]
	}
	return other
}

// worldWritable says whether others than the owner and the group may change a file.
func worldWritable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o002 != 0
}

// unavailable says whether an error is the world's trouble, which may pass.
func unavailable(err error) bool {
	return errors.Is(err, redisstore.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}
