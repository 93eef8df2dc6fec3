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
	base       string // what stands before every path, where several environments share the address
	// connections is how many may be open at once, 0 for no limit; room holds them to it, nil where there is none.
	connections int
	room        *room
	told        *notify.Notifier
}

func (w *web) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.listen, "listen", "127.0.0.1:8080", `the `+"`ADDRESS`"+` to serve on; "off" for none`)
	cmd.Flags().StringVar(&w.notify, "notify", "", "a `FILE` that says whom to tell of generations, refusals, drift and holds (docs/notifications.md)")
	cmd.Flags().StringVar(&w.link, "console-url", "", "the `URL` of the console as others reach it, for links in notifications")
	cmd.Flags().IntVar(&w.connections, "max-connections", defaultConnections, "how many HTTP connections may be open at once, a `NUMBER` (0: no limit); a quarter may be event streams, a quarter is kept for /admin")
	cmd.Flags().StringSliceVar(&w.allowHosts, "allow-host", nil, "further host `NAME`s that requests may come in under")
}

const (
	maxBody   = 64 << 10
	maxHeader = 16 << 10

	defaultConnections = 1024
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

// start serves one environment until stop.
func (w *web) start(ctx context.Context, log *slog.Logger, a *app, o *opened, reg *prometheus.Registry) (*server, error) {
	if w.listen == "off" {
		return &server{address: "off", stop: func() {}}, nil
	}
	guard, err := newGuard(o.dir, a.env, w.allowHosts)
	if err != nil {
		return nil, err
	}
	l, err := w.open()
	if err != nil {
		return nil, err
	}
	mux, closeAll, err := w.routes(ctx, log, a, o, reg, reg, guard)
	if err != nil {
		l.Close()
		return nil, err
	}
	leaveNote(log, o.dir, l.Addr().String())
	return serve(ctx, log, l, w.room, measured(reg, bounded(guard.hosts(mux))), func() {
		forgetNote(o.dir)
		closeAll() // streams never end by themselves
	}), nil
}

// open listens.
func (w *web) open() (net.Listener, error) {
	l, err := net.Listen("tcp", w.listen)
	if err != nil {
		return nil, cli.Hint(fmt.Errorf("serving on %s: %w", w.listen, err), "set another --listen ADDRESS, or --listen off")
	}
	return w.room.listener(l), nil
}

// leaveNote says in a state folder where its reconciler serves. That it cannot, for the disk is full, say, is no reason not
// to look after what is live.
func leaveNote(log *slog.Logger, dir, address string) {
	about, err := json.Marshal(running{Address: address, PID: os.Getpid(), Since: time.Now().UTC()})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, runningName), append(about, '\n'), 0o600)
	}
	if err != nil {
		log.Error("other commands will not find this process by its state folder", slog.Any("error", err))
	}
}

func forgetNote(dir string) { os.Remove(filepath.Join(dir, runningName)) }

// serve serves on l, which has been given room, until stop, which calls closing first.
func serve(ctx context.Context, log *slog.Logger, l net.Listener, room *room, handler http.Handler, closing func()) *server {
	s := &server{address: l.Addr().String(), failed: make(chan error, 1)}
	h := &http.Server{
		Handler:           room.handler(handler),
		ConnContext:       withLine,
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
		closing()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if h.Shutdown(grace) != nil {
			h.Close()
		}
	}
	return s
}

// routes are all that run serves of an environment. docs/reconcile.md lists them. /metrics shows what gather has.
func (w *web) routes(ctx context.Context, log *slog.Logger, a *app, o *opened, reg prometheus.Registerer, gather prometheus.Gatherer, g *guard) (http.Handler, func(), error) {
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
	closePages, err := w.console(mux, log, a, o, told)
	if err != nil {
		return nil, nil, err
	}
	mux.Handle("/ofrep/", newEvaluation(ctx, o.Live, w.base, w.room, a.env.Getenv("DEFAULT_TENANT"), log))
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
	mux.Handle("GET /metrics", promhttp.HandlerFor(gather, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, o.Status())
	})
	mux.HandleFunc("GET /api/v1/plan", func(w http.ResponseWriter, r *http.Request) {
		p, err := o.plans.get(r.Context(), r.URL.Query().Get("accept_history"))
		if err != nil {
			answer(w, http.StatusBadGateway, map[string]string{"error": err.Error()})
			return
		}
		answer(w, http.StatusOK, p)
	})
	mux.Handle("GET /audit/dsar", g.admin(serveDSAR(a, o)))
	newWebhook(g.env, func([]byte) { o.hurry() }).routes(mux)
	mux.Handle("POST /admin/reconcile", g.admin(func(w http.ResponseWriter, _ *http.Request) {
		o.Request() // for the record
		o.hurry()
		answer(w, http.StatusAccepted, map[string]bool{"ok": true})
	}))
	suspensionRoutes(mux, g, o)
	overrideRoute(mux, g, o)
	acceptHistoryRoute(mux, g, o)
	return mux, closePages, nil
}

// bounded limits the bodies of requests.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := int64(maxBody)
		switch r.URL.Path {
		case "/admin/override", "/admin/accept-history":
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
