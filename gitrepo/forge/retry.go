package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// apiError is an answer of a forge that is not a success.
type apiError struct {
	status int
	said   string        // the forge's own words
	wait   time.Duration // how long it asks us to wait
	why    error         // one of the package's, or nil
}

func (e *apiError) Error() string {
	s := fmt.Sprintf("%d %s", e.status, http.StatusText(e.status))
	if e.said != "" {
		s += ": " + e.said
	}
	if e.why != nil {
		return e.why.Error() + ": " + s
	}
	return s
}

func (e *apiError) Unwrap() error { return e.why }

// answer makes an apiError of an answer. Nil when it is a success.
func answer(status int, header http.Header, said string) error {
	if status >= 200 && status < 300 {
		return nil
	}
	e := &apiError{status: status, said: oneLine(said), wait: retryAfter(header)}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.why = ErrDenied
	case http.StatusNotFound:
		e.why = ErrNotFound
	}
	if e.wait > 0 && status == http.StatusForbidden { // GitHub's secondary rate limit
		e.status, e.why = http.StatusTooManyRequests, nil
	}
	return e
}

func retryAfter(header http.Header) time.Duration {
	if s, err := strconv.Atoi(header.Get("Retry-After")); err == nil && s > 0 {
		return time.Duration(s) * time.Second
	}
	return 0
}

// transient are answers that say nothing about what was asked.
func transient(e *apiError) bool {
	switch e.status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retry does it again while the answer is one for which that may help, first
// after a quarter of a second, then after twice as long each time up to 4
// seconds, or when the forge says; until the options' patience is over. Errors
// without an answer (the network's) count as transient.
func (f *Forge) retry(ctx context.Context, again func(*apiError) bool, do func() error) error {
	deadline := f.now().Add(f.opt.patience())
	for wait := 250 * time.Millisecond; ; wait = min(2*wait, 4*time.Second) {
		err := do()
		if err == nil || ctx.Err() != nil {
			return err
		}
		pause := wait
		var e *apiError
		if errors.As(err, &e) {
			if !again(e) {
				return err
			}
			pause = max(wait, e.wait)
		} else if errors.Is(err, errNotOurs) {
			return err
		}
		if f.now().Add(pause).After(deadline) {
			return err
		}
		if serr := f.sleep(ctx, pause); serr != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// errNotOurs marks errors that no retry helps.
var errNotOurs = errors.New("not retried")

// forgeError is what leaves the package: what was being done, and an error whose
// text is free of the token.
type forgeError struct {
	doing, text string
	err         error
}

func (e *forgeError) Error() string { return e.doing + ": " + e.text }
func (e *forgeError) Unwrap() error { return e.err }

func (f *Forge) scrub(doing string, err error) error {
	if err == nil {
		return nil
	}
	text := oneLine(err.Error())
	if f.opt.Token != "" {
		text = strings.ReplaceAll(text, f.opt.Token, "[redacted]")
	}
	out := &forgeError{doing: doing, text: text}
	for _, known := range []error{ErrDenied, ErrNotFound, ErrBlocked, ErrMoved, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			out.err = known
		}
	}
	return out
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
