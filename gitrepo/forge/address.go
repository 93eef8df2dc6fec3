package forge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// address is a repository at a forge.
type address struct {
	base string // https://host[/prefix], the forge's own address
	host string
	path string // owner/name, or GitLab's group/…/name
}

// parseAddress takes a repository's address apart. The forge is at the
// repository's host by https, unless base says otherwise.
func parseAddress(repository, base string) (address, error) {
	bad := fmt.Errorf("%q is not the address of a repository at a forge", redact(repository))
	var at address
	scheme := "https"
	if u, err := url.Parse(repository); err == nil && u.Host != "" {
		at.host, at.path = u.Host, u.Path
		switch u.Scheme {
		case "http":
			scheme = "http"
		case "ssh", "git", "git+ssh":
			at.host = u.Hostname() // the SSH port is not the API's
		case "https":
		default:
			return at, bad
		}
	} else if user, rest, ok := strings.Cut(repository, "@"); ok && !strings.Contains(user, "/") {
		at.host, at.path, ok = strings.Cut(rest, ":")
		if !ok {
			return at, bad
		}
	} else {
		return at, bad
	}
	at.path = strings.TrimSuffix(strings.Trim(at.path, "/"), ".git")
	at.base = scheme + "://" + at.host
	if base != "" {
		u, err := url.Parse(base)
		if err != nil || u.Host == "" || u.User != nil {
			return at, fmt.Errorf("%q is not the address of a forge", redact(base))
		}
		at.base, at.host = strings.TrimSuffix(base, "/"), u.Host
		if prefix := strings.Trim(u.Path, "/"); prefix != "" {
			at.path = strings.TrimPrefix(at.path, prefix+"/")
		}
	}
	if !strings.Contains(at.path, "/") {
		return at, bad
	}
	return at, nil
}

// owner and name, for forges that know no deeper groups.
func (at address) owner() (owner, name string, err error) {
	owner, name, _ = strings.Cut(at.path, "/")
	if strings.Contains(name, "/") {
		return "", "", fmt.Errorf("%q is not of the form owner/name: %w", at.path, errNotOurs)
	}
	return owner, name, nil
}

// private tells whether what is sent there is read by nobody on the way.
func (at address) private() bool {
	u, err := url.Parse(at.base)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// guess tells the kind from a host's name, or "".
func (at address) guess() Kind {
	host := strings.ToLower(at.host)
	for _, known := range []struct {
		part string
		kind Kind
	}{
		{"github", GitHub}, {"gitlab", GitLab}, {"gitea", Gitea}, {"forgejo", Gitea}, {"codeberg.org", Gitea},
	} {
		if strings.Contains(host, known.part) {
			return known.kind
		}
	}
	return ""
}

// probe asks a host what it is, by the version that each kind tells (or keeps to
// those who are signed in) at a place of its own. It sends no token.
func probe(ctx context.Context, client *http.Client, base string) (Kind, error) {
	for _, at := range []struct {
		path string
		kind Kind
		is   func(status int, body string) bool
	}{
		{"/api/v1/version", Gitea, func(s int, b string) bool { return s == 200 && strings.Contains(b, `"version"`) }},
		{"/api/v4/version", GitLab, func(s int, b string) bool {
			return (s == 200 || s == 401) && strings.HasPrefix(strings.TrimSpace(b), "{")
		}},
		{"/api/v3/meta", GitHub, func(s int, b string) bool { return s == 200 && strings.HasPrefix(strings.TrimSpace(b), "{") }},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+at.path, nil)
		if err != nil {
			return "", err
		}
		res, err := client.Do(req)
		if err != nil {
			return "", fmt.Errorf("asking %s what forge it is: %w", base, err)
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		_ = res.Body.Close()
		if err == nil && at.is(res.StatusCode, string(body)) {
			return at.kind, nil
		}
	}
	return "", fmt.Errorf("%s is no forge that is known: say github, gitlab or gitea", base)
}

// sameHost keeps a token, whatever header it travels in, from following a
// redirect to somebody else.
func sameHost(req *http.Request, via []*http.Request) error {
	if first := via[0].URL; req.URL.Host != first.Host || req.URL.Scheme != first.Scheme {
		return errors.New("the forge redirects to another address")
	}
	if len(via) >= 5 {
		return errors.New("too many redirects")
	}
	return nil
}

// redact takes user and password out of an address.
func redact(s string) string {
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		u.User = nil
		return u.String()
	}
	if i := strings.Index(s, "://"); i >= 0 {
		return s[:i+3] + s[strings.LastIndexByte(s, '@')+1:]
	}
	return s
}

// Token finds the API's token in the environment: RAMPART_FORGE_TOKEN, else the
// name that each kind's own tools use. Without a kind, only the first.
func Token(kind Kind, getenv func(string) string) string {
	names := map[Kind][]string{
		GitHub: {"GITHUB_TOKEN", "GH_TOKEN"},
		GitLab: {"GITLAB_TOKEN"},
		Gitea:  {"GITEA_TOKEN", "FORGEJO_TOKEN"},
	}
	for _, name := range append([]string{"RAMPART_FORGE_TOKEN"}, names[kind]...) {
		if v := getenv(name); v != "" {
			return v
		}
	}
	return ""
}

// ParseKind reads what a setting says: a kind, or KIND=URL with the forge's own
// address.
func ParseKind(s string) (Kind, string, error) {
	name, base, _ := strings.Cut(s, "=")
	switch kind := Kind(strings.ToLower(name)); kind {
	case "", GitHub, GitLab, Gitea:
		return kind, base, nil
	case "forgejo":
		return Gitea, base, nil
	}
	return "", "", fmt.Errorf("forge %q is none of github, gitlab, gitea", name)
}
