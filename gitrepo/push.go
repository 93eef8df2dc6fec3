package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// maxNewCommits is how many commits one push may carry. They are those that
// CommitFiles made; a longer way to a commit that the remote has is a mistake.
const maxNewCommits = 1000

// Push points a branch of the remote at a commit, if the branch is now at
// expect; an empty expect means that the branch must not exist. An empty hash
// deletes the branch. The check is the server's own, made with the update.
//
// ErrMoved when the branch is elsewhere: fetch, look, and decide anew. When it
// is already where it should go, that is success. ErrRejected when the server
// refuses the update for a reason of its own.
func (r *Repo) Push(ctx context.Context, hash, branch, expect string) error {
	cmd, err := pushCommand(hash, branch, expect)
	if err != nil {
		return err
	}
	r.writing.Lock()
	defer r.writing.Unlock()
	ctx, cancel := r.bound(ctx, 1)
	defer cancel()
	err = r.push(ctx, cmd)
	if err == nil || errors.Is(err, ErrMoved) || ctx.Err() != nil {
		return err
	}
	if errors.Is(err, ErrRejected) {
		// The server's reason is prose. Whether another push was faster, the
		// branch itself says.
		if now, lerr := r.remoteRef(ctx, cmd.Name); lerr == nil && now != cmd.Old {
			return moved(branch, now)
		}
	}
	return err
}

func pushCommand(hash, branch, expect string) (*packp.Command, error) {
	cmd := &packp.Command{Name: plumbing.NewBranchReferenceName(branch)}
	if err := cmd.Name.Validate(); err != nil {
		return nil, fmt.Errorf("pushing: branch name %q: %w", branch, err)
	}
	var err error
	if hash != "" {
		if cmd.New, err = parseHash(hash); err != nil {
			return nil, fmt.Errorf("pushing %s: %w", branch, err)
		}
	}
	if expect != "" {
		if cmd.Old, err = parseHash(expect); err != nil {
			return nil, fmt.Errorf("pushing %s: %w", branch, err)
		}
	}
	if cmd.Action() == packp.Invalid {
		return nil, fmt.Errorf("pushing %s: neither a commit nor an expected one", branch)
	}
	return cmd, nil
}

