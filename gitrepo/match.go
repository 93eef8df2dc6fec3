package gitrepo

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// matcher is a set of paths, by folder.
type matcher struct {
	folders []folderMatch
	// memo holds the fingerprint of a folder's part by the hash of the tree that
	// was looked into: most commits leave most of them alone.
	memo map[memoKey]string
}

type folderMatch struct {
	name     string
	exact    []string
	prefixes []string
}

type memoKey struct {
	tree   plumbing.Hash
	folder string
}

func newMatcher(paths []string) (*matcher, error) {
	if len(paths) == 0 {
		return nil, errors.New("walking history: no paths given")
	}
	m := &matcher{memo: map[memoKey]string{}}
	for _, p := range paths {
		clean := strings.TrimSuffix(strings.TrimSuffix(p, "*"), "/")
		if clean == "" && p != "*" || path.Clean("/"+clean) != "/"+clean || strings.Contains(clean, "*") {
			return nil, fmt.Errorf("walking history: %q is not a path in a repository", p)
		}
		folder, last := path.Split(strings.TrimSuffix(p, "/"))
		f := m.folder(strings.TrimSuffix(folder, "/"))
		if prefix, ok := strings.CutSuffix(last, "*"); ok {
			f.prefixes = append(f.prefixes, prefix)
		} else {
			f.exact = append(f.exact, last)
		}
	}
	return m, nil
}

func (m *matcher) folder(name string) *folderMatch {
	for i := range m.folders {
		if m.folders[i].name == name {
			return &m.folders[i]
		}
	}
	m.folders = append(m.folders, folderMatch{name: name})
	return &m.folders[len(m.folders)-1]
}

func (f *folderMatch) has(name string) bool {
	for _, e := range f.exact {
		if e == name {
			return true
		}
	}
	for _, p := range f.prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func (c *clone) fingerprint(h plumbing.Hash, match *matcher) (string, error) {
	root, err := c.root(h)
	if err != nil {
		return "", err
	}
	return c.fingerprintTree(root, match)
}

// fingerprintTree is equal for two trees if and only if they hold the same at
// the paths. It reads trees only, and of those only the ones that differ from
// what it saw before.
func (c *clone) fingerprintTree(root plumbing.Hash, match *matcher) (string, error) {
	if len(match.folders) == 1 {
		return c.fingerprintFolder(root, match.folders[0].name, &match.folders[0], match)
	}
	var b strings.Builder
	for i := range match.folders {
		f := &match.folders[i]
		part, err := c.fingerprintFolder(root, f.name, f, match)
		if err != nil {
			return "", err
		}
		b.WriteString(part)
		b.WriteByte('\n')
	}
	return b.String(), nil
}

func (c *clone) fingerprintFolder(tree plumbing.Hash, below string, f *folderMatch, match *matcher) (string, error) {
	key := memoKey{tree, f.name + "\x00" + below}
	if s, ok := match.memo[key]; ok {
		return s, nil
	}
	t, err := c.tree(tree)
	if err != nil {
		return "", err
	}
	s, err := c.fingerprintEntries(t, below, f, match)
	if err != nil {
		return "", err
	}
	if len(match.memo) > 4096 {
		clear(match.memo)
	}
	match.memo[key] = s
	return s, nil
}

func (c *clone) fingerprintEntries(t *object.Tree, below string, f *folderMatch, match *matcher) (string, error) {
	if below != "" {
		first, rest, _ := strings.Cut(below, "/")
		e, err := find(t, first)
		if errors.Is(err, ErrNotExist) {
			return "", nil
		}
		if modeName(e.Mode) != "folder" {
			return "not a folder " + e.Hash.String(), nil
		}
		return c.fingerprintFolder(e.Hash, rest, f, match)
	}
	var b strings.Builder
	for _, e := range t.Entries {
		if f.has(e.Name) {
			b.WriteString(e.Name)
			b.WriteByte(0)
			fmt.Fprintf(&b, "%o", uint32(e.Mode))
			b.Write(e.Hash[:])
		}
	}
	return b.String(), nil
}
