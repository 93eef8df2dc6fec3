package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/rampart-flags/rampart/internal/cli"
)

// room bounds the connections of a process so that nobody keeps its admin out by holding on to them: a new connection takes
// the place of one that asks for nothing, and what is asked by anybody may take up a part of them only. Nil bounds nothing.
type room struct {
	most int
	log  *slog.Logger
	told rate.Sometimes

	mu     sync.Mutex
	left   sync.Cond // a connection went away, or asks for nothing any more
	lines  map[*line]struct{}
	common int // requests being answered that anybody may make
	events int // event streams among them
	closed bool
}

const (
	// One part in keptPart of the connections is kept for /admin, /healthz, /readyz and webhooks, which hold none for long; one
	// in streamPart may be event streams.
	keptPart   = 4
	streamPart = 4
	// minConnections can still be divided.
	minConnections = 4
)

func newRoom(most int, log *slog.Logger) *room {
	r := &room{most: most, log: log, told: rate.Sometimes{Interval: time.Minute}, lines: map[*line]struct{}{}}
	r.left.L = &r.mu
	return r
}

// admit makes the room that all environments of the process share.
func (w *web) admit(log *slog.Logger) error {
	if w.connections != 0 && w.connections < minConnections {
		return cli.Exit(cli.ExitUsage, fmt.Errorf("--max-connections must be 0, for no limit, or at least %d", minConnections))
	}
	if w.connections > 0 {
		w.room = newRoom(w.connections, log)
	}
	return nil
}

// line is a connection.
type line struct {
	net.Conn
	room *room
	from netip.Prefix
	// since is when it began to ask for nothing; busy is while a request is being answered. A request whose headers are not
	// whole asks for nothing yet.
	since time.Time
	busy  bool
}

func (l *line) Close() error {
	l.room.mu.Lock()
	delete(l.room.lines, l)
	l.room.left.Broadcast()
	l.room.mu.Unlock()
	return l.Conn.Close()
}

// client is who a connection comes from: an address, of IPv6 the network.
func client(a net.Addr) netip.Prefix {
	at, _ := netip.ParseAddrPort(a.String())
	ip, bits := at.Addr().Unmap(), 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits)
	return p
}

// enter takes a connection in, and closes another for it where there is no room. While requests are being answered over all
// of them it waits.
func (r *room) enter(c net.Conn) *line {
	l := &line{Conn: c, room: r, from: client(c.RemoteAddr()), since: time.Now()}
	var gone *line
	r.mu.Lock()
	for len(r.lines) >= r.most && !r.closed {
		if gone = r.idlest(); gone != nil {
			delete(r.lines, gone)
			break
		}
		r.left.Wait()
	}
	r.lines[l] = struct{}{}
	r.mu.Unlock()
	if gone != nil {
		gone.Conn.Close()
		r.tell(fmt.Sprintf("%d connections are open, as many as may be: those that ask for nothing are closed for new ones", r.most))
	}
	return l
}

// idlest is the connection that can go: of the client that holds most of those that ask for nothing, the one that does so for
// longest. So who holds many closes the own ones.
func (r *room) idlest() *line {
	held := map[netip.Prefix]int{}
	for l := range r.lines {
		if !l.busy {
			held[l.from]++
		}
	}
	var out *line
	for l := range r.lines {
		if !l.busy && (out == nil || held[l.from] > held[out.from] || held[l.from] == held[out.from] && l.since.Before(out.since)) {
			out = l
		}
	}
	return out
}

// begin lets a request be answered, or says why not. It is false where the connection was closed: nobody would hear the answer.
func (r *room) begin(l *line, kept bool) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.lines[l]; !ok {
		return false, nil
	}
	l.busy = true
	if kept {
		return true, nil
	}
	if most := r.most - r.most/keptPart; r.common >= most {
		return true, fmt.Errorf("answering the request: %d requests are being answered, as many as --max-connections %d lets be at once; the other connections are kept for /admin and the like", most, r.most)
	}
	r.common++
	return true, nil
}

// end is after the answer.
func (r *room) end(l *line, counted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.busy, l.since = false, time.Now(); counted {
		r.common--
	}
	r.left.Broadcast()
}

// streams is how many event streams may be open, 0 where that is not bounded here.
func (r *room) streams() int {
	if r == nil {
		return 0
	}
	return r.most / streamPart
}

// stream lets an event stream be opened, until leave, or says why not.
func (r *room) stream() (leave func(), err error) {
	if r == nil {
		return func() {}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.events >= r.streams() {
		return nil, fmt.Errorf("opening an event stream: %d event streams are open, as many as --max-connections %d allows, a quarter of it", r.streams(), r.most)
	}
	r.events++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events--
	}, nil
}

func (r *room) tell(what string) {
	r.told.Do(func() { r.log.Warn(what, slog.Int("--max-connections", r.most)) })
}

// kept is whether a request is one of those for which connections are kept. None of them holds on for long without a token.
func kept(path string) bool {
	if rest, ok := strings.CutPrefix(path, "/environments/"); ok {
		_, rest, _ = strings.Cut(rest, "/")
		path = "/" + rest
	}
	return strings.HasPrefix(path, "/admin/") || path == "/healthz" || path == "/readyz" || path == "/webhook/git"
}

type lineKey struct{}

func withLine(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, lineKey{}, c)
}

// handler answers requests while there is room.
func (r *room) handler(next http.Handler) http.Handler {
	if r == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		l, _ := req.Context().Value(lineKey{}).(*line)
		kept := kept(req.URL.Path)
		there, err := r.begin(l, kept)
		if !there {
			panic(http.ErrAbortHandler)
		}
		defer r.end(l, !kept && err == nil)
		if err != nil {
			r.tell(err.Error())
			w.Header().Set("Connection", "close")
			w.Header().Set("Retry-After", "1")
			answer(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
			return
		}
		next.ServeHTTP(w, req)
	})
}

// listener takes connections in as long as there is room.
func (r *room) listener(l net.Listener) net.Listener {
	if r == nil {
		return l
	}
	return &roomListener{l, r}
}

type roomListener struct {
	net.Listener
	room *room
}

func (l *roomListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.room.enter(c), nil
}

func (l *roomListener) Close() error {
	l.room.mu.Lock()
	l.room.closed = true
	l.room.left.Broadcast()
	l.room.mu.Unlock()
	return l.Listener.Close()
}
