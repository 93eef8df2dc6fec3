package reconciler

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// world is one environment: a real repository, a namespace of a real Redis, keys, a
// clock, and a reconciler between them.
type world struct {
	*flagtest.Stage
	t        testing.TB
	clock    *flagtest.Clock
	cfg      Config
	dir      string
	r        *Reconciler
	git      *gitrepo.Repo
	store    *redisstore.Store
	events   []Event     // all outcomes
	fail     error       // what the recorder answers to an intent
	intended func(Event) // is told of each intent
	url      string      // of the repository, where it is not the folder itself
}

const maintainer = `{"roles":{"maintainer":{"signers":["alice"],"may":["*"]}}}`

// newWorld makes a world whose policy has the signers alice, bob and bot. Nothing is
// committed yet and no reconciler runs.
func newWorld(t testing.TB, redis *flagtest.RedisServer, policy string) *world {
	t.Helper()
	w := &world{Stage: flagtest.NewStage(t, redis, policy), t: t, dir: t.TempDir()}
	w.clock = flagtest.NewClock(w.Repo.Now)
	w.cfg = Config{Path: "specs/flags.json", Trust: w.Trust, Interval: 10 * time.Second, Name: "test"}
	t.Cleanup(w.stop)
	return w
}

// start opens the reconciler on the world's state folder.
func (w *world) start() {
	w.t.Helper()
	ctx := context.Background()
	cfg := w.cfg
	cfg.Dir = filepath.Join(w.dir, "state")
	var err error
	if w.git, err = gitrepo.Open(ctx, gitrepo.Options{URL: cmp.Or(w.url, w.Repo.URL()), Branch: "main", Dir: filepath.Join(cfg.Dir, "repo")}); err != nil {
		w.t.Fatal(err)
	}
	url := ""
	if w.Redis != nil {
		url = w.Redis.URL()
	}
	if w.store == nil { // an embedded one lives as long as the world
		if w.store, err = redisstore.Open(ctx, redisstore.Options{URL: url, Namespace: w.NS, Timeout: 5 * time.Second}); err != nil {
			w.t.Fatal(err)
		}
	}
	cfg.Repo, cfg.Store, cfg.Branch, cfg.Recorder = w.git, w.store, "main", worldRecorder{w}
	cfg.Log = slog.New(slog.NewTextHandler(testWriter{w.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg.Metrics = prometheus.NewRegistry()
	if w.r, err = Open(cfg); err != nil {
		w.t.Fatal(err)
	}
	w.r.now = w.clock.Now
}

// close ends the reconciler as a clean stop does.
func (w *world) close() {
	if w.r != nil {
		_ = w.r.Close()
		_ = w.git.Close()
		w.r = nil
	}
}

func (w *world) stop() {
	w.close()
	if w.store != nil {
		_ = w.store.Close()
		w.store = nil
	}
}

// forget loses the state folder.
func (w *world) forget() {
	w.t.Helper()
	w.close()
	if err := os.RemoveAll(filepath.Join(w.dir, "state")); err != nil {
		w.t.Fatal(err)
	}
}

// pass makes one pass, starting the reconciler where none runs, and fails the test on
// trouble.
func (w *world) pass() Result {
	w.t.Helper()
	res, err := w.try()
	if err != nil {
		w.t.Fatalf("the pass met trouble: %v", err)
	}
	return res
}

func (w *world) try() (Result, error) {
	w.t.Helper()
	if w.r == nil {
		w.start()
	}
	if w.Repo.Now.After(w.clock.Now()) {
		w.clock.Set(w.Repo.Now)
	}
	w.r.hurried.Store(true)
	return w.r.Pass(context.Background())
}

// write puts a spec into the work tree: a version, and features with their pct.
func (w *world) write(version string, pcts ...any) {
	w.t.Helper()
	w.Repo.Write("specs/flags.json", specOf(version, pcts...))
}

func specOf(version string, pcts ...any) string {
	s := fmt.Sprintf("{\n  \"version\": %q,\n  \"features\": {", version)
	for i := 0; i < len(pcts); i += 2 {
		if i > 0 {
			s += ","
		}
		s += fmt.Sprintf("\n    %q: {\"pct\": %v}", pcts[i], pcts[i+1])
	}
	return s + "\n  }\n}\n"
}

// release writes, signs by alice, and lands.
func (w *world) release(version string, pcts ...any) string {
	w.t.Helper()
	w.write(version, pcts...)
	w.Sign("alice")
	return w.Land(version)
}

// livePct is the percentage that an entry has in the store, "" when it is not there.
func (w *world) livePct(feature, tenant string) string {
	w.t.Helper()
	values, err := w.store.Read(context.Background(), []flags.Key{{Feature: feature, Tenant: tenant}})
	if err != nil {
		w.t.Fatal(err)
	}
	if values[0] == nil {
		return ""
	}
	e, err := flags.ParseEntry(values[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return e.Pct.String()
}

func (w *world) meta() redisstore.Meta {
	w.t.Helper()
	m, err := w.store.Meta(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// wantLive fails the test unless the entry and the generation are live.
func (w *world) wantLive(generation uint64, feature, pct string) {
	w.t.Helper()
	if got := w.livePct(feature, flags.DefaultTenant); got != pct {
		w.t.Errorf("%s is live at %q, want %q", feature, got, pct)
	}
	if got := w.meta().Generation; got != generation {
		w.t.Errorf("generation %d is live, want %d", got, generation)
	}
}

type worldRecorder struct{ w *world }

func (r worldRecorder) Intent(_ context.Context, e Event) error {
	if r.w.intended != nil {
		r.w.intended(e)
	}
	return r.w.fail
}

func (r worldRecorder) Outcome(_ context.Context, e Event) error {
	r.w.events = append(r.w.events, e)
	return nil
}

type testWriter struct{ t testing.TB }

func (t testWriter) Write(p []byte) (int, error) { t.t.Log(string(p)); return len(p), nil }
