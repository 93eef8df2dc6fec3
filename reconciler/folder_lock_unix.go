//go:build unix

package reconciler

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// lockPatience is how long a lock is waited for: a process that was killed while it
// started another one holds its locks until that one has started.
const lockPatience = time.Second

// lockFile takes the file for this process; the kernel lets it go when the process
// ends, however it ends.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for until := time.Now().Add(lockPatience); ; {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(until) {
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrStateInUse
	}
	return nil, err
}

// unlockFile lets the lock go at once, also where a process that is just being started
// still has the file open.
func unlockFile(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	f.Close()
}
