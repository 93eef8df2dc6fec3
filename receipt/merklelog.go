package receipt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"
)

const (
	batchSize          = 256
	batchAge           = 20 * time.Millisecond
	checkpointInterval = 200 * time.Millisecond
	retryLog           = time.Second
	// The log library looks at its files ten times a second, also while nothing happens. After so long without a new leaf it
	// is closed, and opened again for the next one: a process may have a thousand ledgers.
	parkAfter = 3 * time.Second
)

// merkleLog hands the journal's leaves to the tiled log, in order.
type merkleLog struct {
	logger  *slog.Logger
	journal string
	dir     string
	signer  note.Signer
	stop    chan struct{} // closed when no more leaves will come
	wake    chan struct{} // capacity 1

	// Of the feeder: the library, all nil while it is parked, and how many leaves it is known to have.
	add      tessera.AddFn
	shutdown func(context.Context) error
	reader   tessera.LogReader
	end      context.CancelFunc
	fed      uint64

	mu    sync.Mutex
	base  uint64 // number of leaves[0]
	leafs [][sha256.Size]byte
	next  uint64 // records in the journal
	idle  chan struct{}
}

func openLog(ctx context.Context, dir string, signer note.Signer, j *journal, logger *slog.Logger) (*merkleLog, error) {
	quietLibrary(logger)
	m := &merkleLog{logger: logger, journal: j.dir, dir: dir, signer: signer,
		stop: make(chan struct{}), wake: make(chan struct{}, 1), base: j.next, next: j.next, idle: make(chan struct{})}
	if err := m.open(ctx); err != nil {
		return nil, err
	}
	if m.fed > j.next {
		m.end()
		return nil, fmt.Errorf("%w: %d receipts, %d leaves in %s", ErrBehindLog, j.next, m.fed, dir)
	}
	m.nudge()
	return m, nil
}

// open starts the library on the log's folder.
func (m *merkleLog) open(ctx context.Context) error {
	ctx, end := context.WithCancel(ctx)
	driver, err := posix.New(ctx, posix.Config{Path: m.dir})
	if err != nil {
		end()
		return fmt.Errorf("opening the receipts' log: %w", err)
	}
	opts := tessera.NewAppendOptions().
		WithCheckpointSigner(m.signer).
		WithBatching(batchSize, batchAge).
		WithCheckpointInterval(checkpointInterval)
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, opts)
	if err != nil {
		end()
		return fmt.Errorf("opening the receipts' log: %w", err)
	}
	size, err := reader.IntegratedSize(ctx)
	if err != nil {
		end()
		return fmt.Errorf("reading the size of the receipts' log: %w", err)
	}
	m.add, m.shutdown, m.reader, m.end, m.fed = appender.Add, shutdown, reader, end, size
	return nil
}

// park closes the library once it has published what it was given. What it could not publish, the next one does.
func (m *merkleLog) park(ctx context.Context) error {
	if m.reader == nil {
		return nil
	}
	err := m.shutdown(ctx)
	m.end()
	m.add, m.shutdown, m.reader, m.end = nil, nil, nil, nil
	if err != nil {
		return fmt.Errorf("finishing the receipts' log: %w", err)
	}
	return nil
}

var quietOnce sync.Once

// quietLibrary sends the log library's own messages to our logger instead of stderr. It has one logger for the whole
// process, so the first ledger's is taken.
func quietLibrary(logger *slog.Logger) {
	quietOnce.Do(func() { klog.SetSlogLogger(slog.New(warnOnly{logger.Handler()})) })
}

type warnOnly struct{ slog.Handler }

func (h warnOnly) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (m *merkleLog) appended() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.next
}

func (m *merkleLog) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *merkleLog) push(records []Record) {
	m.mu.Lock()
	for _, r := range records {
		m.leafs = append(m.leafs, r.Leaf)
	}
	m.next += uint64(len(records))
	if n := len(m.leafs) - maxQueued; n > 0 { // the feeder will read these from the journal
		m.leafs = append([][sha256.Size]byte(nil), m.leafs[n:]...)
		m.base += uint64(n)
	}
	m.mu.Unlock()
	m.nudge()
}

// feed runs until no more leaves will come and all are in the log, or ctx ends.
func (m *merkleLog) feed(ctx context.Context) {
	defer close(m.idle)
	stop := m.stop
	for {
		n, err := m.feedOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.logger.Error("the receipts' log cannot be written; it is tried again", "err", err)
			select {
			case <-ctx.Done():
				return
			case <-stop: // closing: what is missing is handed over at the next start
				return
			case <-time.After(retryLog):
			}
		case n > 0:
		case stop == nil:
			return
		default:
			park := time.NewTimer(parkAfter)
			if m.reader == nil {
				park.Stop()
			}
			select {
			case <-ctx.Done():
				return
			case <-stop:
				stop = nil // one more round, for what came last
			case <-m.wake:
			case <-park.C:
				if err := m.park(ctx); err != nil && ctx.Err() == nil {
					m.logger.Warn("closing an idle log", "err", err)
				}
			}
			park.Stop()
		}
	}
}

// feedOnce hands over the next leaves and waits until they are integrated. It returns how many there were.
func (m *merkleLog) feedOnce(ctx context.Context) (int, error) {
	if m.reader == nil {
		if m.appended() <= m.fed {
			return 0, nil
		}
		if err := m.open(ctx); err != nil {
			return 0, err
		}
	}
	size, err := m.reader.IntegratedSize(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the size of the receipts' log: %w", err)
	}
	m.fed = size
	leafs, err := m.take(size)
	if err != nil || len(leafs) == 0 {
		return 0, err
	}
	futures := make([]tessera.IndexFuture, len(leafs))
	for i := range leafs {
		futures[i] = m.add(ctx, tessera.NewEntry(leafs[i][:]))
	}
	for i, f := range futures {
		index, err := f()
		if err != nil {
			return i, fmt.Errorf("adding receipt %d to the log: %w", size+uint64(i), err)
		}
		if index.Index != size+uint64(i) {
			return i, fmt.Errorf("%w: receipt %d became leaf %d", ErrDamaged, size+uint64(i), index.Index)
		}
	}
	return len(leafs), nil
}

// take returns up to some batches of leaves from number from on: from memory, or from the journal where memory no
// longer has them.
func (m *merkleLog) take(from uint64) ([][sha256.Size]byte, error) {
	const most = 16 * batchSize
	m.mu.Lock()
	defer m.mu.Unlock()
	if from >= m.next {
		return nil, nil
	}
	if from >= m.base {
		m.leafs = m.leafs[from-m.base:]
		m.base = from
		return m.leafs[:min(len(m.leafs), most):min(len(m.leafs), most)], nil
	}
	var leafs [][sha256.Size]byte
	enough := errors.New("enough")
	err := scan(m.journal, from, func(r Record) error {
		if leafs = append(leafs, r.Leaf); len(leafs) == most || r.Seq+1 == m.next {
			return enough
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return nil, err
	}
	return leafs, nil
}

func (m *merkleLog) close(ctx context.Context) error {
	close(m.stop)
	select {
	case <-m.idle:
	case <-ctx.Done():
		return fmt.Errorf("finishing the receipts' log: %w", ctx.Err())
	}
	return m.park(ctx)
}
