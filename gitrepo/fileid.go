package gitrepo

import (
	"context"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// FileID is git's own name for the content of a regular file as a commit has it: two
// files with the same id hold the same bytes. The content itself is not read.
// ErrNotExist or ErrNotRegular where it is not one.
func (r *Repo) FileID(_ context.Context, commit, name string) (string, error) {
	h, err := parseHash(commit)
	if err != nil {
		return "", err
	}
	var out string
	err = r.read(func(c *clone) error {
		root, err := c.root(h)
		if err != nil {
			return err
		}
		e, err := c.entry(root, name)
		if err != nil {
			return err
		}
		switch e.Mode {
		case filemode.Regular, filemode.Executable, filemode.Deprecated:
			out = e.Hash.String()
			return nil
		}
		return fmt.Errorf("%w: it is a %s", ErrNotRegular, modeName(e.Mode))
	})
	if err != nil {
		return "", fmt.Errorf("looking up %s at %s: %w", name, short(commit), err)
	}
	return out, nil
}
