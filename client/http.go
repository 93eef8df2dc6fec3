package client

import (
	"cmp"
	"context"
	"net/http"
)

// The headers that say who asks, and what was decided.
const (
	HeaderTenant  = "X-Tenant-Id"
	HeaderUser    = "X-User-Id"
	headerVersion = "X-Flag-Version"
	headerFeature = "X-Feature-" // and the feature's name: enabled or disabled
)

// anonymous is the user of requests that name none.
const anonymous = "anon"

type contextKey struct{}

// request is what the middleware knows of a request.
type request struct {
	subject Subject
	lineage Lineage
}

// Middleware finds out who asks, X-Tenant-ID (else the default tenant, echoed on
// the response) and X-User-ID (else "anon"), and keeps it with one snapshot for
// the whole request: [FromContext] has it, and every [Client.Gate] behind it
// decides by the same generation. The incoming lineage is kept and echoed too.
//
// The headers are believed as they come. Put authentication before it.
func (c *Client) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, c.admit(w, r))
	})
}

// admit is r with what is known of it in its context, its echo on w.
func (c *Client) admit(w http.ResponseWriter, r *http.Request) *http.Request {
	if _, ok := r.Context().Value(contextKey{}).(*request); ok {
		return r
	}
	q := &request{
		subject: c.For(r.Header.Get(HeaderTenant), cmp.Or(r.Header.Get(HeaderUser), anonymous)),
		lineage: lineageOf(r.Header),
	}
	w.Header().Set(HeaderTenant, q.subject.Tenant())
	if q.lineage.Chain != "" {
		w.Header().Set(headerChain, q.lineage.Chain)
	}
	return r.WithContext(context.WithValue(r.Context(), contextKey{}, q))
}

// FromContext is the subject of the request that the context belongs to, when it
// came through [Client.Middleware] or [Client.Gate].
func FromContext(ctx context.Context) (*Subject, bool) {
	q, ok := ctx.Value(contextKey{}).(*request)
	if !ok {
		return nil, false
	}
	return &q.subject, true
}

// Gate makes a middleware that lets a feature decide about another one. Where
// the feature is on, the request goes through handler, which has the next one to
// go on with; where it is off, it passes by:
//
//	mux.Handle("/pay", c.Gate("receipts", withReceipt)(pay))
//
// The response carries x-flag-version and x-feature-receipts: enabled or
// disabled.
func (c *Client) Gate(feature string, handler func(next http.Handler) http.Handler) func(next http.Handler) http.Handler {
	header := http.CanonicalHeaderKey(headerFeature + feature)
	return func(next http.Handler) http.Handler {
		on := handler(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = c.admit(w, r)
			who, _ := FromContext(r.Context())
			d := who.Decide(feature)
			w.Header().Set(headerVersion, d.Version)
			if d.On {
				w.Header().Set(header, "enabled")
				on.ServeHTTP(w, r)
				return
			}
			w.Header().Set(header, "disabled")
			next.ServeHTTP(w, r)
		})
	}
}
