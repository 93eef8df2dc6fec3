package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// A Go program asks the kernel for the time without the C library, so that libfaketime
// cannot deceive it. The harness builds the commands with one line more in the standard
// library instead (go build -overlay; the tree and the toolchain stay as they are): the
// wall clock is moved by what a file says. Monotonic time goes on, as it does when a
// real clock is set.
const (
	clockVariable = "RAMPART_CHAOS_CLOCK"
	clockBefore   = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
	clockAfter    = "\tsec, nsec, mono := runtimeNow()\n\tsec += ChaosShift\n\tif mono == 0 {"
	clockFile     = `package main

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

func init() {
	path := os.Getenv("` + clockVariable + `")
	read := func() {
		src, err := os.ReadFile(path)
		if n, perr := strconv.ParseInt(strings.TrimSpace(string(src)), 10, 64); err == nil && perr == nil {
			atomic.StoreInt64(&time.ChaosShift, n)
		}
	}
	if path == "" {
		return
	}
	read()
	go func() {
		for ; ; time.Sleep(50 * time.Millisecond) {
			read()
		}
	}()
}
`
)

// build builds commands of the main module at root into dir, with a clock that can be
// moved where shifted says so. It says whether the clock can be.
func build(root, dir string, shifted bool, commands ...string) (movable bool, err error) {
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if shifted {
		overlay, err := clockOverlay(root, dir, commands)
		if err != nil {
			return false, err
		}
		if movable = overlay != ""; movable {
			args = append(args, "-overlay", overlay)
		}
	}
	for _, c := range commands {
		args = append(args, "./cmd/"+c)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return false, fmt.Errorf("building the commands: %w\n%s", err, out)
	}
	return movable, nil
}

// clockOverlay writes the overlay and returns its path, "" where this toolchain's
// package time is not the one that the line fits.
func clockOverlay(root, dir string, commands []string) (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("asking for GOROOT: %w", err)
	}
	std := filepath.Join(strings.TrimSpace(string(out)), "src", "time", "time.go")
	src, err := os.ReadFile(std)
	if err != nil {
		return "", fmt.Errorf("reading package time: %w", err)
	}
	if bytes.Count(src, []byte(clockBefore)) != 1 {
		return "", nil
	}
	src = bytes.Replace(src, []byte(clockBefore), []byte(clockAfter), 1)
	src = append(src, "\n// ChaosShift is added to every reading of the wall clock, in seconds.\nvar ChaosShift int64\n"...)
	replace := map[string]string{std: filepath.Join(dir, "time.go.txt")}
	if err := os.WriteFile(replace[std], src, 0o600); err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	file := filepath.Join(dir, "clock.go.txt")
	if err := os.WriteFile(file, []byte(clockFile), 0o600); err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	for _, c := range commands {
		replace[filepath.Join(root, "cmd", c, "chaos_clock.go")] = file
	}
	doc, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("writing the overlay: %w", err)
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, doc, 0o600)
}

// clock is the wall clock of one process, in a file that the process reads.
type clock struct{ path string }

func (c clock) env() string { return clockVariable + "=" + c.path }

// shift moves it to be off by d.
func (c clock) shift(d time.Duration) error {
	tmp := c.path + ".new"
	if err := os.WriteFile(tmp, []byte(strconv.FormatInt(int64(d/time.Second), 10)), 0o600); err != nil {
		return fmt.Errorf("moving a clock: %w", err)
	}
	return os.Rename(tmp, c.path)
}

//go:embed clock.c.txt
var clockSource []byte

// clockLibrary compiles what moves the clock of redis-server and returns its path, ""
// where there is no C compiler for it.
func clockLibrary(dir string) string {
	src, lib := filepath.Join(dir, "clock.c"), filepath.Join(dir, "clock.so")
	if runtime.GOOS != "linux" || os.WriteFile(src, clockSource, 0o600) != nil {
		return ""
	}
	if exec.Command("cc", "-shared", "-fPIC", "-O2", "-o", lib, src).Run() != nil {
		return ""
	}
	return lib
}

// shiftMapped moves the clock of a process that clockLibrary moves: it has the file
// mapped, so the file is written in place.
func (c clock) shiftMapped(d time.Duration) error {
	f, err := os.OpenFile(c.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("moving a clock: %w", err)
	}
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], uint64(int64(d/time.Second)))
	_, err = f.WriteAt(b[:], 0)
	return errors.Join(err, f.Close())
}
