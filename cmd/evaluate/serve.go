package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ofrep"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

type settings struct {
	env                                   cli.Env
	listen, redis, namespace, spec, cache string
	environment, trust, keys, tenant      string
	reconcilers, origins, headers         []string
	replicas, debug                       bool
	rate                                  float64
	streams                               int
	wait, poll, drain, drainDelay         time.Duration
}

// server is evaluate at work.
type server struct {
	log      *slog.Logger
	client   *client.Client
	keys     *apiKeys // nil lets anybody in
	ofrep    *ofrep.Handler
	metrics  *metrics
	draining atomic.Bool
}

func (s *settings) serve(ctx context.Context) error {
	level := slog.LevelInfo
	if s.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(s.env.Stderr, &slog.HandlerOptions{Level: level}))
	redisstore.RouteDriverLog(log)
	srv := &server{log: log}
	var err error
	if s.keys != "" {
		if srv.keys, err = openKeys(s.keys); err != nil {
			return err
		}
	}
	opts, err := s.client(log)
	if err != nil {
		return err
	}
	if err := s.ofEnvironment(opts.Verify); err != nil {
		return err
	}
	if srv.client, err = client.Open(ctx, opts); err != nil {
		// Nothing was asked yet: what cannot be opened is named wrongly.
		return cli.Exit(cli.ExitUsage, cli.Hint(fmt.Errorf("opening the flags: %w", err), "docs/redis.md lists the addresses of Redis that are known"))
	}
	defer srv.client.Close()
	s.await(ctx, srv.client, log)
	srv.metrics = newMetrics(srv)
	srv.metrics.know(srv.client.Snapshot().Flags())
	srv.ofrep = ofrep.New(s.protocol(srv))
	defer srv.client.OnChange(srv.changed)()

	l, err := net.Listen("tcp", s.listen)
	if err != nil {
		return cli.Hint(fmt.Errorf("serving on %s: %w", s.listen, err), "set another --listen ADDRESS")
	}
	if host := l.Addr().(*net.TCPAddr).IP; srv.keys == nil && !host.IsLoopback() {
		log.Warn("anybody who reaches this address may ask about any tenant: set --api-keys", slog.String("address", l.Addr().String()))
	}
	return s.run(ctx, srv, l)
}

// client says where the flags come from.
func (s *settings) client(log *slog.Logger) (client.Options, error) {
	o := client.Options{
		DefaultTenant: s.tenant, Environment: s.environment, Cache: s.cache, Poll: s.poll, StartEmpty: true, Log: log,
		Environ: []string{}, // a forced feature is for a developer's own process, never for everybody's
	}
	if s.redis != "" {
		o.Sources = append(o.Sources, client.Redis(redisstore.Options{URL: s.redis, Namespace: s.namespace, ReadReplicas: s.replicas, Log: log}))
	}
	if s.spec != "" {
		o.Sources = append(o.Sources, client.File(s.spec))
	}
	if older := s.env.Getenv("FLAGS_JSON"); older != "" {
		o.Sources = append(o.Sources, client.JSON(older))
	}
	usage := func(err error, hint string) (client.Options, error) {
		return o, cli.Exit(cli.ExitUsage, cli.Hint(err, "%s", hint))
	}
	switch {
	case s.rate < 0:
		return usage(fmt.Errorf("--rate %v is below nothing", s.rate), "0 is no limit")
	case min(s.wait, s.drain, s.drainDelay) < 0:
		return usage(errors.New("--wait, --drain and --drain-delay are no less than nothing"), "0s does not wait")
	case s.poll <= 0:
		return usage(errors.New("--poll must be longer than nothing"), "5s, say")
	case len(o.Sources) == 0:
		return usage(errors.New("no flags to serve"), "set --redis URL or --spec FILE")
	case s.cache != "" && s.redis == "":
		return usage(errors.New("--cache without --redis"), "leave it out: the spec is a file already")
	case len(s.reconcilers) > 0 && s.trust == "":
		return usage(errors.New("--reconciler-key without --trust"), "set --trust FILE")
	case s.trust == "":
		return o, nil
	}
	src, err := os.ReadFile(s.trust)
	if err != nil {
		return o, fmt.Errorf("reading the trust policy: %w", err)
	}
	o.Verify = &client.Verification{}
	if o.Verify.Policy, err = trust.Parse(s.trust, src); err != nil {
		return o, cli.Exit(cli.ExitRefused, err)
	}
	for _, file := range s.reconcilers {
		pem, err := os.ReadFile(file)
		if err != nil {
			return o, fmt.Errorf("reading a reconciler's key: %w", err)
		}
		key, err := signing.ParsePublicKey(pem)
		if err != nil {
			return o, cli.Exit(cli.ExitRefused, fmt.Errorf("reading the reconciler's key %s: %w", file, err))
		}
		o.Verify.Reconciler = append(o.Verify.Reconciler, key)
	}
	return o, nil
}

