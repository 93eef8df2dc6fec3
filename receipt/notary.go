package receipt

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// HTTPSNotary is a notary that is asked over HTTPS: POST <URL>/anchor answers {"notary_id": "…"}.
type HTTPSNotary struct {
	// ID is the notary's name in proofs and metrics.
	ID string
	// URL is the notary's base address. Plain http is taken for loopback addresses only.
	URL string
	// TokenFile holds a bearer token, read anew for each request. Empty means none.
	TokenFile string
	// CAFile holds the certificates that the notary's must come from. Empty means the system's.
	CAFile string
	// CertFile and KeyFile are our own certificate for mutual TLS. Empty means none.
	CertFile, KeyFile string
	// Timeout bounds one request, connecting included. Zero means 10 seconds.
	Timeout time.Duration

	client *http.Client
}

// anchorRequest is the body of POST /anchor.
type anchorRequest struct {
	Format     string `json:"format"`
	Origin     string `json:"origin"`
	Size       uint64 `json:"size"`
	Root       string `json:"root"` // hex
	Checkpoint string `json:"checkpoint"`
}

type anchorAnswer struct {
	NotaryID string `json:"notary_id"`
}

const maxAnswer = 64 << 10

// NewHTTPSNotary checks the settings and loads the certificates.
func NewHTTPSNotary(n HTTPSNotary) (*HTTPSNotary, error) {
	u, err := url.Parse(n.URL)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, fmt.Errorf("notary %s: %q is not an https address without user information", n.ID, redactURL(n.URL))
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("notary %s: plain http is for loopback addresses only, use https", n.ID)
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if n.CAFile != "" {
		pem, err := os.ReadFile(n.CAFile)
		if err != nil {
			return nil, fmt.Errorf("notary %s: reading its CA: %w", n.ID, err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("notary %s: no certificate in %s", n.ID, n.CAFile)
		}
	}
	if (n.CertFile == "") != (n.KeyFile == "") {
		return nil, fmt.Errorf("notary %s: mutual TLS needs a certificate and its key", n.ID)
	}
	if n.CertFile != "" {
		// Read at each handshake, so that a renewed certificate needs no restart.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(n.CertFile, n.KeyFile)
			return &cert, err
		}
		if _, err := conf.GetClientCertificate(nil); err != nil {
			return nil, fmt.Errorf("notary %s: loading our certificate: %w", n.ID, err)
		}
	}
	if n.Timeout == 0 {
		n.Timeout = 10 * time.Second
	}
	n.URL = strings.TrimRight(n.URL, "/")
	n.client = &http.Client{
		Timeout:       n.Timeout,
		Transport:     &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, MaxIdleConns: 2, IdleConnTimeout: time.Minute, Proxy: http.ProxyFromEnvironment},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a token goes where it was meant to
	}
	return &n, nil
}

// reply is an HTTP answer whose body was read whole.
type reply struct {
	status      string
	code        int
	contentType string
	body        []byte
}

// post sends body to a path below the notary's address. The error's text never holds the token.
func (n *HTTPSNotary) post(ctx context.Context, path, contentType, key string, body []byte) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.URL+path, bytes.NewReader(body))
	if err != nil {
		return reply{}, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if n.TokenFile != "" {
		token, err := os.ReadFile(n.TokenFile)
		if err != nil {
			return reply{}, fmt.Errorf("reading the notary's token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return reply{}, fmt.Errorf("reading the answer: %w", err)
	}
	if len(answer) > maxAnswer {
		return reply{}, fmt.Errorf("the notary answered with more than %d bytes", maxAnswer)
	}
	return reply{resp.Status, resp.StatusCode, resp.Header.Get("Content-Type"), answer}, nil
}

// Name is the notary's name.
func (n *HTTPSNotary) Name() string { return n.ID }

// Kind is [AnchorNotary].
func (n *HTTPSNotary) Kind() string { return AnchorNotary }

// Confirm sends a checkpoint. Anything but a 2xx answer with a notary_id is an error, whose text never holds the token.
func (n *HTTPSNotary) Confirm(ctx context.Context, key string, cp Checkpoint) (string, []byte, error) {
	body, err := json.Marshal(anchorRequest{AnchorFormat, cp.Origin, cp.Size, hex.EncodeToString(cp.Root), string(cp.Note)})
	if err != nil {
		return "", nil, fmt.Errorf("encoding the request: %w", err)
	}
	got, err := n.post(ctx, "/anchor", "application/json", key, body)
	if err != nil {
		return "", nil, err
	}
	if got.code/100 != 2 {
		return "", nil, fmt.Errorf("the notary answered %s", got.status)
	}
	var a anchorAnswer
	if err := json.Unmarshal(got.body, &a); err != nil {
		return "", nil, fmt.Errorf("the notary's answer is not JSON: %w", err)
	}
	if a.NotaryID == "" {
		return "", nil, errors.New("the notary's answer has no notary_id")
	}
	return a.NotaryID, got.body, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func redactURL(s string) string {
	if u, err := url.Parse(s); err == nil {
		return u.Redacted()
	}
	return "the address"
}
