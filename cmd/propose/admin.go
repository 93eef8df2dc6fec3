package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/rampart-flags/rampart/internal/cli"
)

// adminTimeout bounds one request to a reconciler.
const adminTimeout = 15 * time.Second

// postAdmin sends a JSON body to a reconciler's admin route, with the token of RAMPART_ADMIN_TOKEN,
// and returns its answer. What the reconciler refuses (4xx) a person must look at.
func (a *app) postAdmin(ctx context.Context, base, route string, body []byte) ([]byte, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, usage(cli.Hint(fmt.Errorf("%q is no address of a reconciler", base), "such as http://127.0.0.1:8080"))
	}
	token, _ := a.env.Lookup("RAMPART_ADMIN_TOKEN")
	if token == "" {
		return nil, usage(cli.Hint(fmt.Errorf("sending to %s: no token", u.Host), "set RAMPART_ADMIN_TOKEN; the reconciler keeps its own in its state folder"))
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		a.env.Talk("warning: the token goes to %s without encryption", u.Host)
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.JoinPath(route).String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("sending to %s: %w", u.Host, err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("sending to %s: %w", u.Host, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", u.Host, err)
	}
	if resp.StatusCode < 300 {
		return answer, nil
	}
	err = fmt.Errorf("%s answered %s: %s", u.Host, resp.Status, said(answer))
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		err = cli.Exit(cli.ExitRefused, cli.Hint(err, "is RAMPART_ADMIN_TOKEN this reconciler's?"))
	case resp.StatusCode < 500:
		err = cli.Exit(cli.ExitRefused, err)
	}
	return nil, err
}

// said is the error in a reconciler's answer, else the beginning of it.
func said(answer []byte) string {
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &body) == nil && body.Error != "" {
		return body.Error
	}
	return strings.TrimSpace(string(answer[:min(200, len(answer))]))
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
