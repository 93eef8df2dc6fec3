package gitrepo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// current is the file of that name in the state folder.
type current struct {
	Format  string `json:"format"`
	Clone   string `json:"clone"`   // the folder in force
	Address string `json:"address"` // of what, without credentials
	Asked   string `json:"asked"`   // the branch as configured, may be empty
	Branch  string `json:"branch"`  // the branch it is
	Whole   bool   `json:"whole"`   // cloned without a depth
}

const currentFormat = "rampart-clone/v1"

// state is the folder that clones live in. One goroutine at a time uses it.
type state struct {
	dir       string
	temporary bool
	release   func() error
}

// openState makes and locks the folder. An empty name is a temporary folder,
// gone at close.
func openState(ctx context.Context, dir string) (*state, error) {
	s := &state{dir: dir}
	if dir == "" {
		var err error
		if s.dir, err = os.MkdirTemp("", "rampart-git-"); err != nil {
			return nil, err
		}
		s.temporary = true
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	release, err := lockFile(ctx, filepath.Join(s.dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", s.dir, err)
	}
	s.release = release
	return s, nil
}

func (s *state) close() error {
	err := s.release()
	if s.temporary {
		return errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// load opens the clone in force, or returns nil where there is none that reads
// back as a clone of this address and branch. All other clones are removed.
func (s *state) load(address, asked string) (*clone, error) {
	var cur current
	b, err := os.ReadFile(filepath.Join(s.dir, "current"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	usable := err == nil && json.Unmarshal(b, &cur) == nil && cur.Format == currentFormat &&
		cur.Address == address && cur.Asked == asked && cloneNumber(cur.Clone) > 0
	keep := ""
	var c *clone
	if usable {
		if c, err = loadClone(filepath.Join(s.dir, cur.Clone), cur); err == nil {
			keep = cur.Clone
		} else {
			c = nil // whatever is wrong with it, the remote has it all
		}
	}
	return c, s.prune(keep)
}

// next makes an empty clone under a new number. It is in force only after swap.
func (s *state) next() (*clone, error) {
	names, err := s.clones()
	if err != nil {
		return nil, err
	}
	n := 0
	for _, name := range names {
		n = max(n, cloneNumber(name))
	}
	return makeClone(filepath.Join(s.dir, "clone-"+strconv.Itoa(n+1)))
}

// swap puts a clone in force. The old ones stay until prune.
func (s *state) swap(c *clone, address, asked string) error {
	b, err := json.Marshal(current{currentFormat, filepath.Base(c.dir), address, asked, c.branch, c.whole})
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(s.dir, "current"), append(b, '\n'))
}

// prune removes all clones but one.
func (s *state) prune(keep string) error {
	names, err := s.clones()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != keep {
			if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
				return fmt.Errorf("removing an old clone: %w", err)
			}
		}
	}
	left, _ := filepath.Glob(filepath.Join(s.dir, ".tmp-*"))
	for _, name := range left {
		_ = os.Remove(name)
	}
	return nil
}

func (s *state) clones() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && cloneNumber(e.Name()) > 0 {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// cloneNumber is n of "clone-<n>", or 0.
func cloneNumber(name string) int {
	digits, ok := strings.CutPrefix(name, "clone-")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 || strconv.Itoa(n) != digits {
		return 0
	}
	return n
}
