package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
)

func demoCommand(a *app) *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Tell the whole story in a terminal",
		Long: `demo makes a repository, keys and a policy in a temporary folder, starts a Redis inside this process and a reconciler,
and shows what it is for: a signed change goes live, a forged one is refused, a hand-made change in Redis is put right,
and git revert rolls back. It needs git and nothing else, and touches nothing outside its folder.

Then it stays up for you to play on, until Ctrl-C. With DEMO_EXIT=1 it ends by itself, and exits 0 only if every step
did what it said.`,
		Example: `  reconcile demo
  DEMO_EXIT=1 reconcile demo`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{a: a, p: a.env.OutPalette(), web: web{listen: listen}}
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "the `ADDRESS` that the console is served on")
	return cmd
}

// demo is one telling of the story.
type demo struct {
	a     *app
	p     cli.Palette
	web   web
	world *demoWorld
	o     *opened
	hand  *redis.Client // somebody with redis-cli
	redis *url.URL
}

// demoPatience bounds each step: a busy machine may take its time, a broken one must not hang.
const demoPatience = time.Minute

func (d *demo) run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "rampart-demo-")
	if err != nil {
		return fmt.Errorf("making a folder for the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	if d.world, err = newDemoWorld(ctx, dir); err != nil {
		return err
	}
	d.say("%s  feature flags as signed JSON in git, reconciled into Redis", d.p.Bold("Rampart"))
	d.say("")
	d.say("A repository with one flag, signed by alice. The policy says that only she may change it.")
	stop, err := d.start(ctx, dir)
	if err != nil {
		return err
	}
	defer stop()
	for i, step := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"A signed change goes live", d.signedChange},
		{"A forged one is refused", d.forgedChange},
		{"A hand-made change in Redis is put right", d.repairedDrift},
		{"git revert rolls back", d.rolledBack},
	} {
		d.say("")
		d.say("%s", d.p.Bold(fmt.Sprintf("%d. %s", i+1, step.title)))
		if err := step.tell(ctx); err != nil {
			return fmt.Errorf("telling step %d, %q: %w", i+1, step.title, err)
		}
	}
	d.say("")
	d.say("%s Everything above happened for real, in %s.", d.p.Green("Done."), dir)
	if d.a.env.Getenv("DEMO_EXIT") == "1" {
		return nil
	}
	d.playOn()
	<-ctx.Done()
	d.say("")
	d.say("Stopped; the folder is removed.")
	return nil
}

// start runs the reconciler, with its web page, on an embedded Redis.
func (d *demo) start(ctx context.Context, dir string) (stop func(), err error) {
	a := d.a
	a.repo, a.branch, a.path = d.world.url(), "main", "specs/flags.json"
	a.trust, a.stateDir = filepath.Join(dir, "trust.json"), filepath.Join(dir, "state")
	a.redis, a.namespace, a.name, a.interval, a.writes = "", "flags:v1:", "demo", 2*time.Second, true
	reg := newRegistry()
	silence := slog.New(slog.NewTextHandler(io.Discard, nil))
	if d.o, err = a.open(ctx, silence, silent{}, reg); err != nil {
		return nil, err
	}
	address, err := url.Parse(d.o.store.Address())
	if err != nil {
		return nil, fmt.Errorf("reading the embedded address of Redis: %w", err)
	}
	d.redis = address
	d.hand = redis.NewClient(&redis.Options{Addr: address.Host})
	ctx, cancel := context.WithCancel(ctx)
	srv, err := d.web.start(ctx, silence, a, d.o, reg)
	if err != nil {
		cancel()
		d.o.Close()
		return nil, err
	}
	d.web.listen = srv.address
	done := make(chan error, 1)
	go func() { done <- d.o.Run(ctx) }()
	return func() {
		cancel()
		<-done
		srv.stop()
		d.hand.Close()
		d.o.Close()
	}, nil
}

const demoFlag, demoKey = "receipts", "flags:v1:receipts:__default__"

func (d *demo) signedChange(ctx context.Context) error {
	if err := d.until(ctx, "the first generation", func(s *reconciler.Status) bool { return s.HeadLive }); err != nil {
		return err
	}
	d.show("live: " + d.applied())
	d.command("propose set receipts --pct 20 --key alice.key --commit")
	if err := d.world.change(ctx, 20, true); err != nil {
		return err
	}
	began := time.Now()
	d.o.Nudge() // what a webhook of your forge does; else the next look is at most --interval away
	if err := d.untilPct(ctx, 20); err != nil {
		return err
	}
	took := time.Since(began)
	if err := d.until(ctx, "the pass to end", func(s *reconciler.Status) bool { return s.HeadLive && s.Applied.Generation == 2 }); err != nil {
		return err
	}
	d.show(fmt.Sprintf("live in Redis %s after the push: %s", d.p.Green(took.Round(time.Millisecond).String()), d.applied()))
	return d.showEntry(ctx)
}

