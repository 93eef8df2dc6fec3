package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	var github bool
	cmd := &cobra.Command{
		Use:   "refs DIR [flags]",
		Short: "Find the spec's features in source code",
		Long: `refs looks through the source files under DIR for the spec's features: their names in quotes. It lists where
each is, which are nowhere, and which names a call such as Enabled("…"), is_enabled("…") or
getBooleanValue("…") asks for although the spec has no such feature.

In a git repository, files that git ignores are passed over; everywhere .git, node_modules, binary files,
files above 1 MiB, links, JSON schemas and the spec's own files. A name that the program puts together is
not found: look before you remove. Exit 3 when a feature is nowhere or a name is unknown.`,
		Example: `  propose refs ..
  propose refs ~/src/shop --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.refs(cmd.Context(), args[0], github) },
	}
	cmd.Flags().BoolVar(&github, "github", false, "print annotations for a pull request's checks on GitHub")
	cli.NoEnv(cmd, "github")
	return cmd
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

	unreadable int
}

func (a *app) refs(ctx context.Context, dir string, github bool) error {
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
	look := func(path string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if ownFile(own, path) {
			return nil
		}
		if err := seen.look(path); err != nil {
			seen.unreadable++ // somebody else's file: the others are looked at all the same
		}
		return nil
	}
	if files, ok := tracked(ctx, dir); ok {
		for _, path := range files {
			if err := look(path); err != nil {
				return fmt.Errorf("looking for features in %s: %w", dir, err)
			}
		}
	} else if err := seen.walk(dir, look); err != nil {
		return fmt.Errorf("looking for features in %s: %w", dir, err)
	}
	if seen.tooBig > 0 {
		a.env.Talk("%s above 1 MiB not looked at", counted(seen.tooBig, "file", "files"))
	}
	if seen.unreadable > 0 {
		a.env.Talk("%s could not be read", counted(seen.unreadable, "file or folder", "files or folders"))
	}
	return a.tellRefs(seen, github)
}

// tracked are the files below dir that git knows or would take, so none that it ignores; ok is false
// where there is no repository.
func tracked(ctx context.Context, dir string) (files []string, ok bool) {
	cmd := exec.CommandContext(ctx, "git", "-C", dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	out, err := cmd.Output()
	if err != nil || len(out) == 0 { // a folder that is ignored as a whole is walked: it was asked for
		return nil, false
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if slices.Contains(strings.Split(name, "/"), "node_modules") {
			continue
		}
		files = append(files, filepath.Join(dir, filepath.FromSlash(name)))
	}
	return slices.Compact(files), true // a conflict is listed once a side
}

func (f *found) walk(dir string, look func(path string) error) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			f.unreadable++
			if entry != nil && entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			if name := entry.Name(); path != dir && (name == ".git" || name == "node_modules") {
				return fs.SkipDir
			}
			return nil
		}
		return look(path)
	})
}

// ownFile: what lies beside the spec names every feature, and uses none.
func ownFile(own, path string) bool {
	abs, err := filepath.Abs(path)
	if err != nil || filepath.Ext(path) != ".json" {
		return false
	}
	if strings.HasSuffix(path, ".schema.json") { // its examples are no uses
		return true
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

// look reads one file. What is no regular file, or gone meanwhile, is passed over.
func (f *found) look(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
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

func (a *app) tellRefs(seen found, github bool) error {
	tell := a.printRefs
	switch {
	case github:
		tell = a.annotateRefs
	case a.json:
		tell = a.encodeRefs
	}
	unused := 0
	for _, name := range seen.spec.Features() {
		if len(seen.refs[name]) == 0 {
			unused++
		}
	}
	if err := tell(seen); err != nil {
		return err
	}
	if unused+len(seen.unknown) > 0 {
		return cli.Exit(cli.ExitChanges, nil)
	}
	return nil
}

func (a *app) encodeRefs(seen found) error {
	for _, name := range seen.spec.Features() {
		if err := cli.JSONLine(a.env.Stdout, "feature-refs/v1", refLine{name, len(seen.refs[name]) > 0, seen.refs[name]}); err != nil {
			return err
		}
	}
	for _, u := range seen.unknown {
		if err := cli.JSONLine(a.env.Stdout, "unknown-feature/v1", u); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) annotateRefs(seen found) error {
	for _, u := range seen.unknown {
		if err := annotate(a.env.Stdout, annotation{level: "warning", file: u.File, line: u.Line, title: "an unknown flag", text: u.says()}); err != nil {
			return err
		}
	}
	lines := memberLines(seen.spec.Bytes(), "features")
	for _, name := range seen.spec.Features() {
		if len(seen.refs[name]) > 0 {
			continue
		}
		at := annotation{level: "warning", file: displayName(a.specPath()), line: lines[name], title: "a flag that nothing uses", text: name + " is nowhere in the source"}
		if err := annotate(a.env.Stdout, at); err != nil {
			return err
		}
	}
	return nil
}

func (u unknownLine) says() string {
	text := fmt.Sprintf("the spec has no feature %q", u.Name)
	if u.Near != "" {
		text += fmt.Sprintf("; did you mean %q?", u.Near)
	}
	return text
}

func (a *app) printRefs(seen found) error {
	var b strings.Builder
	for _, name := range seen.spec.Features() {
		var where []string
		for _, r := range seen.refs[name] {
			where = append(where, r.String())
		}
		if len(where) > 0 {
			fmt.Fprintf(&b, "%s: %s\n", name, some(where, 5))
		} else {
			fmt.Fprintf(&b, "%s: nowhere\n", name)
		}
	}
	for _, u := range seen.unknown {
		fmt.Fprintf(&b, "%s: %s\n", u.codeAt, u.says())
	}
	_, err := io.WriteString(a.env.Stdout, cli.Printable(b.String()))
	return err
}
