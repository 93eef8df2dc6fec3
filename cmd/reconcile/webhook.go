package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rampart-flags/rampart/internal/cli"
)

// webhook hurries the next look at git when a forge says that somebody pushed. It believes nothing else of what it is sent:
// the look finds out by itself what there is. Many calls make one look.
type webhook struct {
	secret []byte
	nudge  func(body []byte) // of a call that was signed
	now    func() time.Time

	mu     sync.Mutex
	budget float64 // calls that may still come in now
	filled time.Time
}

const (
	webhookRate  = 2.0  // calls a second
	webhookBurst = 20.0 // and this many at once
	maxWebhook   = 1 << 20
)

func newWebhook(env cli.Env, nudge func(body []byte)) *webhook {
	return &webhook{secret: []byte(env.Getenv("RAMPART_WEBHOOK_SECRET")), nudge: nudge, now: time.Now, budget: webhookBurst}
}

func (h *webhook) routes(mux *http.ServeMux) { mux.HandleFunc("POST /webhook/git", h.serve) }

func (h *webhook) serve(w http.ResponseWriter, r *http.Request) {
	if len(h.secret) == 0 {
		answer(w, http.StatusNotFound, map[string]string{"error": "no webhook secret is set: RAMPART_WEBHOOK_SECRET"})
		return
	}
	if !h.take() {
		w.Header().Set("Retry-After", "1")
		answer(w, http.StatusTooManyRequests, map[string]string{"error": fmt.Sprintf("more than %v calls a second; the next look at git is due anyway", webhookRate)})
		return
	}
	body, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		answer(w, http.StatusRequestEntityTooLarge, map[string]string{"error": fmt.Sprintf("the body is larger than %d bytes", large.Limit)})
		return
	case err != nil:
		bad(w, "the body could not be read")
		return
	case !h.signed(r.Header, body):
		answer(w, http.StatusUnauthorized, map[string]string{"error": "the signature is missing or wrong"})
		return
	}
	h.nudge(body)
	answer(w, http.StatusAccepted, map[string]bool{"ok": true})
}

// signed checks what each forge sends: GitHub and Gitea an HMAC-SHA256 of the body (X-Hub-Signature-256, X-Gitea-Signature),
// GitLab the secret itself (X-Gitlab-Token).
func (h *webhook) signed(header http.Header, body []byte) bool {
	mac := hmac.New(sha256.New, h.secret)
	mac.Write(body)
	want := mac.Sum(nil)
	for _, name := range []string{"X-Hub-Signature-256", "X-Gitea-Signature"} {
		if value := header.Get(name); value != "" {
			got, err := hex.DecodeString(strings.TrimPrefix(value, "sha256="))
			return err == nil && hmac.Equal(got, want)
		}
	}
	token := header.Get("X-Gitlab-Token")
	return token != "" && subtle.ConstantTimeCompare([]byte(token), h.secret) == 1
}

func (h *webhook) take() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	h.budget = min(webhookBurst, h.budget+webhookRate*now.Sub(h.filled).Seconds())
	h.filled = now
	if h.budget < 1 {
		return false
	}
	h.budget--
	return true
}