// ofEnvironment refuses files of another environment than the only one to serve. The client does not believe them either, but would
// wait for better ones for ever.
func (s *settings) ofEnvironment(v *client.Verification) error {
	refuse := func(file, of string) error {
		err := fmt.Errorf("refused: %s is of environment %q, and --environment is %q", file, of, s.environment)
		return cli.Exit(cli.ExitRefused, cli.Hint(err, "give the file of %s, or another --environment", s.environment))
	}
	if s.environment == "" {
		return nil
	}
	if v != nil && v.Policy.Environment != "" && v.Policy.Environment != s.environment {
		return refuse(s.trust, v.Policy.Environment)
	}
	if s.spec == "" {
		return nil
	}
	src, err := os.ReadFile(s.spec)
	if err != nil {
		return nil //nolint:nilerr // it may come later: the client says so, and looks again
	}
	spec, err := flags.Decode(s.spec, src)
	if err != nil || spec.Environment == s.environment {
		return nil //nolint:nilerr // as above
	}
	return refuse(s.spec, spec.Environment)
}

// await gives the sources a moment. Without flags the process serves all the
// same: orchestrators see it live and not ready, and clients a clear error.
func (s *settings) await(ctx context.Context, c *client.Client, log *slog.Logger) {
	short, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	if err := c.Ready(short); err != nil && ctx.Err() == nil {
		log.Warn("no flags yet; trying on", slog.Any("err", err))
	}
}

func (s *settings) protocol(srv *server) ofrep.Options {
	o := ofrep.Options{
		View: srv.view, DefaultTenant: s.tenant, Origins: s.origins, Headers: s.headers, Rate: s.rate, MaxStreams: s.streams,
		Observe: srv.metrics.observe, Decided: srv.metrics.count, Log: srv.log,
	}
	if srv.keys != nil {
		o.Authenticate, o.Listen = srv.keys.authenticate, srv.keys.listen
	}
	return o
}

func (srv *server) view() ofrep.View {
	snap := srv.client.Snapshot()
	if snap.Source == "" {
		return ofrep.View{}
	}
	return ofrep.View{
		Snapshot: snap.Flags(), Generation: snap.Generation, Commit: snap.Commit, Version: snap.Version, Revision: snap.Revision,
	}
}

func (srv *server) changed(e client.Event) {
	srv.metrics.events.WithLabelValues(string(e.Kind)).Inc()
	srv.metrics.know(e.Snapshot.Flags())
	srv.ofrep.Changed()
	srv.log.Info("flags", slog.String("event", string(e.Kind)), slog.String("source", e.Snapshot.Source),
		slog.Uint64("generation", e.Snapshot.Generation), slog.String("version", e.Snapshot.Version), slog.String("commit", e.Snapshot.Commit))
}

// run serves until the context ends, and then drains.
func (s *settings) run(ctx context.Context, srv *server, l net.Listener) error {
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	h := &http.Server{
		Handler:           srv.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second, // an event stream moves it on
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return alive },
		ErrorLog:          slog.NewLogLogger(srv.log.Handler(), slog.LevelDebug),
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(l) }()
	s.env.Talk("evaluate listens at http://%s", l.Addr())
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("serving on %s: %w", l.Addr(), err)
		case <-hup:
			srv.reload()
			continue
		case <-ctx.Done():
		}
		break
	}
	srv.draining.Store(true)
	s.env.Talk("draining")
	select {
	case <-time.After(s.drainDelay):
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	}
	end() // streams never end by themselves
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drain)
	defer cancel()
	if err := h.Shutdown(grace); err != nil {
		h.Close()
		return fmt.Errorf("draining: requests were still under way after %s", s.drain)
	}
	return nil
}

func (srv *server) reload() {
	if srv.keys == nil {
		return
	}
	if err := srv.keys.load(); err != nil {
		srv.log.Error("the API keys stay as they were", slog.Any("err", err))
		return
	}
	srv.log.Info("the API keys were read again")
}

func (srv *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]bool{"ok": true}) })
	mux.HandleFunc("GET /readyz", srv.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(srv.metrics.registry, promhttp.HandlerOpts{}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isOFREP(r.URL.Path) {
			srv.ofrep.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}
