// Package check_test runs the examples: real programs, against a real evaluate and a real Redis.
package check_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// store is a Redis with a writer, as a reconciler is one.
type store struct {
	t     *testing.T
	redis *flagtest.RedisServer
	redisstore.Meta
}

func newStore(t *testing.T) *store { return &store{t: t, redis: flagtest.Redis(t)} }

// apply makes a spec live.
func (s *store) apply(src string) *flags.Spec {
	s.t.Helper()
	spec, err := flags.Decode("example", []byte(src))
	if err != nil {
		s.t.Fatal(err)
	}
	st, err := redisstore.Open(s.t.Context(), redisstore.Options{URL: s.redis.URL()})
	if err != nil {
		s.t.Fatal(err)
	}
	defer st.Close()
	live, _ := st.Meta(s.t.Context())
	c := redisstore.Change{Spec: spec.Bytes(), Meta: redisstore.Meta{
		Generation: live.Generation + 1, Epoch: 1, Version: spec.Version, Digest: spec.Digest(), Commit: strings.Repeat("c", 40), AppliedAt: "2026-11-22T04:00:00Z",
	}}
	for k, e := range spec.Entries() {
		c.Set = append(c.Set, redisstore.KV{Key: k, Value: e.AppendJSON(nil)})
	}
	if _, err := st.Apply(s.t.Context(), live.Fence(), c); err != nil {
		s.t.Fatal(err)
	}
	return spec
}

// process is a program at work.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	url string
	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

var listening = regexp.MustCompile(`listen(?:s|ing) at (http://\S+)\n`)

// start runs a program until the test ends. With wait, it returns when the program says where it listens.
func start(t *testing.T, wait bool, dir string, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...)}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, p, p
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.output())
		}
	})
	if wait {
		p.url = p.await(name+" to listen", listening)
	}
	return p
}

// await waits until the program has said something, and returns the part in parentheses.
func (p *process) await(what string, pattern *regexp.Regexp) (part string) {
	p.t.Helper()
	flagtest.Eventually(p.t, what, func() bool {
		m := pattern.FindStringSubmatch(p.output())
		if m == nil {
			return false
		}
		part = m[1]
		return true
	})
	return part
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

var built = struct {
	dir  string
	path map[string]string
}{path: map[string]string{}}

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(built.dir)
	os.Exit(code)
}

// build compiles a program of this module, once.
func build(t *testing.T, pkg string) string {
	t.Helper()
	if built.path[pkg] != "" {
		return built.path[pkg]
	}
	if built.dir == "" {
		var err error
		if built.dir, err = os.MkdirTemp("", "rampart-examples"); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(built.dir, filepath.Base(pkg))
	if msg, err := exec.Command("go", "build", "-o", out, pkg).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, msg)
	}
	built.path[pkg] = out
	return out
}

// npm installs what an example's lock file names, once.
func npm(t *testing.T, dir string) string {
	t.Helper()
	flagtest.Need(t, "node", "npm")
	abs, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	installed, err := os.Stat(filepath.Join(abs, "node_modules", ".package-lock.json"))
	if lock, lockErr := os.Stat(filepath.Join(abs, "package-lock.json")); err == nil && lockErr == nil && !installed.ModTime().Before(lock.ModTime()) {
		return abs
	}
	cmd := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = abs
	if out, err := cmd.CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("npm ci in %s: %v\n%s", dir, err, out)
		}
		t.Skipf("npm ci in %s does not work here, so its clients cannot be tried: %v\n%s", dir, err, out)
	}
	return abs
}
