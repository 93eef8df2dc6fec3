package redisstore_test

import (
	"bytes"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// everywhereURL runs a test against redis-server and against the embedded Redis;
// the url of the latter is empty, and more stores reach it by the first's Address.
func everywhereURL(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("server", func(t *testing.T) { test(t, flagtest.Redis(t).URL()) })
	t.Run("embedded", func(t *testing.T) { test(t, "") })
}

func rawClient(t testing.TB, s *redisstore.Store) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(s.Address())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// proxy stands between a store and Redis and breaks a connection once, at a command
// of the test's choice.
type proxy struct {
	addr string
	trap atomic.Pointer[trap]

	mu     sync.Mutex
	isDown bool
	open   map[net.Conn]bool
}

type trap struct {
	command string
	after   bool // Redis gets the command; its answer is lost
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &proxy{addr: l.Addr().String(), open: map[net.Conn]bool{}}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil || !p.admit(client) {
				client.Close()
				continue
			}
			var deaf atomic.Bool
			go p.pump(client, server, &deaf)
			go func() { // answers
				defer client.Close()
				defer server.Close()
				buf := make([]byte, 64<<10)
				for {
					n, err := server.Read(buf)
					if err != nil || deaf.Load() {
						return
					}
					if _, err := client.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return p
}

// down breaks every connection and refuses new ones until up.
func (p *proxy) down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isDown = true
	for c := range p.open {
		c.Close()
	}
	p.open = map[net.Conn]bool{}
}

func (p *proxy) up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.isDown = false
}

func (p *proxy) admit(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isDown {
		p.open[c] = true
	}
	return !p.isDown
}

// swallow lets the next such command through and breaks the connection before its
// answer; cut breaks it before the command.
func (p *proxy) swallow(command string) { p.trap.Store(&trap{command, true}) }
func (p *proxy) cut(command string)     { p.trap.Store(&trap{command, false}) }

func (p *proxy) pump(client, server net.Conn, deaf *atomic.Bool) {
	defer client.Close()
	defer server.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if trap := p.trap.Load(); trap != nil && bytes.Contains(bytes.ToUpper(buf[:n]), []byte(strings.ToUpper(trap.command))) {
			p.trap.Store(nil)
			if !trap.after {
				return
			}
			deaf.Store(true)
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}
