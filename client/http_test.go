package client_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
)

const gated = `{"version":"flags-v1","features":{
  "receipts":{"pct":0,"version":"v1+ramp.3","cohorts":["u1"],"tenants":{"acme":{"pct":100},"public":{"cohorts":["anon"]}}},
  "attest":{"enabled":false}}}`

func static(t testing.TB, src string, environ ...string) *client.Client {
	t.Helper()
	return open(t, client.Options{Sources: []client.Source{client.Static([]byte(src))}, Environ: append([]string{}, environ...)})
}

// withReceipt stands for the middleware that a feature switches.
func withReceipt(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Receipt", "signed")
		next.ServeHTTP(w, r)
	})
}

func TestGate(t *testing.T) {
	c := static(t, gated)
	pay := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok := client.FromContext(r.Context())
		if !ok {
			t.Error("no subject in the context")
			return
		}
		fmt.Fprintf(w, "%s/%s", who.Tenant(), who.User())
	})
	for name, h := range map[string]http.Handler{
		"behind the middleware": c.Middleware(c.Gate("receipts", withReceipt)(pay)),
		"alone":                 c.Gate("receipts", withReceipt)(pay),
	} {
		for _, tc := range []struct {
			tenant, user, body, feature, receipt string
		}{
			{"", "", "public/anon", "enabled", "signed"},
			{"", "u1", "public/u1", "disabled", ""}, // public's cohorts stand in the place of the feature's
			{"globex", "u1", "globex/u1", "enabled", "signed"},
			{"globex", "", "globex/anon", "disabled", ""},
			{"acme", "anybody", "acme/anybody", "enabled", "signed"},
		} {
			r := httptest.NewRequest("GET", "/", nil)
			if tc.tenant != "" {
				r.Header.Set("x-tenant-id", tc.tenant)
			}
			if tc.user != "" {
				r.Header.Set("x-user-id", tc.user)
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			got := rec.Result().Header
			if rec.Body.String() != tc.body || got.Get("x-feature-receipts") != tc.feature || got.Get("x-receipt") != tc.receipt ||
				got.Get("x-flag-version") != "v1+ramp.3" || got.Get("x-tenant-id") == "" {
				t.Errorf("%s: %+v: body %q, headers %v", name, tc, rec.Body, got)
			}
		}
	}
}

func TestGatesOfOneRequestDecideByOneGeneration(t *testing.T) {
	w := newWorld(t)
	w.apply(spec("flags-v1", `{"pct":100}`))
	c := w.open(client.Options{})
	h := c.Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.apply(spec("flags-v2", `{"pct":0}`))
		eventually(t, "generation 2", func() bool { return c.Snapshot().Generation == 2 })
		c.Gate("receipts", withReceipt)(http.NotFoundHandler()).ServeHTTP(rw, r)
	}))
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Result().Header.Get("x-feature-receipts") != "enabled" {
		t.Error("a gate decided by another generation than its request began with")
	}
}

func TestLineageIsCarriedThrough(t *testing.T) {
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	const chain = "0123456789abcdef0123456789abcdef"
	c := static(t, gated)
	var seen http.Header
	next := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = r.Header }))
	defer next.Close()
	call := &http.Client{Transport: client.Transport(nil)}
	h := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequestWithContext(r.Context(), "GET", next.URL, nil)
		if err != nil {
			t.Error(err)
			return
		}
		resp, err := call.Do(out)
		if err != nil {
			t.Error(err)
			return
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		fmt.Fprint(w, client.LineageOf(r.Context()).Chain)
	}))
	for _, tc := range []struct {
		in   map[string]string
		out  map[string]string
		echo string
	}{
		{map[string]string{"traceparent": trace, "tracestate": "a=1"},
			map[string]string{"traceparent": trace, "tracestate": "a=1", "x-op-chain-id": trace[3:35], "x-tenant-id": "public", "x-user-id": "anon"}, trace[3:35]},
		{map[string]string{"x-op-chain-id": chain, "x-tenant-id": "acme", "x-user-id": "u"},
			map[string]string{"traceparent": "", "x-op-chain-id": chain, "x-tenant-id": "acme", "x-user-id": "u"}, chain},
		{map[string]string{"x-op-chain-id": chain, "traceparent": trace}, map[string]string{"traceparent": trace, "x-op-chain-id": chain}, chain},
		{map[string]string{"traceparent": "00-" + chain + "-0000000000000000-01", "x-op-chain-id": "x\"; drop"},
			map[string]string{"traceparent": "", "x-op-chain-id": ""}, ""},
		{map[string]string{"traceparent": trace + "-more"}, map[string]string{"traceparent": ""}, ""},
		{map[string]string{"traceparent": "ff" + trace[2:]}, map[string]string{"traceparent": ""}, ""},
		{map[string]string{"traceparent": "cc" + trace[2:] + "-more"}, map[string]string{"traceparent": "cc" + trace[2:] + "-more"}, trace[3:35]},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		for k, v := range tc.in {
			r.Header.Set(k, v)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if got := rec.Result().Header.Get("x-op-chain-id"); got != tc.echo || rec.Body.String() != tc.echo {
			t.Errorf("%v: echo %q, in the context %q, want %q", tc.in, got, rec.Body, tc.echo)
		}
		for k, v := range tc.out {
			if seen.Get(k) != v {
				t.Errorf("%v: %s went out as %q, want %q", tc.in, k, seen.Get(k), v)
			}
		}
	}
}

func TestWorker(t *testing.T) {
	const src = `{"version":"v1","features":{"receipts":{"pct":0,"cohorts":["worker-service"],"tenants":{"acme":{"enabled":false}}},"new-job":{}}}`
	for _, tc := range []struct {
		environ []string
		feature string
		on      bool
		reason  flags.Reason
	}{
		{nil, "receipts", true, flags.ReasonCohort},
		{[]string{"TENANT_ID=acme"}, "receipts", false, flags.ReasonDisabled},
		{[]string{"RECEIPTS_ENABLED=false"}, "receipts", false, client.ReasonSwitchedOff},
		{[]string{"RECEIPTS_ENABLED=True"}, "receipts", true, flags.ReasonCohort},
		{[]string{"NEW_JOB_ENABLED=0"}, "new-job", false, client.ReasonSwitchedOff},
		{[]string{"RECEIPTS_ENABLED=false"}, "new-job", true, flags.ReasonFull},
		{[]string{"DEFAULT_TENANT=acme"}, "receipts", true, flags.ReasonCohort}, // workers go by TENANT_ID
	} {
		if d := static(t, src, tc.environ...).Worker(tc.feature); d.On != tc.on || d.Reason != tc.reason {
			t.Errorf("%v: %s = %+v, want %v %s", tc.environ, tc.feature, d, tc.on, tc.reason)
		}
	}
	t.Setenv("RECEIPTS_ENABLED", "no")
	if !client.SwitchedOff("receipts") || client.SwitchedOff("attest") {
		t.Error("SwitchedOff does not go by the environment")
	}
}
