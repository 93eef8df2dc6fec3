package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be a command: what Main does to a process is seen from outside.
func TestMain(m *testing.M) {
	switch os.Getenv("CLI_TEST_COMMAND") {
	case "":
		os.Exit(m.Run())
	case "wait":
		Main("child", func(ctx context.Context, env Env) error {
			fmt.Fprintln(env.Stdout, "ready")
			<-ctx.Done()
			return fmt.Errorf("waiting: %w", ctx.Err())
		})
	case "deaf":
		Main("child", func(ctx context.Context, env Env) error {
			fmt.Fprintln(env.Stdout, "ready")
			<-ctx.Done()
			fmt.Fprintln(env.Stdout, "told")
			_, err := io.Copy(io.Discard, env.Stdin) // never ends
			return err
		})
	case "read":
		Main("child", func(_ context.Context, env Env) error {
			fmt.Fprintln(env.Stdout, "ready")
			_, err := env.Read(env.Args[0], 1<<20)
			return err
		})
	case "panic":
		Main("child", func(context.Context, Env) error { panic("oh") })
	case "refuse":
		Main("child", func(_ context.Context, env Env) error {
			return Exit(ExitRefused, Hint(fmt.Errorf("%d arguments, terminal %v", len(env.Args), env.StdoutTTY), "none"))
		})
	}
}

func child(t *testing.T, behaviour string, args ...string) (*exec.Cmd, *bufio.Reader, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "CLI_TEST_COMMAND="+behaviour)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if _, err := cmd.StdinPipe(); err != nil { // stays open
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, bufio.NewReader(out), &stderr
}

func expectLine(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	if line, err := r.ReadString('\n'); err != nil || strings.TrimSpace(line) != want {
		t.Fatalf("the child said %q (%v), want %q", line, err, want)
	}
}

func TestMainExits(t *testing.T) {
	cmd, _, stderr := child(t, "refuse", "a", "b")
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != ExitRefused || stderr.String() != "child: error: 2 arguments, terminal false\nchild: hint: none\n" {
		t.Errorf("exit %d, stderr %q", cmd.ProcessState.ExitCode(), stderr)
	}
	cmd, _, stderr = child(t, "panic")
	_ = cmd.Wait()
	if cmd.ProcessState.ExitCode() != ExitError || !strings.HasPrefix(stderr.String(), "child: error: internal error: oh\n") {
		t.Errorf("a panic: exit %d, stderr %q", cmd.ProcessState.ExitCode(), stderr)
	}
}

func TestMainSignals(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd, out, stderr := child(t, "wait")
		expectLine(t, out, "ready")
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() != ExitError || stderr.String() != "child: error: interrupted\n" {
			t.Errorf("%v: exit %d, stderr %q", sig, cmd.ProcessState.ExitCode(), stderr)
		}
	}
	// What reads a pipe hears the first one, too.
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := exec.Command("mkfifo", fifo).Run(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"-", fifo} {
		cmd, out, stderr := child(t, "read", path)
		expectLine(t, out, "ready")
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if cmd.ProcessState.ExitCode() != ExitError || stderr.String() != "child: error: interrupted\n" {
			t.Errorf("reading %s: exit %d, stderr %q", path, cmd.ProcessState.ExitCode(), stderr)
		}
	}
	// One that does not listen is killed by the second signal.
	cmd, out, _ := child(t, "deaf")
	expectLine(t, out, "ready")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	expectLine(t, out, "told")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	// The first one's handler is taken away a moment after it was told: ask until it has been.
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for waiting := true; waiting; {
		select {
		case <-ended:
			waiting = false
		case <-again.C:
			_ = cmd.Process.Signal(os.Interrupt)
		case <-time.After(time.Minute):
			t.Fatal("the second signal does not end it")
		}
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !ws.Signaled() {
		t.Errorf("the second signal did not kill: %v", cmd.ProcessState)
	}
}
