package main

import (
	"context"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// Every relative link, anchor and image of the project's pages leads somewhere.
func TestLinks(t *testing.T) {
	s, err := load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range s.check() {
		t.Error(bad)
	}
}

// The checker sees what is broken: a file, an anchor, an image, a folder, and a link into this repository by its address.
func TestLinksFindsBroken(t *testing.T) {
	s, err := load(fstest.MapFS{
		"README.md":      {Data: []byte("# Home\n\n[a](docs/gone.md) ![b](gone.svg)\n")},
		"docs/README.md": {Data: []byte("# Contents\n\n## One\n\n* [p](p.md)\n")},
		"docs/p.md": {Data: []byte("# P\n\n## Same\n\n## Same\n\n## `--a`: what's *it*?\n\n[ok](#same-1) [ok](../README.md#home) [ok](#--a-whats-it)\n\n" +
			"[no](#other)\n[no](README.md#two)\n[no](https://github.com/rampart-flags/rampart/blob/main/gone.go)\n[ok](https://example.org/gone)\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"README.md:3: docs/gone.md: there is no docs/gone.md",
		"README.md:3: gone.svg: there is no gone.svg",
		"docs/p.md:11: #other: docs/p.md has no heading #other",
		"docs/p.md:11: README.md#two: docs/README.md has no heading #two",
		"docs/p.md:11: https://github.com/rampart-flags/rampart/blob/main/gone.go: there is no gone.go",
	}
	if got := s.check(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("found:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func built(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "site")
	if err := run("../..", out); err != nil {
		t.Fatal(err)
	}
	return out
}

var reference = regexp.MustCompile(`(?:href|src)="([^"]*)"`)

// On the built site, every link between files leads to a file that is there, and no page loads anything from elsewhere.
func TestSite(t *testing.T) {
	out := built(t)
	pages := 0
	err := filepath.WalkDir(out, func(file string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(file) != ".html" {
			return err
		}
		pages++
		html, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, m := range reference.FindAllStringSubmatch(string(html), -1) {
			u, err := url.Parse(strings.ReplaceAll(m[1], "&amp;", "&"))
			if err != nil {
				t.Errorf("%s: %q: %v", file, m[1], err)
				continue
			}
			if u.Scheme != "" || u.Path == "" {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), filepath.FromSlash(u.Path))); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		for _, loads := range []string{`src="http`, `<link rel="stylesheet" href="http`, "@import", "url(http"} {
			if strings.Contains(string(html), loads) {
				t.Errorf("%s loads from elsewhere: %s", file, loads)
			}
		}
		return nil
	})
	if err != nil || pages < 60 {
		t.Fatalf("%d pages, %v", pages, err)
	}
}

// A folder that holds something else is not emptied.
func TestOtherFolder(t *testing.T) {
	out := t.TempDir()
	keep := filepath.Join(out, "thesis.txt")
	if err := os.WriteFile(keep, []byte("years of work"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run("../..", out); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(keep); err != nil {
		t.Error(err)
	}
}

// In a real browser, from disk: the search finds a page, and a page shows its text.
func TestInBrowser(t *testing.T) {
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no chromium here")
		}
		t.Skip("no chromium here: make setup")
	}
	out := built(t)
	for file, want := range map[string][]string{
		"index.html?q=min_interval": {`<h1>`, ` places</h1>`, `docs/trust.html`, `<mark>min_interval</mark>`},
		"docs/trust.html":           {`aria-current="page">trust.json</a>`, `class="anchor"`, `class="scroll"`},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
			"--virtual-time-budget=5000", "--dump-dom", "file://"+path.Join(filepath.ToSlash(out), file))
		dom, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, w := range want {
			if !strings.Contains(string(dom), w) {
				t.Errorf("%s: its page has no %q", file, w)
			}
		}
	}
}
