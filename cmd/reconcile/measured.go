package main

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// measured counts requests by route and code, and times them. A route is the pattern that it was registered under, so whatever is
// asked for, the number of series is bounded.
func measured(reg prometheus.Registerer, next http.Handler) http.Handler {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rampart_http_requests_total", Help: "Requests answered, by route and status code."}, []string{"route", "code"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "rampart_http_request_seconds", Help: "Seconds until a request was answered, by route; event streams are left out.",
		Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10},
	}, []string{"route"})
	reg.MustRegister(requests, seconds)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		seen := &statusWriter{ResponseWriter: w, code: http.StatusOK}
		defer func() {
			route := r.Pattern
			if route == "" {
				route = "none"
			}
			requests.WithLabelValues(route, strconv.Itoa(seen.code)).Inc()
			if w.Header().Get("Content-Type") != "text/event-stream" {
				seconds.WithLabelValues(route).Observe(time.Since(started).Seconds())
			}
		}()
		next.ServeHTTP(seen, r)
	})
}

// statusWriter remembers the status code.
type statusWriter struct {
	http.ResponseWriter
	code int
}

func (w *statusWriter) WriteHeader(code int) {
	if code >= 200 {
		w.code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController find what the server's own writer can do.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
