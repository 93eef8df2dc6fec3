package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// maxHaves is how many of our commits we tell the server of, newest first: what
// lies behind the first that it knows need not be sent.
const maxHaves = 64

// fetchInto brings the branch into a clone: all that is behind it (depth 0), or
// its last commits only, for a clone that is new. It speaks through go-git's
// transport, not its Remote: that one tells a server nothing of where our
// history is cut off, and a server that keeps bitmaps then leaves out files
// that only commits beyond the cut hold, such as those a revert brings back.
func (r *Repo) fetchInto(ctx context.Context, c *clone, depth int) error {
	s, refs, err := r.remote.upload(ctx)
	if err != nil {
		return err
	}
	branch, want, err := branchHead(refs, r.opt.Branch)
	if err != nil {
		_ = s.Close()
		return r.remote.explain(ctx, "fetching", err)
	}
	if want == c.head && branch == c.branch || c.has(want) {
		err = s.Close()
	} else if err = r.fetchPack(ctx, s, refs, c, want, depth); err == nil {
		err = s.Close()
	} else {
		go s.Close() // closed already, but where the server's answer made no sense
	}
	if err != nil {
		return r.remote.explain(ctx, "fetching "+branch, err)
	}
	if _, err := c.commit(want); err != nil {
		return fmt.Errorf("fetching %s: what the remote sent lacks its own head: %w", branch, err)
	}
	return c.setHead(branch, want)
}

func (r *Repo) fetchPack(ctx context.Context, s transport.UploadPackSession, refs *packp.AdvRefs, c *clone, want plumbing.Hash, depth int) error {
	req := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	req.Wants = []plumbing.Hash{want}
	req.Haves = c.recent(maxHaves)
	for h := range c.shallow {
		req.Shallows = append(req.Shallows, h)
	}
	if depth > 0 {
		req.Depth = packp.DepthCommits(depth)
	}
	if depth > 0 || len(req.Shallows) > 0 {
		if !refs.Capabilities.Supports(capability.Shallow) {
			return errors.New("the server cannot send part of a history")
		}
		if err := req.Capabilities.Set(capability.Shallow); err != nil {
			return err
		}
	}
	if refs.Capabilities.Supports(capability.NoProgress) {
		if err := req.Capabilities.Set(capability.NoProgress); err != nil {
			return err
		}
	}
	packCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := s.UploadPack(packCtx, req)
	if err != nil {
		return err
	}
	// Where the remote itself is cut off, so are we.
	err = c.setShallow(append(res.Shallows, refs.Shallows...))
	if err == nil {
		err = r.receive(c, demux(req.Capabilities, res))
	}
	if err != nil {
		// A server whose pack nobody reads to the end would be waited for at
		// Close. A read under an ended context is what makes go-git kill it.
		cancel()
		_, _ = io.Copy(io.Discard, res)
	}
	_ = res.Close()
	return err
}

// demux takes the pack out of what the server sends beside it.
func demux(caps *capability.List, rd io.Reader) io.Reader {
	switch {
	case caps.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, rd)
	case caps.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, rd)
	}
	return rd
}

// receive stores a pack from the wire: first on disk, where it is measured and
// vetted, then in the clone.
func (r *Repo) receive(c *clone, pack io.Reader) error {
	f, err := os.CreateTemp(c.dir, "incoming-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	limit := r.opt.maxPack()
	n, err := io.Copy(f, io.LimitReader(pack, limit+1))
	switch {
	case err != nil:
		return err
	case n > limit:
		return fmt.Errorf("%w: a fetch of more than %d bytes (reconcile --max-fetch)", ErrTooLarge, limit)
	case n == 0:
		return errors.New("the remote sent an empty pack")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := vetPack(f, r.opt.maxObject()); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return c.install(f)
}

func (c *clone) has(h plumbing.Hash) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store.HasEncodedObject(h) == nil
}

// recent lists up to n of the clone's commits along the first-parent chain.
func (c *clone) recent(n int) []plumbing.Hash {
	var out []plumbing.Hash
	c.mu.Lock()
	defer c.mu.Unlock()
	for h := c.head; len(out) < n && !h.IsZero(); {
		commit, err := c.commitLocked(h)
		if err != nil {
			break
		}
		out = append(out, h)
		if h = plumbing.ZeroHash; len(commit.ParentHashes) > 0 {
			h = commit.ParentHashes[0]
		}
	}
	return out
}
