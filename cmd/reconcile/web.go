package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/notify"
	"github.com/rampart-flags/rampart/reconciler"
)

// web is what run serves, and where.
type web struct {
	listen     string
	allowHosts []string
	notify     string
	link       string
	told       *notify.Notifier
}

func (w *web) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.listen, "listen", "127.0.0.1:8080", `the `+"`ADDRESS`"+` to serve on; "off" for none`)
	cmd.Flags().StringVar(&w.notify, "notify", "", "a `FILE` that says whom to tell of generations, refusals, drift and holds (docs/notifications.md)")
	cmd.Flags().StringVar(&w.link, "console-url", "", "the `URL` of the console as others reach it, for links in notifications")
	cmd.Flags().StringSliceVar(&w.allowHosts, "allow-host", nil, "further host `NAME`s that requests may come in under")
}

const (
	maxBody   = 64 << 10
	maxHeader = 16 << 10
)

// notifier tells those whom the settings name, nobody where they name none. The caller closes it.
func (w *web) notifier(log *slog.Logger, reg prometheus.Registerer) (*notify.Notifier, error) {
	opt := notify.Options{Link: w.link, Log: log, Metrics: reg}
	if w.notify != "" {
		src, err := os.ReadFile(w.notify)
		if err != nil {
			return nil, fmt.Errorf("reading whom to notify: %w", err)
		}
		if opt.Targets, err = notify.ParseTargets(w.notify, src); err != nil {
			return nil, cli.Exit(cli.ExitUsage, cli.Hint(err, `want [{"name": "ops", "type": "slack", "url_file": "…"}]`))
		}
	}
	var err error
	if w.told, err = notify.Open(opt); err != nil {
		return nil, cli.Exit(cli.ExitUsage, err)
	}
	return w.told, nil
}

// server is a web server that runs beside the reconciler.
type server struct {
	address string
	failed  chan error
	stop    func()
}

// start listens and serves until stop.
func (w *web) start(ctx context.Context, log *slog.Logger, a *app, o *opened, reg *prometheus.Registry) (*server, error) {
	if w.listen == "off" {
		return &server{address: "off", stop: func() {}}, nil
	}
	guard, err := newGuard(o.dir, a.env, w.allowHosts)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", w.listen)
	if err != nil {
		return nil, cli.Hint(fmt.Errorf("serving on %s: %w", w.listen, err), "set another --listen ADDRESS, or --listen off")
	}
	mux, closeAll, err := w.routes(ctx, log, a, o, reg, guard)
	if err != nil {
		l.Close()
		return nil, err
	}
	note := filepath.Join(o.dir, runningName)
	s := &server{address: l.Addr().String(), failed: make(chan error, 1)}
	about, err := json.Marshal(running{Address: s.address, PID: os.Getpid(), Since: time.Now().UTC()})
	if err == nil {
		err = os.WriteFile(note, append(about, '\n'), 0o600)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("leaving the address in the state folder: %w", err)
	}
	h := &http.Server{
		Handler:           measured(reg, bounded(guard.hosts(mux))),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      2 * time.Minute, // a plan may have to clone the branch
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serving on %s: %w", s.address, err)
		}
	}()
	s.stop = func() {
		os.Remove(note)
		closeAll() // streams never end by themselves
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if h.Shutdown(grace) != nil {
			h.Close()
		}
	}
	return s, nil
}

// routes are all that run serves. docs/reconcile.md lists them.
func (w *web) routes(ctx context.Context, log *slog.Logger, a *app, o *opened, reg *prometheus.Registry, g *guard) (http.Handler, func(), error) {
	mux := http.NewServeMux()
	told, err := openPushed(o.dir, reg, o.Live)
	if err != nil {
		return nil, nil, err
	}
	if w.told != nil {
		told.held = func(d decision) {
			w.told.Tell(notify.HeldRamp(o.Status().Environment, d.Feature, d.Tenant, d.Code, d.Reason, d.At, w.link))
		}
	}
	told.routes(mux, g)
	ledger := ""
	if o.ledger != nil {
		ledger = o.ledger.dir
	}
	reg.MustRegister(newObserved(log, o.Status, o.Live, told, ledger))
	(&api{o: o, ledger: ledger}).routes(mux)
	pages, err := newConsole(log, a, o, told)
	if err != nil {
		return nil, nil, err
	}
	pages.Register(mux)
	mux.Handle("/ofrep/", newEvaluation(ctx, o.Live, a.env.Getenv("DEFAULT_TENANT"), log).handler)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]bool{"ok": true})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		s := o.Status()
		c, code := s.Condition(reconciler.CondReady), http.StatusOK
		if c.Status != reconciler.True {
			code = http.StatusServiceUnavailable
		}
		answer(w, code, map[string]any{"ready": code == http.StatusOK, "reason": c.Reason, "message": c.Message})
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, o.Status())
	})
	mux.HandleFunc("GET /api/v1/plan", func(w http.ResponseWriter, r *http.Request) {
		p, err := o.Plan(r.Context())
		if err != nil {
			answer(w, http.StatusBadGateway, map[string]string{"error": err.Error()})
			return
		}
		answer(w, http.StatusOK, p)
	})
	mux.Handle("GET /audit/dsar", g.admin(serveDSAR(a, o)))
	newWebhook(g.env, o.Nudge).routes(mux)
	mux.Handle("POST /admin/reconcile", g.admin(func(w http.ResponseWriter, _ *http.Request) {
		o.Nudge()
		answer(w, http.StatusAccepted, map[string]bool{"ok": true})
	}))
	suspensionRoutes(mux, g, o)
	overrideRoute(mux, g, o)
	return mux, pages.Close, nil
}

// bounded limits the bodies of requests.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := int64(maxBody)
		switch r.URL.Path {
		case "/admin/override":
			limit = maxSealed
		case "/admin/decisions":
			limit = maxReportBody
		case "/webhook/git":
			limit = maxWebhook
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		next.ServeHTTP(w, r)
	})
}

// answer writes JSON.
func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}
