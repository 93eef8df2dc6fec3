package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// herd is a process with many environments, of a few repositories that are served over HTTP.
type herd struct {
	t      testing.TB
	redis  *flagtest.RedisServer
	stages []*flagtest.Stage
	looks  atomic.Int64 // at any repository
	url    string       // of the git server
	dir    string
	file   string // rampart.json
	doc    map[string]any
	cmd    *exec.Cmd
	serves string // the reconciler's address
	env    []string
}

func newHerd(t testing.TB, repositories int, interval string) *herd {
	t.Helper()
	h := &herd{t: t, redis: flagtest.Redis(t), dir: t.TempDir()}
	h.file = filepath.Join(h.dir, "rampart.json")
	h.doc = map[string]any{"version": 1, "redis": h.redis.URL(), "state_dir": "state", "interval": interval, "listen": "127.0.0.1:0", "environments": map[string]any{}}
	handlers := http.NewServeMux()
	for i := range repositories {
		s := flagtest.NewStage(t, h.redis, everything)
		h.stages = append(h.stages, s)
		backend := filepath.Join(s.Repo.Git("--exec-path"), "git-http-backend")
		prefix := fmt.Sprintf("/r%d", i)
		handlers.Handle(prefix+"/", http.StripPrefix(prefix, &cgi.Handler{Path: backend, Stderr: io.Discard,
			Env: append(s.Repo.Env(), "GIT_PROJECT_ROOT="+filepath.Dir(s.Repo.Origin), "GIT_HTTP_EXPORT_ALL=1")}))
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			h.looks.Add(1)
		}
		handlers.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	h.url = srv.URL
	return h
}

// add describes an environment of a repository; more overrules what is said of it.
func (h *herd) add(name string, repository int, more map[string]any) {
	e := map[string]any{"repo": fmt.Sprintf("%s/r%d/%s", h.url, repository, filepath.Base(h.stages[repository].Repo.Origin)),
		"namespace": "flags:" + name + ":", "trust": h.stages[repository].Trust}
	for k, v := range more {
		e[k] = v
	}
	h.doc["environments"].(map[string]any)[name] = e
}

func (h *herd) run() {
	h.t.Helper()
	src, err := json.Marshal(h.doc)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.file, src, 0o600); err != nil {
		h.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		h.t.Fatal(err)
	}
	path := filepath.Join(h.dir, "reconcile") // TestMain runs the command for this name
	if err := os.Symlink(self, path); err != nil {
		h.t.Fatal(err)
	}
	h.cmd = exec.Command(path, "run", "--config", h.file)
	h.cmd.Env = append(h.stages[0].Repo.Env(), "NO_COLOR=1", "RAMPART_ADMIN_TOKEN=the token of the herd", "RAMPART_WEBHOOK_SECRET=secret")
	h.cmd.Env = append(h.cmd.Env, h.env...)
	stderr, err := h.cmd.StderrPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	address := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if _, rest, found := strings.Cut(lines.Text(), " listen="); found && strings.Contains(lines.Text(), "msg=reconciling") {
				address <- rest
			} else if os.Getenv("RAMPART_HERD_LOG") != "" {
				fmt.Fprintln(os.Stderr, lines.Text())
			}
		}
	}()
	h.t.Cleanup(func() { _ = h.cmd.Process.Kill(); <-ended; _ = h.cmd.Wait() })
	select {
	case h.serves = <-address:
	case <-ended:
		h.t.Fatal("the reconciler ended at once")
	}
}

