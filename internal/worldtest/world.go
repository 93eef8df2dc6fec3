// Package worldtest runs the real commands of this project against a real git repository and a real Redis, for tests that look
// at them from outside: a browser, Prometheus, an HTTP client.
package worldtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// Token is the admin token of every world.
const Token = "the token of the tests"

// Policy is what a world begins with: alice may do everything, bot may ramp by ten.
const Policy = `{"version":1,"environment":"prod","roles":{
  "maintainer":{"signers":["alice"],"may":["*"]},
  "ramp":{"signers":["bot"],"may":["ramp.up","ramp.down"],"max_step":10}}}`

var binaries struct {
	dir   string
	mu    sync.Mutex
	built map[string]string
}

// Main runs a package's tests with a folder for the commands that they build; TestMain calls it.
func Main(m *testing.M) {
	dir, err := os.MkdirTemp("", "rampart-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries.dir, binaries.built = dir, map[string]string{}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// Build builds a command of this module, once for all tests, and returns its path.
func Build(t testing.TB, name string) string {
	t.Helper()
	binaries.mu.Lock()
	defer binaries.mu.Unlock()
	if path := binaries.built[name]; path != "" {
		return path
	}
	path := filepath.Join(binaries.dir, name)
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "./cmd/"+name) // linking is most of the time
	cmd.Dir = Root(t)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	binaries.built[name] = path
	return path
}

// Root is the folder of this project's main module, also for tests that live in a module of their own.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		src, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(src), "module github.com/rampart-flags/rampart\n") {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("this test does not run inside the project")
		}
		dir = filepath.Dir(dir)
	}
}

// World is one environment: a repository, a Redis, signers, and a reconciler that runs.
type World struct {
	Repo  *flagtest.GitRepo
	Redis *flagtest.RedisServer
	Keys  map[string]*flagtest.Key
	State string // the state folder
	URL   string // http://127.0.0.1:port
	Args  []string
	Env   []string // further variables
	// Config is a rampart.json to run in place of the flags that describe one environment.
	Config string

	t   testing.TB
	dir string
	cmd *exec.Cmd
	log *bytes.Buffer
	end chan struct{}
}

// New makes a world. Nothing is committed, and nothing runs before Start.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{t: t, Repo: flagtest.Repo(t), Redis: flagtest.Redis(t), Keys: map[string]*flagtest.Key{}, dir: t.TempDir()}
	w.State = filepath.Join(w.dir, "state")
	w.URL = "http://" + FreeAddress(t)
	var keys []*flagtest.Key
	for _, name := range []string{"alice", "bot"} {
		w.Keys[name] = flagtest.NewKey(t, name)
		keys = append(keys, w.Keys[name])
	}
	if err := os.WriteFile(w.Trust(), []byte(flagtest.Trust(t, Policy, keys...)), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// FreeAddress is 127.0.0.1 with a port that nothing listens on now.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Commit signs a spec as signer ("" for nobody), commits and pushes it, and returns the commit.
func (w *World) Commit(spec, signer, message string) string {
	w.t.Helper()
	w.Repo.Write("specs/flags.json", spec)
	if signer != "" {
		w.Repo.Write("specs/flags.json.sigstore.json", string(w.Keys[signer].Bundle([]byte(spec))))
	}
	hash := w.Repo.Commit(message)
	w.Repo.Push()
	return hash
}

// Start runs "reconcile run" until the test ends or Stop is called, and waits for its server.
func (w *World) Start() {
	w.t.Helper()
	args := []string{"run", "--listen", strings.TrimPrefix(w.URL, "http://")}
	if w.Config != "" {
		args = append(args, "--config", w.Config)
	} else {
		args = append(args, "--repo", w.Repo.URL(), "--trust", w.Trust(), "--redis", w.Redis.URL(), "--state-dir", w.State, "--interval", "300ms")
	}
	w.cmd = exec.Command(Build(w.t, "reconcile"), append(args, w.Args...)...)
	w.cmd.Env = append(append(w.Repo.Env(), "RAMPART_ADMIN_TOKEN="+Token), w.Env...)
	w.log = &bytes.Buffer{}
	w.cmd.Stdout, w.cmd.Stderr = w.log, w.log
	if err := w.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.end = make(chan struct{})
	go func() { _ = w.cmd.Wait(); close(w.end) }()
	w.t.Cleanup(w.Stop)
	flagtest.Eventually(w.t, "the reconciler to serve", func() bool {
		select {
		case <-w.end:
			w.t.Fatalf("the reconciler ended:\n%s", w.log)
		default:
		}
		code, _ := w.Ask("GET", "/healthz", "")
		return code == http.StatusOK
	})
}

// Trust is the trust policy's file.
func (w *World) Trust() string { return filepath.Join(w.dir, "trust.json") }

// Hangup sends the reconciler SIGHUP.
func (w *World) Hangup() {
	w.t.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		w.t.Fatal(err)
	}
}

// Stop ends the reconciler; a second call does nothing.
func (w *World) Stop() {
	if w.cmd == nil {
		return
	}
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-w.end:
	case <-time.After(20 * time.Second):
		_ = w.cmd.Process.Kill()
		<-w.end
	}
	if w.t.Failed() {
		log := w.log.Bytes()
		w.t.Logf("the reconciler's log ends with:\n%s", log[max(0, len(log)-4000):])
	}
	w.cmd = nil
}

// Kill ends the reconciler as a crash does: it gives nothing back and says nothing.
func (w *World) Kill() {
	w.t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		w.t.Fatal(err)
	}
	<-w.end
	w.cmd = nil
}

// Ask sends a request and returns the answer's code and body, 0 and the error's text where there is none. A POST bears the
// admin token.
func (w *World) Ask(method, path, body string) (int, string) {
	req, err := http.NewRequest(method, w.URL+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Authorization", "Bearer "+Token)
	}
	if path == "/metrics" {
		req.Header.Set("Accept", "text/plain")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(out)
}

// Status is what tests need of /api/v1/status. It is read as a stranger would, without the reconciler's own type, so that test
// modules that drive a browser link nothing of it.
type Status struct {
	Applied *struct {
		Commit     string `json:"commit"`
		Generation uint64 `json:"generation"`
	} `json:"applied"`
	Refused []struct {
		Commit string `json:"commit"`
	} `json:"refused"`
	Passes uint64 `json:"passes"`
}

// Status is what the reconciler says of itself.
func (w *World) Status() *Status {
	w.t.Helper()
	var s Status
	code, body := w.Ask("GET", "/api/v1/status", "")
	if code != http.StatusOK {
		return &s
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		w.t.Fatalf("status: %v in %.300s", err, body)
	}
	return &s
}

// AwaitGeneration waits until the generation is live.
func (w *World) AwaitGeneration(n uint64) {
	w.t.Helper()
	flagtest.Eventually(w.t, fmt.Sprintf("generation %d to be live", n), func() bool {
		s := w.Status()
		return s.Applied != nil && s.Applied.Generation >= n
	})
}

func (s *Status) refused(commit string) bool {
	for _, r := range s.Refused {
		if r.Commit == commit {
			return true
		}
	}
	return false
}

// AwaitRefusal waits until a commit is refused.
func (w *World) AwaitRefusal(commit string) {
	w.t.Helper()
	flagtest.Eventually(w.t, "the commit to be refused", func() bool {
		return w.Status().refused(commit)
	})
}
