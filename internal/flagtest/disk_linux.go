package flagtest

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
)

// NewSmallDisk mounts a file system of so many bytes until the test ends. Who may not mount (others than root, and root in
// a container without that right) skips the test, with a sentence. Under CI=true root skips it for no other reason.
func NewSmallDisk(t testing.TB, bytes int) *SmallDisk {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		forbidden := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
		if os.Geteuid() == 0 && !forbidden && os.Getenv("CI") == "true" {
			t.Fatalf("this test mounts a small disk, and CI=true allows root no skips: %v", err)
		}
		noteSkip(t, "no right to mount a small disk (run as root, with CAP_SYS_ADMIN)")
		t.Skipf("this test mounts a small disk, which is for root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("taking the small disk away: %v", err)
		}
	})
	return &SmallDisk{Dir: dir, t: t}
}
