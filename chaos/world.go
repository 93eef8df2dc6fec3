package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	namespace   = "flags:v1:"
	environment = "prod"
	adminToken  = "the token of the chaos"
	interval    = 500 * time.Millisecond // of the reconcilers, and the clients' poll
	smallSize   = 24 << 20               // bytes of the file system that gets full
	lease       = 3 * time.Second        // of the reconciler that leads
)

// world is everything that runs: a git server, a Redis, a notary, the reconcilers a and
// b, the evaluators strict (which verifies all it serves) and plain (which believes
// Redis), two clients in this process, and the links between them.
type world struct {
	dir, bin string
	rng      *rand.Rand // of the run itself: ports, values of commits. The schedule has its own
	trace    *trace
	links    *links
	keys     map[string]signer
	oracle   *oracle
	people   *people
	procs    map[string]*process
	clocks   map[string]clock
	url      map[string]string // of the processes that serve HTTP
	rdb      *redis.Client     // the checker's own way to Redis, by no link
	repo     string            // the bare repository

	redisPort int
	fake      string // what moves Redis' clock, "" without
	movable   bool   // the commands' clocks can be moved
	small     string // the state folder on a small file system, "" without
	unmounts  []string

	// What of the Redis server's next start was changed.
	redisMu   sync.Mutex
	redisLoad string // an RDB file to begin with, "" for the append-only file

	names   []string // of the reconcilers
	skipped []string // what this machine could not do, one sentence each
}

func newWorld(s settings, t *trace) (*world, error) {
	dir := s.out
	w := &world{
		dir: dir, bin: s.bin, rng: rand.New(rand.NewPCG(s.seed, 1)), trace: t, links: newLinks(), names: []string{"a", "b"},
		procs: map[string]*process{}, clocks: map[string]clock{}, url: map[string]string{}, movable: s.movable,
		repo: filepath.Join(dir, "git", "flags.git"),
	}
	if s.alone {
		w.names = []string{"a"}
		w.skip("one reconciler alone")
	}
	if !s.movable {
		w.skip("the commands' clocks are not moved: they were built without the overlay")
	}
	for _, d := range []string{"git", "logs", "redis", "home", "clocks"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("making the world: %w", err)
		}
	}
	if w.fake = clockLibrary(filepath.Join(dir, "clocks")); w.fake == "" {
		w.skip("Redis' clock is not moved: that takes Linux and a C compiler")
	}
	var err error
	if w.keys, err = makeKeys(filepath.Join(dir, "keys"), "alice", "bot", "oncall", "mallory", "reconciler"); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "trust.json"), trustPolicy(w.keys), 0o600); err != nil {
		return nil, fmt.Errorf("writing the policy: %w", err)
	}
	w.oracle = newOracle()
	if w.people, err = newPeople(w); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *world) skip(sentence string) {
	w.skipped = append(w.skipped, sentence)
	w.trace.say("skipped: %s", sentence)
}

// start brings everything up, in the order in which one needs the other.
func (w *world) start() error {
	for _, step := range []func() error{w.startGit, w.startRedis, w.startNotary, w.startReconcilers, w.startEvaluators} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// add makes a process with a log and a clock of its own.
func (w *world) add(name string, env []string, up func() bool, args func() (string, []string)) *process {
	c := clock{filepath.Join(w.dir, "clocks", name)}
	w.clocks[name] = c
	set := c.shift
	if name == "redis" {
		set = c.shiftMapped
	}
	if err := set(0); err != nil {
		w.trace.say("%s: %v", name, err)
	}
	p := &process{
		name: name, args: args, up: up, log: filepath.Join(w.dir, "logs", name+".log"), dir: w.dir,
		env: cleanEnv(filepath.Join(w.dir, "home"), append(env, c.env())...),
	}
	w.procs[name] = p
	return p
}

func (w *world) port() (int, error) { return freePort(w.rng.IntN) }

// link opens a link to an address and returns where it listens.
func (w *world) link(name, upstream string) (string, error) {
	for range 20 {
		port, err := w.port()
		if err != nil {
			return "", err
		}
		listen := fmt.Sprintf("127.0.0.1:%d", port)
		if err := w.links.open(name, listen, upstream); err == nil {
			return listen, nil
		}
	}
	return "", fmt.Errorf("no port for the link %s", name)
}

func (w *world) startGit() error {
	port, err := w.port()
	if err != nil {
		return err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("looking for this program: %w", err)
	}
	w.url["git"] = addr
	return w.add("git", []string{gitServerVariable + "=" + addr + " " + filepath.Dir(w.repo)}, func() bool { return answersTCP(addr) },
		func() (string, []string) { return self, nil }).start()
}

func (w *world) startRedis() error {
	var err error
	if w.redisPort, err = w.port(); err != nil {
		return err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", w.redisPort)
	w.url["redis"] = addr
	redis.SetLogger(silent{}) // a Redis that is down is no news here
	w.rdb = redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: 2 * time.Second, PoolSize: 4})
	env := []string{}
	if w.fake != "" {
		env = append(env, "LD_PRELOAD="+w.fake)
	}
	up := func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return w.rdb.Ping(ctx).Err() == nil
	}
	return w.add("redis", env, up, func() (string, []string) {
		args := []string{"--port", fmt.Sprint(w.redisPort), "--bind", "127.0.0.1", "--dir", filepath.Join(w.dir, "redis"), "--save", "",
			"--appendonly", "yes", "--appendfsync", "always", "--notify-keyspace-events", "KA"}
		w.redisMu.Lock()
		defer w.redisMu.Unlock()
		if w.redisLoad != "" { // an append-only server does not read dump.rdb
			args = append(args, "--appendonly", "no", "--dbfilename", filepath.Base(w.redisLoad))
		}
		return "redis-server", args
	}).start()
}

