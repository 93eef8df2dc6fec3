package evidence_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

// shop is a service as Prometheus scrapes it.
func shop(t *testing.T) *httptest.Server {
	reg := prometheus.NewRegistry()
	ops := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shop_operations_total", Help: "Operations."}, []string{"tenant"})
	attested := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shop_attested_total", Help: "Attested."}, []string{"tenant"})
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shop_requests_total", Help: "Requests."}, []string{"feature", "arm"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shop_failures_total", Help: "Failures."}, []string{"feature", "arm"})
	p95 := prometheus.NewGauge(prometheus.GaugeOpts{Name: "shop_anchor_p95_ms", Help: "Latency."})
	diverged := prometheus.NewGauge(prometheus.GaugeOpts{Name: "shop_divergence", Help: "Divergence."})
	reg.MustRegister(ops, attested, requests, failures, p95, diverged)
	for tenant, n := range map[string][2]float64{"": {1000, 972}, "acme": {200, 199}, "idle": {0, 0}} {
		ops.WithLabelValues(tenant).Add(n[0])
		attested.WithLabelValues(tenant).Add(n[1])
	}
	requests.WithLabelValues("receipts", "treated").Add(2000)
	requests.WithLabelValues("receipts", "control").Add(8000)
	failures.WithLabelValues("receipts", "treated").Add(60)
	p95.Set(21.4)
	srv := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	t.Cleanup(srv.Close)
	return srv
}

// startPrometheus runs a real server that scrapes target twice a second, with one alert that fires.
func startPrometheus(t *testing.T, target string) string {
	flagtest.Need(t, "prometheus")
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("rules.yml", `groups:
- name: shop
  interval: 1s
  rules:
  - alert: AnchorLate
    expr: shop_divergence == 0
    labels: { severity: critical, feature: receipts, tenant: acme }
`)
	config := write("prometheus.yml", fmt.Sprintf(`global: { scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 1s }
rule_files: [rules.yml]
scrape_configs:
- job_name: shop
  static_configs: [{ targets: [%q] }]
`, strings.TrimPrefix(target, "http://")))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("prometheus said:\n%s", text)
		}
	})
	return "http://" + addr
}

const shopQueries = `{
  "coverage": { "query": "100 * sum by (tenant) (shop_attested_total) / sum by (tenant) (shop_operations_total)",
                "samples": "sum by (tenant) (shop_operations_total)" },
  "slo": { "anchor_p95_ms": "shop_anchor_p95_ms", "divergence": "shop_divergence", "samples": "scalar(sum(shop_operations_total))", "nowhere": "shop_nowhere" },
  "features": { "error_rate": "sum by (feature) (shop_failures_total) / sum by (feature) (shop_requests_total)" },
  "traffic": {
    "treated_requests": "sum by (feature) (shop_requests_total{arm=\"treated\"})",
    "treated_errors":   "sum by (feature) (shop_failures_total{arm=\"treated\"})",
    "control_requests": "sum by (feature) (shop_requests_total{arm=\"control\"})",
    "control_errors":   "sum by (feature) (shop_failures_total{arm=\"control\"})" }
}`

func TestCollectFromARealPrometheus(t *testing.T) {
	url := startPrometheus(t, shop(t).URL)
	queries, err := evidence.ParseQueries([]byte(shopQueries))
	if err != nil {
		t.Fatal(err)
	}
	var warnings []string
	p := evidence.Prometheus{URL: url, Warn: func(s string) { warnings = append(warnings, s) }}
	var got evidence.Collected
	var at time.Time
	flagtest.Eventually(t, "the alert to fire in Prometheus", func() bool {
		warnings = nil
		at = time.Now()
		got, err = p.Collect(t.Context(), queries, at)
		return err == nil && strings.Contains(string(got.SLO), "AnchorLate") && strings.Contains(string(got.Coverage), "acme")
	})
	c, s := evidence.Coverage(got.Coverage), evidence.SLO(got.SLO)
	if !c.At.Equal(at.UTC().Truncate(time.Second)) || !s.At.Equal(c.At) {
		t.Errorf("dated %s and %s, asked at %s", c.At, s.At, at)
	}
	if m := c.Tenants[flags.DefaultTenant]; m.Pct != 97.2 || m.Samples != 1000 {
		t.Errorf("the feature as a whole: %+v in %s", m, got.Coverage)
	}
	if m := c.Tenants["acme"]; m.Pct != 99.5 || m.Samples != 200 {
		t.Errorf("acme: %+v", m)
	}
	if _, ok := c.Tenants["idle"]; ok {
		t.Error("nothing of nothing is no coverage")
	}
	whole := s.Scopes[0]
	if whole.Indicators["anchor_p95_ms"] != 21.4 || whole.Indicators["divergence"] != 0 || whole.Samples != 1200 {
		t.Errorf("the whole: %+v in %s", whole, got.SLO)
	}
	if _, ok := whole.Indicators["nowhere"]; ok {
		t.Error("a query without an answer gives no number")
	}
	if len(s.Alerts) != 1 || s.Alerts[0] != (ramp.Alert{Severity: "critical", Name: "AnchorLate", Feature: "receipts", Tenant: "acme"}) {
		t.Errorf("alerts %+v", s.Alerts)
	}
	sc := s.Scopes[1]
	if sc.Feature != "receipts" || sc.Indicators["error_rate"] != 0.006 || *sc.Treated != (ramp.Arm{Requests: 2000, Errors: 60}) || *sc.Control != (ramp.Arm{Requests: 8000}) {
		t.Errorf("receipts: %+v in %s", sc, got.SLO)
	}
	if all := strings.Join(warnings, "\n"); !strings.Contains(all, "nowhere: Prometheus has no answer") || !strings.Contains(all, "NaN") {
		t.Errorf("warnings %q", warnings)
	}

	for query, want := range map[string]string{
		`shop_operations_total`:     "aggregate them",
		`shop_operations_total[1m]`: "want an instant vector",
		`sum(`:                      "asking Prometheus for p",
	} {
		q := evidence.Queries{SLO: map[string]string{"p": query}}
		if _, err := p.Collect(t.Context(), q, at); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
}

func TestCollectSaysWhenNobodyAnswers(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	q := evidence.Queries{SLO: map[string]string{"p": "up"}}
	for _, c := range []struct{ token, want string }{{"", "401"}, {"sesame", "503"}} {
		p := evidence.Prometheus{URL: srv.URL, Token: c.token}
		if _, err := p.Collect(t.Context(), q, noon); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("token %q: %v, want %s", c.token, err, c.want)
		}
	}
}

func TestQueriesAreStrict(t *testing.T) {
	for src, want := range map[string]string{
		`{}`:                           "neither coverage nor slo",
		`{"coverage":{"samples":"x"}}`: "no query",
		`{"slos":{"a":"b"}}`:           "unknown field",
		`{"slo":{"alerts":"b"}}`:       "no indicator",
		`{"slo":{"a":"b"},"traffic":{"treated_requests":"x"}}`: "traffic needs all",
		`{"slo":{"a":1}}`: "does not hold",
		`[`:               "the document does not hold",
		`{`:               "not JSON",
	} {
		if _, err := evidence.ParseQueries([]byte(src)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", src, err, want)
		}
	}
}
