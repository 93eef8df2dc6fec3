package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
)

const testToken = "a token of the tests"

func pushedServer(t *testing.T, dir string, reg prometheus.Registerer) (http.Handler, *pushed) {
	t.Helper()
	spec, err := flags.Decode("flags.json", []byte(`{"version":"flags-v1","features":{"receipts":{"pct":10,"tenants":{"acme":{"pct":50}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := openPushed(dir, reg, func() *reconciler.Live { return &reconciler.Live{Spec: spec} })
	if err != nil {
		t.Fatal(err)
	}
	g, err := newGuard(dir, cli.Env{Getenv: func(name string) string { return map[string]string{"RAMPART_ADMIN_TOKEN": testToken}[name] }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	p.routes(mux, g)
	suspensionRoutes(mux, g, nil)
	acceptHistoryRoute(mux, g, nil)
	return bounded(g.hosts(mux)), p
}

func post(h http.Handler, path, body string) (int, string) {
	r := httptest.NewRequest("POST", "http://localhost"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+testToken)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

// The older service's answers, to the letter.
func TestAdminAnswers(t *testing.T) {
	h, _ := pushedServer(t, t.TempDir(), prometheus.NewRegistry())
	for _, c := range []struct {
		path, body string
		code       int
		want       string
	}{
		{"/admin/coverage", `{"tenant":"default","pct":97}`, 200, `{"ok":true}`},
		{"/admin/coverage", `{"tenant":"acme","pct":0}`, 200, `{"ok":true}`},
		{"/admin/coverage", `{"pct":97}`, 400, `{"error":"tenant,pct required"}`},
		{"/admin/coverage", `{"tenant":"","pct":97}`, 400, `{"error":"tenant,pct required"}`},
		{"/admin/coverage", `{"tenant":"acme","pct":"97"}`, 400, `{"error":"tenant,pct required"}`},
		{"/admin/coverage", `{"tenant":"acme"}`, 400, `{"error":"tenant,pct required"}`},
		{"/admin/coverage", `pct`, 400, `{"error":"tenant,pct required"}`},
		{"/admin/coverage", ``, 400, `{"error":"tenant,pct required"}`},
		{"/admin/coverage", `{"tenant":"acme","pct":101}`, 400, `{"error":"tenant must be a tenant's name and pct a number from 0 to 100"}`},
		{"/admin/coverage", `{"tenant":"a:b","pct":1}`, 400, `{"error":"tenant must be a tenant's name and pct a number from 0 to 100"}`},
		{"/admin/ramp", `{"tenant":"acme","feature":"receipts","pct":20}`, 200, `{"ok":true}`},
		{"/admin/ramp", `{"tenant":"acme","pct":20}`, 400, `{"error":"tenant,feature,pct required"}`},
		{"/admin/ramp", `[]`, 400, `{"error":"tenant,feature,pct required"}`},
		{"/admin/suspend", `{"reason":"` + strings.Repeat("x", maxBody) + `"}`, 413, `{"error":"the body is larger than 65536 bytes"}`},
		{"/admin/accept-history", strings.Repeat("x", maxSealed+1), 413, `{"error":"the body is larger than 1048576 bytes"}`},
		{"/admin/coverage", `{"tenant":"` + strings.Repeat("x", maxBody) + `","pct":1}`, 413, `{"error":"the body is larger than 65536 bytes"}`},
	} {
		if code, got := post(h, c.path, c.body); code != c.code || got != c.want {
			t.Errorf("%s %.80s: %d %s, want %d %s", c.path, c.body, code, got, c.code, c.want)
		}
	}
	r := httptest.NewRequest("POST", "http://localhost/admin/coverage", strings.NewReader(`{"tenant":"acme","pct":1}`))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized {
		t.Errorf("without the token: %d", w.Code)
	}
}

func TestPushedSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	h, _ := pushedServer(t, dir, prometheus.NewRegistry())
	post(h, "/admin/coverage", `{"tenant":"acme","pct":97.5}`)
	post(h, "/admin/ramp", `{"tenant":"acme","feature":"receipts","pct":20}`)
	at := time.Now().UTC().Format(time.RFC3339)
	report := `{"format":"ramp-report/v1","at":"` + at + `","decisions":[{"feature":"receipts","tenant":"acme","action":"hold","from":20,"to":20,"verdict":"amber","code":"amber","reason":"coverage 90 < 95"}]}`
	if code, body := post(h, "/admin/decisions", report); code != 200 {
		t.Fatalf("decisions: %d %s", code, body)
	}
	reg := prometheus.NewRegistry()
	h, p := pushedServer(t, dir, reg)
	want := `
# HELP attest_coverage_pct Attestation coverage in percent, as pushed to /admin/coverage.
# TYPE attest_coverage_pct gauge
attest_coverage_pct{tenant="acme"} 97.5
# HELP ramp_pct Percentage of a ramp, as pushed to /admin/ramp.
# TYPE ramp_pct gauge
ramp_pct{feature="receipts",tenant="acme"} 20
# HELP rampart_ramp_decisions Entries by what the proposer last decided for them and why: action, reason code.
# TYPE rampart_ramp_decisions gauge
rampart_ramp_decisions{action="hold",code="amber"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if d, ok := p.Decision("receipts", "acme"); !ok || d.Reason != "coverage 90 < 95" {
		t.Errorf("decision %+v, %v", d, ok)
	}
	older := strings.Replace(report, at, "2020-01-01T00:00:00Z", 1)
	post(h, "/admin/decisions", strings.Replace(older, "coverage 90", "coverage 10", 1))
	if d, _ := p.Decision("receipts", "acme"); d.Reason != "coverage 90 < 95" {
		t.Errorf("an older report replaced a newer one: %+v", d)
	}
	r := httptest.NewRequest("GET", "http://localhost/api/v1/coverage", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if body := w.Body.String(); !strings.Contains(body, `"acme":{"pct":97.5,"generated_at":"`) {
		t.Errorf("coverage evidence: %s", body)
	}
}

func TestStrangersAreBounded(t *testing.T) {
	h, _ := pushedServer(t, t.TempDir(), prometheus.NewRegistry())
	for i := range maxStrangers {
		if code, body := post(h, "/admin/coverage", fmt.Sprintf(`{"tenant":"stranger-%d","pct":1}`, i)); code != 200 {
			t.Fatalf("stranger %d: %d %s", i, code, body)
		}
	}
	if code, _ := post(h, "/admin/coverage", `{"tenant":"one-more","pct":1}`); code != http.StatusTooManyRequests {
		t.Errorf("one stranger more: %d", code)
	}
	if code, _ := post(h, "/admin/coverage", `{"tenant":"stranger-7","pct":2}`); code != 200 {
		t.Errorf("a stranger already known: %d", code)
	}
	if code, _ := post(h, "/admin/coverage", `{"tenant":"acme","pct":2}`); code != 200 {
		t.Errorf("a tenant of the live spec: %d", code)
	}
}

func TestWebhook(t *testing.T) {
	const secret = "the webhook's secret"
	nudges := 0
	now := time.Unix(1000, 0)
	h := newWebhook(cli.Env{Getenv: func(string) string { return secret }}, func([]byte) { nudges++ })
	h.now = func() time.Time { return now }
	mux := http.NewServeMux()
	h.routes(mux)
	body := `{"ref":"refs/heads/main"}`
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	sum := hex.EncodeToString(mac.Sum(nil))
	call := func(name, value string) int {
		r := httptest.NewRequest("POST", "http://localhost/webhook/git", strings.NewReader(body))
		if name != "" {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Code
	}
	for _, c := range []struct {
		name, value string
		want        int
	}{
		{"X-Hub-Signature-256", "sha256=" + sum, 202},
		{"X-Gitea-Signature", sum, 202},
		{"X-Gitlab-Token", secret, 202},
		{"X-Hub-Signature-256", "sha256=" + strings.Repeat("0", 64), 401},
		{"X-Hub-Signature-256", "sha256=", 401},
		{"X-Gitlab-Token", "guess", 401},
		{"", "", 401},
	} {
		if code := call(c.name, c.value); code != c.want {
			t.Errorf("%s %s: %d, want %d", c.name, c.value, code, c.want)
		}
	}
	if nudges != 3 {
		t.Errorf("%d looks were hurried, want 3", nudges)
	}
	limited := false
	for range int(webhookBurst) + 1 {
		limited = limited || call("X-Gitlab-Token", secret) == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("calls without end are answered")
	}
	now = now.Add(time.Minute)
	if code := call("X-Gitlab-Token", secret); code != 202 {
		t.Errorf("a minute later: %d", code)
	}
}
