package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// annotation is a remark on a line of a file, as GitHub Actions shows it beside a pull request's
// changes. Line 0 is the file as a whole.
type annotation struct {
	level, file, title, text string // level: notice, warning, error
	line                     int
}

// annotate writes a as a workflow command ("::warning file=…,line=…,title=…::text"). What others
// wrote cannot end the command or begin another.
func annotate(w io.Writer, a annotation) error {
	place := "file=" + property(a.file)
	if a.line > 0 {
		place += fmt.Sprintf(",line=%d", a.line)
	}
	_, err := fmt.Fprintf(w, "::%s %s,title=%s::%s\n", a.level, place, property(a.title), workflowData.Replace(a.text))
	return err
}

var workflowData = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")

func property(s string) string {
	return strings.NewReplacer(":", "%3A", ",", "%2C").Replace(workflowData.Replace(s))
}

// memberLines are the lines, from 1, on which the members or elements of a document's top-level
// member stand: those of /features by name, those of /cases by number.
func memberLines(src []byte, top string) map[string]int {
	lines := map[string]int{}
	dec := jsontext.NewDecoder(bytes.NewReader(src))
	prefix := "/" + top + "/"
	for {
		if _, err := dec.ReadToken(); err != nil {
			return lines // the end, or a document that others complain of
		}
		name, ok := strings.CutPrefix(string(dec.StackPointer()), prefix)
		if !ok || strings.Contains(name, "/") {
			continue
		}
		if _, seen := lines[name]; !seen {
			lines[name] = 1 + bytes.Count(src[:dec.InputOffset()], []byte("\n"))
		}
	}
}
