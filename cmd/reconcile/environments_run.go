package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rampart-flags/rampart/config"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/redisstore"
)

// fleet is the environments of one process. Each is a member of its own: what one meets neither delays nor stops another.
type fleet struct {
	a       *app // what all have in common
	web     web
	began   *config.File // as it was read at the start
	log     *slog.Logger
	reg     *prometheus.Registry // of the process; each member has its own beside it
	metrics fleetMetrics
	opening chan struct{} // so many are opened at once
	address string        // where it serves, "" for nowhere

	mu      sync.Mutex
	ctx     context.Context // of the members
	members map[string]*member
}

type fleetMetrics struct {
	open     *prometheus.GaugeVec // environment
	reloaded prometheus.Gauge
}

// runFleet runs the environments of the file until ctx ends.
func (a *app) runFleet(ctx context.Context, w web) error {
	file, err := a.chosen()
	if err != nil {
		return err
	}
	log := a.logger()
	if err := w.admit(log); err != nil {
		return err
	}
	redisstore.RouteDriverLog(log)
	a.sharing, a.writes = newSharing(file, a.environments.name != ""), true
	a.env.Stdout = &inTurn{w: a.env.Stdout}
	if file.Listen != "" && !given(a.env.Args, "--listen") {
		w.listen = file.Listen
	}
	w.allowHosts, w.link = file.AllowHosts, file.ConsoleURL
	f := &fleet{a: a, web: w, began: file, log: log, reg: newRegistry(), opening: make(chan struct{}, 2*runtime.GOMAXPROCS(0)), members: map[string]*member{}}
	f.metrics.open = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "rampart_environment_open", Help: "1 while the environment is looked after, 0 while it cannot be opened."}, []string{"environment"})
	f.metrics.reloaded = prometheus.NewGauge(prometheus.GaugeOpts{Name: "rampart_config_reloaded", Help: "1 when the file of --config was well formed when it was read last, 0 when the one before is still in force."})
	f.reg.MustRegister(f.metrics.open, f.metrics.reloaded)
	f.metrics.reloaded.Set(1)
	return f.run(ctx, file)
}

// chosen is the file of --config, with the one environment of --environment where that is given.
func (a *app) chosen() (*config.File, error) {
	file, err := a.environments.read(a.env.Args)
	if err == nil && a.environments.name != "" {
		var one config.Environment
		one, err = a.environments.one(file)
		file.Environments = []config.Environment{one}
	}
	if err == nil {
		err = claimed(file.Environments, a.env)
	}
	return file, err
}

func (f *fleet) run(ctx context.Context, file *config.File) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // before anybody can see that it runs: unheeded, the signal would end it
	defer signal.Stop(hup)
	srv, err := f.serve(ctx)
	if err != nil {
		return err
	}
	f.ctx = ctx
	f.apply(file.Environments)
	f.log.Info("reconciling", slog.String("config", f.a.environments.file), slog.Int("environments", len(file.Environments)), slog.String("listen", srv.address))
	for ctx.Err() == nil {
		select {
		case <-hup:
			f.reload()
		case err := <-srv.failed:
			cancel(err)
		case <-ctx.Done():
		}
	}
	f.apply(nil)
	srv.stop()
	f.log.Info("stopped")
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// reload reads the file again. A broken one leaves the last in force.
func (f *fleet) reload() {
	file, err := f.a.chosen()
	if err != nil {
		f.metrics.reloaded.Set(0)
		f.log.Error("reading the environments again; the last ones stay in force", slog.Any("error", err))
		return
	}
	f.metrics.reloaded.Set(1)
	if later := f.atRestart(file); len(later) > 0 {
		f.log.Warn("these settings of the process changed; they need a restart", slog.String("settings", strings.Join(later, ", ")))
	}
	started, stopped := f.apply(file.Environments)
	f.log.Info("read the environments again", slog.Int("environments", len(file.Environments)), slog.Int("started", started), slog.Int("stopped", stopped))
	for _, m := range f.all() {
		m.hurry()
	}
}

// atRestart are the settings in which the file differs from what is in force, and which only a restart takes up.
func (f *fleet) atRestart(file *config.File) []string {
	var out []string
	if file.Listen != f.began.Listen && !given(f.a.env.Args, "--listen") {
		out = append(out, "listen")
	}
	if !slices.Equal(file.AllowHosts, f.began.AllowHosts) {
		out = append(out, "allow_hosts")
	}
	if file.ConsoleURL != f.began.ConsoleURL {
		out = append(out, "console_url")
	}
	if file.StateDir != f.began.StateDir {
		out = append(out, "state_dir")
	}
	return out
}

// apply starts what is new, stops what is gone, and restarts what changed. It waits for those that stop: a state folder may
// move from one environment to another.
func (f *fleet) apply(want []config.Environment) (started, stopped int) {
	f.mu.Lock()
	keep := map[string]bool{}
	for _, e := range want {
		m := f.members[e.Environment]
		keep[e.Environment] = m != nil && reflect.DeepEqual(m.e.Settings, e.Settings) && m.redis == f.redisOf(e)
	}
	var ending []*member
	for name, m := range f.members {
		if !keep[name] {
			m.cancel()
			ending = append(ending, m)
			delete(f.members, name)
		}
	}
	f.mu.Unlock() // the others go on meanwhile
	for _, m := range ending {
		<-m.done
		f.metrics.open.DeleteLabelValues(m.e.Environment)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range want {
		if !keep[e.Environment] {
			f.members[e.Environment] = f.start(e)
			started++
		}
	}
	return started, len(ending)
}

// redisOf is "" where it cannot be told now; the member says why.
func (f *fleet) redisOf(e config.Environment) string {
	url, _ := redisOf(e, f.a.env)
	return url
}

// all are the members by name.
func (f *fleet) all() []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Collect(maps.Values(f.members))
	slices.SortFunc(out, func(a, b *member) int {
		if a.e.Environment < b.e.Environment {
			return -1
		}
		return 1
	})
	return out
}

