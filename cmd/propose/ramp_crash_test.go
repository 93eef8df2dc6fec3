package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// Killed at any of its calls of git and started again, a run makes its step once: never lost, never
// twice, always signed, and the checkout is clean.
func TestACrashLosesAndDoublesNothing(t *testing.T) {
	p := newProposer(t)
	p.repo.Write("specs/flags.json", `{"version":"flags-v1","environment":"prod","features":{"receipts":{"pct":0,"ramp":{"step_up":1}}}}`)
	p.must("sign", "--key", p.key)
	p.repo.Commit("small steps")
	p.repo.Push()
	path := filepath.Join(p.repo.Dir, "specs/flags.json")
	dir := t.TempDir()
	nights, crashed := 0, true
	for n := 1; crashed; n += 3 {
		nights++
		if nights > 60 {
			t.Fatal("a run calls git more than a hundred times")
		}
		p.now = p.now.Add(24 * time.Hour)
		args := []string{"ramp", "--push", "--branch", "main", "--key", p.key, "--now", p.now.Format(time.RFC3339)}
		for name, body := range map[string]string{"slo": goodSLO, "coverage": goodCoverage} {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, fmt.Appendf(nil, `{"generated_at":%q,%s}`, p.now.Add(-time.Minute).Format(time.RFC3339), body), 0o644); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--"+name, file)
		}
		crashed = crashAtGit(t, n, append(args, "--path", path))
		p.must(args...)
		want := fmt.Sprintf(`"pct":%d,`, nights)
		if got := p.repo.GitOrigin("show", "main:specs/flags.json"); !strings.Contains(got, want) || !strings.Contains(got, fmt.Sprintf("flags-v1+ramp.%d", nights)) {
			t.Fatalf("killed at call %d of git, and run again: want %s in\n%s\n%s%s", n, want, got, &p.out, &p.talk)
		}
		// Killed after the push, the checkout stays a commit behind; it holds nothing of its own.
		if got := p.repo.Git("status", "--porcelain"); got != "" {
			t.Fatalf("killed at call %d of git: the checkout holds\n%s", n, got)
		}
		p.repo.Git("fetch", "-q", "origin", "main")
		p.repo.Git("merge", "-q", "--ff-only", "FETCH_HEAD")
		p.must("verify", "--pub", strings.TrimSuffix(p.key, ".key")+".pub")
	}
	if nights < 10 {
		t.Errorf("only %d nights: was anything killed?", nights)
	}
}

// crashAtGit runs propose with a git before the real one on its PATH that kills it at its n-th call. It
// returns whether it came to that.
func crashAtGit(t *testing.T, n int, args []string, env ...string) bool {
	t.Helper()
	real, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	wrapper := fmt.Sprintf("#!/bin/sh\necho x >> %[1]s/calls\nif [ $(wc -l < %[1]s/calls) -eq %[2]d ]; then kill -9 $PPID; %[3]s \"$@\"; touch %[1]s/ended; exit; fi\nexec %[3]s \"$@\"\n", dir, n, real)
	if err := os.WriteFile(filepath.Join(dir, "git"), []byte(wrapper), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("propose", args...)
	cmd.Env = append(append(os.Environ(), env...), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == -1 {
		// The call of git outlives the run; the next run is not to meet it.
		flagtest.Eventually(t, "the last call of git to end", func() bool {
			_, err := os.Stat(filepath.Join(dir, "ended"))
			return err == nil
		})
		return true
	}
	if err != nil {
		t.Fatalf("propose: %v\n%s", err, out)
	}
	return false
}
