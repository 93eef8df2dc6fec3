package keyless

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/sigstore/sigstore/pkg/oauthflow"
)

const (
	// audience is whom the token is for: Fulcio accepts no other.
	audience     = "sigstore"
	publicIssuer = "https://oauth2.sigstore.dev/auth"
)

// ErrNoToken: this is not a place where a token can be had.
var ErrNoToken = errors.New("no OpenID token to be had here")

// GitHubToken gets the token of a GitHub Actions job that has the permission
// "id-token: write", by the two environment variables that the runner sets. Outside
// of such a job it is [ErrNoToken].
func GitHubToken(getenv func(string) string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		at, bearer := getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
		if at == "" || bearer == "" {
			return "", fmt.Errorf(`asking GitHub for a token: %w: give the job "permissions: { id-token: write }"`, ErrNoToken)
		}
		u, err := url.Parse(at)
		if err != nil {
			return "", fmt.Errorf("asking GitHub for a token: %w", err)
		}
		q := u.Query()
		q.Set("audience", audience)
		u.RawQuery = q.Encode()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return "", fmt.Errorf("asking GitHub for a token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", fmt.Errorf("asking GitHub for a token: %w", err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return "", fmt.Errorf("asking GitHub for a token: %s", resp.Status)
		}
		var answer struct {
			Value string `json:"value"`
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
			return "", fmt.Errorf("reading GitHub's token: %w", err)
		}
		if answer.Value == "" {
			return "", errors.New("reading GitHub's token: it is empty")
		}
		return answer.Value, nil
	}
}

// BrowserToken lets a person sign in with a browser at issuer, and gets the token
// that results. Talk goes to out; where no browser can be opened, the person pastes
// a code into in. An empty issuer means the public sigstore's.
func BrowserToken(issuer string, in io.Reader, out io.Writer) func(context.Context) (string, error) {
	if issuer == "" {
		issuer = publicIssuer
	}
	return func(ctx context.Context) (string, error) {
		getter := &oauthflow.InteractiveIDTokenGetter{HTMLPage: oauthflow.DefaultIDTokenGetter.HTMLPage, Input: in, Output: out}
		type answer struct {
			token *oauthflow.OIDCIDToken
			err   error
		}
		// The library knows no context: whoever interrupts must not wait for a person
		// who has closed the browser.
		done := make(chan answer, 1)
		go func() {
			token, err := oauthflow.OIDConnect(issuer, audience, "", "", getter)
			done <- answer{token, err}
		}()
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("signing in at %s: %w", issuer, ctx.Err())
		case a := <-done:
			if a.err != nil {
				return "", fmt.Errorf("signing in at %s: %w", issuer, a.err)
			}
			return a.token.RawString, nil
		}
	}
}