func (f *fleet) member(name string) *member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.members[name]
}

// member is one environment. It is opened again and again, with growing pauses, until that works.
type member struct {
	f      *fleet
	e      config.Environment
	redis  string // its address when it was started
	log    *slog.Logger
	cancel context.CancelFunc
	done   chan struct{}
	again  chan struct{}

	mu    sync.Mutex
	now   *site // nil while it is not open
	err   error // why it is not
	since time.Time
	tries int
}

func (f *fleet) start(e config.Environment) *member {
	ctx, cancel := context.WithCancel(f.ctx)
	m := &member{f: f, e: e, redis: f.redisOf(e), log: f.log.With("environment", e.Environment), cancel: cancel,
		done: make(chan struct{}), again: make(chan struct{}, 1), since: time.Now()}
	f.metrics.open.WithLabelValues(e.Environment).Set(0)
	go func() {
		defer close(m.done)
		for {
			err := m.live(ctx)
			if ctx.Err() != nil {
				return
			}
			m.pause(ctx, err)
		}
	}()
	return m
}

// The pauses between two tries to open an environment.
const (
	reopenMin = time.Second
	reopenMax = time.Minute
)

// pause waits after a try that failed.
func (m *member) pause(ctx context.Context, err error) {
	m.mu.Lock()
	wait := min(reopenMin<<min(m.tries, 10), reopenMax)
	m.tries, m.err, m.since = m.tries+1, err, time.Now()
	m.mu.Unlock()
	m.f.metrics.open.WithLabelValues(m.e.Environment).Set(0)
	m.log.Error("the environment cannot be looked after; trying again", slog.Any("error", err), slog.Duration("in", wait))
	select {
	case <-ctx.Done():
	case <-m.again:
	case <-time.After(wait/2 + rand.N(wait/2)):
	}
}

// live opens the environment and looks after it until ctx ends.
func (m *member) live(ctx context.Context) error {
	a, err := m.f.a.about(m.e)
	if err == nil {
		err = policyFits(m.e)
	}
	if err != nil {
		return err
	}
	select {
	case m.f.opening <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	s, err := m.open(ctx, a)
	<-m.f.opening
	if err != nil {
		return err
	}
	defer s.close()
	m.set(s)
	defer m.set(nil)
	m.log.Debug("reconciling", slog.String("repo", s.o.repo.Address()), slog.String("redis", s.o.store.Address()), slog.String("namespace", s.o.store.Namespace()))
	if a.insecure {
		m.log.Warn("signatures are not checked: whoever can push decides what is live")
	}
	if err = s.o.Run(ctx); err == nil && ctx.Err() == nil {
		err = errors.New("it ended")
	}
	return err
}

func (m *member) set(s *site) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now, m.since = s, time.Now()
	if s != nil {
		m.err, m.tries = nil, 0
		m.f.metrics.open.WithLabelValues(m.e.Environment).Set(1)
	}
}

func (m *member) site() *site {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// hurry makes the next look come at once, or the next try.
func (m *member) hurry() {
	if s := m.site(); s != nil {
		s.o.hurry()
		return
	}
	select {
	case m.again <- struct{}{}:
	default:
	}
}

// open opens the reconciler and what is served of it.
func (m *member) open(ctx context.Context, a *app) (_ *site, err error) {
	a.sharing = m.f.a.sharing
	w := m.f.web
	w.notify, w.base = m.e.Notify, environmentBase(m.e.Environment)
	if w.link != "" {
		w.link += w.base
	}
	s := &site{reg: prometheus.NewRegistry()}
	reg := prometheus.WrapRegistererWith(prometheus.Labels{"environment": m.e.Environment}, s.reg)
	var rec reconciler.Recorder = reconciler.LogRecorder{Log: m.log}
	if a.json {
		rec = jsonRecorder{a}
	}
	told, err := w.notifier(m.log, reg)
	if err != nil {
		return nil, err
	}
	s.closing = append(s.closing, func() { told.Close() })
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.o, err = a.open(ctx, m.log, told.Recorder(rec), reg); err != nil {
		return nil, err
	}
	s.closing = append(s.closing, s.o.Close)
	if m.f.address == "" {
		return s, nil
	}
	guard, err := newGuard(s.o.dir, a.env, w.allowHosts)
	if err != nil {
		return nil, err
	}
	mux, closeAll, err := w.routes(ctx, m.log, a, s.o, reg, s.reg, guard)
	if err != nil {
		return nil, err
	}
	s.closing = append(s.closing, closeAll)
	s.handler = measured(reg, bounded(mux))
	leaveNote(m.log, s.o.dir, m.f.address+w.base)
	s.closing = append(s.closing, func() { forgetNote(s.o.dir) })
	return s, nil
}

// site is an open environment and what is served of it.
type site struct {
	o       *opened
	reg     *prometheus.Registry
	handler http.Handler
	closing []func()
}

func (s *site) close() {
	for _, f := range slices.Backward(s.closing) {
		f()
	}
}

func given(args []string, flag string) bool {
	return slices.ContainsFunc(args, func(arg string) bool { return arg == flag || len(arg) > len(flag) && arg[:len(flag)+1] == flag+"=" })
}
