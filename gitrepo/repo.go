package gitrepo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options says which branch of which repository to follow, and how.
type Options struct {
	// URL is file://, https://, ssh://, user@host:path, or a local path.
	// Credentials in it are used and never shown.
	URL string
	// Branch to follow. Empty: the remote's default branch.
	Branch string
	// Dir is the state folder, used by one process at a time. Empty: a
	// temporary folder, gone at Close.
	Dir  string
	Auth Auth

	// Timeout bounds one conversation with the remote. Zero: 1 minute. A clone
	// may take ten times as long.
	Timeout time.Duration
	// MaxPack bounds what one fetch may bring, in bytes; zero: 1 GiB. MaxObject
	// bounds each object in it, inflated; zero: 100 MiB.
	MaxPack, MaxObject int64
	// MaxPacks is the number of packs above which Tidy makes a fresh clone.
	// Zero: 50.
	MaxPacks int
}

// What Options bounds where it is not said.
const (
	DefaultTimeout = time.Minute
	DefaultMaxPack = 1 << 30

	defaultMaxObject = 100 << 20
)

func (o Options) timeout() time.Duration { return cmp.Or(o.Timeout, DefaultTimeout) }
func (o Options) maxPack() int64         { return cmp.Or(o.MaxPack, DefaultMaxPack) }
func (o Options) maxObject() int64       { return cmp.Or(o.MaxObject, defaultMaxObject) }
func (o Options) maxPacks() int          { return cmp.Or(o.MaxPacks, 50) }

// maxObjects bounds the number of objects in a pack; each costs the indexer
// some 200 bytes. The Linux kernel's whole history has 11 million.
const maxObjects = 20_000_000

// Repo is a bare clone of one branch in a state folder. Its methods may be
// called by several goroutines; those that write wait for each other. Several
// may stand on one clone: see [Pool].
type Repo struct {
	*base
	pool  *Pool // nil: the clone is this one's alone
	fresh time.Duration
	moved func()
	keep  string // what this user's last Tidy asked to keep; under base.writing
	once  sync.Once
}

// base is the clone that a Repo, or several, stand on.
type base struct {
	opt    Options
	remote *remote
	state  *state

	writing sync.Mutex // held by whoever fetches, commits, pushes or replaces the clone
	tidyAt  int        // after a failure: how many packs Tidy waits for; under writing

	mu      sync.RWMutex // guards the fields below; readers hold it while they read the clone
	clone   *clone       // nil before the first fetch
	damaged bool         // the next Fetch clones anew

	flights flights // of a Pool
}

// Open takes the state folder, and the clone in it if it is one of this address
// and branch and reads back; else the first Fetch makes one. It does not talk
// to the remote. ErrLocked when another process uses the folder.
func Open(ctx context.Context, opt Options) (*Repo, error) {
	if opt.URL == "" {
		return nil, errors.New("opening a repository: no URL given")
	}
	rem, err := newRemote(localAddress(opt.URL), opt.Auth)
	if err != nil {
		return nil, err
	}
	st, err := openState(ctx, opt.Dir)
	if err != nil {
		return nil, err
	}
	r := &Repo{base: &base{opt: opt, remote: rem, state: st}}
	if r.clone, err = st.load(rem.shown, opt.Branch); err != nil {
		_ = st.close()
		return nil, fmt.Errorf("opening the clone in %s: %w", st.dir, err)
	}
	return r, nil
}

// Close lets go of the state folder. It waits for what is running. A clone from a
// [Pool] stays open for those who still use it.
func (r *Repo) Close() (err error) {
	r.once.Do(func() {
		if r.pool == nil || r.pool.leave(r) {
			err = r.base.close()
		}
	})
	return err
}

func (r *base) close() error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clone != nil {
		r.clone.close()
		r.clone = nil
	}
	return r.state.close()
}

// Address is the remote's address without credentials.
func (r *Repo) Address() string { return r.remote.shown }

// Head is the branch and commit that the last fetch saw, without asking the
// remote; both are empty before the first.
func (r *Repo) Head() (branch, commit string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.clone == nil {
		return "", ""
	}
	r.clone.mu.Lock()
	defer r.clone.mu.Unlock()
	return r.clone.branch, r.clone.head.String()
}

