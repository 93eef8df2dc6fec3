package reconciler

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rampart-flags/rampart/trust"
)

// Generations reads what a state folder says was accepted, oldest first, also while a reconciler uses it. The error is
// [ErrNoState] where nobody has.
func Generations(dir string) ([]Generation, error) {
	src, err := os.ReadFile(filepath.Join(dir, logName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading %s: %w", dir, ErrNoState)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state folder: %w", err)
	}
	all, _, err := parseGenerations(src)
	return all, err
}

// AcceptedPolicy reads the newest policy that was taken from the repository, and the commit that brought it, also while a
// reconciler uses the folder. It is in force where its number is above that of the file outside. nil: none was taken. The error is
// [ErrStateDamaged] where what is there does not read.
func AcceptedPolicy(dir string) (p *trust.Policy, commit string, err error) {
	t := trustFile{path: policyName}
	if err := t.load(dir); err != nil || t.accepted == nil {
		return nil, "", err
	}
	return t.accepted.policy, t.accepted.Commit, nil
}
