package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
)

func runCommand(a *app) *cobra.Command {
	var web web
	cmd := &cobra.Command{
		Use:   "run [flags]",
		Short: "Keep Redis equal to git until told to stop",
		Long: `run looks at the branch and at Redis every --interval, and at once on SIGHUP or POST /admin/reconcile.
What is authorized goes live, what is not is refused with a reason, what somebody else changed in Redis is
put right, and a Redis that lost its content is filled again. Every failure leaves the last good flags live.

It serves /healthz, /readyz (a verified generation is live), /metrics, /api/v1/status and /api/v1/plan.
What is under /admin needs the token from RAMPART_ADMIN_TOKEN, or the one in the file admin-token that the
first start writes into the state folder.

Any number of them may run on one environment, each with a state folder of its own: one leads and writes,
the others follow, and one of them takes over when the leader is gone. docs/high-availability.md describes it.

With --config it looks after many environments, each as if it were alone: below /environments/NAME is what
stands above, / lists them, and SIGHUP reads the file again. docs/environments.md describes it.`,
		Example: `  reconcile run --repo https://git.example/flags --trust trust.json --redis redis://localhost
  reconcile run --config rampart.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.environments.file != "" {
				return a.runFleet(cmd.Context(), web)
			}
			return a.run(cmd.Context(), web)
		},
	}
	a.bind(cmd)
	cmd.PreRunE = nil // with --config it is about all environments
	a.receipts.bind(cmd)
	a.bindLease(cmd)
	cmd.Flags().DurationVar(&a.interval, "interval", 10*time.Second, "the `TIME` between two looks")
	web.bind(cmd)
	return cmd
}

func (a *app) run(ctx context.Context, w web) error {
	log := a.logger()
	if a.interval <= 0 {
		return cli.Exit(cli.ExitUsage, errors.New("--interval must be longer than nothing"))
	}
	if err := w.admit(log); err != nil {
		return err
	}
	reg := newRegistry()
	var rec reconciler.Recorder = reconciler.LogRecorder{Log: log}
	if a.json {
		rec = jsonRecorder{a}
	}
	told, err := w.notifier(log, reg)
	if err != nil {
		return err
	}
	defer told.Close()
	rec = told.Recorder(rec)
	a.writes = true
	o, err := a.open(ctx, log, rec, reg)
	if err != nil {
		return err
	}
	defer o.Close()
	return a.serveAndRun(ctx, log, w, o, reg)
}

// serveAndRun runs the reconciler and its web server until ctx ends or one of them breaks.
func (a *app) serveAndRun(ctx context.Context, log *slog.Logger, w web, o *opened, reg *prometheus.Registry) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	srv, err := w.start(ctx, log, a, o, reg)
	if err != nil {
		return err
	}
	o.Serves(advertised(srv.address))
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	go func() {
		for {
			select {
			case <-hup:
				o.hurry()
			case err := <-srv.failed:
				cancel(err)
			case <-ctx.Done():
				return
			}
		}
	}()
	log.Info("reconciling", slog.String("repo", o.repo.Address()), slog.String("branch", a.branch), slog.String("path", a.path),
		slog.String("redis", o.store.Address()), slog.String("namespace", o.store.Namespace()), slog.String("state", o.dir),
		slog.String("listen", srv.address), slog.Duration("interval", a.interval))
	if a.insecure {
		log.Warn("signatures are not checked: whoever can push decides what is live")
	}
	err = o.Run(ctx)
	srv.stop()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	if s := o.Status(); s.Applied != nil {
		log.Info("stopped", slog.Uint64("generation", s.Applied.Generation))
	}
	return err
}

// advertised is an address that others can reach, "" where it says only which port.
func advertised(address string) string {
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsUnspecified() {
		return ""
	}
	return address
}

func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "rampart_build_info", Help: "Always 1; the label says which version runs.",
		ConstLabels: prometheus.Labels{"version": cli.Version()},
	})
	build.Set(1)
	reg.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// jsonRecorder prints each outcome as one line of JSON.
type jsonRecorder struct{ a *app }

func (jsonRecorder) Intent(context.Context, reconciler.Event) error { return nil }

func (j jsonRecorder) Outcome(_ context.Context, e reconciler.Event) error {
	return cli.JSONLine(j.a.env.Stdout, "event/v1", e)
}
