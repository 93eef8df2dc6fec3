package flagtest

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes the child's life end with the test binary's, also when that
// one is killed and runs no cleanup.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
