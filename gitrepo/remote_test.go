package gitrepo_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

const secret = "s3cr3t/t0ken%+x"

func ecdsaHostKey(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, opt gitrepo.Options) *gitrepo.Repo {
	t.Helper()
	if opt.Timeout == 0 {
		opt.Timeout = time.Minute
	}
	repo, err := gitrepo.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repo.Close() })
	return repo
}

// noSecret fails when the token stands in a text, in any of the forms that it
// travels in.
func noSecret(t *testing.T, what, text string) {
	t.Helper()
	for _, form := range []string{secret, url.QueryEscape(secret), url.PathEscape(secret),
		base64.StdEncoding.EncodeToString([]byte("x-access-token:" + secret))} {
		if strings.Contains(text, form) {
			t.Errorf("%s holds the token: %s", what, text)
		}
	}
}

func TestHTTPWithAToken(t *testing.T) {
	origin := flagtest.Repo(t)
	one := origin.CommitFile(spec, "1\n", "one")
	origin.Push()
	srv := gitHTTP(t, origin, secret)
	address := srv.URL + "/" + filepath.Base(origin.Origin)
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	withUser := strings.Replace(address, "://", "://me:"+url.PathEscape(secret)+"@", 1)
	for name, opt := range map[string]gitrepo.Options{
		"token":   {URL: address, Auth: gitrepo.Auth{Token: secret}},
		"file":    {URL: address, Auth: gitrepo.Auth{TokenFile: tokenFile, Username: "oauth2"}},
		"address": {URL: withUser},
	} {
		t.Run(name, func(t *testing.T) {
			opt.Branch, opt.Dir = "main", t.TempDir()
			repo := open(t, opt)
			fetch(t, repo)
			two := commitAndPush(t, repo, one, "work-"+name)
			if got := origin.GitOrigin("rev-parse", "work-"+name); got != two {
				t.Errorf("origin has %s, want %s", got, two)
			}
			noSecret(t, "the address", repo.Address())
			_ = filepath.WalkDir(opt.Dir, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					b, _ := os.ReadFile(path)
					noSecret(t, path, string(b))
				}
				return err
			})
		})
	}
	origin.GitOrigin("fsck", "--strict")
}

