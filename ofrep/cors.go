package ofrep

import (
	"net/http"
	"slices"
	"strings"
)

// cors lets browsers of some origins in.
type cors struct {
	origins []string
	any     bool
	headers string
}

func newCORS(origins, headers []string) *cors {
	if len(origins) == 0 {
		return nil
	}
	allowed := append([]string{
		"Content-Type", "If-None-Match", "Authorization", "X-API-Key", "X-Tenant-ID", "Traceparent", "X-Op-Chain-Id", "Cache-Control", "Last-Event-ID",
	}, headers...)
	return &cors{origins: origins, any: slices.Contains(origins, "*"), headers: strings.Join(allowed, ", ")}
}

// apply sets the headers, and answers a preflight request, which it reports.
func (c *cors) apply(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	h := w.Header()
	h.Add("Vary", "Origin")
	if origin == "" || !c.any && !slices.Contains(c.origins, origin) {
		return false
	}
	if c.any {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "ETag, Retry-After")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "POST, GET, OPTIONS")
	h.Set("Access-Control-Allow-Headers", c.headers)
	h.Set("Access-Control-Max-Age", "7200")
	w.WriteHeader(http.StatusNoContent)
	return true
}
