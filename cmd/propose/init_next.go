package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rampart-flags/rampart/internal/cli"
)

// attributes keep git from converting what signatures cover byte by byte.
const attributes = "# Signatures cover raw bytes: git leaves these files alone.\nspecs/**/*.json -text\n"

// addAttributes makes sure that .gitattributes has our lines, and says whether they had to be added.
func addAttributes(path string) (string, bool, error) {
	there, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return path, false, fmt.Errorf("reading %s: %w", path, err)
	}
	if strings.Contains(string(there), "specs/**/*.json -text") {
		return path, false, nil
	}
	if len(there) > 0 && !strings.HasSuffix(string(there), "\n") {
		there = append(there, '\n')
	}
	if err := replaceFile(path, append(there, attributes...)); err != nil {
		return path, false, fmt.Errorf("writing %s: %w", path, err)
	}
	return path, true, nil
}

func (a *app) finishInit(ctx context.Context, in initSettings, spec, keyPath string, made []string) error {
	commit := ""
	if in.commit {
		var err error
		if commit, err = a.commitFiles(ctx, spec, made, "flags: a first signed spec\n"); err != nil {
			return err
		}
	}
	if a.json {
		return cli.JSONLine(a.env.Stdout, "init/v1", struct {
			Files  []string `json:"files"`
			Key    string   `json:"key"`
			Public string   `json:"public_key"`
			Commit string   `json:"commit,omitempty"`
		}{made, keyPath, strings.TrimSuffix(keyPath, ".key") + ".pub", commit})
	}
	for _, path := range made {
		fmt.Fprintln(a.env.Stdout, path)
	}
	a.env.Talk("")
	a.env.Talk("the private key is %s: keep it out of the repository, and keep a copy", keyPath)
	if !in.commit {
		a.env.Talk("\nnext, commit what was made:")
		a.env.Talk("  git add %s && git commit -m \"A first signed spec\"", strings.Join(made, " "))
	}
	a.env.Talk("\nthen make a feature, and raise it when it is ready:")
	a.env.Talk("  KEY=%s", keyPath)
	a.env.Talk("  propose set receipts --new --key $KEY --commit")
	a.env.Talk("  propose set receipts --pct 10 --key $KEY --commit")
	a.env.Talk("\nand let reconcile bring it to Redis, with a copy of the policy from outside the repository:")
	a.env.Talk("  cp %s /etc/rampart/trust.json", filepath.Join(filepath.Dir(made[0]), "..", "trust.json"))
	a.env.Talk("  reconcile run --repo URL --trust /etc/rampart/trust.json --redis redis://HOST")
	return nil
}
