package check_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

func sample(pct int) string {
	return fmt.Sprintf(`{"version":"flags-v1+ramp.%d","features":{
  "receipts":{"pct":%d,"version":"v1+ramp.%d","cohorts":["vip"],"tenants":{"acme":{"pct":100},"globex":{"enabled":false}}},
  "attest":{"pct":0}}}`, pct+1, pct, pct+1)
}

func TestGo(t *testing.T) {
	s := newStore(t)
	s.apply(sample(0))
	p := start(t, true, "", []string{"FLAGS_REDIS_URL=" + s.redis.URL(), "ADDRESS=127.0.0.1:0"}, build(t, "../go"))
	get := func(path, tenant, user string) (string, http.Header) {
		t.Helper()
		r, err := http.NewRequest("GET", p.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Tenant-ID", tenant)
		r.Header.Set("X-User-ID", user)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body), resp.Header
	}
	if body, h := get("/pay", "acme", "u"); h.Get("x-receipt") != "signed" || h.Get("x-feature-receipts") != "enabled" || body != "paid by u of acme\n" {
		t.Errorf("acme: %q %v", body, h)
	}
	if _, h := get("/pay", "initech", "u"); h.Get("x-receipt") != "" || h.Get("x-feature-receipts") != "disabled" || h.Get("x-flag-version") != "v1+ramp.1" {
		t.Errorf("initech: %v", h)
	}
	s.apply(sample(100))
	flagtest.Eventually(t, "the change", func() bool { _, h := get("/pay", "initech", "u"); return h.Get("x-feature-receipts") == "enabled" })
	if body, _ := get("/features", "globex", "u"); !strings.Contains(body, `"receipts":{"on":false,"reason":"disabled"`) {
		t.Errorf("features: %s", body)
	}
}

func evaluate(t *testing.T, s *store, args ...string) *process {
	t.Helper()
	return start(t, true, "", nil, build(t, "../../cmd/evaluate"), append([]string{"--listen", "127.0.0.1:0", "--redis", s.redis.URL()}, args...)...)
}

// details is what the OpenFeature SDK says of an evaluation.
type details struct {
	Value        bool           `json:"value"`
	Reason       string         `json:"reason"`
	Variant      string         `json:"variant"`
	ErrorCode    string         `json:"errorCode"`
	FlagMetadata map[string]any `json:"flagMetadata"`
}

