package receipt

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/mod/sumdb/note"

	"github.com/rampart-flags/rampart/internal/wholefile"
)

// ErrBehindLog says that the journal holds fewer records than the Merkle log has leaves: acknowledged receipts
// were removed. Nothing is appended to such a ledger.
var ErrBehindLog = errors.New("the journal holds fewer receipts than the log committed to")

// ErrLocked says that another process writes this ledger.
var ErrLocked = errors.New("another process writes this ledger")

// ErrClosed is what a closed ledger answers.
var ErrClosed = errors.New("the ledger is closed")

const maxQueued = 100_000 // late receipts kept in memory, and leaves not yet handed to the log

// Options say where a ledger lies and who writes it.
type Options struct {
	// Dir is the ledger's folder. It is made when it is not there.
	Dir string
	// Origin names the log in its checkpoints, and its key: "<environment>/<reconciler>" is usual.
	// No spaces and no plus sign (C2SP signed-note).
	Origin string
	// Logger takes warnings. Nil discards them.
	Logger *slog.Logger
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Ledger is an open ledger. One process at a time writes one; its methods may be called by many goroutines.
type Ledger struct {
	opt      Options
	verifier string
	journal  *journal
	requests chan request
	log      *merkleLog

	cancel context.CancelFunc
	done   sync.WaitGroup

	lock   *os.File
	mu     sync.Mutex
	late   []*Receipt
	closed bool
	// notable is the number behind the last receipt that is not about an anchor.
	notable uint64
}

type request struct {
	bodies [][]byte
	answer chan<- answer // capacity 1
}

type answer struct {
	records []Record
	err     error
}

// Open opens the ledger, or makes a new one with a key of its own. A record whose write was cut short by a crash is
// removed from the journal's end, and said in the log; records that the Merkle log has not seen yet are handed to it.
// Damage before the end is ErrDamaged, missing records ErrBehindLog: a person must look.
func Open(ctx context.Context, opt Options) (*Ledger, error) {
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if err := os.MkdirAll(opt.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the ledger's folder: %w", err)
	}
	lock, err := lockFolder(opt.Dir)
	if err != nil {
		return nil, err
	}
	l, err := open(ctx, opt)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	l.lock = lock
	return l, nil
}

func open(ctx context.Context, opt Options) (*Ledger, error) {
	signer, verifier, err := loadKey(opt.Dir, opt.Origin)
	if err != nil {
		return nil, err
	}
	j, err := openJournal(journalDir(opt.Dir))
	if err != nil {
		return nil, err
	}
	if j.torn > 0 {
		opt.Logger.Warn("a receipt whose write was cut short was removed", "bytes", j.torn, "ledger", opt.Dir)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	log, err := openLog(ctx, filepath.Join(opt.Dir, "log"), signer, j, opt.Logger)
	if err != nil {
		cancel()
		return nil, errors.Join(err, j.close())
	}
	l := &Ledger{opt: opt, verifier: verifier, journal: j, log: log, cancel: cancel, requests: make(chan request, 1024), notable: j.notable}
	l.done.Add(2)
	go func() { defer l.done.Done(); l.write(ctx) }()
	go func() { defer l.done.Done(); log.feed(ctx) }()
	return l, nil
}

func journalDir(dir string) string { return filepath.Join(dir, "journal") }

// VerifierKey is the public half of the log's key, in the form of golang.org/x/mod/sumdb/note.
func (l *Ledger) VerifierKey() string { return l.verifier }

// Size is the number of receipts in the journal.
func (l *Ledger) Size() uint64 { return l.log.appended() }

// Append makes the receipts durable, in order and all or none. When it returns nil they survive a crash, and r's
// op id, chain id and time are set; their leaves reach the Merkle log shortly after. When it returns an error
// none was kept, and the caller decides whether to go on (see [Ledger.Queue]).
func (l *Ledger) Append(ctx context.Context, rs ...*Receipt) ([]Record, error) {
	bodies := make([][]byte, len(rs))
	for i, r := range rs {
		r.Reconciler = l.opt.Origin
		if err := r.complete(l.opt.Now()); err != nil {
			return nil, err
		}
		body, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("encoding a receipt: %w", err)
		}
		bodies[i] = body
	}
	ch := make(chan answer, 1)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, ErrClosed
	}
	select {
	case l.requests <- request{bodies, ch}:
		l.mu.Unlock()
	case <-ctx.Done():
		l.mu.Unlock()
		return nil, ctx.Err()
	}
	// The writer answers every request: waiting for it is bounded by one fsync, and a receipt that is being
	// written cannot be called back.
	a := <-ch
	if a.err == nil {
		l.note(rs, a.records)
	}
	return a.records, a.err
}

