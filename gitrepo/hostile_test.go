package gitrepo

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// FuzzHostileObjects: a commit and a tree are made of whatever bytes somebody
// pushed. Reading them gives a file or one of the package's errors, and an
// error gives no file.
func FuzzHostileObjects(f *testing.F) {
	c, err := makeClone(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	store := func(t testing.TB, kind plumbing.ObjectType, b []byte) plumbing.Hash {
		o := &plumbing.MemoryObject{}
		o.SetType(kind)
		if _, err := o.Write(b); err != nil {
			t.Fatal(err)
		}
		h, err := c.store.SetEncodedObject(o)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	blob := store(f, plumbing.BlobObject, []byte("content\n"))
	entry := append([]byte("100644 flags.json\x00"), blob[:]...)
	commit := "author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nm\n"
	f.Add(entry, commit)
	f.Add(append([]byte("120000 flags.json\x00"), blob[:]...), commit)
	f.Add(append([]byte("40000 flags.json\x00"), blob[:]...), "parent "+blob.String()+"\n"+commit)
	f.Add([]byte("100644 flags.json"), "author <\ngpgsig x\n y\n\n")
	f.Add(append(append([]byte{}, entry...), entry...), "tree 0\nencoding x\n\n\x00")
	known := []error{ErrNotExist, ErrNotRegular, ErrTooLarge, ErrNoCommit, ErrDamaged, errCut, errOff, ErrRewritten}
	f.Fuzz(func(t *testing.T, tree []byte, rest string) {
		root := store(t, plumbing.TreeObject, tree)
		h := store(t, plumbing.CommitObject, []byte("tree "+root.String()+"\n"+rest))
		check := func(what string, got int, err error) {
			if err == nil {
				return
			}
			if got != 0 {
				t.Errorf("%s: an error, and yet something: %v", what, err)
			}
			for _, k := range known {
				if errors.Is(err, k) {
					return
				}
			}
			t.Errorf("%s: an error of no kind: %v", what, err)
		}
		e, err := c.entry(root, "flags.json")
		check("entry", len(e.Name), err)
		if err == nil {
			b, err := c.file(e, 100)
			check("file", len(b), err)
		}
		files, err := c.glob(root, "", "*", 100)
		check("glob", len(files), err)
		match, err := newMatcher([]string{"flags.json*", "specs/"})
		if err != nil {
			t.Fatal(err)
		}
		commits, err := c.walk(context.Background(), plumbing.ZeroHash, h, match)
		check("walk", len(commits), err)
		_, err = c.isAncestor(context.Background(), blob, h)
		check("ancestry", 0, err)
		_, _ = VerifyCommit([]byte(rest), nil, commitTime)
	})
}

var commitTime = time.Unix(1e9, 0)
