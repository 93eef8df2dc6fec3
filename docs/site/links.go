package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"strings"

	"github.com/yuin/goldmark/ast"
)

// repository is where files that are no pages are shown.
const repository = "https://github.com/rampart-flags/rampart"

// link is a link or an image of a page, with the line it stands in.
type link struct {
	line int
	dest string
	node ast.Node
}

func (p *page) links() (out []link) {
	line := 1
	_ = ast.Walk(p.doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		if n.Type() == ast.TypeBlock && n.Lines() != nil && n.Lines().Len() > 0 {
			line = 1 + bytes.Count(p.src[:n.Lines().At(0).Start], []byte("\n"))
		}
		switch n := n.(type) {
		case *ast.Link:
			out = append(out, link{line, string(n.Destination), n})
		case *ast.Image:
			out = append(out, link{line, string(n.Destination), n})
		}
		return ast.WalkContinue, nil
	})
	return out
}

// resolved is where a link of this project leads: a path from the root, and an anchor. ok is false for
// links to elsewhere.
func (p *page) resolved(dest string) (target, anchor string, ok bool) {
	for _, own := range []string{repository + "/blob/main/", repository + "/tree/main/", "https://raw.githubusercontent.com/rampart-flags/rampart/main/"} {
		if rest, is := strings.CutPrefix(dest, own); is {
			target, anchor, _ = strings.Cut(rest, "#")
			return path.Clean(target), anchor, true
		}
	}
	u, err := url.Parse(dest)
	if err != nil || u.Scheme != "" || u.Host != "" {
		return "", "", false
	}
	if u.Path == "" {
		return p.path, u.Fragment, true
	}
	return path.Join(path.Dir(p.path), u.Path), u.Fragment, true
}

// check names every link, anchor and image that leads nowhere.
func (s *site) check() (bad []string) {
	for _, p := range s.pages {
		for _, l := range p.links() {
			say := func(what string) { bad = append(bad, fmt.Sprintf("%s:%d: %s: %s", p.path, l.line, l.dest, what)) }
			target, anchor, ok := p.resolved(l.dest)
			if !ok {
				if strings.HasPrefix(l.dest, "http://") && !strings.Contains(l.dest, "://localhost") && !strings.Contains(l.dest, "://127.0.0.1") {
					say("http, without s")
				}
				continue
			}
			if _, err := fs.Stat(s.fs, target); err != nil {
				say("there is no " + target)
				continue
			}
			if to := s.byPath[target]; anchor != "" && to != nil && !to.anchors[anchor] {
				say(fmt.Sprintf("%s has no heading #%s", target, anchor))
			}
		}
	}
	return bad
}

// outPath is where a page stands in the site.
func outPath(p string) string {
	switch {
	case path.Base(p) == "README.md":
		return path.Join(path.Dir(p), "index.html")
	case path.Ext(p) == ".md":
		return strings.TrimSuffix(p, ".md") + ".html"
	}
	return p
}

// relative leads from one file of the site to another.
func relative(from, to string) string {
	up := strings.Count(from, "/")
	fromDirs, toDirs := strings.Split(from, "/"), strings.Split(to, "/")
	same := 0
	for same < len(fromDirs)-1 && same < len(toDirs)-1 && fromDirs[same] == toDirs[same] {
		same++
	}
	return strings.Repeat("../", up-same) + strings.Join(toDirs[same:], "/")
}

// rewrite turns a page's links into those of the site, and says which files they need beside the pages.
func (s *site) rewrite(p *page) (files []string) {
	for _, l := range p.links() {
		target, anchor, ok := p.resolved(l.dest)
		if !ok || strings.HasPrefix(l.dest, "https://raw.") {
			continue
		}
		dest := ""
		info, err := fs.Stat(s.fs, target)
		switch {
		case err != nil:
			continue
		case s.byPath[target] != nil:
			dest = relative(outPath(p.path), outPath(target))
		case info.IsDir() && s.byPath[path.Join(target, "README.md")] != nil:
			dest = relative(outPath(p.path), path.Join(target, "index.html"))
		case info.IsDir() && len(s.in(target)) > 0:
			dest = relative(outPath(p.path), path.Join(target, "index.html"))
		case info.IsDir():
			dest = repository + "/tree/main/" + target
		default:
			files = append(files, target)
			dest = relative(outPath(p.path), target)
		}
		if anchor != "" {
			dest += "#" + anchor
		}
		switch n := l.node.(type) {
		case *ast.Link:
			n.Destination = []byte(dest)
		case *ast.Image:
			n.Destination = []byte(dest)
		}
	}
	return files
}
