package gitrepo

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
)

// errCut says that the walk came to where the clone's history is cut off.
var errCut = errors.New("history is cut off here")

// Walk lists the commits after from, up to and with to, that touched one of the
// paths, along the first-parent chain and oldest first. A path is a file; or a
// prefix, when it ends in "*"; or a folder with all in it, when it ends in "/".
// An empty from means the beginning of history.
//
// When from is an ancestor of to but off that chain, the commit that joined it
// is the first of the list, marked Joined, if what it holds at the paths
// differs from what from holds there; the chain goes on from there.
//
// When the clone's history is cut off too early, the whole branch is cloned.
// ErrRewritten (a [*RewrittenError]) when to does not descend from from.
func (r *Repo) Walk(ctx context.Context, from, to string, paths []string) ([]Commit, error) {
	match, err := newMatcher(paths)
	if err != nil {
		return nil, err
	}
	return deepening(ctx, r, from, to, func(c *clone, f, t plumbing.Hash) ([]Commit, error) {
		return c.walk(ctx, f, t, match)
	})
}

// IsAncestor tells whether new descends from old, or is it. When the clone's
// history is cut off too early to tell, the whole branch is cloned.
func (r *Repo) IsAncestor(ctx context.Context, old, new string) (bool, error) {
	return deepening(ctx, r, old, new, func(c *clone, o, n plumbing.Hash) (bool, error) {
		return c.isAncestor(ctx, o, n)
	})
}

// deepening runs f on the clone and, when that comes to a cut, once more on a
// whole clone.
func deepening[T any](ctx context.Context, r *Repo, from, to string, f func(c *clone, from, to plumbing.Hash) (T, error)) (T, error) {
	var zero, out T
	var hs [2]plumbing.Hash
	for i, s := range []string{from, to} {
		if s == "" && i == 0 {
			continue
		}
		h, err := parseHash(s)
		if err != nil {
			return zero, err
		}
		hs[i] = h
	}
	run := func(c *clone) (err error) {
		out, err = f(c, hs[0], hs[1])
		return err
	}
	err := r.read(run)
	if errors.Is(err, errCut) {
		if err := r.deepen(ctx); err != nil {
			return zero, fmt.Errorf("fetching the whole branch: %w", err)
		}
		if err = r.read(run); errors.Is(err, errCut) {
			err = fmt.Errorf("%w: the remote itself has no more", ErrShallow)
		}
	}
	if err != nil {
		return zero, err
	}
	return out, nil
}

// deepen clones the branch whole, unless the clone is whole already.
func (r *Repo) deepen(ctx context.Context) error {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.RLock()
	whole := r.clone != nil && r.clone.whole
	r.mu.RUnlock()
	if whole {
		return nil
	}
	return r.reclone(ctx, 0)
}

func (c *clone) walk(ctx context.Context, from, to plumbing.Hash, match *matcher) ([]Commit, error) {
	chain, err := c.chain(ctx, from, to)
	if errors.Is(err, errOff) {
		return c.walkJoined(ctx, from, to, chain, match)
	}
	if err != nil {
		return nil, err
	}
	var base string
	if !from.IsZero() {
		if base, err = c.fingerprint(from, match); err != nil {
			return nil, err
		}
	}
	return c.touched(ctx, chain, base, match, nil)
}

// errOff says that a chain went to the root without meeting its start.
var errOff = errors.New("the start is off the first-parent chain")

// chain lists the commits from to back to the one after from, newest first.
func (c *clone) chain(ctx context.Context, from, to plumbing.Hash) ([]plumbing.Hash, error) {
	var out []plumbing.Hash
	for h := to; h != from; {
		if len(out)%256 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		parents, err := c.parents(h)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
		if len(parents) == 0 {
			if from.IsZero() {
				return out, nil
			}
			return out, errOff
		}
		h = parents[0]
	}
	return out, nil
}

// parents of a commit. errCut when they are beyond the clone's cut.
func (c *clone) parents(h plumbing.Hash) ([]plumbing.Hash, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	commit, err := c.commitLocked(h)
	if err != nil {
		return nil, err
	}
	if c.shallow[h] {
		for _, p := range commit.ParentHashes {
			if c.store.HasEncodedObject(p) != nil {
				return nil, errCut
			}
		}
	}
	return commit.ParentHashes, nil
}

