package flagtest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// SmallDisk is a file system of its own that a test can fill.
type SmallDisk struct {
	Dir string
	t   testing.TB
}

// Fill leaves no byte of room.
func (d *SmallDisk) Fill() {
	d.t.Helper()
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			d.t.Fatal(err)
		}
	}
}

// Free gives back what Fill took.
func (d *SmallDisk) Free() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.t.Fatal(err)
	}
}

func (d *SmallDisk) filler() string { return filepath.Join(d.Dir, "filler") }
