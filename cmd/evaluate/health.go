package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

// isOFREP goes past the mux, which would send a client with a slash at the end of
// its base address elsewhere.
func isOFREP(path string) bool { return strings.HasPrefix(strings.TrimLeft(path, "/"), "ofrep/") }

// readiness is the answer of /readyz. Its fields are never renamed or removed.
type readiness struct {
	Ready      bool    `json:"ready"`
	Reason     string  `json:"reason"` // Ready, NotReady, Draining
	Source     string  `json:"source"`
	Generation uint64  `json:"generation"`
	Version    string  `json:"version"`
	Commit     string  `json:"commit"`
	Stale      bool    `json:"stale"`
	AgeSeconds float64 `json:"age_seconds"`
}

// ready is true also while the flags are stale: taking every replica out of
// service because Redis is away would turn a nuisance into an outage.
func (srv *server) ready(w http.ResponseWriter, _ *http.Request) {
	s := srv.client.Status()
	r := readiness{
		Ready: true, Reason: "Ready", Source: s.Source, Generation: s.Generation, Version: s.Version, Commit: s.Commit,
		Stale: s.Stale, AgeSeconds: s.Age.Seconds(),
	}
	switch {
	case srv.draining.Load():
		r.Ready, r.Reason = false, "Draining"
	case s.Source == "":
		r.Ready, r.Reason = false, "NotReady"
	}
	status := http.StatusOK
	if !r.Ready {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, r)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// metrics is what /metrics shows. docs/ofrep.md lists them.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	events   *prometheus.CounterVec
	decided  *prometheus.CounterVec

	mu    sync.RWMutex
	known map[string]bool // the features that have a count
}

func newMetrics(srv *server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rampart_evaluate_requests_total", Help: "Requests answered, by what was asked (single, bulk, events, other) and status.",
		}, []string{"asked", "status"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rampart_evaluate_request_seconds", Help: "Time taken to answer, without event streams.",
			Buckets: []float64{10e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 1},
		}, []string{"asked"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rampart_evaluate_events_total", Help: "What happened to the flags: ready, changed, stale, recovered.",
		}, []string{"event"}),
	}
	m.decided = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rampart_decisions_total", Help: "Answers about one feature, by feature; answers about all features are not counted.",
	}, []string{"feature"})
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "rampart_evaluate_" + name, Help: help}, value)
	}
	stale := func() float64 {
		if _, stale := srv.client.Stale(); stale {
			return 1
		}
		return 0
	}
	for _, event := range []string{"ready", "changed", "stale", "recovered"} {
		m.events.WithLabelValues(event) // a rate needs a first value
	}
	m.registry.MustRegister(m.requests, m.took, m.events, m.decided,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "rampart_evaluate_build_info", Help: "Always 1; the version is in the label.", ConstLabels: prometheus.Labels{"version": cli.Version()},
		}, func() float64 { return 1 }),
		gauge("generation", "Generation that is served.", func() float64 { return float64(srv.client.Snapshot().Generation) }),
		gauge("entries", "Entries in memory.", func() float64 { return float64(srv.client.Snapshot().Flags().Len()) }),
		gauge("snapshot_bytes", "Memory that the entries take.", func() float64 { return float64(srv.client.Snapshot().Flags().Size()) }),
		gauge("stale", "1 while what is served is not confirmed by its source.", stale),
		gauge("age_seconds", "Time since the source last confirmed what is served.", func() float64 { age, _ := srv.client.Stale(); return age.Seconds() }),
		gauge("streams", "Event streams that are open.", func() float64 { return float64(srv.ofrep.Streams()) }),
	)
	return m
}

// mostCounted bounds the series by feature. Where there are more features, none is counted.
const mostCounted = 10_000

// know gives each feature that is served a count, from 0 on: so that one nobody asks for can be told
// from one that nobody counts. Features that are gone lose theirs.
func (m *metrics) know(s *flags.Snapshot) {
	there := map[string]bool{}
	if s != nil {
		for name := range s.Features() {
			if len(there) == mostCounted {
				clear(there)
				break
			}
			there[strings.Clone(name)] = true
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.known {
		if !there[name] {
			m.decided.DeleteLabelValues(name)
		}
	}
	for name := range there {
		m.decided.WithLabelValues(name)
	}
	m.known = there
}

func (m *metrics) count(feature string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.known[feature] {
		m.decided.WithLabelValues(feature).Inc()
	}
}

func (m *metrics) observe(asked string, status int, took time.Duration) {
	m.requests.WithLabelValues(asked, statusText(status)).Inc()
	if asked != "events" {
		m.took.WithLabelValues(asked).Observe(took.Seconds())
	}
}

// statusText avoids an allocation for what nearly all requests get.
func statusText(status int) string {
	switch status {
	case http.StatusOK:
		return "200"
	case http.StatusNotModified:
		return "304"
	case http.StatusNotFound:
		return "404"
	case http.StatusBadRequest:
		return "400"
	}
	b, _ := json.Marshal(status)
	return string(b)
}
