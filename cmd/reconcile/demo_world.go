package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/signing"
)

// demoWorld is a repository with a remote, a key and a policy, in a folder of its own.
type demoWorld struct {
	dir     string
	clone   string
	keyFile string
	signer  *signing.Signer
	step    int
}

func newDemoWorld(ctx context.Context, dir string) (*demoWorld, error) {
	if _, err := exec.LookPath("git"); err != nil {
		return nil, cli.Hint(errors.New("the demo needs git"), "install git")
	}
	w := &demoWorld{dir: dir, clone: filepath.Join(dir, "flags"), keyFile: filepath.Join(dir, "alice.key")}
	private, public, err := signing.GenerateKey(signing.ECDSAP256, []byte{})
	if err != nil {
		return nil, fmt.Errorf("making alice's key: %w", err)
	}
	if w.signer, err = signing.LoadSigner(private, func() ([]byte, error) { return []byte{}, nil }); err != nil {
		return nil, fmt.Errorf("loading alice's key: %w", err)
	}
	policy, err := json.MarshalIndent(map[string]any{
		"version": 1, "environment": "demo",
		"signers": map[string]any{"alice": map[string]string{"key": string(public)}},
		"roles":   map[string]any{"maintainer": map[string]any{"signers": []string{"alice"}, "may": []string{"*"}}},
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.WriteFile(w.keyFile, private, 0o600), os.WriteFile(filepath.Join(dir, "trust.json"), append(policy, '\n'), 0o600)); err != nil {
		return nil, fmt.Errorf("writing the demo's key and policy: %w", err)
	}
	for _, args := range [][]string{
		{"init", "-q", "--bare", "-b", "main", w.origin()},
		{"init", "-q", "-b", "main", w.clone},
		{"-C", w.clone, "remote", "add", "origin", w.origin()},
		{"-C", w.clone, "config", "user.name", "Alice"},
		{"-C", w.clone, "config", "user.email", "alice@example.org"},
		{"-C", w.clone, "config", "commit.gpgsign", "false"},
		{"-C", w.clone, "config", "push.default", "current"},
	} {
		if err := w.git(ctx, args...); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(w.clone, ".gitattributes"), []byte("specs/** -text\n"), 0o644); err != nil {
		return nil, fmt.Errorf("writing the demo's repository: %w", err)
	}
	return w, w.change(ctx, 10, true)
}

func (w *demoWorld) origin() string { return filepath.Join(w.dir, "origin.git") }

func (w *demoWorld) url() string { return "file://" + filepath.ToSlash(w.origin()) }

// change writes the spec with another percentage and the next version, signs it or leaves the old signature beside it,
// commits and pushes.
func (w *demoWorld) change(ctx context.Context, pct int, sign bool) error {
	version := "flags-v1"
	if w.step > 0 {
		version = fmt.Sprintf("flags-v1+ramp.%d", w.step)
	}
	w.step++
	spec := fmt.Sprintf(`{
  "version": %q,
  "environment": "demo",
  "features": {
    "receipts": {
      "description": "Signed receipts on every write",
      "owner": "team-ledger",
      "pct": %d,
      "cohorts": ["user-123"],
      "tenants": {
        "acme": { "pct": 50 }
      }
    }
  }
}
`, version, pct)
	path := filepath.Join(w.clone, "specs", "flags.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("writing the spec: %w", err)
	}
	if err := os.WriteFile(path, []byte(spec), 0o644); err != nil {
		return fmt.Errorf("writing the spec: %w", err)
	}
	if sign {
		bundle, err := w.signer.Sign(ctx, []byte(spec))
		if err != nil {
			return fmt.Errorf("signing the spec: %w", err)
		}
		if err := os.WriteFile(path+".sigstore.json", bundle, 0o644); err != nil {
			return fmt.Errorf("writing the signature: %w", err)
		}
	}
	message := fmt.Sprintf("receipts to %d %%", pct)
	if !sign {
		message = "everybody, now"
	}
	for _, args := range [][]string{{"-C", w.clone, "add", "-A"}, {"-C", w.clone, "commit", "-q", "-m", message}, {"-C", w.clone, "push", "-q", "origin", "main"}} {
		if err := w.git(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// revert takes the last two commits back, newest first, with stock git.
func (w *demoWorld) revert(ctx context.Context) error {
	for _, args := range [][]string{{"-C", w.clone, "revert", "--no-edit", "HEAD~2..HEAD"}, {"-C", w.clone, "push", "-q", "origin", "main"}} {
		if err := w.git(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func (w *demoWorld) git(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_EDITOR=true")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return nil
}
