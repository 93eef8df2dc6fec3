package receipt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/transparency-dev/formats/log"

	"github.com/rampart-flags/rampart/internal/wholefile"
)

// AnchorFormat is the form of what a notary is sent, and of the proof that is kept.
const AnchorFormat = "anchor/v1"

// The kinds of those who confirm checkpoints.
const (
	AnchorNotary  = "notary"  // POST /anchor answers {"notary_id"}
	AnchorWitness = "witness" // C2SP tlog-witness: it cosigns what extends what it cosigned before
	AnchorRekor   = "rekor"   // a sigstore log takes the checkpoint's digest
)

// Anchored is what an anchor receipt says: the notary holds a checkpoint of this size and root.
type Anchored struct {
	Notary   string `json:"notary"`
	Kind     string `json:"kind,omitempty"` // none: [AnchorNotary]
	NotaryID string `json:"notary_id"`
	Size     uint64 `json:"size"`
	Root     string `json:"root"` // hex
}

// AnchorProof is kept as anchors/<notary>/<size>.json: a checkpoint and the notary's answer to it.
type AnchorProof struct {
	Format      string    `json:"format"`
	Notary      string    `json:"notary"`
	Kind        string    `json:"kind,omitempty"` // none: [AnchorNotary]
	NotaryID    string    `json:"notary_id"`
	Size        uint64    `json:"size"`
	Root        string    `json:"root"`       // hex
	Checkpoint  string    `json:"checkpoint"` // the signed note
	ConfirmedAt time.Time `json:"confirmed_at"`
	Answer      string    `json:"answer"` // the notary's body, as it came
}

// Witness confirms checkpoints. It returns the notary's id for this checkpoint and its whole answer. It must be idempotent:
// the same key with the same checkpoint gives the same id.
type Witness interface {
	Name() string
	Kind() string // [AnchorNotary], [AnchorWitness] or [AnchorRekor]
	Confirm(ctx context.Context, key string, cp Checkpoint) (id string, answer []byte, err error)
}

// Paced asks w no more often than every so long. A checkpoint covers all before it, so nothing is lost by waiting.
func Paced(w Witness, every time.Duration) Witness { return paced{w, every} }

type paced struct {
	Witness
	every time.Duration
}

// Checkpoint is a log's signed checkpoint.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   []byte
	Note   []byte
}

// Anchors keeps the newest checkpoint confirmed at every notary. What is still to do follows from the checkpoint on disk and
// the proofs beside it, so the queue survives any crash: there is no queue to lose.
type Anchors struct {
	ledger *Ledger
	logger *slog.Logger
	slots  []*slot
	cancel context.CancelFunc
	done   sync.WaitGroup
}

type slot struct {
	witness Witness
	dir     string
	every   time.Duration // the least time between two confirmations

	mu        sync.Mutex
	confirmed uint64    // size of the newest confirmed checkpoint
	last      time.Time // when it was confirmed
	since     time.Time // when the oldest unconfirmed checkpoint was first seen
	lastErr   error
	attempts  uint64
	failures  uint64
}

// AnchorState is how far one notary is.
type AnchorState struct {
	Notary    string        `json:"notary"`
	Confirmed uint64        `json:"confirmed"`      // receipts covered
	Behind    time.Duration `json:"behind_seconds"` // age of the oldest checkpoint that waits
	Waiting   bool          `json:"waiting"`
	Attempts  uint64        `json:"attempts"`
	Failures  uint64        `json:"failures"`
	LastError string        `json:"last_error,omitempty"`
}

const (
	anchorPoll  = 500 * time.Millisecond
	anchorRetry = time.Second
	anchorMax   = 15 * time.Second
)

var notaryName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// StartAnchors begins to send the ledger's checkpoints to each witness, independently of each other, until Close.
func StartAnchors(ctx context.Context, l *Ledger, witnesses ...Witness) (*Anchors, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a := &Anchors{ledger: l, logger: l.opt.Logger, cancel: cancel}
	for _, w := range witnesses {
		if !notaryName.MatchString(w.Name()) {
			cancel()
			return nil, fmt.Errorf("%q is no name for a notary: lower-case letters, digits, dots and dashes", w.Name())
		}
		if slices.ContainsFunc(a.slots, func(s *slot) bool { return s.witness.Name() == w.Name() }) {
			cancel()
			return nil, fmt.Errorf("two notaries are named %q", w.Name())
		}
		s := &slot{witness: w, dir: filepath.Join(l.opt.Dir, "anchors", w.Name())}
		if p, ok := w.(paced); ok {
			s.every = p.every
		}
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			cancel()
			return nil, fmt.Errorf("making a folder for the proofs of %s: %w", w.Name(), err)
		}
		proofs, err := readProofs(filepath.Dir(s.dir))
		if err != nil {
			cancel()
			return nil, err
		}
		for _, p := range proofs {
			if p.Notary == w.Name() && p.Size >= s.confirmed {
				s.confirmed, s.last = p.Size, p.ConfirmedAt
			}
		}
		a.slots = append(a.slots, s)
	}
	for _, s := range a.slots {
		a.done.Add(1)
		go func() { defer a.done.Done(); a.run(ctx, s) }()
	}
	return a, nil
}

// Close stops sending. What is not confirmed is sent after the next start.
func (a *Anchors) Close() { a.cancel(); a.done.Wait() }

