package reconciler

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
