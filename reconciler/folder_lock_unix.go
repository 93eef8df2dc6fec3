//go:build unix

package reconciler

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the file for this process; the kernel lets it go when the process
// ends, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrStateInUse
		}
		return nil, err
	}
	return f, nil
}
