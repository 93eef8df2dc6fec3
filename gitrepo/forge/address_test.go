package forge

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAddresses(t *testing.T) {
	for _, c := range []struct{ repository, base, wantBase, wantPath string }{
		{"https://github.com/acme/flags.git", "", "https://github.com", "acme/flags"},
		{"https://me:pw@github.com/acme/flags", "", "https://github.com", "acme/flags"},
		{"git@github.com:acme/flags.git", "", "https://github.com", "acme/flags"},
		{"ssh://git@git.example.org:2222/acme/flags.git", "", "https://git.example.org", "acme/flags"},
		{"https://gitlab.com/a/b/c/flags/", "", "https://gitlab.com", "a/b/c/flags"},
		{"https://example.org:8443/git/acme/flags.git", "https://example.org:8443/git/", "https://example.org:8443/git", "acme/flags"},
		{"git@ssh.example.org:acme/flags.git", "https://git.example.org", "https://git.example.org", "acme/flags"},
		{"http://127.0.0.1:3000/acme/flags", "", "http://127.0.0.1:3000", "acme/flags"},
	} {
		at, err := parseAddress(c.repository, c.base)
		if err != nil || at.base != c.wantBase || at.path != c.wantPath {
			t.Errorf("%s: %+v, %v; want %s %s", c.repository, at, err, c.wantBase, c.wantPath)
		}
	}
	for _, bad := range []string{"", "/srv/git/flags.git", "file:///srv/git/flags.git", "https://github.com/flags", "acme/flags", "git@github.com", "https://a:" + token + "@"} {
		_, err := parseAddress(bad, "")
		if err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := parseAddress("https://github.com/acme/flags", "https://me:"+token+"@x"); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("a base with a password: %v", err)
	}
}

func TestKindsAndTokens(t *testing.T) {
	for host, want := range map[string]Kind{"github.com": GitHub, "github.acme.com": GitHub, "gitlab.com": GitLab, "gitea.acme.com": Gitea, "codeberg.org": Gitea, "git.acme.com": ""} {
		if got := (address{host: host}).guess(); got != want {
			t.Errorf("%s is taken for %q, want %q", host, got, want)
		}
	}
	for s, want := range map[string]string{"": " ", "GitHub": "github ", "gitlab=https://x/y": "gitlab https://x/y", "forgejo=https://x": "gitea https://x"} {
		kind, base, err := ParseKind(s)
		if got := fmt.Sprintf("%s %s", kind, base); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", s, got, err, want)
		}
	}
	if _, _, err := ParseKind("bitbucket"); err == nil {
		t.Error("bitbucket is taken")
	}
	env := map[string]string{"GITHUB_TOKEN": "gh", "GITEA_TOKEN": "gt"}
	getenv := func(k string) string { return env[k] }
	if Token(GitHub, getenv) != "gh" || Token(Gitea, getenv) != "gt" || Token(GitLab, getenv) != "" || Token("", getenv) != "" {
		t.Error("a token is taken for another forge's")
	}
	env["RAMPART_FORGE_TOKEN"] = "own"
	if Token(GitHub, getenv) != "own" {
		t.Error("the project's own name does not win")
	}
}

func TestAHostIsAskedWithoutTheToken(t *testing.T) {
	for kind, plan := range map[Kind][]exchange{
		Gitea: {{"GET", "/api/v1/version", "", 0, nil, `{"version":"1.22.0"}`}},
		GitLab: {{"GET", "/api/v1/version", "", 404, nil, `<html>`},
			{"GET", "/api/v4/version", "", 401, nil, `{"message":"401 Unauthorized"}`}},
		GitHub: {{"GET", "/api/v1/version", "", 404, nil, ``}, {"GET", "/api/v4/version", "", 404, nil, ``},
			{"GET", "/api/v3/meta", "", 0, nil, `{"verifiable_password_authentication":true}`}},
		"": {{"GET", "/api/v1/version", "", 200, nil, `<html>`}, {"GET", "/api/v4/version", "", 200, nil, `<html>`},
			{"GET", "/api/v3/meta", "", 200, nil, `<html>`}},
	} {
		f := newFake(t, "Authorization: ", plan...)
		got, err := probe(t.Context(), http.DefaultClient, f.URL)
		if got != kind || (err == nil) != (kind != "") {
			t.Errorf("%q, %v; want %q", got, err, kind)
		}
	}
}

func TestWhatOpenRefuses(t *testing.T) {
	for _, opt := range []Options{
		{Repository: "http://git.example.org/acme/flags", Kind: GitHub, Token: token},
		{Repository: "https://github.com/a/b/c", Kind: GitHub},
		{Repository: "https://github.com/a/b", Kind: "bitbucket"},
		{Repository: "nowhere"},
	} {
		_, err := Open(t.Context(), opt)
		if err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%v: %v", opt, err)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v", Options{Token: token}, Options{Token: token}, Options{Token: token}); strings.Contains(s, token) {
		t.Errorf("the options print the token: %s", s)
	}
}

// A token travels in a header that net/http does not know to hold back.
func TestTheTokenFollowsNoRedirect(t *testing.T) {
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		t.Errorf("the redirect was followed with %v", req.Header)
	}))
	defer thief.Close()
	for _, kind := range []Kind{GitHub, GitLab, Gitea} {
		path := map[Kind]string{GitHub: "/api/v3/repos/acme/flags/pulls?base=main&per_page=100&state=open",
			GitLab: "/api/v4/projects/acme%2Fflags/merge_requests?per_page=100&state=opened&target_branch=main", Gitea: giteaFind}[kind]
		auth := map[Kind]string{GitHub: gitHubAuth, GitLab: gitLabAuth, Gitea: giteaAuth}[kind]
		var plan []exchange
		for range attempts { // a refused redirect is an error of the network to the libraries
			plan = append(plan, exchange{"GET", path, "", 302, map[string]string{"Location": thief.URL + "/x"}, ""})
		}
		f := newFake(t, auth, plan...)
		forge := f.open(kind, "acme/flags")
		if _, err := forge.List(t.Context(), "main", ""); err == nil {
			t.Errorf("%s: no error", kind)
		}
	}
}

func TestAForgeThatIsAway(t *testing.T) {
	f, err := Open(t.Context(), Options{Repository: "http://127.0.0.1:1/acme/flags", Kind: GitHub, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	(&fake{t: t}).drive(f)
	_, err = f.Propose(t.Context(), proposal)
	if err == nil || strings.Contains(err.Error(), token) || errors.Is(err, ErrDenied) {
		t.Errorf("%v", err)
	}
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }))
	defer slow.Close()
	f, err = Open(t.Context(), Options{Repository: slow.URL + "/acme/flags", Kind: GitLab, Token: token, Timeout: 50 * time.Millisecond, Patience: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.List(t.Context(), "main", ""); err == nil {
		t.Error("a forge that never answers is waited for")
	}
}