func (w *world) startNotary() error {
	port, err := w.port()
	if err != nil {
		return err
	}
	cert, key, err := makeCertificate(filepath.Join(w.dir, "keys"))
	if err != nil {
		return err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	w.url["notary"] = addr
	return w.add("notary", nil, func() bool { return answersTCP(addr) }, func() (string, []string) {
		return filepath.Join(w.bin, "notary"), []string{"--listen", addr, "--tls-cert", cert, "--tls-key", key, "--store", filepath.Join(w.dir, "notary.jsonl")}
	}).start()
}

func (w *world) startReconcilers() error {
	for _, name := range w.names {
		if err := w.startReconciler(name); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) state(name string) string { return filepath.Join(w.dir, "state-"+name) }

func (w *world) startReconciler(name string) error {
	var via [3]string
	for i, to := range []string{"git", "redis", "notary"} {
		var err error
		if via[i], err = w.link(name+"-"+to, w.url[to]); err != nil {
			return err
		}
	}
	port, err := w.port()
	if err != nil {
		return err
	}
	state := w.state(name)
	if err := os.MkdirAll(state, 0o700); err != nil {
		return fmt.Errorf("making the state folder of %s: %w", name, err)
	}
	if name == w.names[len(w.names)-1] {
		if runtime.GOOS == "linux" && os.Getuid() == 0 && mountSmall(state, smallSize) == nil {
			w.small, w.unmounts = state, append(w.unmounts, state)
		} else {
			w.skip("no disk gets full: a small file system can be had by root on Linux only")
		}
	}
	notaries, err := json.Marshal([]map[string]string{{"name": "outside", "url": "https://" + via[2], "ca_file": filepath.Join(w.dir, "keys", "notary.pem"), "timeout": "5s"}})
	if err != nil {
		return fmt.Errorf("writing the notaries of %s: %w", name, err)
	}
	file := filepath.Join(w.dir, "notaries-"+name+".json")
	if err := os.WriteFile(file, notaries, 0o600); err != nil {
		return fmt.Errorf("writing the notaries of %s: %w", name, err)
	}
	w.url[name] = fmt.Sprintf("http://127.0.0.1:%d", port)
	p := w.add(name, []string{"RAMPART_ADMIN_TOKEN=" + adminToken}, func() bool { return w.healthy(name) }, func() (string, []string) {
		return filepath.Join(w.bin, "reconcile"), []string{"run", "--name", name, "--repo", "http://" + via[0] + "/flags.git", "--trust", filepath.Join(w.dir, "trust.json"),
			"--redis", "redis://" + via[1], "--namespace", namespace, "--state-dir", state, "--interval", interval.String(), "--lease", lease.String(),
			"--listen", strings.TrimPrefix(w.url[name], "http://"), "--attest-key", w.keys["reconciler"].file, "--notaries", file}
	})
	return p.start()
}

func (w *world) healthy(name string) bool {
	code, _, err := w.ask(name, http.MethodGet, "/healthz", "")
	return err == nil && code == http.StatusOK
}

func (w *world) startEvaluators() error {
	for _, name := range []string{"strict", "plain"} {
		via, err := w.link(name+"-redis", w.url["redis"])
		if err != nil {
			return err
		}
		port, err := w.port()
		if err != nil {
			return err
		}
		w.url[name] = fmt.Sprintf("http://127.0.0.1:%d", port)
		args := []string{"--redis", "redis://" + via, "--namespace", namespace, "--poll", interval.String(), "--listen", strings.TrimPrefix(w.url[name], "http://")}
		if name == "strict" {
			args = append(args, "--trust", filepath.Join(w.dir, "trust.json"), "--reconciler-key", w.keys["reconciler"].pub, "--environment", environment)
		}
		p := w.add(name, nil, func() bool { return w.healthy(name) }, func() (string, []string) { return filepath.Join(w.bin, "evaluate"), args })
		if err := p.start(); err != nil {
			return err
		}
	}
	return nil
}

var asker = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Second}}

// ask sends a request to a process of the world. POSTs bear the admin token.
func (w *world) ask(name, method, path, body string) (int, []byte, error) {
	req, err := http.NewRequest(method, w.url[name]+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("asking %s: %w", name, err)
	}
	if strings.HasPrefix(path, "/admin/") {
		req.Header.Set("Authorization", "Bearer "+adminToken)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := asker.Do(req)
	if err != nil {
		return 0, nil, fmt.Errorf("asking %s: %w", name, err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	return res.StatusCode, out, err
}

// command runs one of the built commands to its end.
func (w *world) command(dir, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(w.bin, name), args...)
	cmd.Dir, cmd.Env = dir, cleanEnv(filepath.Join(w.dir, "home"), "RAMPART_ADMIN_TOKEN="+adminToken)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return string(out), nil
}

// close ends everything that runs.
func (w *world) close() {
	for _, p := range w.procs {
		p.kill()
	}
	w.links.close()
	if w.rdb != nil {
		w.rdb.Close()
	}
	for _, dir := range w.unmounts {
		w.keepSmall(dir)
	}
}

// keepSmall copies a state folder off its small file system before that goes, so that
// the artefacts of a run are whole.
func (w *world) keepSmall(dir string) {
	kept := dir + "-kept"
	if err := os.CopyFS(kept, os.DirFS(dir)); err != nil {
		w.trace.note("keeping %s: %v", dir, err)
	}
	if err := unmount(dir); err != nil {
		w.trace.note("unmounting %s: %v", dir, err)
	}
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
