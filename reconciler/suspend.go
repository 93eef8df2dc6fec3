package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/internal/wholefile"
	"github.com/rampart-flags/rampart/redisstore"
)

// KindSuspension is the kind of events about a person who told the reconciler to take
// nothing new from git, or to go on.
const KindSuspension Kind = "suspension"

// Suspension says that nothing new from git is accepted. What is live is looked after
// all the same, and a break-glass statement still works: there is always a way down.
type Suspension struct {
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // zero: until somebody says resume
}

// suspendName is the marker in the state folder. It is there while reconciling is
// suspended.
const suspendName = "suspend.json"

// maxReason bounds what a person may write, in bytes.
const maxReason = 500

// String is the suspension in a few words.
func (s *Suspension) String() string {
	text := "suspended"
	if !s.Until.IsZero() {
		text += " until " + s.Until.UTC().Format(time.RFC3339)
	}
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}

// Suspend leaves the marker in a state folder, whether a reconciler runs on it or not:
// one that runs sees it at its next pass. nil takes it away. The error is about the
// reason, the time or the disk, and then nothing has changed.
func Suspend(dir string, s *Suspension) error { return suspend(dir, s, time.Now()) }

func suspend(dir string, s *Suspension, now time.Time) error {
	path := filepath.Join(dir, suspendName)
	if s == nil {
		return resume(dir, now)
	}
	switch {
	case len(s.Reason) > maxReason:
		return fmt.Errorf("suspending: the reason is longer than %d bytes", maxReason)
	case !s.Until.IsZero() && !s.Since.Before(s.Until):
		return errors.New("suspending: it ends before it begins")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("suspending: %w", err)
	}
	src, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("suspending: %w", err)
	}
	if err := wholefile.Write(path, append(src, '\n'), 0o600); err != nil {
		return fmt.Errorf("suspending: %w", err)
	}
	return nil
}

// readSuspension reads the marker. One that does not read back suspends all the same:
// somebody wanted it.
func readSuspension(dir string) (*Suspension, error) {
	path := filepath.Join(dir, suspendName)
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", suspendName, err)
	}
	var s Suspension
	if err := json.Unmarshal(src, &s); err != nil {
		s = Suspension{Reason: suspendName + " in the state folder does not read; reconcile resume takes it away"}
		if info, err := os.Stat(path); err == nil {
			s.Since = info.ModTime().UTC()
		}
	}
	return &s, nil
}

// Suspend stops the acceptance of anything new from git from now on, or with nil lets
// it go on. It survives a restart and the end of this instance's lead, and is in force
// when Suspend returns without error. An instance that does not lead takes the lead for
// it; the error is [ErrNotLeader] where it cannot.
func (r *Reconciler) Suspend(ctx context.Context, s *Suspension) error {
	r.lockSoon()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("the reconciler is closed")
	}
	if err := r.seize(ctx); err != nil {
		return err
	}
	if s != nil {
		c := *s
		c.Reason = strings.TrimSpace(c.Reason)
		if c.Since.IsZero() {
			c.Since = r.now().UTC()
		}
		s = &c
	}
	if err := suspend(r.cfg.Dir, s, r.now()); err != nil {
		return err
	}
	err := r.shareSuspension(ctx, s)
	if errors.Is(err, redisstore.ErrConflict) && errors.Is(r.contested(ctx), ErrNotLeader) { // a flushed Redis forgets who leads
		if err = r.seize(ctx); err == nil {
			err = r.shareSuspension(ctx, s)
		}
	}
	if err != nil {
		return err
	}
	r.suspension(ctx, s)
	r.publish()
	r.saveCursor()
	r.Nudge()
	return nil
}

// heedSuspension looks for the marker, and says whether reconciling is suspended. A
// suspension whose time has come ends here.
func (r *Reconciler) heedSuspension(ctx context.Context) bool {
	r.heedRequests(ctx)
	s, err := readSuspension(r.cfg.Dir)
	if err != nil {
		r.log.Error("whether reconciling is suspended cannot be read; it stays as it was", "error", err)
		return r.status.Suspended != nil
	}
	if s != nil && !s.Until.IsZero() && !r.now().Before(s.Until) {
		if err := suspend(r.cfg.Dir, nil, r.now()); err != nil {
			r.log.Error("ending the suspension", "error", err)
		}
		s = nil
	}
	s = r.agreeOnSuspension(ctx, s)
	r.suspension(ctx, s)
	return s != nil
}

// suspension takes note of what the marker says, and reports a change.
func (r *Reconciler) suspension(ctx context.Context, s *Suspension) {
	was := r.status.Suspended
	if s == nil && was == nil || s != nil && was != nil && s.Reason == was.Reason && s.Since.Equal(was.Since) && s.Until.Equal(was.Until) {
		return
	}
	r.status.Suspended = s
	e := r.newEvent(KindSuspension)
	switch {
	case s != nil:
		e.Message = s.String()
	case !was.Until.IsZero() && !r.now().Before(was.Until):
		e.Message = "resumed: the time of the suspension is over"
	default:
		e.Message = "resumed"
	}
	if err := r.intent(ctx, e); err != nil {
		r.log.Error("recording the suspension", "error", err)
	}
	e.Outcome = OutcomeApplied
	r.outcome(ctx, e)
}

// unread says whether the branch holds something that was not judged, for reconciling
// is suspended.
func (r *Reconciler) unread() bool {
	return r.status.Suspended != nil && r.source.head != r.source.walked.head && (r.target == nil || r.source.head != r.checked())
}

// lockSoon takes the lock of the passes before a remote that hangs is waited for to
// the end.
func (r *Reconciler) lockSoon() {
	r.urgent.Add(1)
	r.mu.Lock()
	r.urgent.Add(-1)
}

// glances is how often a pass that waits for git looks whether somebody cannot wait.
const glances = 50 * time.Millisecond

// observeUntil is observe, cut short when a person's command waits. The fetch goes on
// beside, and the next pass has its answer.
func (r *Reconciler) observeUntil(ctx context.Context, patience time.Duration) (string, error) {
	if patience <= 0 {
		return r.observe(ctx, 0)
	}
	for end := time.Now().Add(patience); ; {
		left := time.Until(end)
		head, err := r.observe(ctx, max(min(left, glances), time.Millisecond))
		if !errors.Is(err, errStillFetching) || left <= glances || r.commanded() {
			return head, err
		}
	}
}
