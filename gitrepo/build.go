package gitrepo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// CommitFiles makes a commit on top of parent in which the files have the given
// contents; nil removes one. All else stays as parent has it, modes included.
// An empty parent makes a first commit. Nothing is pushed, and no branch moves.
// The same arguments give the same hash, if author has a date. ErrUnchanged
// when the parent holds exactly this already.
func (r *Repo) CommitFiles(_ context.Context, parent string, files map[string][]byte, message string, author Person) (string, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	if err := r.ensureClone(); err != nil {
		return "", err
	}
	for name := range files {
		if err := checkPath(name); err != nil {
			return "", fmt.Errorf("committing: %w", err)
		}
	}
	var out plumbing.Hash
	err := r.read(func(c *clone) (err error) {
		out, err = c.build(parent, files, message, author)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("committing on %s: %w", cmp.Or(short(parent), "nothing"), err)
	}
	return out.String(), nil
}

// ensureClone makes an empty clone where nothing was fetched, so that a first
// commit has a place. It is in force in memory only.
func (r *Repo) ensureClone() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.clone != nil {
		return nil
	}
	c, err := r.state.next()
	r.clone = c
	return err
}

func (c *clone) build(parent string, files map[string][]byte, message string, author Person) (plumbing.Hash, error) {
	var base plumbing.Hash
	var parents []plumbing.Hash
	if parent != "" {
		h, err := parseHash(parent)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		if base, err = c.root(h); err != nil {
			return plumbing.ZeroHash, err
		}
		parents = []plumbing.Hash{h}
	}
	who, err := author.signature()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if strings.TrimSpace(message) == "" || strings.ContainsRune(message, 0) {
		return plumbing.ZeroHash, errors.New("the message is empty or holds a zero byte")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	tree, err := c.writeTree(base, files)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if tree == base {
		return plumbing.ZeroHash, ErrUnchanged
	}
	h, err := c.put(&object.Commit{
		Author: who, Committer: who, TreeHash: tree, ParentHashes: parents,
		Message: strings.TrimRight(message, "\n") + "\n",
	})
	if err == nil {
		c.made[h] = true
	}
	return h, err
}

func (p Person) signature() (object.Signature, error) {
	if strings.TrimSpace(p.Name) == "" || strings.ContainsAny(p.Name+p.Email, "<>\n\r\x00") {
		return object.Signature{}, fmt.Errorf("author %q <%s> cannot stand in a commit", p.Name, p.Email)
	}
	when := p.When
	if when.IsZero() {
		when = time.Now()
	}
	return object.Signature{Name: p.Name, Email: p.Email, When: when}, nil
}

// checkPath refuses what git itself would not check out.
func checkPath(name string) error {
	if name == "" || path.Clean("/"+name) != "/"+name || strings.ContainsAny(name, "\x00\n\\") {
		return fmt.Errorf("%q is not a path in a repository", name)
	}
	for _, part := range strings.Split(name, "/") {
		if strings.EqualFold(part, ".git") || strings.EqualFold(part, "git~1") {
			return fmt.Errorf("%q is not a path in a repository", name)
		}
	}
	return nil
}

// writeTree gives a tree that is base but for the files, whose paths are
// relative to it. The caller holds c.mu.
func (c *clone) writeTree(base plumbing.Hash, files map[string][]byte) (plumbing.Hash, error) {
	t := &object.Tree{}
	if !base.IsZero() {
		var err error
		if t, err = c.treeLocked(base); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	entries := slices.Clone(t.Entries)
	below := map[string]map[string][]byte{}
	for name, data := range files {
		if folder, rest, ok := strings.Cut(name, "/"); ok {
			if below[folder] == nil {
				below[folder] = map[string][]byte{}
			}
			below[folder][rest] = data
			continue
		}
		var err error
		if entries, err = c.setFile(entries, name, data); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	for folder, files := range below {
		i := slices.IndexFunc(entries, func(e object.TreeEntry) bool { return e.Name == folder })
		var old plumbing.Hash
		if i >= 0 {
			if entries[i].Mode != filemode.Dir {
				return plumbing.ZeroHash, fmt.Errorf("%w: %s is a %s, not a folder", ErrNotRegular, folder, modeName(entries[i].Mode))
			}
			old = entries[i].Hash
			entries = slices.Delete(entries, i, i+1)
		}
		h, err := c.writeTree(old, files)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		if h != emptyTree {
			entries = append(entries, object.TreeEntry{Name: folder, Mode: filemode.Dir, Hash: h})
		}
	}
	slices.SortFunc(entries, func(a, b object.TreeEntry) int { return cmp.Compare(sortName(a), sortName(b)) })
	return c.put(&object.Tree{Entries: entries})
}

// emptyTree is the name of the tree without entries, which git keeps no folder for.
var emptyTree = plumbing.NewHash("4b825dc642cb6eb9a060e54bf8d69288fbee4904")

// sortName orders entries as git does: a folder as if its name ended in "/".
func sortName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

func (c *clone) setFile(entries []object.TreeEntry, name string, data []byte) ([]object.TreeEntry, error) {
	i := slices.IndexFunc(entries, func(e object.TreeEntry) bool { return e.Name == name })
	if i >= 0 && !entries[i].Mode.IsFile() || i >= 0 && entries[i].Mode == filemode.Symlink {
		return nil, fmt.Errorf("%w: %s is a %s", ErrNotRegular, name, modeName(entries[i].Mode))
	}
	if data == nil {
		if i < 0 {
			return nil, fmt.Errorf("removing %s: %w", name, ErrNotExist)
		}
		return slices.Delete(entries, i, i+1), nil
	}
	o := c.store.NewEncodedObject()
	o.SetType(plumbing.BlobObject)
	w, err := o.Writer()
	if err != nil {
		return nil, err
	}
	if _, err := bytes.NewReader(data).WriteTo(w); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	h, err := c.store.SetEncodedObject(o)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", name, err)
	}
	if i >= 0 {
		entries[i].Hash = h
		return entries, nil
	}
	return append(entries, object.TreeEntry{Name: name, Mode: filemode.Regular, Hash: h}), nil
}

// put stores a tree or a commit.
func (c *clone) put(v interface {
	Encode(plumbing.EncodedObject) error
}) (plumbing.Hash, error) {
	o := c.store.NewEncodedObject()
	if err := v.Encode(o); err != nil {
		return plumbing.ZeroHash, err
	}
	return c.store.SetEncodedObject(o)
}
