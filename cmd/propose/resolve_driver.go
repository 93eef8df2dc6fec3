package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

// mergeDriver is what git calls to merge the spec: it leaves the result in the second file, and
// exits other than 0 where there is a conflict. The version is a preliminary one, since only propose
// resolve, which signs, knows the whole history.
func (a *app) mergeDriver(args []string, take string) error {
	name := mergedPath(args)
	var specs [3]*flags.Spec
	for i, file := range args[:3] {
		src, err := a.readFile(file, maxSpec)
		if err != nil {
			return fmt.Errorf("merging %s: %w", name, err)
		}
		if i == 0 && len(src) == 0 {
			continue // both sides began the file
		}
		if specs[i], err = flags.Decode(name, src); err != nil {
			return fmt.Errorf("merging %s: %w", name, err)
		}
	}
	edits, clashes := mergeSpecs(specs[0], specs[1], specs[2])
	taken, err := settle(clashes, take)
	if err != nil {
		return cli.Exit(cli.ExitError, err)
	}
	ours := specs[1]
	rev, err := revise(ours, append(edits, taken...), basis{file: name, made: ours, seen: []string{specs[2].Version}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(args[1], rev.spec.Bytes(), 0o644); err != nil {
		return fmt.Errorf("merging %s: %w", name, err)
	}
	return nil
}

// mergedPath is the path that git says is merged, for errors.
func mergedPath(args []string) string {
	if len(args) > 3 {
		return args[3]
	}
	return defaultPath
}

// installDriver sets the driver up in this clone: git takes no program from a repository itself, so
// each clone is asked once.
func (a *app) installDriver(ctx context.Context) error {
	c, err := needCheckout(a.specPath())
	if err != nil {
		return err
	}
	for _, set := range [][2]string{
		{"merge.rampart.name", "flags, merged by meaning"},
		{"merge.rampart.driver", "propose resolve --driver %O %A %B %P"},
	} {
		if out, err := c.git(ctx, "config", "--local", set[0], set[1]).CombinedOutput(); err != nil {
			return fmt.Errorf("setting git's %s: %w: %s", set[0], err, strings.TrimSpace(string(out)))
		}
	}
	file := filepath.Join(c.Root(), ".gitattributes")
	there, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	text := string(there)
	if len(text) > 0 && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	// A signature cannot be merged, only made anew: "-merge" keeps ours and says conflict.
	for _, line := range []string{c.spec + " merge=rampart", path.Join(path.Dir(c.spec), "*"+bundleSuffix) + " -merge"} {
		if !strings.Contains(text, line+"\n") {
			text += line + "\n"
		}
	}
	if text != string(there) {
		if err := replaceFile(file, []byte(text)); err != nil {
			return fmt.Errorf("writing %s: %w", file, err)
		}
		a.env.Talk("commit .gitattributes, so that it holds in every clone in which propose resolve --install was run")
	}
	_, err = fmt.Fprintln(a.env.Stdout, "git merges "+c.spec+" by meaning in this clone")
	return err
}
