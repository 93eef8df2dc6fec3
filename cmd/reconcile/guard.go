package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/time/rate"

	"github.com/rampart-flags/rampart/internal/cli"
)

// guard decides who may ask for what: a Host that is not ours is turned away on every
// route (a page elsewhere could point its own name at our address), and what is under
// /admin needs the token and no foreign Origin.
type guard struct {
	rate      *rate.Limiter // of who bears the token
	strangers *rate.Limiter // of who does not
	token     [sha256.Size]byte
	names     []string
	cross     *http.CrossOriginProtection
	env       cli.Env
}

const (
	tokenName = "admin-token"
	minToken  = 16

	adminRate  = 50  // requests a second under /admin, of those who bear the token, and of all others
	adminBurst = 500 // and so many at once
)

func newGuard(dir string, env cli.Env, names []string) (*guard, error) {
	token := env.Getenv("RAMPART_ADMIN_TOKEN")
	if token == "" {
		var err error
		if token, err = keptToken(filepath.Join(dir, tokenName)); err != nil {
			return nil, err
		}
	}
	if len(token) < minToken {
		return nil, cli.Exit(cli.ExitUsage, fmt.Errorf("the admin token has fewer than %d characters", minToken))
	}
	return &guard{
		rate: rate.NewLimiter(adminRate, adminBurst), strangers: rate.NewLimiter(adminRate, adminBurst),
		token: sha256.Sum256([]byte(token)), names: names, cross: http.NewCrossOriginProtection(), env: env,
	}, nil
}

// keptToken reads the token of the first start, or makes it.
func keptToken(path string) (string, error) {
	src, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(src)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	token := rand.Text()
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keeping the admin token: %w", err)
	}
	return token, nil
}

// hosts turns away requests under a name that is not ours. An address is never such a
// name: nobody can make it point elsewhere.
func (g *guard) hosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		_, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil && !strings.EqualFold(host, "localhost") && !slices.Contains(g.names, host) {
			answer(w, http.StatusMisdirectedRequest, map[string]string{"error": "unknown host name; run with --allow-host to allow it"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// admin lets a request through that bears the token and comes from no other site.
func (g *guard) admin(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.cross.Check(r); err != nil {
			answer(w, http.StatusForbidden, map[string]string{"error": "cross-origin requests are not answered here"})
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
		known := strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1
		budget := g.strangers // theirs alone: nobody without the token keeps out who has it
		if known {
			budget = g.rate
		}
		if !budget.Allow() {
			w.Header().Set("Retry-After", "1")
			answer(w, http.StatusTooManyRequests, map[string]string{"error": fmt.Sprintf("more than %d requests a second under /admin", adminRate)})
			return
		}
		if !known {
			w.Header().Set("WWW-Authenticate", `Bearer realm="rampart"`)
			answer(w, http.StatusUnauthorized, map[string]string{"error": "bearer token required"})
			return
		}
		next(w, r)
	})
}