// RemoteHead asks the remote where the branch is, and fetches nothing.
// ErrNoBranch when it is not there.
func (r *Repo) RemoteHead(ctx context.Context) (string, error) {
	ctx, cancel := r.bound(ctx, 1)
	defer cancel()
	s, refs, err := r.remote.upload(ctx)
	if err != nil {
		return "", err
	}
	defer s.Close()
	_, h, err := branchHead(refs, r.opt.Branch)
	if err != nil {
		return "", r.remote.explain(ctx, "listing branches", err)
	}
	return h.String(), nil
}

// Fetch brings the branch's new commits, and returns its head. The first one
// makes a clone of depth 1. When there is nothing new it costs no more than
// RemoteHead. When it fails, what was there before is there still. Users of one
// clone of a [Pool] fetch together.
func (r *Repo) Fetch(ctx context.Context) (string, error) {
	if r.pool != nil {
		return r.flights.fetch(ctx, r)
	}
	return r.fetch(ctx)
}

func (r *Repo) fetch(ctx context.Context) (string, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.RLock()
	c, broken := r.clone, r.damaged
	r.mu.RUnlock()
	if c == nil || broken {
		if err := r.reclone(ctx, 1); err != nil {
			return "", err
		}
		_, head := r.Head()
		return head, nil
	}
	ctx, cancel := r.bound(ctx, 1)
	defer cancel()
	if err := r.fetchInto(ctx, c, 0); err != nil {
		return "", err
	}
	return c.head.String(), nil
}

// reclone makes a new clone of the given depth (0: whole) and puts it in force.
// The caller holds r.writing.
func (r *Repo) reclone(ctx context.Context, depth int) error {
	ctx, cancel := r.bound(ctx, 10)
	defer cancel()
	c, err := r.state.next()
	if err != nil {
		return fmt.Errorf("making a clone: %w", err)
	}
	c.whole = depth == 0
	err = r.fetchInto(ctx, c, depth)
	if err == nil {
		err = r.state.swap(c, r.remote.shown, r.opt.Branch)
	}
	if err != nil {
		c.close()
		_ = os.RemoveAll(c.dir)
		return err
	}
	r.mu.Lock()
	old := r.clone
	r.clone, r.damaged = c, false
	if old != nil {
		old.close()
	}
	r.mu.Unlock()
	return r.state.prune(filepath.Base(c.dir))
}

// Tidy makes a fresh clone when fetches have left too many packs behind, and
// otherwise does nothing. The commit to keep is the oldest that later walks will
// start from: the clone is cut off behind it. When it is empty, or not in the
// branch's history, the clone is whole. It reports whether it did. Where several
// users stand on one clone, it is cut off behind the oldest that any of them keeps,
// and is whole until each has said what it keeps.
func (r *Repo) Tidy(ctx context.Context, keep string) (bool, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	crowded, depth := false, 0
	r.keep = keep
	err := r.read(func(c *clone) (err error) {
		if crowded = c.packs > max(r.opt.maxPacks(), r.tidyAt); crowded {
			depth, err = r.depthToKeep(ctx, c)
		}
		return err
	})
	if err != nil && !errors.Is(err, ErrNoCommit) {
		return false, err
	}
	if !crowded {
		return false, nil
	}
	if err := r.reclone(ctx, depth); err != nil {
		// Whatever it was, it is not asked for again at each pass.
		r.mu.RLock()
		r.tidyAt = r.clone.packs + r.opt.maxPacks()
		r.mu.RUnlock()
		return false, fmt.Errorf("tidying the clone: %w", err)
	}
	r.tidyAt = 0
	return true, nil
}

// bound gives a conversation its time, n times the configured one.
func (r *Repo) bound(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, time.Duration(n)*r.opt.timeout(),
		fmt.Errorf("no answer within %v (reconcile --git-timeout): %w", time.Duration(n)*r.opt.timeout(), context.DeadlineExceeded))
}

// read calls f with the clone in force, which stays so until f returns. Before
// the first fetch it is ErrNoCommit. Damage found is remembered, and mended by
// the next Fetch.
func (r *Repo) read(f func(*clone) error) error {
	r.mu.RLock()
	c := r.clone
	var err error
	if c == nil {
		err = fmt.Errorf("%w: nothing was fetched yet", ErrNoCommit)
	} else {
		err = f(c)
	}
	r.mu.RUnlock()
	if errors.Is(err, ErrDamaged) {
		r.mu.Lock()
		if r.clone == c {
			r.damaged = true
		}
		r.mu.Unlock()
	}
	return err
}
