package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
)

// maxSource is the largest source file that is looked at, in bytes; maxRefs bounds what is kept of
// one feature.
const (
	maxSource = 1 << 20
	maxRefs   = 1000
)

func refsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "refs DIR [flags]",
		Short: "Find the spec's features in source code",
		Long: `refs looks through the source files under DIR for the spec's features: their names in quotes. It lists where
each is, which are nowhere, and which names a call such as Enabled("…"), is_enabled("…") or
getBooleanValue("…") asks for although the spec has no such feature.

.git, node_modules, binary files, files above 1 MiB, links, and the spec's own files are passed over. A name
that the program puts together is not found: look before you remove. Exit 3 when a feature is nowhere or a
name is unknown.`,
		Example: `  propose refs ..
  propose refs ~/src/shop --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.refs(cmd.Context(), args[0]) },
	}
}

type refLine struct {
	Feature string   `json:"feature"`
	Used    bool     `json:"used"`
	Refs    []codeAt `json:"refs"`
}

type unknownLine struct {
	Name string `json:"name"`
	codeAt
	Near string `json:"near,omitempty"`
}

type codeAt struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

func (c codeAt) String() string { return fmt.Sprintf("%s:%d", c.File, c.Line) }

// found is what the source says.
type found struct {
	spec    *flags.Spec
	refs    map[string][]codeAt
	unknown []unknownLine
	tooBig  int
}

func (a *app) refs(ctx context.Context, dir string) error {
	spec, err := a.readSpec(a.specPath())
	if err != nil {
		return err
	}
	if !isDir(dir) {
		return usage(fmt.Errorf("looking for features: %s is no folder", dir))
	}
	own, err := filepath.Abs(filepath.Dir(a.specPath()))
	if err != nil {
		return fmt.Errorf("finding the spec's folder: %w", err)
	}
	seen := found{spec: spec, refs: map[string][]codeAt{}}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); path != dir && (name == ".git" || name == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || ownFile(own, path) {
			return nil
		}
		return seen.look(path, entry)
	})
	if err != nil {
		return fmt.Errorf("looking for features in %s: %w", dir, err)
	}
	if seen.tooBig > 0 {
		a.env.Talk("%s above 1 MiB not looked at", counted(seen.tooBig, "file", "files"))
	}
	return a.tellRefs(seen)
}

// ownFile: what lies beside the spec names every feature, and uses none.
func ownFile(own, path string) bool {
	abs, err := filepath.Abs(path)
	if err != nil || filepath.Ext(path) != ".json" {
		return false
	}
	dir := filepath.Dir(abs)
	return dir == own || dir == filepath.Join(own, "evidence")
}

var (
	quotedName = regexp.MustCompile("[\"'`]([a-z0-9][a-z0-9._-]{0,127})[\"'`]")
	// An obvious call: an optional first argument, such as ctx, then the name.
	askingCall = regexp.MustCompile("(?i)\\b(?:is_?)?(?:(?:feature|flag)_?)?(?:(?:is_?)?enabled|(?:get_?)?boolean_?value(?:_?details|async)?)\\(\\s*" +
		"(?:[a-z_][a-z0-9_.]*(?:\\(\\))?\\s*,\\s*)?[\"'`]([a-z0-9][a-z0-9._-]{0,127})[\"'`]")
)

func (f *found) look(path string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone meanwhile
	}
	if err != nil {
		return err
	}
	if info.Size() > maxSource {
		f.tooBig++
		return nil
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if bytes.IndexByte(src[:min(len(src), 8000)], 0) >= 0 {
		return nil // binary, as git takes it
	}
	n := 0
	for line := range bytes.Lines(src) {
		n++
		at := codeAt{filepath.ToSlash(path), n}
		for rest := line; ; {
			m := quotedName.FindSubmatchIndex(rest)
			if m == nil {
				break
			}
			name := string(rest[m[2]:m[3]])
			if refs := f.refs[name]; f.spec.Feature(name) != nil && len(refs) < maxRefs && (len(refs) == 0 || refs[len(refs)-1] != at) {
				f.refs[name] = append(refs, at)
			}
			rest = rest[m[3]:] // a closing quote may open the next
		}
		for _, m := range askingCall.FindAllSubmatch(line, -1) {
			name := string(m[1])
			if f.spec.Feature(name) == nil && len(f.unknown) < maxRefs && strings.ToLower(name) == name {
				f.unknown = append(f.unknown, unknownLine{name, at, cli.Nearest(name, f.spec.Features())})
			}
		}
	}
	return nil
}

func (a *app) tellRefs(seen found) error {
	unused := 0
	var b strings.Builder
	for _, name := range seen.spec.Features() {
		line := refLine{name, len(seen.refs[name]) > 0, seen.refs[name]}
		if !line.Used {
			unused++
		}
		if a.json {
			if err := cli.JSONLine(a.env.Stdout, "feature-refs/v1", line); err != nil {
				return err
			}
			continue
		}
		where := make([]string, 0, len(line.Refs))
		for _, r := range line.Refs {
			where = append(where, r.String())
		}
		if line.Used {
			fmt.Fprintf(&b, "%s: %s\n", name, some(where, 5))
		} else {
			fmt.Fprintf(&b, "%s: nowhere\n", name)
		}
	}
	for _, u := range seen.unknown {
		if a.json {
			if err := cli.JSONLine(a.env.Stdout, "unknown-feature/v1", u); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(&b, "%s: the spec has no feature %q", u.codeAt, u.Name)
		if u.Near != "" {
			fmt.Fprintf(&b, "; did you mean %q?", u.Near)
		}
		b.WriteByte('\n')
	}
	if _, err := fmt.Fprint(a.env.Stdout, cli.Printable(b.String())); err != nil {
		return err
	}
	if unused+len(seen.unknown) > 0 {
		return cli.Exit(cli.ExitChanges, nil)
	}
	return nil
}
