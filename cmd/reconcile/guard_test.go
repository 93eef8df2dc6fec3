package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rampart-flags/rampart/internal/cli"
)

// Whoever has no token is turned away, then told to wait, and never keeps out who has it: a way down must stay open.
func TestStrangersDoNotLockTheAdminOut(t *testing.T) {
	const token = "a token of some length"
	g, err := newGuard(t.TempDir(), cli.Env{Getenv: func(name string) string {
		if name == "RAMPART_ADMIN_TOKEN" {
			return token
		}
		return ""
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := g.admin(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	ask := func(token string) int {
		r := httptest.NewRequest(http.MethodPost, "/admin/override", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	said := map[int]int{}
	for range 3 * adminBurst {
		said[ask("a guess")]++
	}
	if said[http.StatusUnauthorized] < adminBurst || said[http.StatusTooManyRequests] == 0 {
		t.Errorf("a stranger was answered %v", said)
	}
	if code := ask(token); code != http.StatusNoContent {
		t.Errorf("the token is answered %d", code)
	}
	clear(said)
	for range 3 * adminBurst {
		said[ask(token)]++
	}
	if said[http.StatusTooManyRequests] == 0 {
		t.Errorf("who has the token was answered %v", said)
	}
}
