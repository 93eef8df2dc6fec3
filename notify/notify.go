// Package notify tells people what a reconciler did: generations, refusals, drift and holds, to Slack, Microsoft Teams and plain
// webhooks.
//
// A notification never holds a pass up: it is put into a queue, and where the queue is full it is dropped and counted. What was
// already told is not told again within an hour, also when the reconciler sees it again and again.
package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	libhttp "github.com/nikoksr/notify/service/http"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rampart-flags/rampart/reconciler"
)

// Signature is the header of a plain webhook that proves who sent it: "sha256=" and the HMAC-SHA256 of the body under the
// target's secret, in hex.
const Signature = "X-Rampart-Signature-256"

// Options say who is told, and how.
type Options struct {
	Targets []Target
	// Link is where the console can be reached from outside, "" when it is not.
	Link string
	// Again is how long the same thing is not told again. Zero means an hour.
	Again time.Duration
	// Log takes what could not be delivered. Nil discards it.
	Log *slog.Logger
	// Metrics takes rampart_notifications_total. Nil means none.
	Metrics prometheus.Registerer

	now   func() time.Time
	pause func(attempt int) time.Duration
}

// Notifier sends notifications in the background until it is closed.
type Notifier struct {
	opt     Options
	senders []*sender
	sent    *prometheus.CounterVec
	stop    context.CancelFunc
	done    sync.WaitGroup

	mu   sync.Mutex
	told map[string]time.Time
}

const (
	queueLength = 256
	maxTold     = 10_000
	attempts    = 4
	timeout     = 10 * time.Second
)

// Open prepares the targets and starts to send. An error names the target and what is wrong with it.
func Open(opt Options) (*Notifier, error) {
	if opt.Again == 0 {
		opt.Again = time.Hour
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.now == nil {
		opt.now = time.Now
	}
	if opt.pause == nil {
		opt.pause = func(attempt int) time.Duration { return time.Second << (2 * attempt) } // 1 s, 4 s, 16 s
	}
	n := &Notifier{opt: opt, told: map[string]time.Time{},
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rampart_notifications_total", Help: "Notifications by target and result: sent, failed, dropped."}, []string{"target", "result"})}
	for i := range opt.Targets {
		s, err := newSender(&opt.Targets[i])
		if err != nil {
			return nil, err
		}
		n.senders = append(n.senders, s)
		for _, result := range []string{"sent", "failed", "dropped"} {
			n.sent.WithLabelValues(s.Name, result)
		}
	}
	if opt.Metrics != nil {
		opt.Metrics.MustRegister(n.sent)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	for _, s := range n.senders {
		n.done.Go(func() { n.run(ctx, s) })
	}
	return n, nil
}

// Close stops sending. What still waits is not sent.
func (n *Notifier) Close() {
	n.stop()
	n.done.Wait()
}

// Tell queues a notification for every target that wants its kind, unless the same was told lately. It never waits.
func (n *Notifier) Tell(m Message) {
	if m.key != "" && n.known(m.Environment+"\x00"+m.key) { // generation 7 of one environment is not that of another
		return
	}
	for _, s := range n.senders {
		if !s.wants(m.Kind) {
			continue
		}
		select {
		case s.queue <- m:
		default:
			n.sent.WithLabelValues(s.Name, "dropped").Inc()
			n.opt.Log.Warn("a notification is dropped: its target is too slow", "target", s.Name, "kind", m.Kind)
		}
	}
}

// known says whether that was told lately, and remembers it.
func (n *Notifier) known(key string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.opt.now()
	if at, ok := n.told[key]; ok && now.Sub(at) < n.opt.Again {
		return true
	}
	if len(n.told) >= maxTold {
		for k, at := range n.told {
			if now.Sub(at) >= n.opt.Again {
				delete(n.told, k)
			}
		}
		if len(n.told) >= maxTold {
			clear(n.told) // rather twice than never
		}
	}
	n.told[key] = now
	return false
}

func (n *Notifier) run(ctx context.Context, s *sender) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-s.queue:
			n.deliver(ctx, s, m)
		}
	}
}

func (n *Notifier) deliver(ctx context.Context, s *sender, m Message) {
	body, err := s.render(m)
	for attempt := 0; err == nil; attempt++ {
		if err = s.send(ctx, body); err == nil {
			n.sent.WithLabelValues(s.Name, "sent").Inc()
			return
		}
		if attempt+1 == attempts {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(n.opt.pause(attempt)):
			err = nil
		}
	}
	n.sent.WithLabelValues(s.Name, "failed").Inc()
	n.opt.Log.Error("a notification could not be delivered", "target", s.Name, "kind", m.Kind, "err", s.redact(err))
}

// sender delivers to one target.
type sender struct {
	*Target
	queue chan Message
	http  *libhttp.Service
}

func (s *sender) send(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return s.http.Send(ctx, "", string(body))
}

// newClient sends to the address that was configured and to no other: a redirect is an error.
func newClient() *http.Client {
	return &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("the target redirects, and notifications do not follow")
	}}
}

// sign adds the signature of the body.
func sign(secret []byte) func(*http.Request) error {
	return func(r *http.Request) error {
		body, err := r.GetBody()
		if err != nil {
			return fmt.Errorf("reading the body to sign: %w", err)
		}
		var all bytes.Buffer
		if _, err := io.Copy(&all, body); err != nil {
			return fmt.Errorf("reading the body to sign: %w", err)
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(all.Bytes())
		r.Header.Set(Signature, "sha256="+hex.EncodeToString(mac.Sum(nil)))
		return nil
	}
}

func newSender(t *Target) (*sender, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	s := &sender{Target: t, queue: make(chan Message, queueLength), http: libhttp.New()}
	s.http.WithClient(newClient())
	s.http.AddReceivers(&libhttp.Webhook{
		ContentType: "application/json; charset=utf-8", Method: http.MethodPost, URL: t.url, Header: http.Header{"User-Agent": {"rampart"}},
		BuildPayload: func(_, message string) any { return json.RawMessage(message) },
	})
	if len(t.secret) > 0 {
		s.http.PreSend(sign(t.secret))
	}
	return s, nil
}

// Recorder is next with notifications: it hears every event, and tells people of those that matter.
func (n *Notifier) Recorder(next reconciler.Recorder) reconciler.Recorder { return recorder{n, next} }

type recorder struct {
	n    *Notifier
	next reconciler.Recorder
}

func (r recorder) Intent(ctx context.Context, e reconciler.Event) error {
	if r.next == nil {
		return nil
	}
	return r.next.Intent(ctx, e)
}

func (r recorder) Outcome(ctx context.Context, e reconciler.Event) error {
	if m, ok := messageOf(e, r.n.opt.Link); ok {
		r.n.Tell(m)
	}
	if r.next == nil {
		return nil
	}
	return r.next.Outcome(ctx, e)
}