// Finish stops sending, and asks each notary once more for what it has not confirmed, as long as ctx lasts: a process that
// makes one pass and ends is anchored as well. What is not confirmed then is sent after the next start.
func (a *Anchors) Finish(ctx context.Context) {
	a.Close()
	if len(a.slots) == 0 {
		return
	}
	for {
		cp, err := a.ledger.checkpoint()
		if err == nil && cp.Size >= a.ledger.substantial() {
			break
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(checkpointInterval / 4):
		}
	}
	var all sync.WaitGroup
	for _, s := range a.slots {
		all.Go(func() {
			if _, err := a.once(ctx, s); err != nil {
				a.logger.Warn("a notary did not confirm the last receipts; they are sent after the next start", "notary", s.witness.Name(), "err", err)
			}
		})
	}
	all.Wait()
}

// State tells how far each notary is.
func (a *Anchors) State() []AnchorState {
	states := make([]AnchorState, len(a.slots))
	for i, s := range a.slots {
		s.mu.Lock()
		states[i] = AnchorState{Notary: s.witness.Name(), Confirmed: s.confirmed, Waiting: !s.since.IsZero(), Attempts: s.attempts, Failures: s.failures}
		if !s.since.IsZero() {
			states[i].Behind = a.ledger.opt.Now().Sub(s.since)
		}
		if s.lastErr != nil {
			states[i].LastError = s.lastErr.Error()
		}
		s.mu.Unlock()
	}
	return states
}

func (a *Anchors) run(ctx context.Context, s *slot) {
	wait := anchorPoll
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		sent, err := a.once(ctx, s)
		s.mu.Lock()
		switch {
		case err != nil:
			if s.lastErr == nil {
				a.logger.Warn("a notary did not confirm a checkpoint; it is tried again", "notary", s.witness.Name(), "err", err)
			}
			s.lastErr = err
			s.failures++
			// Full jitter over a doubling window: notaries that come back are not all asked at once.
			wait = min(anchorMax, max(anchorRetry, 2*wait))
			wait = wait/2 + rand.N(wait/2+1)
		case sent:
			if s.lastErr != nil {
				a.logger.Info("a notary confirms again", "notary", s.witness.Name())
			}
			s.lastErr, wait = nil, anchorPoll
		default:
			wait = anchorPoll
		}
		s.mu.Unlock()
	}
}

// once sends the newest checkpoint when it commits to receipts that the notary has not confirmed. Receipts of anchors alone
// are no reason: else each confirmation would call for the next.
func (a *Anchors) once(ctx context.Context, s *slot) (sent bool, err error) {
	cp, err := a.ledger.checkpoint()
	if err != nil || cp.Size == 0 {
		return false, err
	}
	s.mu.Lock()
	confirmed := s.confirmed
	age := a.ledger.opt.Now().Sub(s.last) // below nothing: the clock was ahead when the last one was confirmed
	due := cp.Size > confirmed && a.ledger.substantial() > confirmed && (age < 0 || age >= s.every)
	switch {
	case !due:
		s.since = time.Time{}
	case s.since.IsZero():
		s.since = a.ledger.opt.Now()
	}
	if due {
		s.attempts++
	}
	s.mu.Unlock()
	if !due {
		return false, nil
	}
	sum := sha256.Sum256(cp.Note)
	id, answer, err := s.witness.Confirm(ctx, hex.EncodeToString(sum[:16]), cp)
	if err != nil {
		return false, fmt.Errorf("anchoring %d receipts at %s: %w", cp.Size, s.witness.Name(), err)
	}
	p := AnchorProof{Format: AnchorFormat, Notary: s.witness.Name(), Kind: s.witness.Kind(), NotaryID: id, Size: cp.Size, Root: hex.EncodeToString(cp.Root),
		Checkpoint: string(cp.Note), ConfirmedAt: a.ledger.opt.Now().UTC(), Answer: string(answer)}
	data, err := json.Marshal(p)
	if err != nil {
		return false, fmt.Errorf("encoding a proof: %w", err)
	}
	if err := wholefile.Write(filepath.Join(s.dir, fmt.Sprintf("%020d.json", cp.Size)), append(data, '\n'), 0o600); err != nil {
		return false, fmt.Errorf("keeping the proof of %s: %w", s.witness.Name(), err)
	}
	// What the notary has confirmed is recorded even when we are told to stop by now.
	_, err = a.ledger.Append(context.WithoutCancel(ctx), &Receipt{Kind: Anchor, Phase: Outcome, Result: "confirmed", Anchored: &Anchored{
		Notary: p.Notary, Kind: p.Kind, NotaryID: id, Size: cp.Size, Root: p.Root}})
	s.mu.Lock()
	s.confirmed, s.last, s.since = cp.Size, p.ConfirmedAt, time.Time{}
	s.mu.Unlock()
	return true, err
}

// checkpoint reads the newest published checkpoint.
func (l *Ledger) checkpoint() (Checkpoint, error) { return newestCheckpoint(l.opt.Dir) }

// newestCheckpoint reads a ledger's checkpoint without checking its signature.
func newestCheckpoint(dir string) (Checkpoint, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading the checkpoint: %w", err)
	}
	var cp log.Checkpoint
	if _, err := cp.Unmarshal(raw); err != nil {
		return Checkpoint{}, fmt.Errorf("reading the checkpoint: %w", err)
	}
	return Checkpoint{Origin: cp.Origin, Size: cp.Size, Root: cp.Hash, Note: raw}, nil
}

// readProofs reads the proofs of all notaries below dir, by notary and size. No folder means none.
func readProofs(dir string) ([]AnchorProof, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	if err != nil {
		return nil, err
	}
	var proofs []AnchorProof
	for _, path := range paths {
		if strings.HasPrefix(filepath.Base(path), ".") {
			continue // a proof that was being written
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading a notary's proof: %w", err)
		}
		var p AnchorProof
		if err := json.Unmarshal(bytes.TrimSpace(data), &p); err != nil {
			return nil, fmt.Errorf("reading a notary's proof in %s: %w", path, err)
		}
		proofs = append(proofs, p)
	}
	return proofs, nil
}
