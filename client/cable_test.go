package client_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// cable is a TCP connection to a server that can be cut, or fall silent.
type cable struct {
	t       testing.TB
	address string
	to      string

	mu     sync.Mutex
	listen net.Listener
	conns  []net.Conn
	silent bool
}

func newCable(t testing.TB, to string) *cable {
	t.Helper()
	c := &cable{t: t, address: "127.0.0.1:0", to: to}
	c.mend()
	t.Cleanup(c.cut)
	return c
}

// mend takes connections, at the same address as before.
func (c *cable) mend() {
	c.t.Helper()
	l, err := net.Listen("tcp", c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.listen, c.address, c.silent = l, l.Addr().String(), false
	c.mu.Unlock()
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", c.to)
			if err != nil {
				in.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, in, out)
			c.mu.Unlock()
			go pass(out, in, out)
			go pass(in, out, quietly{c, in})
		}
	}()
}

// pass copies until one end hangs up, and then hangs up the other.
func pass(to, from net.Conn, w io.Writer) {
	io.Copy(w, from)
	to.Close()
}

// cut ends all connections and takes no more.
func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listen.Close()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// hush lets connections stand and answers go nowhere.
func (c *cable) hush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = true
}

type quietly struct {
	c  *cable
	to io.Writer
}

func (q quietly) Write(b []byte) (int, error) {
	q.c.mu.Lock()
	silent := q.c.silent
	q.c.mu.Unlock()
	if silent {
		return len(b), nil
	}
	return q.to.Write(b)
}
