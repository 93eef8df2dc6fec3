package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// objectCache bounds what is kept inflated: delta bases, mostly. It is what
// makes reading many versions of one file in order cheap.
const objectCache = 16 * cache.MiByte

// clone is one bare repository of the state folder. Its lock guards the store,
// which is not safe for concurrent use; hold it for short.
type clone struct {
	mu      sync.Mutex
	dir     string
	store   *filesystem.Storage
	branch  string
	head    plumbing.Hash // zero: nothing fetched yet
	shallow map[plumbing.Hash]bool
	packs   int
	whole   bool                   // cloned without a depth: what is cut off, the remote does not have either
	made    map[plumbing.Hash]bool // commits that CommitFiles made
}

func newClone(dir string) *clone {
	return &clone{dir: dir, shallow: map[plumbing.Hash]bool{}, made: map[plumbing.Hash]bool{}}
}

// makeClone initialises an empty bare repository in a folder of its own.
func makeClone(dir string) (*clone, error) {
	if err := os.MkdirAll(filepath.Join(dir, "refs", "heads"), 0o700); err != nil {
		return nil, err
	}
	files := map[string]string{
		"HEAD":   "ref: refs/heads/main\n",
		"config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
	}
	for name, content := range files {
		if err := writeFile(filepath.Join(dir, name), []byte(content)); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "objects", "pack"), 0o700); err != nil {
		return nil, err
	}
	c := newClone(dir)
	c.open()
	return c, nil
}

// loadClone opens a clone that an earlier process made, and reads back what a
// first pass will need: every pack's index, the head and its tree.
func loadClone(dir string, cur current) (*clone, error) {
	if err := sweep(dir); err != nil {
		return nil, err
	}
	c := newClone(dir)
	c.branch, c.whole = cur.Branch, cur.Whole
	c.open()
	if err := c.readBack(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *clone) readBack() error {
	ref, err := os.ReadFile(c.refPath())
	if err != nil {
		return err
	}
	name := strings.TrimSuffix(string(ref), "\n")
	if c.head, err = parseHash(name); err != nil {
		return fmt.Errorf("%w: its branch does not read", ErrDamaged)
	}
	shallow, err := c.store.Shallow()
	if err != nil {
		return err
	}
	for _, h := range shallow {
		c.shallow[h] = true
	}
	packs, err := c.store.ObjectPacks()
	if err != nil {
		return err
	}
	c.packs = len(packs)
	head, err := c.commit(c.head)
	if err != nil {
		return err
	}
	if _, err := c.tree(head.TreeHash); err != nil {
		return err
	}
	return nil
}

func (c *clone) open() {
	c.store = filesystem.NewStorageWithOptions(osfs.New(c.dir), cache.NewObjectLRU(objectCache), filesystem.Options{
		KeepDescriptors: true,
	})
}

func (c *clone) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.store.Close()
}

func (c *clone) refPath() string {
	return filepath.Join(c.dir, "refs", "heads", filepath.FromSlash(c.branch))
}

// setHead records where the branch is, atomically.
func (c *clone) setHead(branch string, h plumbing.Hash) error {
	name := plumbing.NewBranchReferenceName(branch)
	if err := name.Validate(); err != nil {
		return fmt.Errorf("branch name %q: %w", branch, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.branch != branch {
		if err := writeFile(filepath.Join(c.dir, "HEAD"), []byte("ref: "+name.String()+"\n")); err != nil {
			return err
		}
	}
	c.branch = branch
	if err := os.MkdirAll(filepath.Dir(c.refPath()), 0o700); err != nil {
		return err
	}
	if err := writeFile(c.refPath(), []byte(h.String()+"\n")); err != nil {
		return err
	}
	c.head = h
	return nil
}

func (c *clone) setShallow(hs []plumbing.Hash) error {
	if len(hs) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range hs {
		c.shallow[h] = true
	}
	var b bytes.Buffer
	for h := range c.shallow {
		fmt.Fprintln(&b, h)
	}
	return writeFile(filepath.Join(c.dir, "shallow"), b.Bytes())
}

// install adds a pack that was received and vetted.
func (c *clone) install(pack io.Reader) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, err := c.store.PackfileWriter()
	if err != nil {
		return err
	}
	_, err = io.Copy(w, pack)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = sweep(c.dir)
		return err
	}
	c.packs++
	return nil
}

// commit reads one commit. Missing is ErrNoCommit; what does not read back is
// ErrDamaged. The caller holds no lock.
func (c *clone) commit(h plumbing.Hash) (*object.Commit, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commitLocked(h)
}

