package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/yuin/goldmark/ast"
)

//go:embed page.html
var pageSource string

//go:embed site.css
var css []byte

//go:embed site.js
var js []byte

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// view is what the template shows.
type view struct {
	Title, Path, Home, Assets, Source string
	Body                              template.HTML
	Groups                            []viewGroup
	Headings                          []heading
	Before, After                     *viewLink
}

type viewGroup struct {
	Title string
	Open  bool
	Links []viewLink
}

type viewLink struct {
	Title, Href string
	Here        bool
}

func (s *site) write(out string) error {
	if err := emptied(out); err != nil {
		return err
	}
	files := map[string]bool{}
	folders := map[string]bool{}
	var index []entry
	for i, p := range s.pages {
		index = append(index, s.indexed(p)...) // before the links are rewritten
		for _, f := range s.rewrite(p) {
			files[f] = true
		}
		var body bytes.Buffer
		if err := s.md.Renderer().Render(&body, p.src, p.doc); err != nil {
			return fmt.Errorf("%s: %w", p.path, err)
		}
		if err := s.put(out, p, i, template.HTML(body.String())); err != nil {
			return err
		}
		if dir := path.Dir(p.path); dir != "." {
			folders[dir] = true
		}
	}
	for dir := range folders {
		if s.byPath[path.Join(dir, "README.md")] == nil {
			if err := s.putFolder(out, dir); err != nil {
				return err
			}
		}
	}
	for f := range files {
		data, err := fs.ReadFile(s.fs, f)
		if err != nil {
			return err
		}
		if err := writeFile(out, f, data); err != nil {
			return err
		}
	}
	text, err := json.Marshal(index)
	if err != nil {
		return err
	}
	// A script and no JSON file: a page opened from disk may load the one and not the other.
	return errors.Join(
		writeFile(out, "assets/search.js", append(append([]byte("rampartIndex="), text...), ';', '\n')),
		writeFile(out, "assets/site.css", css), writeFile(out, "assets/site.js", js))
}

// mark is the file by which a folder is known to be a site that was made here.
const mark = ".rampart-site"

// emptied makes out an empty folder. One that holds something else than a site is left alone.
func emptied(out string) error {
	there, err := os.ReadDir(out)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(filepath.Join(out, mark)); len(there) > 0 && err != nil {
		return fmt.Errorf("%s holds something else than a site: name another folder", out)
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	return writeFile(out, mark, nil)
}

func writeFile(out, name string, data []byte) error {
	file := filepath.Join(out, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

func (s *site) put(out string, p *page, i int, body template.HTML) error {
	v := s.view(outPath(p.path), p)
	v.Title, v.Body, v.Source = p.Title, body, repository+"/blob/main/"+p.path
	for _, h := range p.headings {
		if h.Level <= 3 {
			v.Headings = append(v.Headings, h)
		}
	}
	if len(p.headings) < 3 || len(v.Headings) > 60 {
		v.Headings = onlySecond(v.Headings)
	}
	to := func(q *page) *viewLink {
		return &viewLink{Title: q.Title, Href: relative(outPath(p.path), outPath(q.path))}
	}
	if i > 0 {
		v.Before = to(s.pages[i-1])
	}
	if i+1 < len(s.pages) {
		v.After = to(s.pages[i+1])
	}
	return s.execute(out, outPath(p.path), v)
}

func onlySecond(in []heading) (out []heading) {
	for _, h := range in {
		if h.Level == 2 {
			out = append(out, h)
		}
	}
	return out
}

// putFolder lists the pages of a folder that has no page of its own.
func (s *site) putFolder(out, dir string) error {
	at := path.Join(dir, "index.html")
	v := s.view(at, nil)
	v.Title, v.Source = strings.ToUpper(path.Base(dir)[:1])+path.Base(dir)[1:], repository+"/tree/main/"+dir
	var b bytes.Buffer
	fmt.Fprintf(&b, "<h1>%s</h1>\n<ul>\n", template.HTMLEscapeString(v.Title))
	for _, p := range s.in(dir) {
		fmt.Fprintf(&b, "<li><a href=\"%s\">%s</a></li>\n", template.HTMLEscapeString(relative(at, outPath(p.path))), template.HTMLEscapeString(p.Title))
	}
	b.WriteString("</ul>\n")
	v.Body = template.HTML(b.String())
	return s.execute(out, at, v)
}

func (s *site) view(at string, here *page) view {
	v := view{Path: at, Home: relative(at, "index.html"), Assets: relative(at, "assets/")}
	for _, g := range s.groups {
		vg := viewGroup{Title: g.Title}
		for _, p := range g.Pages {
			vg.Open = vg.Open || p == here
			vg.Links = append(vg.Links, viewLink{shortTitle(p), relative(at, outPath(p.path)), p == here})
		}
		v.Groups = append(v.Groups, vg)
	}
	if here == nil || path.Base(here.path) == "README.md" { // the first pages: where to begin
		for i := range min(2, len(v.Groups)) {
			v.Groups[i].Open = true
		}
	}
	return v
}

// shortTitle is a page's name in the navigation: what stands before the colon of its title.
func shortTitle(p *page) string {
	short, _, _ := strings.Cut(p.Title, ": ")
	return short
}

func (s *site) execute(out, at string, v view) error {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, v); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	return writeFile(out, at, b.Bytes())
}

// entry is one section of a page in the search's index. Href is from the site's root.
type entry struct {
	Page string `json:"p"`
	Head string `json:"h,omitempty"`
	Href string `json:"u"`
	Text string `json:"t"`
}

// indexed splits a page at its headings.
func (s *site) indexed(p *page) (out []entry) {
	cur := entry{Page: p.Title, Href: outPath(p.path)}
	flush := func() {
		if cur.Text = strings.Join(strings.Fields(cur.Text), " "); cur.Text != "" {
			out = append(out, cur)
		}
	}
	for n := p.doc.FirstChild(); n != nil; n = n.NextSibling() {
		if h, ok := n.(*ast.Heading); ok && h.Level > 1 {
			flush()
			id, _ := h.AttributeString("id")
			cur = entry{Page: p.Title, Head: plain(h, p.src), Href: outPath(p.path) + "#" + string(id.([]byte))}
			continue
		}
		cur.Text += " " + allText(n, p.src)
	}
	flush()
	return out
}

// allText is the text below a node, code blocks too, with a space between blocks.
func allText(n ast.Node, src []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Text:
			b.Write(n.Segment.Value(src))
			if n.SoftLineBreak() {
				b.WriteByte(' ')
			}
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			for i := range n.Lines().Len() {
				segment := n.Lines().At(i)
				b.WriteByte(' ')
				b.Write(segment.Value(src))
			}
		default:
			if n.Type() == ast.TypeBlock {
				b.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}
