package flagtest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// RedisServer is one private redis-server on loopback. Its methods fail the test
// rather than return an error.
type RedisServer struct {
	t     testing.TB
	dir   string
	port  int
	tls   bool
	user  string // "user:password@" for URL and CLI, when Auth was called
	query string // "?…" for URL
	lead  []string
	conf  []string
	cmd   *exec.Cmd
	done  chan struct{} // closed when the process has ended
}

// Redis starts a redis-server of the test's own on a free port of 127.0.0.1, and
// stops it when the test ends. It keeps nothing on disk, so that a restart is a
// data loss; give "--appendonly", "yes" for one that remembers. conf is handed to
// redis-server as it is.
func Redis(t testing.TB, conf ...string) *RedisServer {
	t.Helper()
	own := []string{"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"}
	if !strings.Contains(serverProgram(), "keydb") { // it knows no such setting, and allows DEBUG
		own = append(own, "--enable-debug-command", "yes")
	}
	return redisServer(t, nil, append(own, conf...))
}

// serverProgram is what is started: redis-server, or what RAMPART_TEST_REDIS_SERVER
// names, the path of another program that speaks the same protocol and takes the same
// arguments: Valkey, KeyDB, another version.
func serverProgram() string {
	if p := os.Getenv("RAMPART_TEST_REDIS_SERVER"); p != "" {
		return p
	}
	return "redis-server"
}

// redisServer starts a server with lead before and conf after its own arguments.
func redisServer(t testing.TB, lead, conf []string, tls ...string) *RedisServer {
	t.Helper()
	Need(t, serverProgram(), "redis-cli")
	r := &RedisServer{t: t, dir: shortDir(t), lead: lead, conf: conf, tls: len(tls) > 0}
	for range 20 { // another process may take the port between the look and the start
		r.port = freePort(t)
		if r.start() == nil {
			t.Cleanup(r.Kill)
			return r
		}
	}
	t.Fatalf("redis-server did not start on any of twenty free ports; its last log:\n%s", r.log())
	return nil
}

// shortDir is a temporary folder whose path does not grow with the test's name: a
// unix socket's path may have about a hundred bytes only.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// freePort gives a port that nothing listens on, below the range from which the
// kernel takes the ports of outgoing connections, so that a server which is
// stopped for a while finds its port free again.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 12000 + rand.IntN(18000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("found no free port on 127.0.0.1")
	return 0
}

func (r *RedisServer) start() error {
	ports := []string{"--port", strconv.Itoa(r.port)}
	if r.tls {
		ports = tlsPort(r.port)
	}
	args := slices.Concat(r.lead, ports, []string{
		"--bind", "127.0.0.1", "--dir", r.dir, "--unixsocket", r.socket(), "--logfile", filepath.Join(r.dir, "log"),
	}, r.conf)
	cmd := exec.Command(serverProgram(), args...)
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	r.cmd, r.done = cmd, done
	up := false
	Eventually(r.t, "redis-server to answer", func() bool {
		select {
		case <-done:
			return true
		default:
			up = r.answers()
			return up
		}
	})
	if !up {
		return fmt.Errorf("redis-server ended at its start")
	}
	return nil
}

// answers tells whether the socket speaks RESP; any answer will do, also one that
// asks for a password. The socket lies in the test's own folder, so it can be no
// other server's.
func (r *RedisServer) answers() bool {
	c, err := net.DialTimeout("unix", r.socket(), time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(c, "PING\r\n"); err != nil {
		return false
	}
	answer := make([]byte, 8)
	n, err := c.Read(answer)
	// -LOADING and -MASTERDOWN are answers too, but not yet the ones to wait for.
	return err == nil && (bytes.HasPrefix(answer[:n], []byte("+PONG")) || bytes.HasPrefix(answer[:n], []byte("-NOAUTH")))
}

func (r *RedisServer) socket() string { return filepath.Join(r.dir, "s") }

func (r *RedisServer) log() string {
	b, _ := os.ReadFile(filepath.Join(r.dir, "log"))
	return string(b)
}

// Addr is the server's host:port.
func (r *RedisServer) Addr() string { return "127.0.0.1:" + strconv.Itoa(r.port) }

// Port is the server's port.
func (r *RedisServer) Port() int { return r.port }

// URL is the server's address as a user writes it, redis://127.0.0.1:port, with
// the credentials that Auth gave.
func (r *RedisServer) URL() string {
	if r.tls {
		return "rediss://" + r.user + r.Addr() + r.query
	}
	return "redis://" + r.user + r.Addr()
}

// SocketURL is the same server's address by its unix socket.
func (r *RedisServer) SocketURL() string { return "unix://" + r.user + r.socket() }

// Auth makes URL, SocketURL and CLI log in as this user from now on.
func (r *RedisServer) Auth(user, password string) { r.user = user + ":" + password + "@" }

// Running tells whether the server's process is there, paused or not.
func (r *RedisServer) Running() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// Kill ends the server as kill -9 does and waits until it is gone. It is harmless
// on one that is gone already.
func (r *RedisServer) Kill() {
	_ = r.cmd.Process.Kill()
	<-r.done
}

// Start starts a killed server again on the same port.
func (r *RedisServer) Start() {
	r.t.Helper()
	if err := r.start(); err != nil {
		r.t.Fatalf("starting redis-server again: %v; its log:\n%s", err, r.log())
	}
}

// Restart kills the server and starts it again on the same port.
func (r *RedisServer) Restart() {
	r.t.Helper()
	r.Kill()
	r.Start()
}

// Pause stops the server as SIGSTOP does: connections stay open, nothing answers.
func (r *RedisServer) Pause() { r.signal(syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (r *RedisServer) Resume() { r.signal(syscall.SIGCONT) }

func (r *RedisServer) signal(s syscall.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatalf("sending %v to redis-server: %v", s, err)
	}
}

// Flush empties the server.
func (r *RedisServer) Flush() { r.t.Helper(); r.CLI("FLUSHALL") }

// CLI runs redis-cli with these arguments against the server and returns what it
// printed, without the last line end.
func (r *RedisServer) CLI(args ...string) string {
	r.t.Helper()
	out, err := r.TryCLI(args...)
	if err != nil {
		r.t.Fatalf("redis-cli %q: %v\n%s", args, err, out)
	}
	return out
}

// TryCLI is CLI for commands that the server may refuse.
func (r *RedisServer) TryCLI(args ...string) (string, error) {
	r.t.Helper()
	all := []string{"-e", "-s", r.socket()}
	if user, password, ok := strings.Cut(strings.TrimSuffix(r.user, "@"), ":"); ok {
		all = append(all, "--no-auth-warning", "--user", user, "--pass", password)
	}
	cmd := exec.Command("redis-cli", append(all, args...)...)
	out, err := cmd.CombinedOutput()
	return strings.TrimSuffix(string(out), "\n"), err
}

// Commandstats tells how often each command ran since the server started or
// ResetStats was called: "set" → 3. Commands that redis-cli sends to ask are
// among them only under "info", "config|resetstat" and "command|docs".
func (r *RedisServer) Commandstats() map[string]int {
	r.t.Helper()
	calls := map[string]int{}
	for line := range strings.Lines(r.CLI("INFO", "commandstats")) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		n, _, _ := strings.Cut(rest, ",")
		calls[name], _ = strconv.Atoi(n)
	}
	return calls
}

// ResetStats sets the counts of Commandstats to zero.
func (r *RedisServer) ResetStats() { r.t.Helper(); r.CLI("CONFIG", "RESETSTAT") }
