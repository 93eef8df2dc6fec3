package gitrepo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// Pool opens a branch once for all who follow it in this process: one clone, and
// one look at the remote for all of them.
//
// A [Repo.Fetch] that begins while another is under way waits for that one, and one
// that begins soon after the last has the last one's answer. What a fetch finds
// moved is told to those who did not wait for it. Trouble is shared as well, for
// 0.75 s at first and longer while it lasts, so that a remote that is down is not
// asked by each of a thousand.
type Pool struct {
	dir string

	mu    sync.Mutex
	bases map[string]*base
	users map[*base]map[*Repo]bool
}

// NewPool keeps its clones in folders below dir.
func NewPool(dir string) *Pool {
	return &Pool{dir: dir, bases: map[string]*base{}, users: map[*base]map[*Repo]bool{}}
}

// Open is [Open] in a folder of the pool's: opt.Dir is not used. Who has another
// address, branch or credentials has another clone. Fresh is how old an answer of the
// remote this user's Fetch takes; it should be less than the time between two of them.
// Moved is called, from another goroutine, when somebody else's fetch found that the branch had moved or that the
// remote is back; it must not wait. Nil calls nothing.
func (p *Pool) Open(ctx context.Context, opt Options, fresh time.Duration, moved func()) (*Repo, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q %q %q %q", localAddress(opt.URL), opt.Branch, opt.Auth.Username, opt.Auth.Token,
		opt.Auth.TokenFile, opt.Auth.SSHKeyFile, opt.Auth.SSHKeyPassword, opt.Auth.KnownHosts))
	name := hex.EncodeToString(key[:8])
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &Repo{pool: p, fresh: fresh, moved: moved, base: p.bases[name]}
	if r.base == nil {
		opt.Dir = filepath.Join(p.dir, name)
		first, err := Open(ctx, opt)
		if err != nil {
			return nil, err
		}
		r.base = first.base
		p.bases[name], p.users[r.base] = r.base, map[*Repo]bool{}
	}
	p.users[r.base][r] = true
	return r, nil
}

// leave takes a user away and says whether it was the last.
func (p *Pool) leave(r *Repo) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.users[r.base], r)
	if len(p.users[r.base]) > 0 {
		return false
	}
	delete(p.users, r.base)
	for name, b := range p.bases {
		if b == r.base {
			delete(p.bases, name)
		}
	}
	return true
}

// others are the users of a clone.
func (p *Pool) others(b *base) []*Repo {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*Repo
	for r := range p.users[b] {
		out = append(out, r)
	}
	return out
}

// keeps are the commits that users of the clone keep. The caller holds r.writing.
func (r *Repo) keeps() []string {
	if r.pool == nil {
		return []string{r.keep}
	}
	var out []string
	for _, user := range r.pool.others(r.base) {
		out = append(out, user.keep)
	}
	return out
}

// depthToKeep is how deep a clone must be for all its users; 0 is whole. The caller
// holds r.writing.
func (r *Repo) depthToKeep(ctx context.Context, c *clone) (depth int, err error) {
	for _, keep := range r.keeps() {
		if keep == "" {
			return 0, nil
		}
		d, err := c.depth(ctx, c.head, plumbing.NewHash(keep))
		if err != nil {
			return 0, err
		}
		depth = max(depth, d)
	}
	return depth, nil
}

// Hurry makes the next Fetch ask the remote, however fresh its last answer is.
func (r *Repo) Hurry() {
	f := &r.flights
	f.mu.Lock()
	f.stale = true
	f.mu.Unlock()
}

// flights are the fetches of a clone that several users have.
type flights struct {
	mu    sync.Mutex
	now   *flight // under way
	last  *flight
	fails int  // in a row
	stale bool // the last one's answer does not count
}

// flight is one fetch. What is below done is set before it is closed.
type flight struct {
	cancel  context.CancelFunc
	waiting map[*Repo]bool
	done    chan struct{}
	head    string
	err     error
	ended   time.Time
}

const (
	shareTrouble = 750 * time.Millisecond
	maxShareRuns = 16
)

// counts says whether the last answer may be given to who takes one that old.
func (f *flights) counts(fresh time.Duration) bool {
	if f.last == nil || f.stale {
		return false
	}
	window := fresh
	if f.last.err != nil {
		window = min(window, shareTrouble<<min(f.fails, maxShareRuns))
	}
	return time.Since(f.last.ended) < window
}

func (f *flights) fetch(ctx context.Context, r *Repo) (string, error) {
	f.mu.Lock()
	if f.now == nil && f.counts(r.fresh) {
		defer f.mu.Unlock()
		return f.last.head, f.last.err
	}
	fl := f.now
	if fl == nil {
		// It outlives whoever began it, as long as somebody waits.
		flying, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{cancel: cancel, waiting: map[*Repo]bool{}, done: make(chan struct{})}
		f.now, f.stale = fl, false
		go f.fly(flying, fl, r)
	}
	fl.waiting[r] = true
	f.mu.Unlock()
	select {
	case <-fl.done:
		return fl.head, fl.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(fl.waiting, r)
	if len(fl.waiting) == 0 && f.now == fl {
		fl.cancel()
		f.now = nil
	}
	return "", context.Cause(ctx)
}

func (f *flights) fly(ctx context.Context, fl *flight, r *Repo) {
	defer fl.cancel()
	_, before := r.Head()
	fl.head, fl.err = r.fetch(ctx)
	fl.ended = time.Now()
	f.mu.Lock()
	abandoned := f.now != fl
	tell := fl.err == nil && (fl.head != before || f.fails > 0) || f.stale
	waited := maps.Clone(fl.waiting)
	if !abandoned {
		f.now, f.last = nil, fl
		if f.fails++; fl.err == nil {
			f.fails = 0
		}
	}
	stale := f.stale
	close(fl.done)
	f.mu.Unlock()
	if !tell {
		return
	}
	for _, user := range r.pool.others(r.base) {
		if user.moved != nil && (stale || !waited[user]) {
			user.moved()
		}
	}
}