func (d *demo) forgedChange(ctx context.Context) error {
	d.command(`sed -i 's/"pct": 20/"pct": 100/' specs/flags.json && git commit -am "everybody, now"`)
	if err := d.world.change(ctx, 100, false); err != nil {
		return err
	}
	d.o.Nudge()
	if err := d.until(ctx, "the refusal", func(s *reconciler.Status) bool { return len(s.Refused) > 0 }); err != nil {
		return err
	}
	refused := d.o.Status().Refused
	last := refused[len(refused)-1]
	d.show(fmt.Sprintf("%s %.10s: %s: %s", d.p.Red("refused"), last.Commit, last.Code, last.Message))
	if last.Hint != "" {
		d.show("hint: " + last.Hint)
	}
	if pct, err := d.livePct(ctx); err != nil || pct != 20*1000 {
		return fmt.Errorf("what is live is %s %%, and should be 20 %%: %w", pct, err)
	}
	d.show("what was live stays live:")
	return d.showEntry(ctx)
}

func (d *demo) repairedDrift(ctx context.Context) error {
	const forged = `{"version":"v1","enabled":true,"ramp_pct":100,"cohorts":[]}`
	d.command("redis-cli set " + demoKey + " '" + forged + "'")
	before := d.o.Status().Drift.Repaired
	if err := d.hand.Set(ctx, demoKey, forged, 0).Err(); err != nil {
		return fmt.Errorf("writing to Redis by hand: %w", err)
	}
	began := time.Now()
	if err := d.until(ctx, "the repair", func(s *reconciler.Status) bool { return s.Drift.Repaired > before }); err != nil {
		return err
	}
	if err := d.untilPct(ctx, 20); err != nil {
		return err
	}
	d.show(fmt.Sprintf("%s after %s: %s", d.p.Green("put right"), time.Since(began).Round(time.Millisecond), d.o.Status().Drift.Last))
	return d.showEntry(ctx)
}

func (d *demo) rolledBack(ctx context.Context) error {
	d.command("git revert --no-edit HEAD~2..HEAD")
	if err := d.world.revert(ctx); err != nil {
		return err
	}
	d.o.Nudge()
	if err := d.untilPct(ctx, 10); err != nil {
		return err
	}
	if err := d.until(ctx, "the newest commit to be live", func(s *reconciler.Status) bool { return s.HeadLive }); err != nil {
		return err
	}
	d.show(fmt.Sprintf("%s: %s", d.p.Green("rolled back"), d.applied()))
	d.show("alice's old signature covers the old content, so nobody had to sign anything. Only ways down go like this.")
	return d.showEntry(ctx)
}

// until waits for the reconciler's status to be so.
func (d *demo) until(ctx context.Context, what string, so func(*reconciler.Status) bool) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	for tick := time.NewTicker(2 * time.Millisecond); ; {
		if s := d.o.Status(); so(s) {
			tick.Stop()
			return nil
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

func (d *demo) untilPct(ctx context.Context, want int) error {
	return d.until(ctx, fmt.Sprintf("%d %% in Redis", want), func(*reconciler.Status) bool {
		pct, err := d.livePct(ctx)
		return err == nil && pct == flags.Pct(want*1000)
	})
}

func (d *demo) livePct(ctx context.Context) (flags.Pct, error) {
	values, err := d.o.store.Read(ctx, []flags.Key{{Feature: demoFlag, Tenant: flags.DefaultTenant}})
	if err != nil {
		return 0, err
	}
	if len(values) != 1 || values[0] == nil {
		return 0, errors.New("the entry is not there")
	}
	e, err := flags.ParseEntry(values[0])
	return e.Pct, err
}

func (d *demo) showEntry(ctx context.Context) error {
	d.command("redis-cli get " + demoKey)
	value, err := d.hand.Get(ctx, demoKey).Result()
	if err != nil {
		return fmt.Errorf("reading Redis: %w", err)
	}
	d.show(value)
	return nil
}

func (d *demo) applied() string { return describeMark(d.o.Status().Applied) }

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.a.env.Stdout, format+"\n", args...)
}

func (d *demo) command(line string) { d.say("   $ %s", line) }

func (d *demo) show(text string) { d.say("     %s", cli.Printable(text)) }

func (d *demo) playOn() {
	w := d.world

	d.say("")
	d.say("%s until Ctrl-C:", d.p.Bold("Play on"))
	d.say("  the console        http://%s/", d.web.listen)
	d.say("  a signed change    COSIGN_PASSWORD= go run ./cmd/propose set receipts --pct 30 --key %s \\", w.keyFile)
	d.say("                       --path %s --commit && git -C %s push -q", filepath.Join(w.clone, "specs", "flags.json"), w.clone)
	d.say("  what is live       redis-cli -h %s -p %s --scan --pattern 'flags:v1:*'", d.redis.Hostname(), d.redis.Port())
	d.say("  how it is          curl http://%s/api/v1/status", d.web.listen)
	d.say("  any language       curl -d '{\"context\":{\"targetingKey\":\"user-123\"}}' http://%s/ofrep/v1/evaluate/flags/receipts", d.web.listen)
}
