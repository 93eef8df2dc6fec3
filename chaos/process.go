package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program of the world that can be killed, stopped and started again.
type process struct {
	name string
	args func() (path string, args []string) // asked at each start
	env  []string
	dir  string
	log  string
	up   func() bool // says whether it answers; nil when nobody needs to know

	life sync.Mutex // held by who starts it again

	mu      sync.Mutex
	cmd     *exec.Cmd
	done    chan struct{}
	stopped bool // by SIGSTOP
	starts  int
	since   time.Time
	served  bool     // it was up in this life: one that cannot start, on a full disk say, is started again
	exits   []string // ends that nobody asked for
	wanted  bool     // somebody asked for the end
}

// start starts it and waits until it answers.
func (p *process) start() error {
	p.mu.Lock()
	err := p.launch()
	p.mu.Unlock()
	if err != nil || p.up == nil {
		return err
	}
	err = eventually(30*time.Second, "the start of "+p.name, func() bool { return p.up() || !p.alive() })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.served = err == nil && p.running(); !p.served && err == nil {
		err = fmt.Errorf("%s ended at its start", p.name)
	}
	return err
}

// launch is start without waiting. The lock is held.
func (p *process) launch() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	defer log.Close()
	path, args := p.args()
	fmt.Fprintf(log, "== %s start %d: %s\n", time.Now().UTC().Format(time.RFC3339Nano), p.starts+1, strings.Join(args, " "))
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.env, p.dir, log, log
	dieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done, p.stopped, p.wanted, p.served, p.since = cmd, done, false, false, false, time.Now()
	p.starts++
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		if p.cmd == cmd && !p.wanted && p.served {
			p.exits = append(p.exits, fmt.Sprintf("%s start %d ended by itself: %v", p.name, p.starts, err))
		}
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

// signal sends a signal to a process that runs.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || !p.running() {
		return
	}
	switch s {
	case syscall.SIGSTOP:
		p.stopped = true
	case syscall.SIGCONT:
		p.stopped = false
	case syscall.SIGKILL, syscall.SIGTERM:
		p.wanted = true
	}
	_ = p.cmd.Process.Signal(s)
}

// running is asked with the lock held.
func (p *process) running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running()
}

// active says whether it runs and is not stopped, and since when.
func (p *process) active() (since time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.since, p.running() && !p.stopped
}

// kill ends it as kill -9 does.
func (p *process) kill() {
	if p.alive() {
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// end asks it to end, and kills it when it does not.
func (p *process) end() {
	if !p.alive() {
		return
	}
	p.signal(syscall.SIGCONT)
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.kill()
	}
}

// usage is the resident memory in KiB and the number of open descriptors, where the
// system tells.
func (p *process) usage() (rss, fds int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return 0, 0, false
	}
	proc := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		return 0, 0, false
	}
	if _, rest, found := bytes.Cut(status, []byte("VmRSS:")); found {
		text, _, _ := strings.Cut(strings.TrimSpace(string(rest)), " ")
		rss, _ = strconv.Atoi(text)
	}
	open, err := os.ReadDir(filepath.Join(proc, "fd"))
	return rss, len(open), err == nil && rss > 0
}

// eventually asks cond until it is true; the error says what was waited for.
func eventually(patience time.Duration, what string, cond func() bool) error {
	deadline := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if cond() {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %v in vain for %s", patience, what)
		}
		time.Sleep(pause)
	}
}

// freePort is a port of 127.0.0.1 that nothing listens on, below those that the kernel
// gives to outgoing connections: a server that is killed finds it free again.
func freePort(next func(n int) int) (int, error) {
	for range 1000 {
		port := 12000 + next(18000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			l.Close()
			return port, nil
		}
	}
	return 0, errors.New("found no free port on 127.0.0.1")
}

// answersTCP says whether something accepts connections there.
func answersTCP(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// cleanEnv is the environment of every program of the world: nothing of the user's own
// git, and nothing that sets Rampart's flags.
func cleanEnv(home string, more ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "GIT_") || strings.HasPrefix(name, "RAMPART_") || strings.HasPrefix(name, "FLAGS_") ||
			slices.Contains([]string{"HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "REDIS_URL", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"}, name) {
			continue
		}
		env = append(env, kv)
	}
	env = append(env, "HOME="+home, "LC_ALL=C", "TZ=UTC", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_EDITOR=true",
		"GIT_AUTHOR_NAME=Ada Author", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada Author", "GIT_COMMITTER_EMAIL=ada@example.org",
		"GIT_CONFIG_COUNT=3", "GIT_CONFIG_KEY_0=protocol.file.allow", "GIT_CONFIG_VALUE_0=always",
		"GIT_CONFIG_KEY_1=gc.auto", "GIT_CONFIG_VALUE_1=0", "GIT_CONFIG_KEY_2=advice.detachedHead", "GIT_CONFIG_VALUE_2=false")
	return append(env, more...)
}