func (r *Repo) push(ctx context.Context, cmd *packp.Command) error {
	branch := cmd.Name.Short()
	s, refs, err := r.remote.receivePack(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	now := refs.References[cmd.Name.String()]
	if now == cmd.New {
		return nil
	}
	if now != cmd.Old {
		return moved(branch, now)
	}
	req := packp.NewReferenceUpdateRequestFromCapabilities(refs.Capabilities)
	req.Commands = []*packp.Command{cmd}
	said := &said{}
	if refs.Capabilities.Supports(capability.Sideband64k) {
		if err := req.Capabilities.Set(capability.Sideband64k); err != nil {
			return err
		}
		req.Progress = said
	}
	if !cmd.New.IsZero() {
		known := map[plumbing.Hash]bool{cmd.Old: true}
		for _, h := range refs.References {
			known[h] = true
		}
		pack, err := r.packFor(ctx, cmd.New, known, !refs.Capabilities.Supports(capability.OFSDelta))
		if err != nil {
			return fmt.Errorf("pushing %s: %w", branch, err)
		}
		req.Packfile = io.NopCloser(bytes.NewReader(pack))
	}
	report, err := s.ReceivePack(ctx, req)
	if why := refusal(report); why != "" {
		if said := strings.TrimSpace(said.b.String()); said != "" {
			why += ": " + said
		}
		return &remoteError{doing: "pushing " + branch, address: r.remote.shown, why: ErrRejected, detail: r.remote.scrub(why)}
	}
	if err != nil {
		return r.remote.explain(ctx, "pushing "+branch, err)
	}
	return nil
}

func moved(branch string, now plumbing.Hash) error {
	if now.IsZero() {
		return fmt.Errorf("pushing %s: %w: it does not exist", branch, ErrMoved)
	}
	return fmt.Errorf("pushing %s: %w: it is at %s", branch, ErrMoved, short(now.String()))
}

// refusal is the server's reason not to do as asked, or "".
func refusal(report *packp.ReportStatus) string {
	if report == nil {
		return ""
	}
	if report.UnpackStatus != "ok" {
		return report.UnpackStatus
	}
	for _, c := range report.CommandStatuses {
		if c.Status != "ok" {
			return c.Status
		}
	}
	return ""
}

// said keeps the first of what the server's hooks print.
type said struct{ b bytes.Buffer }

func (s *said) Write(p []byte) (int, error) {
	if room := 1024 - s.b.Len(); room > 0 {
		s.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// receivePack opens a session to push and reads what the remote advertises.
func (r *remote) receivePack(ctx context.Context) (transport.ReceivePackSession, *packp.AdvRefs, error) {
	method, err := r.method()
	if err != nil {
		return nil, nil, err
	}
	ep, done := r.dial(ctx)
	defer done()
	s, err := r.client.NewReceivePackSession(ep, method)
	if err != nil {
		return nil, nil, r.explain(ctx, "connecting", err)
	}
	refs, err := s.AdvertisedReferencesContext(ctx)
	if err != nil {
		_ = s.Close()
		return nil, nil, r.explain(ctx, "connecting to push", err)
	}
	if refs == nil { // an empty repository, over some transports
		refs = packp.NewAdvRefs()
	}
	return s, refs, nil
}

// remoteRef asks where one branch of the remote is; zero: nowhere.
func (r *Repo) remoteRef(ctx context.Context, name plumbing.ReferenceName) (plumbing.Hash, error) {
	s, refs, err := r.remote.upload(ctx)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer s.Close()
	return refs.References[name.String()], nil
}

// RemoteBranches lists the remote's branches whose names begin with prefix, and
// where they are. An empty repository has none.
func (r *Repo) RemoteBranches(ctx context.Context, prefix string) (map[string]string, error) {
	ctx, cancel := r.bound(ctx, 1)
	defer cancel()
	out := map[string]string{}
	s, refs, err := r.remote.upload(ctx)
	if errors.Is(err, ErrNoBranch) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for name, h := range refs.References {
		if branch, ok := strings.CutPrefix(name, "refs/heads/"); ok && strings.HasPrefix(branch, prefix) {
			out[branch] = h.String()
		}
	}
	return out, nil
}

// packFor makes a pack of what a remote lacks for a commit, when it has the
// known ones and all behind the branch that we fetched.
func (r *Repo) packFor(ctx context.Context, tip plumbing.Hash, known map[plumbing.Hash]bool, refDeltas bool) ([]byte, error) {
	var b bytes.Buffer
	err := r.read(func(c *clone) error {
		var objects []plumbing.Hash
		seen := map[plumbing.Hash]bool{}
		queue := []plumbing.Hash{tip}
		for n := 0; len(queue) > 0; n++ {
			h := queue[0]
			queue = queue[1:]
			if seen[h] || known[h] {
				continue
			}
			seen[h] = true
			fetched, err := c.fetched(ctx, h)
			if err != nil {
				return err
			}
			if fetched {
				continue
			}
			if n == maxNewCommits {
				return fmt.Errorf("more than %d commits that the remote does not have", maxNewCommits)
			}
			commit, err := c.commit(h)
			if err != nil {
				return err
			}
			objects = append(objects, h)
			var old plumbing.Hash
			if len(commit.ParentHashes) > 0 {
				if old, err = c.root(commit.ParentHashes[0]); err != nil {
					return err
				}
			}
			if objects, err = c.newObjects(objects, seen, commit.TreeHash, old); err != nil {
				return err
			}
			queue = append(queue, commit.ParentHashes...)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		_, err := packfile.NewEncoder(&b, c.store, refDeltas).Encode(objects, 10)
		return err
	})
	return b.Bytes(), err
}

// fetched tells whether a commit came with the branch, so that the remote has
// it (or had it).
func (c *clone) fetched(ctx context.Context, h plumbing.Hash) (bool, error) {
	if c.made[h] || c.head.IsZero() {
		return false, nil
	}
	ok, err := c.isAncestor(ctx, h, c.head)
	if errors.Is(err, errCut) {
		return c.shallow[h], nil
	}
	return ok, err
}

// newObjects adds the trees and blobs of a tree that are not at the same place
// in the old one.
func (c *clone) newObjects(out []plumbing.Hash, seen map[plumbing.Hash]bool, tree, old plumbing.Hash) ([]plumbing.Hash, error) {
	if tree == old || seen[tree] {
		return out, nil
	}
	seen[tree] = true
	out = append(out, tree)
	t, err := c.tree(tree)
	if err != nil {
		return nil, err
	}
	before := map[string]plumbing.Hash{}
	if !old.IsZero() {
		o, err := c.tree(old)
		if err != nil {
			return nil, err
		}
		for _, e := range o.Entries {
			before[modeName(e.Mode)+" "+e.Name] = e.Hash
		}
	}
	for _, e := range t.Entries {
		was := before[modeName(e.Mode)+" "+e.Name]
		switch kind := modeName(e.Mode); {
		case e.Hash == was || kind == "submodule":
		case kind == "folder":
			if out, err = c.newObjects(out, seen, e.Hash, was); err != nil {
				return nil, err
			}
		case !seen[e.Hash]:
			seen[e.Hash] = true
			out = append(out, e.Hash)
		}
	}
	return out, nil
}
