// Package alerts holds the alert rules, and the tests of all that is watched: metrics, rules, boards and the HTTP interface, each
// against the running commands.
package alerts

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/internal/worldtest"
)

func TestMain(m *testing.M) { worldtest.Main(m) }

const spec = `{"version":"VERSION","environment":"prod","features":{"receipts":{"pct":PCT,"cohorts":["ada@example.org"],"tenants":{"acme":{"pct":50}}}}}`

func specOf(version, pct string) string {
	return strings.NewReplacer("VERSION", version, "PCT", pct).Replace(spec)
}

// environmentsOf makes the world's reconciler run by a rampart.json with one environment and that policy, and returns the file.
func environmentsOf(t *testing.T, w *worldtest.World, trust string) []byte {
	t.Helper()
	src, err := json.Marshal(map[string]any{"version": 1, "repo": w.Repo.URL(), "redis": w.Redis.URL(), "state_dir": w.State, "interval": "300ms",
		"environments": map[string]any{"prod": map[string]any{"trust": trust}}})
	if err != nil {
		t.Fatal(err)
	}
	if w.Config == "" {
		w.Config = filepath.Join(t.TempDir(), "rampart.json")
	}
	if err := os.WriteFile(w.Config, src, 0o600); err != nil {
		t.Fatal(err)
	}
	return src
}

// manyEnvironments are the metrics that only a process with --config has, as it shows them at /metrics.
func manyEnvironments(t *testing.T, other *worldtest.World, known string) string {
	t.Helper()
	w := *other
	w.URL, w.Config, w.Args = "http://"+worldtest.FreeAddress(t), "", nil
	w.State += "-many"
	environmentsOf(t, &w, w.Trust()+".typo") // they are there before anything is open
	w.Start()
	var text string
	flagtest.Eventually(t, "the environment to be tried", func() bool {
		text = scrape(t, &w)
		return strings.Contains(text, "\nrampart_environment_open{")
	})
	var only strings.Builder
	for line := range strings.Lines(text) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "))
		name, _, _ := strings.Cut(fields[0], "{")
		if !strings.Contains(known, "# TYPE "+name+" ") && strings.HasPrefix(name, "rampart_") && !strings.HasPrefix(name, "rampart_http_") {
			only.WriteString(line)
		}
	}
	return only.String()
}

// startNotary runs the stand-in notary, and returns its address.
func startNotary(t *testing.T) string {
	t.Helper()
	address := worldtest.FreeAddress(t)
	cmd := exec.Command(worldtest.Build(t, "notary"), "--listen", address)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return "http://" + address
}

// busy is a world in which everything that has a metric has happened.
func busy(t *testing.T) *worldtest.World {
	t.Helper()
	w := worldtest.New(t)
	var mu sync.Mutex
	told := map[string]int{}
	people := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct{ Kind string }
		if json.NewDecoder(r.Body).Decode(&m) == nil {
			mu.Lock()
			told[m.Kind]++
			mu.Unlock()
		}
	}))
	t.Cleanup(people.Close)
	targets := filepath.Join(t.TempDir(), "notify.json")
	if err := os.WriteFile(targets, []byte(`[{"name":"people","type":"webhook","url":"`+people.URL+`"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Args = []string{"--notary", "local=" + startNotary(t), "--notify", targets}
	w.Commit(specOf("flags-v1", "10"), "alice", "Begin")
	w.Start()
	w.AwaitGeneration(1)
	w.Commit(specOf("flags-v1+ramp.1", "20"), "bot", "Ramp")
	w.AwaitGeneration(2)
	w.AwaitRefusal(w.Commit(specOf("flags-v1+ramp.2", "90"), "bot", "Leap"))
	now := time.Now().UTC().Format(time.RFC3339)
	for path, body := range map[string]string{
		"/admin/coverage":  `{"tenant":"acme","pct":97}`,
		"/admin/ramp":      `{"tenant":"acme","feature":"receipts","pct":50}`,
		"/admin/decisions": `{"format":"ramp-report/v1","at":"` + now + `","decisions":[{"feature":"receipts","tenant":"__default__","action":"hold","from":20,"to":20,"verdict":"amber","code":"amber","reason":"coverage"}]}`,
	} {
		if code, answer := w.Ask("POST", path, body); code != 200 {
			t.Fatalf("%s: %d %s", path, code, answer)
		}
	}
	w.Redis.CLI("DEL", "flags:v1:receipts:acme")
	flagtest.Eventually(t, "people to be told of two generations, a refusal, a repair and a hold", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return told["generation"] == 2 && told["refusal"] == 1 && told["drift"] == 1 && told["hold"] == 1
	})
	flagtest.Eventually(t, "the notary to confirm", func() bool {
		return strings.Contains(scrape(t, w), `rampart_anchor_confirmed_receipts{notary="local"}`)
	})
	flagtest.Eventually(t, "the search for personal data", func() bool { return strings.Contains(scrape(t, w), `rampart_pii_findings{kind="email"} 1`) })
	return w
}

func scrape(t *testing.T, w *worldtest.World) string {
	t.Helper()
	code, body := w.Ask("GET", "/metrics", "")
	if code != 200 {
		t.Fatalf("scraping: %d %s", code, body)
	}
	return body
}

// evaluated is what a server of evaluations over the world's Redis shows at /metrics, after it was asked once.
func evaluated(t *testing.T, w *worldtest.World) string {
	t.Helper()
	address := worldtest.FreeAddress(t)
	cmd := exec.Command(worldtest.Build(t, "evaluate"), "--listen", address, "--redis", w.Redis.URL())
	cmd.Env = w.Repo.Env()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	at := *w
	at.URL = "http://" + address
	flagtest.Eventually(t, "the server of evaluations to answer", func() bool {
		code, _ := at.Ask("POST", "/ofrep/v1/evaluate/flags/receipts", `{"context":{"targetingKey":"u1","tenant":"acme"}}`)
		return code == http.StatusOK
	})
	return scrape(t, &at)
}
