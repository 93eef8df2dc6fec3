//go:build unix

package gitrepo

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// lockPatience is how long a lock is waited for. A process that was killed
// while it started another one holds its locks until that one has started.
const lockPatience = time.Second

// lockFile takes an exclusive lock that ends with the process, or with the
// function returned.
func lockFile(ctx context.Context, path string) (func() error, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockPatience, ErrLocked)
	defer cancel()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f.Close, nil
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			select {
			case <-time.After(20 * time.Millisecond):
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		_ = f.Close()
		return nil, err
	}
}
