package ofrep

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// An event stream tells a client to fetch again, and nothing else:
//
//	id: 57-9f86d081
//	data: {"type":"refetchEvaluation","etag":"57-9f86d081","lastModified":1795320000}
//
// The id is the revision. A stream begins with an event unless the client heard
// of what is live on the connection before, so no change is lost between fetching
// and listening, nor while reconnecting; where nothing changed, fetching again
// is a 304. The address of a client's stream never changes, because a client that
// is given another one drops its connection.

const (
	// beat is the pause between two signs of life, by which proxies and clients know
	// that the connection is alive.
	beat = 20 * time.Second
	// eventTimeout is how long a client may take to receive an event.
	eventTimeout = 10 * time.Second
	// crowd is how many clients may fetch at the same moment; above it, the event is
	// spread over a second for each crowd, five at most.
	crowd = 2000
)

type streams struct {
	most int
	mu   sync.Mutex
	wake map[*stream]struct{}
}

type stream struct{ changed chan struct{} } // capacity 1: many changes are one event

// Changed tells all event streams that the view may have changed. It does not
// block.
func (h *Handler) Changed() {
	h.streams.mu.Lock()
	defer h.streams.mu.Unlock()
	for s := range h.streams.wake {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// Streams is how many event streams are open.
func (h *Handler) Streams() int {
	h.streams.mu.Lock()
	defer h.streams.mu.Unlock()
	return len(h.streams.wake)
}

func (s *streams) add() *stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wake) >= s.most {
		return nil
	}
	st := &stream{changed: make(chan struct{}, 1)}
	s.wake[st] = struct{}{}
	return st
}

func (s *streams) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.wake, st)
}

// StreamToken makes the token by which event streams of an API key are let in,
// from a secret that all replicas share, such as the key's hash. It does not
// give the secret away, and lets nobody do anything but listen.
func StreamToken(name string, secret []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("ofrep events\x00" + name))
	return name + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:18])
}

func streamURI(token string) string {
	if token == "" {
		return pathEvents
	}
	return pathEvents + "?token=" + url.QueryEscape(token)
}

func (h *Handler) events(w http.ResponseWriter, r *http.Request) int {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET, OPTIONS")
		return fail(w, problem{status: http.StatusMethodNotAllowed, code: codeGeneral, details: "use GET"})
	}
	if h.o.Listen != nil && !h.o.Listen(r.URL.Query().Get("token")) {
		return fail(w, problem{status: http.StatusUnauthorized, code: codeGeneral, details: "the address of an event stream stands in an answer about all features"})
	}
	full := func(details string) int {
		w.Header().Set("Retry-After", "10")
		return fail(w, problem{status: http.StatusServiceUnavailable, code: codeGeneral, details: details})
	}
	if h.o.Admit != nil {
		leave, err := h.o.Admit()
		if err != nil {
			return full(err.Error())
		}
		defer leave()
	}
	st := h.streams.add()
	if st == nil {
		return full(fmt.Sprintf("opening an event stream: %d event streams are open, as many as may be (evaluate: --max-streams)", max(0, h.streams.most)))
	}
	defer h.streams.remove(st)
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no")
	out := &eventWriter{w: w, ctl: http.NewResponseController(w)}
	if out.send([]byte("retry: 2000\n\n")) != nil {
		return http.StatusOK
	}
	h.tell(r, st, out, r.Header.Get("Last-Event-ID"))
	return http.StatusOK
}

// tell sends events until the client goes away.
func (h *Handler) tell(r *http.Request, st *stream, out *eventWriter, known string) {
	alive := time.NewTicker(beat)
	defer alive.Stop()
	for {
		if now := h.o.View(); now.Snapshot != nil && eventID(now.revision()) != known {
			if out.send(event(now.revision())) != nil {
				return
			}
			known = eventID(now.revision())
		}
		select {
		case <-r.Context().Done():
			return
		case <-alive.C:
			if out.send([]byte(": alive\n\n")) != nil {
				return
			}
		case <-st.changed:
			if !h.spread(r) {
				return
			}
		}
	}
}

// spread waits a little when many clients are about to fetch. It is false when
// the client went away meanwhile.
func (h *Handler) spread(r *http.Request) bool {
	n := h.Streams()
	if n <= crowd {
		return true
	}
	t := time.NewTimer(rand.N(min(5, time.Duration(n/crowd)) * time.Second))
	defer t.Stop()
	select {
	case <-r.Context().Done():
		return false
	case <-t.C:
		return true
	}
}

// eventID is a revision as it can stand on a line.
func eventID(revision string) string { return url.QueryEscape(revision) }

func event(revision string) []byte {
	b := append([]byte("id: "), eventID(revision)...)
	b = append(b, "\ndata: {\"type\":\"refetchEvaluation\",\"etag\":"...)
	b = appendString(b, revision)
	b = append(b, `,"lastModified":`...)
	b = appendUint(b, uint64(time.Now().Unix()))
	return append(b, "}\n\n"...)
}

// eventWriter sends at once, and gives up on a client that does not receive.
type eventWriter struct {
	w   http.ResponseWriter
	ctl *http.ResponseController
}

func (e *eventWriter) send(b []byte) error {
	_ = e.ctl.SetWriteDeadline(time.Now().Add(eventTimeout)) // not every server has one
	if _, err := e.w.Write(b); err != nil {
		return err
	}
	return e.ctl.Flush()
}
