package main

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/reconciler"
)

var discard = slog.New(slog.DiscardHandler)

// hold opens a connection, says something, and keeps it until the test ends. Where an answer is awaited, it is its status line.
func hold(t *testing.T, address, says string, answered bool) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_, _ = io.WriteString(c, says) // it may have been turned away already
	if !answered {
		return ""
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

// onceOver asks over a connection of its own.
func onceOver(t *testing.T, method, url, token, body string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	res, err := c.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer res.Body.Close()
	out, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
	return res.StatusCode, string(out), res.Header
}

// Whatever connections a client holds on to, and however many, who has the token is answered.
func TestHeldConnectionsDoNotLockTheAdminOut(t *testing.T) {
	flagtest.Need(t, "git", "redis-server")
	s := flagtest.NewStage(t, flagtest.Redis(t), everything)
	lands(s, small("flags-v1", 1))
	a := launch(t, s, "a", "--lease", "10s", "--max-connections", "20")
	a.until(reconciler.RoleLeader, 1)
	const host = " HTTP/1.1\r\nHost: localhost\r\n"
	for _, hostile := range []struct {
		what, says string
		answered   bool
	}{
		{"idle", "", false},
		{"slow headers", "POST /admin/suspend HTTP/1.1\r\nHost: loc", false},
		{"kept alive", "GET /healthz" + host + "\r\n", true},
		{"a slow body", "POST /ofrep/v1/evaluate/flags" + host + "Content-Type: application/json\r\nContent-Length: 900\r\n\r\n{", false},
		{"a slow body without the token", "POST /admin/suspend" + host + "Content-Length: 900\r\n\r\n{", false},
		{"OFREP streams", "GET /ofrep/v1/events" + host + "\r\n", true},
		{"console streams", "GET /events" + host + "\r\n", true},
		{"answers that are not read", strings.Repeat("GET /api/v1/history"+host+"\r\n", 100), false},
	} {
		t.Run(hostile.what, func(t *testing.T) {
			for range 60 {
				hold(t, a.address, hostile.says, hostile.answered)
			}
			for _, route := range []string{"/admin/suspend", "/admin/resume"} {
				if code, body, _ := onceOver(t, http.MethodPost, "http://"+a.address+route, "0123456789abcdef", `{"reason":"a test"}`); code != http.StatusOK {
					t.Errorf("%s is answered %d %s", route, code, body)
				}
			}
			if code, body, _ := onceOver(t, http.MethodGet, "http://"+a.address+"/healthz", "", ""); code != http.StatusOK {
				t.Errorf("/healthz is answered %d %s", code, body)
			}
		})
	}
}

// A quarter of the connections may be event streams, OFREP's and the console's of all environments together.
func TestStreamsShareAQuarter(t *testing.T) {
	flagtest.Need(t, "git", "redis-server")
	h := newHerd(t, 1, "1s")
	h.env = []string{"RAMPART_MAX_CONNECTIONS=12"}
	for _, name := range []string{"prod", "spare"} {
		h.add(name, 0, nil)
	}
	lands(h.stages[0], small("flags-v1", 1))
	h.run()
	open := func(path string) string {
		return hold(t, h.serves, "GET "+path+" HTTP/1.1\r\nHost: localhost\r\n\r\n", true)
	}
	flagtest.Eventually(t, "both to be open", func() bool {
		code, _ := h.get("/readyz?all")
		return code == http.StatusOK
	})
	for _, path := range []string{"/environments/prod/ofrep/v1/events", "/environments/spare/ofrep/v1/events", "/environments/prod/events"} {
		if line := open(path); line != "HTTP/1.1 200 OK" {
			t.Fatalf("%s is answered %q", path, line)
		}
	}
	for _, path := range []string{"/environments/prod/ofrep/v1/events", "/environments/spare/ofrep/v1/events", "/environments/spare/events"} {
		code, body, head := onceOver(t, http.MethodGet, "http://"+h.serves+path, "", "")
		if code != http.StatusServiceUnavailable || !strings.Contains(body, "3 event streams") || !strings.Contains(body, "--max-connections 12") || head.Get("Retry-After") == "" {
			t.Errorf("one stream too many at %s is answered %d %s", path, code, body)
		}
	}
}

// A request for which no connection is left is told so at once, with the limit and its setting, and loses its connection.
func TestTooManyRequestsAtOnce(t *testing.T) {
	w := &web{listen: "127.0.0.1:0", connections: 8}
	if err := w.admit(discard); err != nil {
		t.Fatal(err)
	}
	l, err := w.open()
	if err != nil {
		t.Fatal(err)
	}
	began, end := make(chan bool), make(chan bool)
	srv := serve(t.Context(), discard, l, w.room, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			began <- true
			<-end
		}
	}), func() {})
	defer srv.stop()
	for range 6 {
		hold(t, srv.address, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n", false)
		<-began
	}
	defer close(end)
	for path, want := range map[string]int{"/slow": 503, "/metrics": 503, "/environments/prod/flags": 503, "/admin/suspend": 200, "/environments/prod/admin/suspend": 200,
		"/healthz": 200, "/environments/prod/readyz": 200, "/webhook/git": 200} {
		code, body, head := onceOver(t, http.MethodGet, "http://"+srv.address+path, "", "")
		if code != want {
			t.Errorf("%s is answered %d %s", path, code, body)
		}
		if want == 503 && (!strings.Contains(body, "6 requests") || !strings.Contains(body, "--max-connections 8") || head.Get("Retry-After") == "") {
			t.Errorf("%s is refused with %v %s", path, head, body)
		}
	}
	if line := hold(t, srv.address, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n", true); line != "HTTP/1.1 503 Service Unavailable" {
		t.Errorf("a connection that may be kept is answered %q", line)
	}
}

