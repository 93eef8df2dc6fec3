//go:build !unix

package gitrepo

import (
	"context"
	"os"
)

// lockFile only makes the file: where there is no flock, nothing keeps two
// processes apart.
func lockFile(_ context.Context, path string) (func() error, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	return f.Close, nil
}
