package flagtest

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// NewSmallDisk mounts a file system of so many bytes until the test ends. Only root may: others skip the test, with a
// sentence. Under CI=true root never skips it.
func NewSmallDisk(t testing.TB, bytes int) *SmallDisk {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		if os.Geteuid() == 0 && os.Getenv("CI") == "true" {
			t.Fatalf("this test mounts a small disk, and CI=true allows root no skips: %v", err)
		}
		noteSkip(t, "right to mount a small disk (run as root)")
		t.Skipf("this test mounts a small disk, which is for root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("taking the small disk away: %v", err)
		}
	})
	return &SmallDisk{Dir: dir, t: t}
}
