//go:build !linux

package flagtest

import "os/exec"

// dieWithParent does nothing where the kernel cannot promise it.
func dieWithParent(*exec.Cmd) {}
