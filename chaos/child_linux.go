package main

import (
	"fmt"
	"os/exec"
	"syscall"
)

// dieWithParent makes the child's life end with this process', also when that one is
// killed and lifts nothing.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// mountSmall puts a file system of that many bytes at dir, which must exist. It needs
// to be root.
func mountSmall(dir string, size int) error {
	return syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size))
}

func unmount(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
