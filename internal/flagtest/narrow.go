package flagtest

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// NarrowLink stands before a server and lets so many bytes of its answers a second
// through, for all connections together.
type NarrowLink struct {
	perSecond atomic.Int64
	sent      atomic.Int64
	addr      string

	mu   sync.Mutex
	free time.Time // when all that was taken will have gone through
}

// Narrow starts a link to a server, as wide as can be.
func Narrow(t testing.TB, to string) *NarrowLink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	link := &NarrowLink{addr: l.Addr().String()}
	var open sync.Map
	t.Cleanup(func() {
		l.Close()
		link.Let(0)
		open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			open.Store(in, nil)
			open.Store(out, nil)
			go func() { io.Copy(out, in); out.Close() }()
			go func() { link.carry(in, out); in.Close(); out.Close() }()
		}
	}()
	return link
}

// Addr is where the link takes connections.
func (l *NarrowLink) Addr() string { return l.addr }

// Let sets how many bytes pass in a second; 0 is no limit, below 0 nothing passes.
func (l *NarrowLink) Let(perSecond int) { l.perSecond.Store(int64(perSecond)) }

// Sent is how many bytes have passed.
func (l *NarrowLink) Sent() int { return int(l.sent.Load()) }

func (l *NarrowLink) carry(to io.Writer, from io.Reader) {
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		for l.perSecond.Load() < 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if wide := l.perSecond.Load(); wide > 0 {
			time.Sleep(time.Until(l.turn(time.Duration(n) * time.Second / time.Duration(wide))))
		}
		l.sent.Add(int64(n))
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// turn is when bytes that take so long have gone through, one connection after the other.
func (l *NarrowLink) turn(takes time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(takes)
	return l.free
}