func (c *clone) commitLocked(h plumbing.Hash) (*object.Commit, error) {
	o, err := c.store.EncodedObject(plumbing.AnyObject, h)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return nil, fmt.Errorf("%w: %s", ErrNoCommit, h)
	}
	if err != nil {
		return nil, damaged("commit", h, err)
	}
	if o.Type() != plumbing.CommitObject {
		return nil, fmt.Errorf("%w: %s is a %s", ErrNoCommit, h, o.Type())
	}
	commit := &object.Commit{}
	if err := commit.Decode(o); err != nil {
		return nil, damaged("commit", h, err)
	}
	return commit, nil
}

func (c *clone) tree(h plumbing.Hash) (*object.Tree, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.treeLocked(h)
}

func (c *clone) treeLocked(h plumbing.Hash) (*object.Tree, error) {
	t, err := object.GetTree(c.store, h)
	if err != nil {
		return nil, damaged("tree", h, err)
	}
	return t, nil
}

// object reads a whole object of at most max bytes.
func (c *clone) object(kind plumbing.ObjectType, h plumbing.Hash, max int64) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, err := c.store.EncodedObject(kind, h)
	if err != nil {
		return nil, damaged(kind.String(), h, err)
	}
	if o.Size() > max {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, o.Size(), max)
	}
	rd, err := o.Reader()
	if err != nil {
		return nil, damaged(kind.String(), h, err)
	}
	defer rd.Close()
	b := make([]byte, o.Size())
	if _, err := io.ReadFull(rd, b); err != nil {
		return nil, damaged(kind.String(), h, err)
	}
	return b, nil
}

func damaged(what string, h plumbing.Hash, err error) error {
	return fmt.Errorf("%w: reading %s %s: %v", ErrDamaged, what, h, err) //nolint:errorlint // the library's cause is for people only
}

// sweep removes what a killed process leaves behind in a clone: packs being
// received, and indexes whose pack never arrived (which would be believed).
func sweep(dir string) error {
	pack := filepath.Join(dir, "objects", "pack")
	entries, err := os.ReadDir(pack)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, e := range entries {
		have[e.Name()] = true
	}
	for name := range have {
		base, isIdx := strings.CutSuffix(name, ".idx")
		if strings.HasPrefix(name, "tmp_") || isIdx && !have[base+".pack"] {
			if err := os.Remove(filepath.Join(pack, name)); err != nil {
				return err
			}
		}
	}
	left, _ := filepath.Glob(filepath.Join(dir, "incoming-*"))
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// vetPack reads through a pack before it is indexed, for indexing holds each
// object in memory: a small pack may inflate to anything.
func vetPack(pack io.Reader, maxObject int64) error {
	s := packfile.NewScanner(pack)
	_, count, err := s.Header()
	if err != nil {
		return fmt.Errorf("reading the pack that the remote sent: %w", err)
	}
	if count > maxObjects {
		return fmt.Errorf("%w: a pack of %d objects, at most %d", ErrTooLarge, count, maxObjects)
	}
	for range count {
		h, err := s.NextObjectHeader()
		if err != nil {
			return fmt.Errorf("reading the pack that the remote sent: %w", err)
		}
		size, w := h.Length, &head{}
		if size > maxObject {
			return tooLargeObject(size, maxObject)
		}
		if _, _, err := s.NextObject(w); err != nil {
			return fmt.Errorf("reading the pack that the remote sent: %w", err)
		}
		if h.Type.IsDelta() {
			if size = deltaTarget(w.b); size > maxObject {
				return tooLargeObject(size, maxObject)
			}
		}
	}
	return nil
}

func tooLargeObject(size, max int64) error {
	return fmt.Errorf("%w: an object of %d bytes, at most %d", ErrTooLarge, size, max)
}

// head keeps the first bytes written to it.
type head struct{ b []byte }

func (h *head) Write(p []byte) (int, error) {
	if n := 32 - len(h.b); n > 0 {
		h.b = append(h.b, p[:min(n, len(p))]...)
	}
	return len(p), nil
}

// deltaTarget reads the size of a delta's result: the second of the two
// little-endian base-128 numbers it begins with (gitformat-pack).
func deltaTarget(b []byte) int64 {
	var n uint64
	for range 2 {
		n = 0
		for shift := 0; len(b) > 0; shift += 7 {
			c := b[0]
			b = b[1:]
			if shift < 63 {
				n |= uint64(c&0x7f) << shift
			}
			if c&0x80 == 0 {
				break
			}
		}
	}
	return int64(min(n, 1<<62))
}

// writeFile replaces a file by a rename, so that a reader sees all of the old
// or all of the new, also after a crash.
func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
