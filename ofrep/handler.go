package ofrep

import (
	"cmp"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// View is what is live at a moment.
type View struct {
	// Snapshot decides. Nil means that nothing is known yet: requests get a 500.
	Snapshot   *flags.Snapshot
	Generation uint64 // 0 when there are no numbers
	Commit     string
	Version    string // of the spec
	// Revision names exactly these entries, the same in every replica; ETags rest on
	// it. Empty means that Generation and Version do.
	Revision string
}

func (v View) revision() string {
	if v.Revision != "" {
		return v.Revision
	}
	return string(appendUint(append([]byte(v.Version), '@'), v.Generation))
}

// Access is what a caller may see.
type Access struct {
	// Name tells callers apart, for limits and events; it is never sent.
	Name string
	// Tenants are those it may ask about. Nil means all.
	Tenants []string
	// Rate is how many requests a second it may make; 0 means [Options].Rate.
	Rate float64
	// Token lets its event streams in: whoever has it may listen. Empty means that
	// anybody may.
	Token string
}

// What an Authenticate function may return.
var (
	ErrNoKey    = errors.New("no API key")      // 401
	ErrWrongKey = errors.New("unknown API key") // 401
)

// Options say what to serve, and to whom.
type Options struct {
	// View says what is live. It is called for each request, from many goroutines.
	View func() View
	// DefaultTenant is the tenant of requests that name none. Empty means "public".
	DefaultTenant string
	// Authenticate says who asks. Nil lets anybody ask about any tenant.
	Authenticate func(*http.Request) (Access, error)
	// Listen says whose token an event stream came with. Nil lets anybody listen.
	Listen func(token string) bool
	// Origins are the web origins that browsers may ask from, "*" for all. Nil means
	// none: no CORS header is sent.
	Origins []string
	// Headers are further request headers that browsers may send.
	Headers []string
	// Rate is how many requests a second one caller may make, in bursts of up to
	// twice as many. A caller is an API key, or an address where there are none. 0
	// means no limit.
	Rate float64
	// MaxBody is the size of a request in bytes. 0 means 64 KiB.
	MaxBody int64
	// Base is what stands before the handler's paths where clients find it, such as
	// "/environments/prod": a browser takes the address of the event stream from the
	// root of the host. Empty where nothing does.
	Base string
	// MaxStreams is how many event streams may be open. 0 means 10,000; below 0 there
	// are none, and answers do not mention them.
	MaxStreams int
	// Admit, when set, is asked before an event stream is opened, and told of its end
	// through leave. Its error is the answer, a 503.
	Admit func() (leave func(), err error)
	// Observe, when set, hears of each request's end: what was asked ("single", "bulk",
	// "events", "other"), and the status that was answered.
	Observe func(what string, status int, took time.Duration)
	// Decided, when set, hears of each answer about one feature that exists. An answer
	// about all features says nothing about which the caller wants, and is not told.
	Decided func(feature string)
	// Log gets what an operator should know. Nil means silence.
	Log *slog.Logger
}

// Handler is the protocol's server.
type Handler struct {
	o       Options
	cors    *cors
	limits  *limiter
	streams *streams

	mu       sync.Mutex // while rendering
	rendered atomic.Pointer[rendered]
}

const (
	defaultBody    = 64 << 10
	defaultStreams = 10_000
)

// New makes a handler for the paths under /ofrep/.
func New(o Options) *Handler {
	o.DefaultTenant = cmp.Or(o.DefaultTenant, "public")
	o.MaxBody = cmp.Or(o.MaxBody, defaultBody)
	o.MaxStreams = cmp.Or(o.MaxStreams, defaultStreams)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{o: o, cors: newCORS(o.Origins, o.Headers), limits: newLimiter(o.Rate)}
	h.streams = &streams{most: o.MaxStreams, wake: map[*stream]struct{}{}}
	return h
}

const (
	base       = "/ofrep/v1/"
	pathBulk   = base + "evaluate/flags"
	pathEvents = base + "events"
)

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.o.Observe == nil {
		h.serve(w, r)
		return
	}
	start := time.Now()
	what, status := h.serve(w, r)
	h.o.Observe(what, status, time.Since(start))
}

// serve routes a request. It reports what was asked, and the status answered.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) (string, int) {
	path := r.URL.Path
	for strings.HasPrefix(path, "//") {
		path = path[1:] // a base address with a slash at its end
	}
	if h.cors != nil && h.cors.apply(w, r) {
		return "other", http.StatusNoContent
	}
	key, single := strings.CutPrefix(path, pathBulk+"/")
	switch {
	case single && key != "":
		return "single", h.post(w, r, key, h.single)
	case path == pathBulk:
		return "bulk", h.post(w, r, "", h.bulk)
	case path == pathEvents:
		return "events", h.events(w, r)
	}
	return "other", fail(w, problem{status: http.StatusNotFound, code: codeGeneral, details: "no such path"})
}

// post takes a POST request as far as what was asked about whom.
func (h *Handler) post(w http.ResponseWriter, r *http.Request, key string, answer func(http.ResponseWriter, *http.Request, *question) int) int {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST, OPTIONS")
		return fail(w, problem{status: http.StatusMethodNotAllowed, key: key, code: codeGeneral, details: "use POST"})
	}
	q := questions.Get().(*question)
	defer q.release()
	q.key = key
	if p := h.ask(w, r, q); p != nil {
		p.key = key
		return fail(w, *p)
	}
	if q.view = h.o.View(); q.view.Snapshot == nil {
		return fail(w, problem{status: http.StatusInternalServerError, key: key, code: codeGeneral, details: "no flags have been read yet"})
	}
	return answer(w, r, q)
}

// ask finds out who asks, and about whom.
func (h *Handler) ask(w http.ResponseWriter, r *http.Request, q *question) *problem {
	if h.o.Authenticate != nil {
		var err error
		if q.access, err = h.o.Authenticate(r); err != nil {
			if p := h.limited(w, r, Access{}); p != nil {
				return p // guessing keys is slow work
			}
			w.Header().Set("WWW-Authenticate", "Bearer")
			return &problem{status: http.StatusUnauthorized, code: codeGeneral, details: err.Error()}
		}
	}
	if p := h.limited(w, r, q.access); p != nil {
		return p
	}
	if p := q.read(r, h.o.MaxBody); p != nil {
		return p
	}
	return q.settleTenant(r, h.o.DefaultTenant)
}

func (h *Handler) limited(w http.ResponseWriter, r *http.Request, a Access) *problem {
	wait := h.limits.wait(a, r)
	if wait == 0 {
		return nil
	}
	seconds := uint64((wait + time.Second - 1) / time.Second) // clients read whole seconds only
	w.Header().Set("Retry-After", string(appendUint(nil, seconds)))
	return &problem{status: http.StatusTooManyRequests, code: codeGeneral, details: "too many requests"}
}

func (h *Handler) single(w http.ResponseWriter, _ *http.Request, q *question) int {
	who := q.view.Snapshot.For(q.tenant, q.user)
	d := who.Decide(q.key)
	switch {
	case d.Reason == flags.ReasonNoConfig:
		return fail(w, problem{status: http.StatusNotFound, key: q.key, code: codeNotFound, details: "no such feature"})
	case q.nobody && who.NeedsKey(q.key):
		return fail(w, problem{status: http.StatusBadRequest, key: q.key, code: codeKeyMissing, details: detailsKeyMissing})
	}
	if h.o.Decided != nil {
		h.o.Decided(q.key)
	}
	q.out = h.render(q.view).appendOne(q.out[:0], q.key, d)
	return write(w, http.StatusOK, q.out)
}
