package ofrep

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

func manyFlags(n int) map[flags.Key]flags.Entry {
	m := make(map[flags.Key]flags.Entry, n)
	for i := range n {
		m[key(fmt.Sprintf("feature-%04d", i), flags.DefaultTenant)] = flags.Entry{Version: "v1+ramp.7", Enabled: true, Pct: 20_000}
	}
	return m
}

const question1 = `{"context":{"targetingKey":"user-123456","tenant":"acme","colour":"red"}}`

// cpu is the processor time that this process has taken: client and server.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// load asks over 64 kept connections and reports processor time a request, that
// of the asking side included, which is the same for all.
func load(b *testing.B, h http.Handler, path string, header http.Header) {
	srv := httptest.NewServer(h)
	defer srv.Close()
	const connections = 64
	c := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, DisableCompression: true}}
	var wg sync.WaitGroup
	work := make(chan struct{})
	for range connections {
		wg.Go(func() {
			for range work {
				r, _ := http.NewRequest("POST", srv.URL+path, strings.NewReader(question1))
				maps.Copy(r.Header, header)
				r.Header.Set("Content-Type", "application/json")
				resp, err := c.Do(r)
				if err != nil {
					b.Error(err)
					continue
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	b.ResetTimer()
	start := cpu()
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(cpu()-start)/float64(b.N)/1000, "cpu-µs/op")
}

// bare decodes the same body and writes the same bytes.
func bare(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Context struct {
				TargetingKey string `json:"targetingKey"`
				Tenant       string `json:"tenant"`
			} `json:"context"`
		}
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Write(body)
	})
}

func record(h http.Handler, path string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(question1))
	maps.Copy(r.Header, header)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

// BenchmarkHTTP measures the protocol over connections. A single answer may cost
// 1.3 times what the bare handler costs, one about 1,000 features twice as much
// as writing it ready-made, and a 304 no more than a single answer.
func BenchmarkHTTP(b *testing.B) {
	h, l := serve(b, Options{})
	l.set(b, 7, manyFlags(1000))
	single, bulk := flagsPath+"/feature-0500", flagsPath
	known := http.Header{"If-None-Match": {record(h, bulk, nil).Header().Get("ETag")}}
	for _, tc := range []struct {
		name   string
		h      http.Handler
		path   string
		header http.Header
	}{
		{"single/bare", bare(record(h, single, nil).Body.Bytes()), single, nil},
		{"single/ofrep", h, single, nil},
		{"bulk/bare", bare(record(h, bulk, nil).Body.Bytes()), bulk, nil},
		{"bulk/ofrep", h, bulk, nil},
		{"bulk/304", h, bulk, known},
	} {
		b.Run(tc.name, func(b *testing.B) { load(b, tc.h, tc.path, tc.header) })
	}
}

// nothing is a ResponseWriter that keeps nothing.
type nothing struct{ header http.Header }

func (n nothing) Header() http.Header         { return n.header }
func (n nothing) Write(b []byte) (int, error) { return len(b), nil }
func (n nothing) WriteHeader(int)             {}

// BenchmarkHandler measures the handlers alone.
func BenchmarkHandler(b *testing.B) {
	h, l := serve(b, Options{})
	l.set(b, 7, manyFlags(1000))
	single, bulk := flagsPath+"/feature-0500", flagsPath
	known := http.Header{"If-None-Match": {record(h, bulk, nil).Header().Get("ETag")}}
	for _, tc := range []struct {
		name   string
		h      http.Handler
		path   string
		header http.Header
	}{
		{"single/bare", bare(record(h, single, nil).Body.Bytes()), single, nil},
		{"single/ofrep", h, single, nil},
		{"bulk/bare", bare(record(h, bulk, nil).Body.Bytes()), bulk, nil},
		{"bulk/ofrep", h, bulk, nil},
		{"bulk/304", h, bulk, known},
	} {
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			r := httptest.NewRequest("POST", tc.path, nil)
			maps.Copy(r.Header, tc.header)
			body := strings.NewReader(question1)
			r.Body = io.NopCloser(body)
			w := nothing{http.Header{}}
			start := cpu()
			for b.Loop() {
				body.Reset(question1)
				tc.h.ServeHTTP(w, r)
			}
			b.ReportMetric(float64(cpu()-start)/float64(b.N)/1000, "cpu-µs/op")
		})
	}
}

// BenchmarkRender is what a new generation costs the first who asks.
func BenchmarkRender(b *testing.B) {
	_, l := serve(b, Options{})
	l.set(b, 7, manyFlags(10_000))
	for b.Loop() {
		newRendered(l.view())
	}
}
