//go:build unix

package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// nobody owns none of the files, where the test runs as root, whom no mode keeps out.
const nobody = 65534

// A user who may not look into the state folder is told just that: not that it is damaged, nor that nobody runs on it.
func TestStateFolderOfAnotherUser(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	s := flagtest.NewStage(t, flagtest.Redis(t), everything)
	root, err := os.MkdirTemp("", "rampart-") // open to all, which t.TempDir is not
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(root, "state")
	t.Cleanup(func() { _ = os.Chmod(state, 0o700); _ = os.RemoveAll(root) })
	policy, err := os.ReadFile(s.Trust)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Chmod(root, 0o755),
		os.Mkdir(state, 0o700),
		os.WriteFile(filepath.Join(root, "trust.json"), policy, 0o644),
		os.WriteFile(filepath.Join(state, runningName), []byte(`{"address":"127.0.0.1:1"}`), 0o600),
		os.WriteFile(filepath.Join(state, "generations.jsonl"), nil, 0o600),
		copyProgram(filepath.Join(root, "reconcile")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	asRoot := os.Geteuid() == 0
	if !asRoot {
		if err := os.Chmod(state, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range []string{"doctor", "suspend", "resume", "status", "once", "plan"} {
		t.Run(args, func(t *testing.T) {
			cmd := exec.Command(filepath.Join(root, "reconcile"), args, "--state-dir", state,
				"--repo", "file:///nowhere", "--trust", filepath.Join(root, "trust.json"))
			cmd.Dir, cmd.Env = root, append(s.Repo.Env(), "NO_COLOR=1", "HOME="+root)
			if asRoot {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			}
			b, err := cmd.CombinedOutput()
			out := string(b)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 4 {
				t.Errorf("it ended with %v, want exit 4", err)
			}
			if !strings.Contains(out, "permission denied") || !strings.Contains(out, "run it as its owner") {
				t.Errorf("it does not say what is the matter:\n%s", out)
			}
			for _, wrong := range []string{"damaged", "backup", "no reconciler"} {
				if strings.Contains(out, wrong) {
					t.Errorf("it says %q:\n%s", wrong, out)
				}
			}
		})
	}
}

// copyProgram puts this very program where every user may run it.
func copyProgram(to string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	in, err := os.Open(self)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
