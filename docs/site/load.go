package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// site is every page of the project, and the order in which they are read.
type site struct {
	fs     fs.FS
	md     goldmark.Markdown
	pages  []*page // as the navigation has them, then the rest by path
	groups []group
	byPath map[string]*page
}

// group is a heading of docs/README.md with the pages listed below it.
type group struct {
	Title string
	Pages []*page
}

// page is one Markdown file. Its path is from the repository's root.
type page struct {
	path     string
	src      []byte
	doc      ast.Node
	Title    string
	lead     string // its first paragraph, for the search
	headings []heading
	anchors  map[string]bool
}

// heading has its level (2, 3, …), its anchor as GitHub makes it, and its plain text.
type heading struct {
	Level    int
	ID, Text string
}

// home is the page that becomes the site's index.
const home, contents = "README.md", "docs/README.md"

// rootPages are what belongs to the site of the files in the repository's root.
var rootPages = []string{home, "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "GOVERNANCE.md", "examples/README.md"}

func load(fsys fs.FS) (*site, error) {
	s := &site{fs: fsys, byPath: map[string]*page{}}
	s.md = goldmark.New(
		goldmark.WithExtensions(extension.GFM),
		goldmark.WithParserOptions(parser.WithAutoHeadingID()),
		goldmark.WithRendererOptions(html.WithUnsafe(), renderer.WithNodeRenderers(util.Prioritized(codeRenderer{}, 100))),
	)
	var paths []string
	for _, p := range rootPages {
		if _, err := fs.Stat(fsys, p); err == nil {
			paths = append(paths, p)
		}
	}
	err := fs.WalkDir(fsys, "docs", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && path.Ext(p) == ".md" {
			paths = append(paths, p)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for pages: %w", err)
	}
	for _, p := range paths {
		src, err := fs.ReadFile(fsys, p)
		if err != nil {
			return nil, fmt.Errorf("reading a page: %w", err)
		}
		s.byPath[p] = s.parse(p, src)
	}
	if s.byPath[contents] == nil || s.byPath[home] == nil {
		return nil, errors.New("no README.md and docs/README.md here: run from the repository's root, or say --src")
	}
	s.order()
	return s, nil
}

func (s *site) parse(p string, src []byte) *page {
	doc := s.md.Parser().Parse(text.NewReader(src), parser.WithContext(parser.NewContext(parser.WithIDs(&githubIDs{}))))
	pg := &page{path: p, src: src, doc: doc, Title: p, anchors: map[string]bool{}}
	first := true
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			id, _ := n.AttributeString("id")
			h := heading{n.Level, string(id.([]byte)), plain(n, src)}
			pg.anchors[h.ID] = true
			if n.Level == 1 && first {
				pg.Title, first = h.Text, false
			} else {
				pg.headings = append(pg.headings, h)
			}
		case *ast.Paragraph:
			if pg.lead == "" {
				pg.lead = plain(n, src)
			}
		case *ast.RawHTML, *ast.HTMLBlock:
			for _, m := range idAttribute.FindAllSubmatch(raw(n, src), -1) {
				pg.anchors[string(m[1])] = true
			}
		}
		return ast.WalkContinue, nil
	})
	return pg
}

var idAttribute = regexp.MustCompile(`\b(?:id|name)="([^"]+)"`)

// order reads the navigation: the headings of docs/README.md and the links below each. Links to a
// folder stand for the pages in it. What is not listed comes last, by path, under "More".
func (s *site) order() {
	index := s.byPath[contents]
	seen := map[*page]bool{}
	add := func(p *page) {
		if p != nil && !seen[p] {
			seen[p] = true
			s.pages = append(s.pages, p)
			if n := len(s.groups); n > 0 {
				s.groups[n-1].Pages = append(s.groups[n-1].Pages, p)
			}
		}
	}
	add(s.byPath[home])
	add(index)
	_ = ast.Walk(index.doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			if n.Level == 2 {
				s.groups = append(s.groups, group{Title: plain(n, index.src)})
			}
		case *ast.Link:
			if len(s.groups) == 0 {
				return ast.WalkContinue, nil // the introduction
			}
			target, _, _ := strings.Cut(string(n.Destination), "#")
			full := path.Join(path.Dir(contents), target)
			add(s.byPath[full])
			if strings.HasSuffix(target, "/") {
				for _, p := range s.in(full) {
					add(p)
				}
			}
		}
		return ast.WalkContinue, nil
	})
	var rest []*page
	for _, p := range s.byPath {
		if !seen[p] {
			rest = append(rest, p)
		}
	}
	slices.SortFunc(rest, func(a, b *page) int { return strings.Compare(a.path, b.path) })
	s.groups = append(s.groups, group{Title: "More"})
	for _, p := range rest {
		add(p)
	}
	s.groups = slices.DeleteFunc(s.groups, func(g group) bool { return len(g.Pages) == 0 })
}

// in lists the pages directly in a folder, by path.
func (s *site) in(folder string) (out []*page) {
	for p, pg := range s.byPath {
		if path.Dir(p) == folder {
			out = append(out, pg)
		}
	}
	slices.SortFunc(out, func(a, b *page) int { return strings.Compare(a.path, b.path) })
	return out
}

// plain is the text of a node without its marks.
func plain(n ast.Node, src []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			switch n := n.(type) {
			case *ast.Text:
				b.Write(n.Segment.Value(src))
				if n.SoftLineBreak() || n.HardLineBreak() {
					b.WriteByte(' ')
				}
			case *ast.String:
				b.Write(n.Value)
			}
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

func raw(n ast.Node, src []byte) []byte {
	var b bytes.Buffer
	switch n := n.(type) {
	case *ast.RawHTML:
		for i := range n.Segments.Len() {
			segment := n.Segments.At(i)
			b.Write(segment.Value(src))
		}
	case *ast.HTMLBlock:
		for i := range n.Lines().Len() {
			segment := n.Lines().At(i)
			b.Write(segment.Value(src))
		}
	}
	return b.Bytes()
}

// githubIDs makes anchors as GitHub does, so that one link works in both places: lower case, letters,
// digits, hyphens and underscores stay, spaces become hyphens, and the second of a name gets "-1".
type githubIDs struct{ seen map[string]int }

func (g *githubIDs) Generate(value []byte, _ ast.NodeKind) []byte {
	var b strings.Builder
	for _, r := range strings.ToLower(strings.TrimSpace(string(value))) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			b.WriteRune(r)
		}
	}
	id := b.String()
	if g.seen == nil {
		g.seen = map[string]int{}
	}
	n := g.seen[id]
	g.seen[id]++
	if n > 0 {
		id = fmt.Sprintf("%s-%d", id, n)
	}
	return []byte(id)
}

func (g *githubIDs) Put([]byte) {}