func (l *Ledger) note(rs []*Receipt, records []Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, r := range rs {
		if r.Kind != Anchor {
			l.notable = max(l.notable, records[i].Seq+1)
		}
	}
}

// substantial is the number behind the last receipt that calls for an anchor.
func (l *Ledger) substantial() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.notable
}

// Queue appends a receipt of something that must not wait for the ledger: a way down, a repair, an override. When the
// ledger cannot be written, the receipt is kept in memory, marked late, and written as soon as that works again.
// It reports whether the receipt is durable now.
func (l *Ledger) Queue(ctx context.Context, r *Receipt) bool {
	_, err := l.Append(ctx, r)
	if err == nil {
		return true
	}
	l.opt.Logger.Error("a receipt waits: the ledger cannot be written", "err", err, "kind", string(r.Kind))
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.late) < maxQueued {
		r.Late = true
		l.late = append(l.late, r)
	}
	return false
}

// Waiting is the number of receipts that are in memory only.
func (l *Ledger) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.late)
}

// Flush tries to write the receipts that wait. The caller calls it now and then; nil means none waits.
func (l *Ledger) Flush(ctx context.Context) error {
	l.mu.Lock()
	late := l.late
	l.late = nil
	l.mu.Unlock()
	for i, r := range late {
		if _, err := l.Append(ctx, r); err != nil {
			l.mu.Lock()
			l.late = append(late[i:len(late):len(late)], l.late...)
			l.mu.Unlock()
			return fmt.Errorf("writing late receipts: %w", err)
		}
	}
	return nil
}

// Scan calls fn for each record from number from on. A reader needs no lock: records are only ever added behind.
func (l *Ledger) Scan(from uint64, fn func(Record) error) error {
	return scan(l.journal.dir, from, fn)
}

// Close writes what waits, lets the log finish and closes the files.
func (l *Ledger) Close(ctx context.Context) error {
	err := l.Flush(ctx)
	l.mu.Lock()
	already := l.closed
	l.closed = true
	l.mu.Unlock()
	if already {
		return nil
	}
	close(l.requests)
	err = errors.Join(err, l.log.close(ctx))
	l.cancel()
	l.done.Wait()
	return errors.Join(err, l.journal.close(), l.lock.Close())
}

// write is the one writer: it takes all requests that wait and syncs once for them.
func (l *Ledger) write(ctx context.Context) {
	for first := range l.requests {
		batch := []request{first}
		n := len(first.bodies)
	more:
		for n < 4096 {
			select {
			case r, ok := <-l.requests:
				if !ok {
					break more
				}
				batch, n = append(batch, r), n+len(r.bodies)
			default:
				break more
			}
		}
		bodies := make([][]byte, 0, n)
		for _, r := range batch {
			bodies = append(bodies, r.bodies...)
		}
		records, err := l.journal.append(bodies)
		if err == nil {
			l.log.push(records)
		}
		for _, r := range batch {
			if err != nil {
				r.answer <- answer{err: err}
				continue
			}
			r.answer <- answer{records: records[:len(r.bodies):len(r.bodies)]}
			records = records[len(r.bodies):]
		}
	}
}

// loadKey reads the log's key, or makes one. The key is made once: another key is another log.
func loadKey(dir, origin string) (note.Signer, string, error) {
	path := filepath.Join(dir, "key")
	secret, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		skey, vkey, err := note.GenerateKey(rand.Reader, origin)
		if err != nil {
			return nil, "", fmt.Errorf("making the ledger's key: %w", err)
		}
		if err := errors.Join(wholefile.Write(path+".pub", []byte(vkey+"\n"), 0o644), wholefile.Write(path, []byte(skey+"\n"), 0o600)); err != nil {
			return nil, "", fmt.Errorf("keeping the ledger's key: %w", err)
		}
		secret = []byte(skey)
	} else if err != nil {
		return nil, "", fmt.Errorf("reading the ledger's key: %w", err)
	}
	signer, err := note.NewSigner(strings.TrimSpace(string(secret)))
	if err != nil {
		return nil, "", fmt.Errorf("reading the ledger's key in %s: %w", path, err)
	}
	if signer.Name() != origin {
		return nil, "", fmt.Errorf("the ledger in %s belongs to %q, not to %q: give each reconciler a ledger of its own", dir, signer.Name(), origin)
	}
	public, err := os.ReadFile(path + ".pub")
	if err != nil {
		return nil, "", fmt.Errorf("reading the ledger's public key: %w", err)
	}
	return signer, strings.TrimSpace(string(public)), nil
}
