package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	gitfile "github.com/go-git/go-git/v5/plumbing/transport/file"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// Auth says who we are to the remote. The zero value is nobody over https://,
// and the SSH agent's keys over ssh://. It prints as nothing but its kind.
type Auth struct {
	// Username for https:// and ssh://. Empty: the address's own, else
	// "x-access-token" over https:// (which GitHub, GitLab and Gitea take beside
	// a token) and "git" over ssh://.
	Username string
	// Token is the password over https://. TokenFile names a file that holds
	// it, read anew each time, so that a rotated secret is picked up.
	Token, TokenFile string
	// SSHKeyFile is a private key in PEM or OpenSSH form; SSHKeyPassword opens
	// it. Empty: the SSH agent at SSH_AUTH_SOCK.
	SSHKeyFile, SSHKeyPassword string
	// KnownHosts are the files that host keys are looked up in. Empty: those in
	// SSH_KNOWN_HOSTS, else ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts.
	KnownHosts []string
}

// String says nothing, so that no format verb prints a secret by accident.
func (Auth) String() string { return "gitrepo.Auth{…}" }

// GoString is String.
func (a Auth) GoString() string { return a.String() }

// remote is the other side of one repository: where it is, and how to talk to it.
type remote struct {
	endpoint transport.Endpoint
	shown    string // the address without credentials, for people and logs
	auth     Auth
	client   transport.Transport
}

// newRemote reads an address: file://, https://, ssh://, host:path as ssh takes
// it, or a local path. http:// is taken without credentials only, except to
// this machine itself.
func newRemote(address string, auth Auth) (*remote, error) {
	ep, err := transport.NewEndpoint(address)
	if err != nil {
		return nil, badAddress(address, "it is not a URL")
	}
	r := &remote{auth: auth}
	if r.auth.Username == "" {
		r.auth.Username = ep.User
	}
	if r.auth.Token == "" && r.auth.TokenFile == "" {
		r.auth.Token = ep.Password
	}
	if ep.Protocol == "https" && r.auth.Token == "" && r.auth.TokenFile == "" && ep.User != "" {
		// https://TOKEN@host: the form that some guides give for tokens.
		r.auth.Token, r.auth.Username = ep.User, auth.Username
	}
	ep.User, ep.Password = "", ""
	switch ep.Protocol {
	case "file":
		r.client = gitfile.DefaultClient
	case "http", "https":
		if ep.Protocol == "http" && r.hasToken() && !loopback(ep.Host) {
			return nil, badAddress(address, "a token may not travel over plain http")
		}
		r.client = githttp.NewClientWithOptions(httpClient(), nil)
	case "ssh":
		if r.auth.Username == "" {
			r.auth.Username = "git"
		}
		ep.User = r.auth.Username
		r.client = sshClient
	default:
		return nil, badAddress(address, fmt.Sprintf("%q is not one of file, https, ssh", ep.Protocol))
	}
	r.endpoint, r.shown = *ep, ep.String()
	return r, nil
}

func (r *remote) hasToken() bool { return r.auth.Token != "" || r.auth.TokenFile != "" }

func loopback(host string) bool {
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Redact gives an address without user and password, for logs and errors.
func Redact(address string) string {
	if u, err := url.Parse(address); err == nil && u.Scheme != "" && u.Host != "" {
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		return u.String()
	}
	if i := strings.Index(address, "://"); i >= 0 {
		rest := address[i+3:]
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			rest = rest[at+1:]
		}
		return address[:i+3] + rest
	}
	return address
}

// method makes the credentials of one session.
func (r *remote) method() (transport.AuthMethod, error) {
	switch r.endpoint.Protocol {
	case "http", "https":
		token, err := r.token()
		if err != nil || token == "" {
			return nil, err
		}
		user := r.auth.Username
		if user == "" {
			user = "x-access-token"
		}
		return &githttp.BasicAuth{Username: user, Password: token}, nil
	case "ssh":
		return r.sshMethod()
	}
	return nil, nil
}

