package alerts

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/internal/worldtest"
)

var (
	forClause   = regexp.MustCompile(`(?m)^(\s+for: ).*$`)
	rangeWindow = regexp.MustCompile(`\[\w+\]`)
)

// hurried are the rules with seconds in place of minutes: the same expressions, watched for as long as a test may take. Limits
// that are long by themselves come as old and new text, in pairs.
func hurried(t *testing.T, limits ...string) string {
	t.Helper()
	src, err := os.ReadFile("rampart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := forClause.ReplaceAllString(string(src), "${1}1s")
	text = rangeWindow.ReplaceAllString(text, "[8s]")
	for i := 0; i < len(limits); i += 2 {
		if strings.Count(text, limits[i]) != 1 {
			t.Fatalf("the rules do not say %q once", limits[i])
		}
		text = strings.Replace(text, limits[i], limits[i+1], 1)
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// prometheus is a running Prometheus.
type prometheus struct {
	t   *testing.T
	url string
}

func startPrometheus(t *testing.T, target string, limits ...string) *prometheus {
	t.Helper()
	flagtest.Need(t, "prometheus")
	dir, address := t.TempDir(), worldtest.FreeAddress(t)
	config := fmt.Sprintf("global: { scrape_interval: 500ms, evaluation_interval: 500ms }\nrule_files: [%q]\nscrape_configs: [{ job_name: reconcile, static_configs: [{ targets: [%q] }] }]\n",
		hurried(t, limits...), strings.TrimPrefix(target, "http://"))
	path := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	cmd := exec.Command("prometheus", "--config.file", path, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	p := &prometheus{t: t, url: "http://" + address}
	flagtest.Eventually(t, "Prometheus to scrape", func() bool { return strings.Contains(p.ask("/api/v1/query?query=up==1"), `"reconcile"`) })
	return p
}

func (p *prometheus) ask(path string) string {
	res, err := http.Get(p.url + path)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return ""
	}
	return string(body)
}

// firing are the alerts that fire now, by name.
func (p *prometheus) firing() []string {
	p.t.Helper()
	var answer struct {
		Data struct {
			Alerts []struct {
				Labels map[string]string
				State  string
			}
		}
	}
	body := p.ask("/api/v1/alerts")
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		p.t.Fatalf("asking Prometheus for alerts: %v in %.200q", err, body)
	}
	var names []string
	for _, a := range answer.Data.Alerts {
		if a.State == "firing" {
			names = append(names, a.Labels["alertname"])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (p *prometheus) awaitFiring(names ...string) {
	p.t.Helper()
	started := time.Now()
	seen := map[string]bool{}
	flagtest.Eventually(p.t, fmt.Sprintf("%v to fire", names), func() bool {
		for _, n := range p.firing() {
			seen[n] = true
		}
		return !slices.ContainsFunc(names, func(n string) bool { return !seen[n] })
	})
	p.t.Logf("%s fired within %v", strings.Join(names, ", "), time.Since(started).Round(100*time.Millisecond))
}

func (p *prometheus) awaitQuiet() {
	p.t.Helper()
	started := time.Now()
	var last []string
	defer func() {
		if p.t.Failed() {
			p.t.Logf("still firing: %v", last)
		}
	}()
	flagtest.Eventually(p.t, "every alert to clear", func() bool { last = p.firing(); return len(last) == 0 })
	p.t.Logf("all clear after %v", time.Since(started).Round(100*time.Millisecond))
}

// Each fault is made in the real processes, its alert is seen to fire, and to clear when the fault is gone.
func TestAlertsFireAndClear(t *testing.T) {
	t.Parallel() // they wait more than they work
	flagtest.Need(t, "prometheus")
	w := worldtest.New(t)
	notary := startNotary(t)
	w.Args = []string{"--notary", "local=" + notary}
	clean := func(version, pct string) string {
		return strings.Replace(specOf(version, pct), "ada@example.org", "ada", 1)
	}
	w.Commit(clean("flags-v1", "10"), "alice", "Begin")
	w.Start()
	w.AwaitGeneration(1)
	p := startPrometheus(t, w.URL, "rampart_anchor_behind_seconds > 60", "rampart_anchor_behind_seconds > 1")
	p.awaitQuiet()

	post := func(path, body string) { t.Helper(); post(t, w, path, body) }
	decide := func(action string, at time.Time) {
		t.Helper()
		post("/admin/decisions", `{"format":"ramp-report/v1","at":"`+at.UTC().Format(time.RFC3339)+`","decisions":[{"feature":"receipts","tenant":"acme","action":"`+action+`","from":10,"to":10,"verdict":"amber","code":"amber","reason":"coverage"}]}`)
	}
	tell := func(fault string) {
		t.Helper()
		req, err := http.NewRequest("PUT", notary+"/fault", strings.NewReader(fault))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode/100 != 2 {
			t.Fatalf("the notary does not take the fault %s: %s", fault, res.Status)
		}
	}

	// Redis is gone, and a change is merged meanwhile; the evidence is bad, and a ramp has been held for days.
	w.Redis.Kill()
	w.Commit(clean("flags-v1+ramp.1", "20"), "bot", "Ramp while Redis is down")
	post("/admin/coverage", `{"tenant":"acme","pct":50}`)
	decide("hold", time.Now().Add(-5*24*time.Hour))
	p.awaitFiring("RampartRedisDown", "RampartDivergence", "RampartErrorBudgetBurn", "RampartCoverageLow", "RampartRampHeldTooLong")
	w.Redis.Start()
	post("/admin/coverage", `{"tenant":"acme","pct":99}`)
	decide("up", time.Now())
	w.AwaitGeneration(2)
	p.awaitQuiet()

	// A stolen bot key reaches too far, somebody writes to Redis by hand, the notary fails, a person's address stands in the spec.
	tell(`{"fail":503}`)
	w.Commit(specOf("flags-v1+ramp.2", "20"), "alice", "Add a tester")
	w.AwaitGeneration(3)
	w.AwaitRefusal(w.Commit(specOf("flags-v1+ramp.3", "90"), "bot", "Leap to ninety"))
	w.Redis.CLI("SET", "flags:v1:receipts:acme", `{"version":"v1","enabled":true,"ramp_pct":100}`)
	p.awaitFiring("RampartCommitRefused", "RampartDrift", "RampartAnchorsLate", "RampartPersonalData")
	tell(`{}`)
	w.Commit(clean("flags-v1+ramp.4", "20"), "alice", "Name nobody")
	w.AwaitGeneration(4)
	p.awaitQuiet()

	// git is gone.
	if err := os.Rename(w.Repo.Origin, w.Repo.Origin+".away"); err != nil {
		t.Fatal(err)
	}
	p.awaitFiring("RampartSourceStale")
	if err := os.Rename(w.Repo.Origin+".away", w.Repo.Origin); err != nil {
		t.Fatal(err)
	}
	p.awaitQuiet()

	// The reconciler itself is gone.
	w.Stop()
	p.awaitFiring("RampartDown")
	w.Start()
	p.awaitQuiet()
}

func post(t *testing.T, w *worldtest.World, path, body string) {
	t.Helper()
	if code, answer := w.Ask("POST", path, body); code/100 != 2 {
		t.Fatalf("%s: %d %s", path, code, answer)
	}
}

// What people forget: a suspension that nobody ends, evidence that nobody sends any more. And what befalls the lease: its holder
// crashed, and it was to hold it for long; it is taken away again and again.
func TestAlertsOfNeglect(t *testing.T) {
	t.Parallel() // they wait more than they work
	flagtest.Need(t, "prometheus")
	w := worldtest.New(t)
	spec := strings.Replace(specOf("flags-v1", "10"), "ada@example.org", "ada", 1)
	w.Commit(spec, "alice", "Begin")
	w.Args = []string{"--lease", "1h", "--name", "a"}
	w.Start()
	w.AwaitGeneration(1)
	w.Kill()
	w.State += "-b"
	w.Args = []string{"--lease", "1h", "--name", "b"}
	w.Start()
	p := startPrometheus(t, w.URL, "rampart_suspended_seconds > 14400", "rampart_suspended_seconds > 1", "rampart_evidence_age_seconds > 86400", "rampart_evidence_age_seconds > 3",
		"(rampart_takeovers_total[8s])) > 6", "(rampart_takeovers_total[8s])) > 1")
	p.awaitFiring("RampartNobodyLeads")
	w.Redis.CLI("DEL", "flags:v1:lease")
	p.awaitQuiet()
	w.Stop()
	w.Args = []string{"--lease", "1s", "--name", "b"}
	w.Start()
	p.awaitQuiet()

	seen := false
	flagtest.Eventually(t, "RampartLeadChanges to fire while somebody takes the lease away", func() bool {
		w.Redis.CLI("DEL", "flags:v1:lease")
		seen = seen || slices.Contains(p.firing(), "RampartLeadChanges")
		return seen
	})
	p.awaitQuiet()

	post(t, w, "/admin/suspend", `{"reason":"a migration"}`)
	p.awaitFiring("RampartSuspendedTooLong")
	post(t, w, "/admin/resume", `{}`)
	p.awaitQuiet()

	const evidence = `{"tenant":"acme","pct":99}`
	post(t, w, "/admin/coverage", evidence)
	p.awaitFiring("RampartEvidenceStale")
	flagtest.Eventually(t, "RampartEvidenceStale to clear while evidence comes", func() bool {
		post(t, w, "/admin/coverage", evidence)
		return !slices.Contains(p.firing(), "RampartEvidenceStale")
	})
}

// The disk of the ledger is full.
func TestAlertOfReceiptsThatWait(t *testing.T) {
	t.Parallel() // they wait more than they work
	flagtest.Need(t, "prometheus")
	disk := flagtest.NewSmallDisk(t, 2<<20)
	w := worldtest.New(t)
	w.Args = []string{"--ledger", filepath.Join(disk.Dir, "ledger")}
	w.Commit(strings.Replace(specOf("flags-v1", "10"), "ada@example.org", "ada", 1), "alice", "Begin")
	w.Start()
	w.AwaitGeneration(1)
	p := startPrometheus(t, w.URL)
	p.awaitQuiet()
	disk.Fill()
	const key, wrong = "flags:v1:receipts:acme", `{"version":"v1","enabled":true,"ramp_pct":100}`
	flagtest.Eventually(t, "a repair whose receipt finds no room", func() bool {
		if w.Redis.CLI("GET", key) != wrong {
			w.Redis.CLI("SET", key, wrong)
		}
		return regexp.MustCompile(`(?m)^rampart_receipts_waiting [1-9]`).MatchString(scrape(t, w))
	})
	p.awaitFiring("RampartReceiptsWaiting")
	disk.Free()
	p.awaitQuiet()
}

// A change of the file of many environments names a policy that is not there; then the file is cut off.
func TestAlertsOfManyEnvironments(t *testing.T) {
	t.Parallel() // they wait more than they work
	flagtest.Need(t, "prometheus")
	w := worldtest.New(t)
	w.Commit(strings.Replace(specOf("flags-v1", "10"), "ada@example.org", "ada", 1), "alice", "Begin")
	good := environmentsOf(t, w, w.Trust())
	w.Start()
	open := func(is string) {
		t.Helper()
		flagtest.Eventually(t, "the environment's state to be "+is, func() bool {
			return strings.Contains(scrape(t, w), `rampart_environment_open{environment="prod"} `+is)
		})
	}
	open("1")
	p := startPrometheus(t, w.URL)
	p.awaitQuiet()

	environmentsOf(t, w, w.Trust()+".typo")
	w.Hangup()
	open("0")
	if err := os.WriteFile(w.Config, good[:len(good)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	w.Hangup()
	p.awaitFiring("RampartEnvironmentNotOpen", "RampartConfigNotReloaded")

	environmentsOf(t, w, w.Trust())
	w.Hangup()
	p.awaitQuiet()
}
