//go:build !unix

package reconciler

import "os"

// lockFile only opens the file: this system has no lock that dies with its holder.
func lockFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

func unlockFile(f *os.File) { f.Close() }