// peer is a connection from somewhere.
type peer struct {
	net.Conn
	from   string
	closed bool
}

func (p *peer) RemoteAddr() net.Addr {
	a, _ := net.ResolveTCPAddr("tcp", p.from)
	return a
}
func (p *peer) Close() error { p.closed = true; return nil }

// Room is made at the cost of whoever holds the most, and of no request that is being answered.
func TestWhoHoldsMostMakesRoom(t *testing.T) {
	r := newRoom(4, discard)
	enter := func(from string) (*peer, *line) {
		p := &peer{from: from}
		return p, r.enter(p)
	}
	other, _ := enter("[2001:db8::7]:1")
	first, _ := enter("192.0.2.1:1")
	busy, l := enter("192.0.2.1:2")
	if there, err := r.begin(l, false); !there || err != nil {
		t.Fatal(there, err)
	}
	second, _ := enter("192.0.2.1:3")
	third, asks := enter("192.0.2.1:4")
	if !first.closed || second.closed || third.closed {
		t.Error("the one that asked for nothing for longest stays")
	}
	for port := range 10 {
		enter(fmt.Sprintf("192.0.2.1:%d", 10+port))
	}
	if other.closed || busy.closed || !second.closed || !third.closed {
		t.Errorf("closed are: of another client %v, a request %v, those of who holds most %v, %v", other.closed, busy.closed, second.closed, third.closed)
	}
	if there, _ := r.begin(asks, true); there {
		t.Error("a request over a closed connection is carried out")
	}
}

// Fewer connections than can be divided are none that anybody means.
func TestMaxConnections(t *testing.T) {
	for n, want := range map[int]bool{-1: false, 0: true, 1: false, 3: false, 4: true, 1024: true} {
		w := &web{connections: n}
		err := w.admit(discard)
		if (err == nil) != want {
			t.Errorf("--max-connections %d: %v", n, err)
		}
		if err != nil && (cli.Code(err) != cli.ExitUsage || !strings.Contains(err.Error(), "--max-connections")) {
			t.Errorf("--max-connections %d: %v", n, err)
		}
	}
}
