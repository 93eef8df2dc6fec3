package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// A real Prometheus that scrapes what evaluate exports says which flag nobody asks for.
func TestStaleByARealPrometheus(t *testing.T) {
	flagtest.Need(t, "prometheus", "git")
	metrics := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "# TYPE rampart_decisions_total counter\nrampart_decisions_total{feature=\"old\"} 0\nrampart_decisions_total{feature=\"new\"} 0\n")
	}))
	t.Cleanup(metrics.Close)
	server := startStalePrometheus(t, metrics.URL)

	repo := flagtest.Repo(t)
	repo.Setenv()
	repo.Write("specs/flags.json", `{"version":"flags-v1","features":{"old":{"owner":"a","pct":20},"uncounted":{"owner":"a","pct":20}}}`)
	repo.Now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	repo.Commit("start")
	ask := func() (string, string, int) {
		var out, talk bytes.Buffer
		err := run(t.Context(), cli.Env{
			Args: []string{"stale", "--days", "1", "--prometheus", server, "--path", filepath.Join(repo.Dir, "specs/flags.json")}, Stdin: strings.NewReader(""),
			Stdout: &out, Stderr: &talk, Getenv: func(string) string { return "" },
		})
		return out.String(), fmt.Sprint(err) + talk.String(), cli.Code(err)
	}
	flagtest.Eventually(t, "Prometheus has looked twice", func() bool {
		resp, err := http.Get(server + "/api/v1/query?query=" + url.QueryEscape("increase(rampart_decisions_total[1d])"))
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		var body bytes.Buffer
		_, err = body.ReadFrom(resp.Body)
		return err == nil && strings.Contains(body.String(), `"feature":"old"`)
	})
	if out, talk, code := ask(); code != cli.ExitChanges || !strings.HasPrefix(out, "old (a): nobody has asked for it, and it is there since ") || strings.Count(out, "\n") != 1 {
		t.Errorf("exit %d: %s%s", code, out, talk)
	}
	metrics.Close()
	server = "http://127.0.0.1:1"
	if out, talk, code := ask(); code != cli.ExitError || out != "" || !strings.Contains(talk, "asking Prometheus for decisions") {
		t.Errorf("exit %d: %s%s", code, out, talk)
	}
}

func startStalePrometheus(t *testing.T, target string) string {
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: { scrape_interval: 500ms, scrape_timeout: 400ms }\nscrape_configs:\n- job_name: evaluate\n  static_configs: [{ targets: [%q] }]\n", strings.TrimPrefix(target, "http://"))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cmd := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--log.level=warn")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus said:\n%s", &log)
		}
	})
	return "http://" + addr
}
