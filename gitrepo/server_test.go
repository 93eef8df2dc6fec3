package gitrepo_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// gitHTTP serves the origin by git's own http-backend to whoever brings the
// token, and pushes too.
func gitHTTP(t testing.TB, origin *flagtest.GitRepo, token string) *httptest.Server {
	t.Helper()
	origin.GitOrigin("config", "http.receivepack", "true")
	backend := filepath.Join(origin.Git("--exec-path"), "git-http-backend")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if _, password, _ := req.BasicAuth(); password != token {
			w.Header().Set("WWW-Authenticate", "Basic")
			// A rude server: what it was given comes back in the error page.
			http.Error(w, "bad credentials "+password+" "+token, http.StatusUnauthorized)
			return
		}
		(&cgi.Handler{
			Path: backend,
			Env: append(origin.Env(), "GIT_PROJECT_ROOT="+filepath.Dir(origin.Origin), "GIT_HTTP_EXPORT_ALL=1",
				"REMOTE_USER=test"),
			Stderr: io.Discard,
		}).ServeHTTP(w, req)
	}))
	t.Cleanup(srv.Close)
	return srv
}

// sshServer runs git's upload-pack and receive-pack for one key.
type sshServer struct {
	addr       string
	keyFile    string // the client's key
	knownHosts string
	hostKey    ssh.Signer
	hang       atomic.Bool // accept connections, and say nothing
	sessions   atomic.Int32
}

func startSSH(t *testing.T, origin *flagtest.GitRepo) *sshServer {
	t.Helper()
	dir := t.TempDir()
	client, clientPEM := sshKey(t)
	host, _ := sshKey(t)
	s := &sshServer{keyFile: filepath.Join(dir, "id"), knownHosts: filepath.Join(dir, "known_hosts"), hostKey: host}
	if err := os.WriteFile(s.keyFile, clientPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	s.trust(t, host.PublicKey())
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(key.Marshal()) != string(client.PublicKey().Marshal()) {
			return nil, errors.New("who are you")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	rsa := ecdsaHostKey(t) // a second kind, that known_hosts does not have
	config.AddHostKey(rsa)
	var wg sync.WaitGroup
	var conns sync.Map
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Store(conn, true)
			wg.Go(func() {
				defer conn.Close()
				if s.hang.Load() {
					_, _ = io.Copy(io.Discard, conn)
					return
				}
				s.serve(conn, config, origin)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
		wg.Wait()
	})
	return s
}

// trust makes known_hosts say that the server has this key.
func (s *sshServer) trust(t *testing.T, key ssh.PublicKey) {
	t.Helper()
	line := knownhosts.Line([]string{knownhosts.Normalize(s.addr)}, key) + "\n"
	if err := os.WriteFile(s.knownHosts, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *sshServer) serve(conn net.Conn, config *ssh.ServerConfig, origin *flagtest.GitRepo) {
	_, chans, reqs, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		s.sessions.Add(1)
		go func() {
			defer ch.Close()
			for req := range reqs {
				if req.Type != "exec" {
					_ = req.Reply(false, nil)
					continue
				}
				_ = req.Reply(true, nil)
				var exec struct{ Command string }
				_ = ssh.Unmarshal(req.Payload, &exec)
				_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{run(ch, exec.Command, origin)}))
				return
			}
		}()
	}
}

func run(ch ssh.Channel, command string, origin *flagtest.GitRepo) uint32 {
	service, path, _ := strings.Cut(command, " ")
	cmd := exec.Command("git", strings.TrimPrefix(service, "git-"), strings.Trim(path, "'"))
	cmd.Env = origin.Env()
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return 1
	}
	go func() {
		_, _ = io.Copy(stdin, ch)
		_ = stdin.Close()
	}()
	if cmd.Wait() != nil {
		return 1
	}
	return 0
}

func sshKey(t *testing.T) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}
