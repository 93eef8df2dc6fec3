package main

import (
	"html"
	"regexp"
	"strings"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/util"
)

// codeRenderer writes code blocks with what little colour helps: prompts and commands of a session,
// comments, and the names in JSON.
type codeRenderer struct{}

func (codeRenderer) RegisterFuncs(reg renderer.NodeRendererFuncRegisterer) {
	reg.Register(ast.KindFencedCodeBlock, func(w util.BufWriter, src []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		n := node.(*ast.FencedCodeBlock)
		language := string(n.Language(src))
		var text strings.Builder
		for i := range n.Lines().Len() {
			segment := n.Lines().At(i)
			text.Write(segment.Value(src))
		}
		_, _ = w.WriteString(`<div class="code" data-language="` + html.EscapeString(language) + `"><pre><code>` + coloured(language, text.String()) + "</code></pre></div>\n")
		return ast.WalkSkipChildren, nil
	})
}

var (
	jsonName  = regexp.MustCompile(`&#34;(?:[^&]|&[^#]|&#[^3]|&#3[^4])*?&#34;\s*:`)
	shComment = regexp.MustCompile(`(?m)(^|\s)(#.*)$`)
	goComment = regexp.MustCompile(`(?m)(^|\s)(//.*)$`)
)

func coloured(language, text string) string {
	escaped := html.EscapeString(text)
	switch language {
	case "json":
		return jsonName.ReplaceAllString(escaped, `<span class="name">$0</span>`)
	case "sh", "bash", "yaml":
		return shComment.ReplaceAllString(escaped, `$1<span class="soft">$2</span>`)
	case "go", "js", "ts":
		return goComment.ReplaceAllString(escaped, `$1<span class="soft">$2</span>`)
	case "console":
		lines := strings.SplitAfter(escaped, "\n")
		for i, line := range lines {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				lines[i] = `<span class="prompt">$ </span><b class="command">` + strings.TrimSuffix(command, "\n") + "</b>\n"
			} else {
				lines[i] = `<span class="said">` + strings.TrimSuffix(line, "\n") + "</span>\n"
			}
		}
		return strings.TrimSuffix(strings.Join(lines, ""), "<span class=\"said\"></span>\n")
	}
	return escaped
}