// walkJoined is walk for a start that the chain, which goes to the root, does
// not meet.
func (c *clone) walkJoined(ctx context.Context, from, to plumbing.Hash, chain []plumbing.Hash, match *matcher) ([]Commit, error) {
	ok, err := c.isAncestor(ctx, from, to)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, c.rewritten(ctx, from, to)
	}
	// Ancestry is monotone along the chain: find the oldest that has from.
	lo, hi := 0, len(chain)-1 // chain[lo] has it
	for lo < hi {
		mid := (lo + hi + 1) / 2
		if ok, err = c.isAncestor(ctx, from, chain[mid]); err != nil {
			return nil, err
		}
		if ok {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	base, err := c.fingerprint(from, match)
	if err != nil {
		return nil, err
	}
	return c.touched(ctx, chain[:lo+1], base, match, &chain[lo])
}

// touched keeps the commits of a chain (newest first) at which the paths differ
// from the commit before, base for the oldest, and turns it round.
func (c *clone) touched(ctx context.Context, chain []plumbing.Hash, base string, match *matcher, joined *plumbing.Hash) ([]Commit, error) {
	var out []Commit
	for i := len(chain) - 1; i >= 0; i-- {
		if i%256 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		commit, err := c.commit(chain[i])
		if err != nil {
			return nil, err
		}
		print, err := c.fingerprintTree(commit.TreeHash, match)
		if err != nil {
			return nil, err
		}
		if print != base {
			entry := newCommit(commit)
			entry.Joined = joined != nil && *joined == chain[i]
			out = append(out, entry)
		}
		base = print
	}
	return out, nil
}

// isAncestor looks for old in the history of new. errCut when it was not found
// and part of that history is missing.
func (c *clone) isAncestor(ctx context.Context, old, new plumbing.Hash) (bool, error) {
	found, cut, err := c.search(ctx, new, func(h plumbing.Hash) bool { return h == old })
	if err != nil {
		return false, err
	}
	if found.IsZero() && cut {
		return false, errCut
	}
	return !found.IsZero(), nil
}

// search goes breadth-first through the history of a commit for one that is
// wanted. cut tells that some of it is missing.
func (c *clone) search(ctx context.Context, start plumbing.Hash, wanted func(plumbing.Hash) bool) (found plumbing.Hash, cut bool, err error) {
	seen := map[plumbing.Hash]bool{start: true}
	queue := []plumbing.Hash{start}
	for n := 0; len(queue) > 0; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return plumbing.ZeroHash, false, context.Cause(ctx)
		}
		h := queue[0]
		queue = queue[1:]
		if wanted(h) {
			return h, false, nil
		}
		parents, err := c.parents(h)
		if errors.Is(err, errCut) {
			cut = true
			continue
		}
		if err != nil {
			return plumbing.ZeroHash, false, err
		}
		for _, p := range parents {
			if !seen[p] {
				seen[p] = true
				queue = append(queue, p)
			}
		}
	}
	return plumbing.ZeroHash, cut, nil
}

// depth is how many commits deep a clone of head must be to have h: one more
// than the fewest steps between them.
func (c *clone) depth(ctx context.Context, head, h plumbing.Hash) (int, error) {
	seen := map[plumbing.Hash]bool{head: true}
	level := []plumbing.Hash{head}
	for depth := 1; len(level) > 0; depth++ {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		var next []plumbing.Hash
		for _, at := range level {
			if at == h {
				return depth, nil
			}
			parents, err := c.parents(at)
			if errors.Is(err, errCut) {
				continue
			}
			if err != nil {
				return 0, err
			}
			for _, p := range parents {
				if !seen[p] {
					seen[p] = true
					next = append(next, p)
				}
			}
		}
		level = next
	}
	return 0, fmt.Errorf("%w: %s is not in the branch's history", ErrNoCommit, h)
}

// rewritten says in which way to does not descend from from.
func (c *clone) rewritten(ctx context.Context, from, to plumbing.Hash) error {
	out := &RewrittenError{From: from.String(), To: to.String(), How: Vanished}
	if !c.has(from) {
		return out
	}
	behind := map[plumbing.Hash]bool{}
	if _, _, err := c.search(ctx, to, func(h plumbing.Hash) bool { behind[h] = true; return false }); err != nil {
		return err
	}
	base, cut, err := c.search(ctx, from, func(h plumbing.Hash) bool { return behind[h] })
	switch {
	case err != nil:
		return err
	case base == to:
		out.How = Rewound
	case !base.IsZero():
		out.How, out.Base = Diverged, base.String()
	case !cut:
		out.How = Unrelated
	}
	return out
}