func (r *remote) token() (string, error) {
	if r.auth.TokenFile == "" {
		return r.auth.Token, nil
	}
	b, err := os.ReadFile(r.auth.TokenFile)
	if err != nil {
		return "", fmt.Errorf("reading the token file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("reading the token file %s: it is empty", r.auth.TokenFile)
	}
	return token, nil
}

// upload opens a session to fetch from the remote and reads what it advertises.
// The session must be closed.
func (r *remote) upload(ctx context.Context) (transport.UploadPackSession, *packp.AdvRefs, error) {
	method, err := r.method()
	if err != nil {
		return nil, nil, err
	}
	ep, done := r.dial(ctx)
	defer done()
	s, err := r.client.NewUploadPackSession(ep, method)
	if err != nil {
		return nil, nil, r.explain(ctx, "connecting", err)
	}
	refs, err := s.AdvertisedReferencesContext(ctx)
	if err != nil {
		_ = s.Close()
		return nil, nil, r.explain(ctx, "listing branches", err)
	}
	return s, refs, nil
}

// branchHead finds a branch in what the remote advertises. An empty name means
// the remote's default branch; the name found is returned.
func branchHead(refs *packp.AdvRefs, branch string) (string, plumbing.Hash, error) {
	if branch == "" {
		for _, ref := range refs.Capabilities.Get(capability.SymRef) {
			if to, ok := strings.CutPrefix(ref, "HEAD:refs/heads/"); ok {
				branch = to
			}
		}
		if branch == "" {
			return "", plumbing.ZeroHash, fmt.Errorf("%w: the remote has no default branch, name one", ErrNoBranch)
		}
	}
	h, ok := refs.References["refs/heads/"+branch]
	if !ok {
		return branch, plumbing.ZeroHash, fmt.Errorf("%w: %q", ErrNoBranch, branch)
	}
	return branch, h, nil
}

// remoteError is an error from the other side, said in our words: what servers
// write into theirs is not ours to print, and may hold a credential.
type remoteError struct {
	doing, address string
	why            error  // one of ours, or a context's
	detail         string // scrubbed, may be empty
}

func (e *remoteError) Error() string {
	s := fmt.Sprintf("%s at %s: ", e.doing, e.address)
	if e.why == nil {
		return s + e.detail
	}
	if e.detail != "" {
		return s + e.why.Error() + ": " + e.detail
	}
	return s + e.why.Error()
}

func (e *remoteError) Unwrap() error { return e.why }

// explain turns an error of the transport into one that may be printed.
func (r *remote) explain(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	var ours *remoteError
	if errors.As(err, &ours) {
		return err
	}
	out := &remoteError{doing: doing, address: r.shown}
	out.detail, out.why = r.classify(ctx, err)
	return out
}

func (r *remote) classify(ctx context.Context, err error) (detail string, why error) {
	text := err.Error()
	var unexpected *packp.ErrUnexpectedData
	var keyErr interface{ Timeout() bool }
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed),
		errors.Is(err, transport.ErrInvalidAuthMethod):
		return "", ErrDenied
	case strings.Contains(text, "unable to authenticate"): // x/crypto/ssh has no value for it
		return "", ErrDenied
	case errors.Is(err, transport.ErrRepositoryNotFound):
		return "", ErrNoRepository
	case errors.Is(err, transport.ErrEmptyRemoteRepository):
		return "the repository is empty", ErrNoBranch
	case isHostKey(err):
		return "add the server's key to known_hosts (ssh-keyscan shows it; compare it with what its owner publishes)", ErrHostKey
	case errors.As(err, &unexpected) && bytes.Contains(unexpected.Data, []byte("object-format=sha256")):
		return "", ErrSHA256
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrNoBranch):
		return "", err
	case errors.As(err, &keyErr) && keyErr.Timeout():
		return "", context.DeadlineExceeded
	case strings.Contains(text, "dubious ownership"):
		return "git refuses a repository that another user owns (see safe.directory in git-config)", ErrDenied
	}
	return r.scrub(text), nil
}

// scrub takes the credentials out of a text, its line ends and control
// characters, and all beyond 300 bytes.
func (r *remote) scrub(text string) string {
	token, _ := r.token()
	for _, secret := range []string{token, url.QueryEscape(token), url.PathEscape(token), r.auth.SSHKeyPassword} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, text)
	text = strings.TrimSpace(text)
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}

// localAddress turns a relative path into an absolute one, so that what is
// stored does not depend on the folder we were started in.
func localAddress(address string) string {
	if strings.Contains(address, ":") {
		return address
	}
	if abs, err := filepath.Abs(address); err == nil {
		return abs
	}
	return address
}
