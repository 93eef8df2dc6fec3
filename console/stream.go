package console

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rampart-flags/rampart/reconciler"
)

// stream tells open pages that something changed. It looks at the status now and then, and once for all of them; a page
// then fetches itself anew.
type stream struct {
	status func() *reconciler.Status
	admit  func() (leave func(), err error)
	stop   chan struct{}
	once   sync.Once

	mu    sync.Mutex
	pages map[chan string]bool
}

const (
	lookEvery  = 300 * time.Millisecond
	pingEvery  = 20 * time.Second
	maxStreams = 200
)

func newStream(status func() *reconciler.Status, admit func() (func(), error)) *stream {
	s := &stream{status: status, admit: admit, stop: make(chan struct{}), pages: map[chan string]bool{}}
	go s.watch()
	return s
}

func (s *stream) close() { s.once.Do(func() { close(s.stop) }) }

func (s *stream) watch() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		now := fingerprint(s.status())
		if now == last {
			continue
		}
		last = now
		s.mu.Lock()
		for page := range s.pages {
			select {
			case page <- now:
			default: // it has not taken the last one yet, and will look anyway
			}
		}
		s.mu.Unlock()
	}
}

// fingerprint changes with whatever a page shows, and not with the mere passing of time.
func fingerprint(s *reconciler.Status) string {
	text := fmt.Sprint(len(s.Refused), len(s.Deferred), s.Drift.Found, s.HeadLive, s.Suspended != nil)
	for _, m := range []*reconciler.Mark{s.Observed, s.Verified, s.Applied} {
		if m != nil {
			text += fmt.Sprint(" ", m.Commit, m.Generation)
		}
	}
	for _, c := range s.Conditions {
		text += fmt.Sprint(" ", c.Status, c.Reason)
	}
	return text
}

func (s *stream) serve(w http.ResponseWriter, r *http.Request) {
	refuse := func(why string) {
		w.Header().Set("Retry-After", "30")
		http.Error(w, why, http.StatusServiceUnavailable)
	}
	if s.admit != nil {
		leave, err := s.admit()
		if err != nil {
			refuse(err.Error())
			return
		}
		defer leave()
	}
	page := make(chan string, 1)
	s.mu.Lock()
	full := len(s.pages) >= maxStreams
	if !full {
		s.pages[page] = true
	}
	s.mu.Unlock()
	if full {
		refuse(fmt.Sprintf("too many pages are open (at most %d)", maxStreams))
		return
	}
	defer func() {
		s.mu.Lock()
		delete(s.pages, page)
		s.mu.Unlock()
	}()
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	send := func(text string) bool {
		// The server's write time-out is for pages; a stream sets its own with each message.
		_ = out.SetWriteDeadline(time.Now().Add(10 * time.Second))
		_, err := fmt.Fprint(w, text)
		return err == nil && out.Flush() == nil
	}
	if !send("retry: 2000\nevent: hello\ndata: {}\n\n") {
		return
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.stop:
			return
		case <-page:
			if !send("event: changed\ndata: {}\n\n") {
				return
			}
		case <-ping.C:
			if !send(": still here\n\n") {
				return
			}
		}
	}
}
