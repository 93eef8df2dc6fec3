package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/net/proxy"
)

// maxErrorBody bounds what is read of a server's error page.
const maxErrorBody = 64 << 10

// httpClient is one client a repository: its idle connection makes the next
// check of the head cheap. The context bounds a whole request; these bounds are
// for its parts.
func httpClient() *http.Client {
	return &http.Client{Transport: boundedErrors{&http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          2,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   15 * time.Second,
		ExpectContinueTimeout: time.Second,
	}}}
}

// boundedErrors cuts the bodies of answers that are not a success, which go-git
// reads whole.
type boundedErrors struct{ next http.RoundTripper }

func (b boundedErrors) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(req)
	if err == nil && (res.StatusCode < 200 || res.StatusCode > 299) {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, maxErrorBody), res.Body}
	}
	return res, err
}

// sshClient is go-git's, which dials and shakes hands without looking at a
// context. So each session goes through a "proxy" that is only a dialer: it
// knows the session's context, and cuts the connection when that ends.
var sshClient = gitssh.DefaultClient

const dialScheme = "rampart-dial"

var dials struct {
	sync.Mutex
	next     uint64
	contexts map[string]context.Context
}

var registerDialer = sync.OnceFunc(func() {
	dials.contexts = map[string]context.Context{}
	proxy.RegisterDialerType(dialScheme, func(u *url.URL, _ proxy.Dialer) (proxy.Dialer, error) {
		dials.Lock()
		defer dials.Unlock()
		ctx, ok := dials.contexts[u.Host]
		if !ok {
			return nil, errors.New("SSH dialer without a session")
		}
		return sessionDialer{ctx}, nil
	})
})

// dial gives the endpoint of one session and a function to call once the
// session is connected.
func (r *remote) dial(ctx context.Context) (*transport.Endpoint, func()) {
	ep := r.endpoint
	if ep.Protocol != "ssh" {
		return &ep, func() {}
	}
	registerDialer()
	dials.Lock()
	defer dials.Unlock()
	dials.next++
	id := strconv.FormatUint(dials.next, 10)
	dials.contexts[id] = ctx
	ep.Proxy = transport.ProxyOptions{URL: dialScheme + "://" + id}
	return &ep, func() {
		dials.Lock()
		defer dials.Unlock()
		delete(dials.contexts, id)
	}
}

type sessionDialer struct{ ctx context.Context }

func (d sessionDialer) Dial(network, addr string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, addr)
}

// DialContext ignores the context it is given, which is go-git's background
// one. A proxy in the environment (ALL_PROXY) is used as go-git would.
func (d sessionDialer) DialContext(_ context.Context, network, addr string) (net.Conn, error) {
	conn, err := proxy.Dial(d.ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if deadline, ok := d.ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	stop := context.AfterFunc(d.ctx, func() { _ = conn.Close() })
	return &sessionConn{Conn: conn, stop: stop}, nil
}

type sessionConn struct {
	net.Conn
	stop func() bool
}

func (c *sessionConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// sshMethod makes the SSH credentials of one session, and the check of the
// server's key against known_hosts.
func (r *remote) sshMethod() (transport.AuthMethod, error) {
	var inner gitssh.AuthMethod
	if r.auth.SSHKeyFile != "" {
		pem, err := os.ReadFile(r.auth.SSHKeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the SSH key: %w", err)
		}
		keys, err := gitssh.NewPublicKeys(r.auth.Username, pem, r.auth.SSHKeyPassword)
		if err != nil {
			return nil, fmt.Errorf("reading the SSH key %s: it is not a private key, or the password is wrong", r.auth.SSHKeyFile)
		}
		keys.HostKeyCallback = refuseHost
		inner = keys
	} else {
		agent, err := gitssh.NewSSHAgentAuth(r.auth.Username)
		if err != nil {
			return nil, fmt.Errorf("%w: no SSH key file given, and no SSH agent answers at SSH_AUTH_SOCK", ErrDenied)
		}
		agent.HostKeyCallback = refuseHost
		inner = agent
	}
	return &sshAuth{AuthMethod: inner, files: r.auth.KnownHosts, host: r.hostPort()}, nil
}

func refuseHost(string, net.Addr, ssh.PublicKey) error {
	return errors.New("host key was not looked up")
}

func (r *remote) hostPort() string {
	port := r.endpoint.Port
	if port <= 0 {
		port = gitssh.DefaultPort
	}
	return net.JoinHostPort(strings.Trim(r.endpoint.Host, "[]"), strconv.Itoa(port))
}

// sshAuth asks the server for a kind of key that known_hosts has, as ssh does:
// go-git leaves that out as soon as files are named.
type sshAuth struct {
	gitssh.AuthMethod
	files []string
	host  string
}

func (a *sshAuth) ClientConfig() (*ssh.ClientConfig, error) {
	config, err := a.AuthMethod.ClientConfig()
	if err != nil {
		return nil, err
	}
	db, err := gitssh.NewKnownHostsDb(a.files...)
	if err != nil {
		return nil, fmt.Errorf("%w: no known_hosts file can be read", ErrHostKey)
	}
	config.HostKeyCallback = db.HostKeyCallback()
	config.HostKeyAlgorithms = db.HostKeyAlgorithms(a.host)
	return config, nil
}

func isHostKey(err error) bool {
	var unknown *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	return errors.Is(err, ErrHostKey) || errors.As(err, &unknown) || errors.As(err, &revoked)
}
