package main

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rampart-flags/rampart/config"
)

// broken is a collector that cannot say what it should.
type broken struct{ desc *prometheus.Desc }

func (b broken) Describe(c chan<- *prometheus.Desc) { c <- b.desc }
func (b broken) Collect(c chan<- prometheus.Metric) {
	c <- prometheus.NewInvalidMetric(b.desc, errors.New("the clone is gone"))
}

// What one environment cannot measure blinds nobody to the others, and is told. Each series says of which environment it is.
func TestMetricsOutliveABrokenEnvironment(t *testing.T) {
	var said strings.Builder
	f := &fleet{reg: newRegistry(), log: slog.New(slog.NewTextHandler(&said, nil)), members: map[string]*member{}}
	for _, name := range []string{"prod", "spare"} {
		s := &site{reg: prometheus.NewRegistry()}
		reg := prometheus.WrapRegistererWith(prometheus.Labels{"environment": name}, s.reg)
		reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "a_measure", Help: "A measure."}))
		if name == "spare" {
			reg.MustRegister(broken{prometheus.NewDesc("another_measure", "Another.", nil, nil)})
		}
		f.members[name] = &member{f: f, e: config.Environment{Environment: name}, now: s}
	}
	w := httptest.NewRecorder()
	f.metricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, _ := io.ReadAll(w.Body)
	if w.Code != http.StatusOK {
		t.Fatalf("it answers %d: %s", w.Code, body)
	}
	for _, want := range []string{"rampart_build_info{", `a_measure{environment="prod"} 0`, `a_measure{environment="spare"} 0`} {
		if !strings.Contains(string(body), want) {
			t.Errorf("%s is missing", want)
		}
	}
	if !strings.Contains(said.String(), "the clone is gone") {
		t.Errorf("the log says only %q", said.String())
	}
}