// TestNode asks through OpenFeature's SDK for servers and its OFREP provider.
func TestNode(t *testing.T) {
	dir := npm(t, "../node")
	s := newStore(t)
	s.apply(sample(0))
	e := evaluate(t, s)
	p := start(t, true, dir, []string{"OFREP_URL=" + e.url + "/", "PORT=0"}, "node", "server.mjs") // with a slash at its end
	ask := func(feature, tenant, user string) (d details) {
		t.Helper()
		r, err := http.NewRequest("GET", p.url+"/"+url.PathEscape(feature), nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"X-Tenant-ID": tenant, "X-User-ID": user} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, tc := range []struct {
		feature, tenant, user  string
		value                  bool
		reason, variant, older string
		code                   string
	}{
		{"receipts", "acme", "u", true, "STATIC", "on", "pct-100", ""},
		{"receipts", "globex", "vip", false, "DISABLED", "off", "disabled", ""},
		{"receipts", "", "vip", true, "TARGETING_MATCH", "on", "cohort", ""},
		{"receipts", "", "", false, "SPLIT", "off", "pct-hash", ""},
		{"nothing", "acme", "u", false, "ERROR", "", "", "FLAG_NOT_FOUND"},
	} {
		d := ask(tc.feature, tc.tenant, tc.user)
		if d.Value != tc.value || d.Reason != tc.reason || d.Variant != tc.variant || d.ErrorCode != tc.code {
			t.Errorf("%+v: %+v", tc, d)
		}
		if tc.older != "" && (d.FlagMetadata["reason"] != tc.older || d.FlagMetadata["generation"] != 1.0 || d.FlagMetadata["version"] != "v1+ramp.1") {
			t.Errorf("%+v: metadata %v", tc, d.FlagMetadata)
		}
	}
	s.apply(sample(100))
	flagtest.Eventually(t, "the change", func() bool { return ask("receipts", "initech", "u").Value })
	s.redis.Kill()
	if d := ask("receipts", "initech", "u"); !d.Value || d.ErrorCode != "" {
		t.Errorf("while redis is away: %+v", d)
	}
	e.kill()
	if d := ask("receipts", "initech", "u"); d.Value || d.ErrorCode == "" {
		t.Errorf("while nobody can be asked: %+v", d)
	}
}

// TestNodeAsksTheReconciler asks the reconciler itself, while people commit.
func TestNodeAsksTheReconciler(t *testing.T) {
	dir := npm(t, "../node")
	flagtest.Need(t, "git")
	repo := flagtest.Repo(t)
	repo.CommitFile("specs/flags.json", sample(0), "first flags")
	repo.Push()
	s := newStore(t)
	r := start(t, false, "", nil, build(t, "../../cmd/reconcile"), "run", "--repo", repo.URL(), "--insecure-accept-unsigned",
		"--redis", s.redis.URL(), "--listen", "127.0.0.1:0", "--interval", "100ms", "--state-dir", t.TempDir())
	base := r.await("reconcile to serve", regexp.MustCompile(`listen=(127\.0\.0\.1:\d+)`))
	p := start(t, true, dir, []string{"OFREP_URL=http://" + base, "PORT=0"}, "node", "server.mjs")
	ask := func() (d details) {
		t.Helper()
		r, err := http.NewRequest("GET", p.url+"/receipts", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Tenant-ID", "initech")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	flagtest.Eventually(t, "the first flags", func() bool { d := ask(); return d.ErrorCode == "" && !d.Value })
	if d := ask(); d.FlagMetadata["generation"] != 1.0 || d.FlagMetadata["commit"] != repo.Head() {
		t.Errorf("metadata %v", d.FlagMetadata)
	}
	repo.CommitFile("specs/flags.json", sample(100), "receipts for everybody")
	repo.Push()
	flagtest.Eventually(t, "the commit", func() bool { d := ask(); return d.Value && d.FlagMetadata["commit"] == repo.Head() })
}

// TestNodeSeesAnOutage asks an evaluate that has no flags.
func TestNodeSeesAnOutage(t *testing.T) {
	dir := npm(t, "../node")
	e := evaluate(t, newStore(t), "--wait", "10ms")
	p := start(t, true, dir, []string{"OFREP_URL=" + e.url, "PORT=0"}, "node", "server.mjs")
	resp, err := http.Get(p.url + "/receipts")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var d details
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.Value || d.ErrorCode != "GENERAL" {
		t.Errorf("%+v", d)
	}
}

// TestBrowser shows the page in Chromium, which asks through OpenFeature's web SDK.
func TestBrowser(t *testing.T) {
	dir := npm(t, "../browser")
	flagtest.Need(t, "chromium")
	s := newStore(t)
	s.apply(sample(0))
	page := start(t, true, dir, []string{"PORT=0"}, "node", "serve.mjs")
	e := evaluate(t, s, "--origin", page.url)
	address := page.url + "/?" + url.Values{"ofrep": {e.url}, "tenant": {"initech"}, "user": {"u"}, "features": {"receipts,attest,nothing"}}.Encode()
	home := t.TempDir()
	browser := start(t, false, "", []string{"HOME=" + home}, "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--user-data-dir="+home, "--enable-logging=stderr", "--remote-debugging-port=0", address)
	says := func(text string) {
		t.Helper()
		flagtest.Eventually(t, "the page to say "+text, func() bool { return strings.Contains(browser.output(), text) })
	}
	says("PROVIDER_READY: receipts off SPLIT")
	says("PROVIDER_READY: attest off SPLIT")
	says("PROVIDER_READY: nothing off FLAG_NOT_FOUND")
	s.apply(sample(100))
	says("PROVIDER_CONFIGURATION_CHANGED: receipts on STATIC")
	s.apply(sample(1)) // and back again: the stream stays
	says("PROVIDER_CONFIGURATION_CHANGED: receipts off SPLIT")
	if strings.Contains(browser.output(), "CORS") || strings.Contains(browser.output(), "error:") {
		t.Errorf("the console shows errors:\n%s", browser.output())
	}
}