func commitAndPush(t *testing.T, repo *gitrepo.Repo, parent, branch string) string {
	t.Helper()
	two, err := repo.CommitFiles(t.Context(), parent, map[string][]byte{spec: []byte("2\n")}, "two",
		gitrepo.Person{Name: "Bot", Email: "bot@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.Push(t.Context(), two, branch, ""); err != nil {
		t.Fatal(err)
	}
	return two
}

func TestARotatedTokenFileIsReadAnew(t *testing.T) {
	origin := flagtest.Repo(t)
	origin.CommitFile(spec, "1\n", "one")
	origin.Push()
	srv := gitHTTP(t, origin, secret)
	tokenFile := filepath.Join(t.TempDir(), "token")
	write := func(s string) {
		if err := os.WriteFile(tokenFile, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	repo := open(t, gitrepo.Options{URL: srv.URL + "/origin.git", Branch: "main", Auth: gitrepo.Auth{TokenFile: tokenFile}})
	_, err := repo.Fetch(t.Context())
	wantErr(t, err, gitrepo.ErrDenied)
	write(secret)
	fetch(t, repo)
}

func TestErrorsHoldNoSecret(t *testing.T) {
	origin := flagtest.Repo(t)
	origin.CommitFile(spec, "1\n", "one")
	origin.Push()
	rude := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_, password, _ := req.BasicAuth()
		code := map[string]int{"/403": 403, "/404": 404, "/500": 500, "/302": 302}[req.URL.Path[:4]]
		w.Header().Set("Location", "http://127.0.0.1:1/"+url.PathEscape(password))
		w.WriteHeader(code)
		fmt.Fprintf(w, "you said %s in %s", password, req.Header.Get("Authorization"))
	}))
	defer rude.Close()
	denying := gitHTTP(t, origin, "another")
	for path, want := range map[string]error{
		rude.URL + "/403/x":          gitrepo.ErrDenied,
		rude.URL + "/404/x":          gitrepo.ErrNoRepository,
		rude.URL + "/500/x":          nil,
		rude.URL + "/302/x":          nil,
		denying.URL + "/origin.git":  gitrepo.ErrDenied,
		"http://127.0.0.1:1/refused": nil,
	} {
		with := strings.Replace(path, "://", "://me:"+url.PathEscape(secret)+"@", 1)
		repo := open(t, gitrepo.Options{URL: with, Branch: "main"})
		_, err := repo.Fetch(t.Context())
		if err == nil {
			t.Fatalf("%s: no error", path)
		}
		if want != nil {
			wantErr(t, err, want)
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			noSecret(t, path, fmt.Sprintf("%v %+v %#v", e, e, e))
		}
		if strings.Contains(err.Error(), "you said") {
			t.Errorf("the server's page is in the error: %v", err)
		}
	}
	_, err := gitrepo.Open(t.Context(), gitrepo.Options{URL: "https://me:" + secret + "@host:port:x/"})
	if err == nil {
		t.Fatal("a broken URL is taken")
	}
	noSecret(t, "a URL that does not parse", err.Error())
	_, err = gitrepo.Open(t.Context(), gitrepo.Options{URL: "http://example.org/x", Auth: gitrepo.Auth{Token: secret}})
	if err == nil || !strings.Contains(err.Error(), "plain http") {
		t.Errorf("a token over plain http: %v", err)
	}
	auth := gitrepo.Auth{Token: secret, SSHKeyPassword: secret}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("auth", "auth", auth, "options", gitrepo.Options{Auth: auth})
	noSecret(t, "a log line", log.String()+fmt.Sprintf("%v %+v %#v %s", auth, auth, auth, auth))
}

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"https://me:pw@example.org/a.git?x=y": "https://example.org/a.git",
		"ssh://git@example.org:22/a":          "ssh://example.org:22/a",
		"git@example.org:a/b.git":             "git@example.org:a/b.git",
		"https://a:%zz@example.org/":          "https://example.org/",
		"/srv/git/a.git":                      "/srv/git/a.git",
	} {
		if got := gitrepo.Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestHTTPServerThatHangs(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	repo := open(t, gitrepo.Options{URL: srv.URL + "/x", Branch: "main", Timeout: 100 * time.Millisecond})
	_, err := repo.RemoteHead(t.Context())
	wantErr(t, err, context.DeadlineExceeded)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = repo.Fetch(ctx)
	wantErr(t, err, context.Canceled)
}

func TestSSH(t *testing.T) {
	origin := flagtest.Repo(t)
	one := origin.CommitFile(spec, "1\n", "one")
	origin.Push()
	s := startSSH(t, origin)
	t.Setenv("SSH_AUTH_SOCK", "")
	options := gitrepo.Options{
		URL: "ssh://git@" + s.addr + origin.Origin, Branch: "main",
		Auth: gitrepo.Auth{SSHKeyFile: s.keyFile, KnownHosts: []string{s.knownHosts}},
	}
	repo := open(t, options)
	if got := fetch(t, repo); got != one {
		t.Fatalf("head is %s", got)
	}
	two := commitAndPush(t, repo, one, "work")
	if got := origin.GitOrigin("rev-parse", "work"); got != two {
		t.Errorf("origin has %s, want %s", got, two)
	}

	t.Run("another host key", func(t *testing.T) {
		other, _ := sshKey(t)
		s.trust(t, other.PublicKey())
		defer s.trust(t, s.hostKey.PublicKey())
		_, err := open(t, options).RemoteHead(t.Context())
		wantErr(t, err, gitrepo.ErrHostKey)
	})
	t.Run("no known host", func(t *testing.T) {
		opt := options
		opt.Auth.KnownHosts = []string{filepath.Join(t.TempDir(), "none")}
		_, err := open(t, opt).RemoteHead(t.Context())
		wantErr(t, err, gitrepo.ErrHostKey)
	})
	t.Run("another key", func(t *testing.T) {
		_, pem := sshKey(t)
		opt := options
		opt.Auth.SSHKeyFile = filepath.Join(t.TempDir(), "other")
		if err := os.WriteFile(opt.Auth.SSHKeyFile, pem, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := open(t, opt).RemoteHead(t.Context())
		wantErr(t, err, gitrepo.ErrDenied)
	})
	t.Run("no agent", func(t *testing.T) {
		opt := options
		opt.Auth.SSHKeyFile = ""
		_, err := open(t, opt).RemoteHead(t.Context())
		wantErr(t, err, gitrepo.ErrDenied)
	})
	t.Run("no repository", func(t *testing.T) {
		opt := options
		opt.URL += "-none"
		_, err := open(t, opt).RemoteHead(t.Context())
		wantErr(t, err, gitrepo.ErrNoRepository)
	})
	t.Run("hanging handshake", func(t *testing.T) {
		s.hang.Store(true)
		defer s.hang.Store(false)
		opt := options
		opt.Timeout = 100 * time.Millisecond
		_, err := open(t, opt).RemoteHead(t.Context())
		wantErr(t, err, context.DeadlineExceeded)

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := repo.RemoteHead(ctx); done <- err }()
		cancel()
		wantErr(t, <-done, context.Canceled)
	})
	fetch(t, repo) // and after all that, it still works
}

func TestServerThatDropsTheConnection(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	repo := open(t, gitrepo.Options{URL: "http://" + ln.Addr().String() + "/x", Branch: "main"})
	if _, err := repo.Fetch(t.Context()); err == nil {
		t.Error("no error")
	}
}
