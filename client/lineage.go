package client

import (
	"context"
	"net/http"
	"strings"
)

const (
	headerTrace      = "Traceparent"
	headerTraceState = "Tracestate"
	headerChain      = "X-Op-Chain-Id"
)

// Lineage ties what a service does to what asked for it. It is carried through
// as it came in, never made up.
type Lineage struct {
	// Traceparent and Tracestate are as W3C Trace Context has them; empty when the
	// request carried none, or none that is well formed.
	Traceparent, Tracestate string
	// Chain is x-op-chain-id, else the trace id of Traceparent: 32 lower-case hex
	// digits.
	Chain string
}

// LineageOf is the lineage of the request that the context belongs to; the zero
// value when there is none.
func LineageOf(ctx context.Context) Lineage {
	if q, ok := ctx.Value(contextKey{}).(*request); ok {
		return q.lineage
	}
	return Lineage{}
}

func lineageOf(h http.Header) Lineage {
	var l Lineage
	if tp := strings.TrimSpace(h.Get(headerTrace)); validTraceparent(tp) {
		l.Traceparent, l.Tracestate = tp, strings.Join(h.Values(headerTraceState), ",")
		l.Chain = tp[3:35]
	}
	if chain := strings.ToLower(strings.TrimSpace(h.Get(headerChain))); isHex(chain, 32) {
		l.Chain = chain
	}
	return l
}

// validTraceparent checks the form of version 00, which later versions begin
// with: 00-<32 hex>-<16 hex>-<2 hex>, neither id being zero.
func validTraceparent(s string) bool {
	if len(s) < 55 || len(s) > 512 || s[:2] == "ff" || len(s) > 55 && (s[:2] == "00" || s[55] != '-') {
		return false
	}
	return isHex(s[:2], 2) && s[2] == '-' && isHex(s[3:35], 32) && s[35] == '-' && isHex(s[36:52], 16) && s[52] == '-' &&
		isHex(s[53:55], 2) && strings.Trim(s[3:35], "0") != "" && strings.Trim(s[36:52], "0") != ""
}

func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Transport carries who asks and the lineage on to other services: requests
// whose context comes from [Client.Middleware] get the same X-Tenant-ID,
// X-User-ID, traceparent, tracestate and x-op-chain-id, unless they have their
// own. Use it for services of your own only. A nil base means
// http.DefaultTransport.
func Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return transport{base}
}

type transport struct{ base http.RoundTripper }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	q, ok := r.Context().Value(contextKey{}).(*request)
	if !ok {
		return t.base.RoundTrip(r)
	}
	r = r.Clone(r.Context())
	for name, value := range map[string]string{
		HeaderTenant: q.subject.Tenant(), HeaderUser: q.subject.User(), headerChain: q.lineage.Chain,
		headerTrace: q.lineage.Traceparent, headerTraceState: q.lineage.Tracestate,
	} {
		if value != "" && r.Header.Get(name) == "" {
			r.Header.Set(name, value)
		}
	}
	return t.base.RoundTrip(r)
}
