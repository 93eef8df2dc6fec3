package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// File is one file of a commit.
type File struct {
	Path string
	Data []byte
	// Err says why Data is not there: ErrNotRegular or ErrTooLarge. Whoever can
	// push can add such a file, and it must not hide those beside it.
	Err error
}

// maxGlob is how many files one ReadGlob gives.
const maxGlob = 256

// Commit reads one commit. ErrNoCommit when the clone does not have it.
func (r *Repo) Commit(_ context.Context, hash string) (Commit, error) {
	h, err := parseHash(hash)
	if err != nil {
		return Commit{}, err
	}
	var out Commit
	err = r.read(func(c *clone) error {
		commit, err := c.commit(h)
		if err == nil {
			out = newCommit(commit)
		}
		return err
	})
	return out, err
}

// ReadFile reads a regular file of at most max bytes as a commit has it:
// ErrNotExist, ErrNotRegular or ErrTooLarge where it is not one.
func (r *Repo) ReadFile(_ context.Context, commit, name string, max int64) ([]byte, error) {
	h, err := parseHash(commit)
	if err != nil {
		return nil, err
	}
	if err := checkPath(name); err != nil {
		return nil, err
	}
	var out []byte
	err = r.read(func(c *clone) error {
		root, err := c.root(h)
		if err != nil {
			return err
		}
		e, err := c.entry(root, name)
		if err != nil {
			return err
		}
		out, err = c.file(e, max)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s at %s: %w", name, short(commit), err)
	}
	return out, nil
}

// ReadGlob reads the files of one folder whose names match, sorted: the folder
// is taken as it is, and the last element of pattern is for [path.Match]. None
// is no error. Each file has at most max bytes, or says so in its Err. More
// than 256 matches are ErrTooLarge.
func (r *Repo) ReadGlob(_ context.Context, commit, pattern string, max int64) ([]File, error) {
	h, err := parseHash(commit)
	if err != nil {
		return nil, err
	}
	folder, last := path.Split(pattern)
	var out []File
	err = r.read(func(c *clone) error {
		root, err := c.root(h)
		if err != nil {
			return err
		}
		out, err = c.glob(root, strings.TrimSuffix(folder, "/"), last, max)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s at %s: %w", pattern, short(commit), err)
	}
	return out, nil
}

func (c *clone) glob(root plumbing.Hash, folder, pattern string, max int64) ([]File, error) {
	t, err := c.folder(root, folder)
	if errors.Is(err, ErrNotExist) || errors.Is(err, ErrNotRegular) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []File
	for _, e := range t.Entries { // sorted by name: git's own order, folders aside
		ok, err := path.Match(pattern, e.Name)
		if err != nil {
			return nil, err
		}
		if !ok || e.Mode == filemode.Dir {
			continue
		}
		if len(out) == maxGlob {
			return nil, fmt.Errorf("%w: more than %d files match", ErrTooLarge, maxGlob)
		}
		f := File{Path: path.Join(folder, e.Name)}
		f.Data, f.Err = c.file(e, max)
		if f.Err != nil && !errors.Is(f.Err, ErrNotRegular) && !errors.Is(f.Err, ErrTooLarge) {
			return nil, f.Err
		}
		out = append(out, f)
	}
	return out, nil
}

// root is a commit's tree.
func (c *clone) root(h plumbing.Hash) (plumbing.Hash, error) {
	commit, err := c.commit(h)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return commit.TreeHash, nil
}

// entry finds a path in a tree.
func (c *clone) entry(root plumbing.Hash, name string) (object.TreeEntry, error) {
	folder, last := path.Split(name)
	t, err := c.folder(root, strings.TrimSuffix(folder, "/"))
	if err != nil {
		return object.TreeEntry{}, err
	}
	return find(t, last)
}

// folder finds a folder's tree; an empty name is the root.
func (c *clone) folder(root plumbing.Hash, name string) (*object.Tree, error) {
	t, err := c.tree(root)
	if err != nil || name == "" {
		return t, err
	}
	for _, part := range strings.Split(name, "/") {
		e, err := find(t, part)
		if err != nil {
			return nil, err
		}
		if e.Mode != filemode.Dir {
			return nil, fmt.Errorf("%w: %s in its path is a %s", ErrNotRegular, part, modeName(e.Mode))
		}
		if t, err = c.tree(e.Hash); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// find looks a name up by going through the entries: go-git's own look-up makes
// a map of them first, which does not pay for one name.
func find(t *object.Tree, name string) (object.TreeEntry, error) {
	for _, e := range t.Entries {
		if e.Name == name {
			return e, nil
		}
	}
	return object.TreeEntry{}, ErrNotExist
}

func (c *clone) file(e object.TreeEntry, max int64) ([]byte, error) {
	switch e.Mode {
	case filemode.Regular, filemode.Executable, filemode.Deprecated:
		return c.object(plumbing.BlobObject, e.Hash, max)
	}
	return nil, fmt.Errorf("%w: it is a %s", ErrNotRegular, modeName(e.Mode))
}

func modeName(m filemode.FileMode) string {
	switch m {
	case filemode.Symlink:
		return "symbolic link"
	case filemode.Submodule:
		return "submodule"
	case filemode.Dir:
		return "folder"
	case filemode.Regular, filemode.Executable, filemode.Deprecated:
		return "file"
	}
	return fmt.Sprintf("thing of mode %o", uint32(m))
}