func (h *herd) get(path string) (int, string) {
	h.t.Helper()
	res, err := http.Get("http://" + h.serves + path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// evaluated is the answer to a question about all features of an environment.
func (h *herd) evaluated(environment string) string {
	h.t.Helper()
	res, err := http.Post("http://"+h.serves+"/environments/"+environment+"/ofrep/v1/evaluate/flags", "application/json", strings.NewReader(`{}`))
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(body)
}

// begun is the status of an answer whose body need not end.
func (h *herd) begun(path string) int {
	h.t.Helper()
	res, err := http.Get("http://" + h.serves + path)
	if err != nil {
		h.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// passes are those of all environments together.
func (h *herd) passes() (all, fewest, most uint64) {
	h.t.Helper()
	var s environmentsStatus
	_, body := h.get("/api/v1/status")
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		h.t.Fatal(err)
	}
	fewest = 1 << 62
	for _, e := range s.Environments {
		n := uint64(0)
		if e.Status != nil {
			n = e.Status.Passes
		}
		all, fewest, most = all+n, min(fewest, n), max(most, n)
	}
	return all, fewest, most
}

// cpu is what the process has used, in seconds, and its memory in bytes, now and at its peak.
func (h *herd) cpu() (seconds float64, rss, peak int) {
	h.t.Helper()
	pid := strconv.Itoa(h.cmd.Process.Pid)
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		h.t.Skip("this system has no /proc")
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	status, _ := os.ReadFile("/proc/" + pid + "/status")
	for line := range strings.Lines(string(status)) {
		if name, rest, _ := strings.Cut(line, ":"); name == "VmRSS" || name == "VmHWM" {
			kb, _ := strconv.Atoi(strings.Fields(rest)[0])
			if name == "VmRSS" {
				rss = kb << 10
			} else {
				peak = kb << 10
			}
		}
	}
	return (user + system) / 100, rss, peak // a tick is 10 ms on Linux
}

func (h *herd) commands() int {
	for line := range strings.Lines(h.redis.CLI("INFO", "stats")) {
		if n, found := strings.CutPrefix(line, "total_commands_processed:"); found {
			count, _ := strconv.Atoi(strings.TrimSpace(n))
			return count
		}
	}
	h.t.Fatal("redis does not say how many commands it processed")
	return 0
}

// However many environments follow a repository, it is looked at once an interval, and a pass in which nothing changed costs
// Redis a handful of commands. RAMPART_ENVIRONMENTS=1000 makes it a thousand, of ten repositories, and says what they cost.
func TestManyEnvironmentsShareWork(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	environments, repositories, interval := 40, 2, "500ms"
	large := os.Getenv("RAMPART_ENVIRONMENTS") != ""
	if n, err := strconv.Atoi(os.Getenv("RAMPART_ENVIRONMENTS")); err == nil {
		environments, repositories, interval = n, 10, "10s"
	}
	h := newHerd(t, repositories, interval)
	for i, s := range h.stages {
		s.Spec("flags-v1", "receipts=10", fmt.Sprintf("other-%d=5", i))
		s.Sign("alice")
		s.Repo.Commit("first")
		s.Repo.Push()
	}
	for i := range environments {
		h.add(fmt.Sprintf("e%d", i), i%repositories, nil)
	}
	began := time.Now()
	h.run()
	ready := func() bool { code, _ := h.get("/readyz?all"); return code == http.StatusOK }
	for large && !ready() && time.Since(began) < 10*time.Minute {
		time.Sleep(5 * time.Second)
	}
	flagtest.Eventually(t, "every environment to be ready", ready)
	cold, _, _ := h.cpu()
	t.Logf("%d environments were ready after %v and %.1f CPU seconds", environments, time.Since(began).Round(time.Millisecond), cold)
	_, fewest, _ := h.passes()
	flagtest.Eventually(t, "the first passes to be over", func() bool { _, now, _ := h.passes(); return now > fewest+1 })

	if large {
		time.Sleep(20 * time.Second) // what a start leaves to do is no part of an unchanged pass
	}
	all, _, most := h.passes()
	looks, commands := h.looks.Load(), h.commands()
	cpu, _, _ := h.cpu()
	if large {
		time.Sleep(45 * time.Second) // a measurement: asking a thousand for their status costs as much as their passes
	} else {
		flagtest.Eventually(t, "more passes", func() bool {
			_, _, now := h.passes()
			return now >= most+4
		})
	}
	usedCPU, rss, peak := h.cpu()
	usedCPU -= cpu
	commands = h.commands() - commands
	looks = h.looks.Load() - looks
	allNow, _, mostNow := h.passes()
	passes := int(allNow - all)
	rounds := int64(mostNow - most)
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", h.cmd.Process.Pid))
	t.Logf("%d passes, %d rounds: %.2f looks at a repository a round, %.2f commands a pass, %.3f CPU seconds a round, RSS %d MiB (peak %d), %d descriptors, %s clients of redis",
		passes, rounds, float64(looks)/float64(rounds)/float64(repositories), float64(commands)/float64(passes), usedCPU*float64(environments)/float64(passes),
		rss>>20, peak>>20, len(fds), strings.TrimSpace(h.redis.CLI("--raw", "INFO", "clients"))[:60])
	if most := (rounds + 2) * int64(repositories); looks > most {
		t.Errorf("%d repositories were looked at %d times in %d rounds", repositories, looks, rounds)
	}
	if commands > 14*passes {
		t.Errorf("%d idle passes took %d commands of redis:\n%s", passes, commands, h.redis.CLI("INFO", "commandstats"))
	}
}

// A remote that hangs, a Redis that never answers and a state folder full of rubbish are the trouble of their environments
// alone: the others start, and follow git.
func TestTroubleStaysAtHome(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	h := newHerd(t, 1, "200ms")
	s := h.stages[0]
	land := func(version string, pct int) {
		s.Spec(version, fmt.Sprintf("receipts=%d", pct))
		s.Sign("alice")
		s.Repo.Commit(version)
		s.Repo.Push()
	}
	land("flags-v1", 10)
	h.add("good", 0, map[string]any{"namespace": "flags:v1:"})
	h.add("hanging", 0, map[string]any{"repo": "http://" + silent.Addr().String() + "/r.git"})
	h.add("deaf", 0, map[string]any{"redis": "redis://" + silent.Addr().String()})
	h.add("damaged", 0, nil)
	damaged := filepath.Join(h.dir, "state", "damaged")
	if err := os.MkdirAll(damaged, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(damaged, "generations.jsonl"), []byte("rubbish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.run()
	for i := range 3 {
		flagtest.Eventually(t, "the good one to follow git", func() bool { return wantLive(s, "receipts", strconv.Itoa(10+i)) == nil })
		land(fmt.Sprintf("flags-v%d", i+2), 11+i)
	}
	code, body := h.get("/readyz")
	if code != http.StatusOK || !strings.Contains(body, `"environment":"damaged","reason":"failed","message":"reading the state folder`) {
		t.Errorf("readyz answered %d %s", code, body)
	}
	for _, name := range []string{"hanging", "deaf", "damaged"} {
		if !strings.Contains(body, `"environment":"`+name+`"`) {
			t.Errorf("readyz does not name %s: %s", name, body)
		}
	}
	if strings.Contains(body, `"environment":"good"`) {
		t.Errorf("readyz names the good one: %s", body)
	}
	stream := regexp.MustCompile(`"requestUri":"([^"]+)"`).FindStringSubmatch(h.evaluated("good"))
	if stream == nil || h.begun(stream[1]) != http.StatusOK {
		t.Errorf("a browser does not find the event stream: %v", stream)
	}
	if code, body := h.get("/environments/good//api/v1/status?x=1"); code != http.StatusOK || !strings.HasPrefix(body, `{"format":"status/v1"`) {
		t.Errorf("a slash too many led out of the environment: %d %s", code, body)
	}
	// What was damaged is mended, and taken up without a restart.
	if err := os.RemoveAll(damaged); err != nil {
		t.Fatal(err)
	}
	flagtest.Eventually(t, "the mended one to be ready", func() bool {
		code, _ := h.get("/environments/damaged/readyz")
		return code == http.StatusOK
	})
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Wait(); err != nil {
		t.Errorf("told to stop, it ended with %v", err)
	}
}

// A push to one repository hurries the environments of that one.
func TestWebhookNamesTheRepository(t *testing.T) {
	for _, same := range [][2]string{
		{"https://git.example/acme/flags.git", "git@git.example:acme/flags"},
		{"ssh://git@Git.Example:2222/acme/flags.git", "https://user@git.example/acme/flags/"},
	} {
		if a, b := repositoryID(same[0]), repositoryID(same[1]); a != b {
			t.Errorf("%s is %s, %s is %s", same[0], a, same[1], b)
		}
	}
	if repositoryID("https://git.example/acme/flags") == repositoryID("https://git.example/acme/other") {
		t.Error("two repositories are one")
	}
}
