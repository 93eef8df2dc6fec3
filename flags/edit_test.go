package flags_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/rampart-flags/rampart/flags"
)

// Each file of testdata/edit is a case: the document before, the edits one a
// line ("/pointer value", or "/pointer" to delete), the document after. In
// before and after, "<CR>" stands for a carriage return.
func TestEditCases(t *testing.T) {
	files, err := filepath.Glob("testdata/edit/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			part := map[string][]byte{}
			for _, f := range ar.Files {
				part[f.Name] = bytes.ReplaceAll(f.Data, []byte("<CR>"), []byte("\r"))
			}
			var edits []flags.EditOp
			for line := range strings.Lines(string(part["edits"])) {
				pointer, value, set := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				op := flags.EditOp{Pointer: pointer}
				if set {
					op.Value = jsontext.Value(value)
				}
				edits = append(edits, op)
			}
			got, err := flags.Edit(part["before"], edits)
			if want, wantErr := part["error"]; wantErr {
				if err == nil || !errors.Is(err, flags.ErrEdit) && !strings.Contains(string(want), "strict") || !strings.Contains(err.Error(), strings.TrimSpace(strings.TrimPrefix(string(want), "strict:"))) {
					t.Fatalf("error %v, want %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				for i, f := range ar.Files {
					if f.Name == "after" {
						ar.Files[i].Data = bytes.ReplaceAll(got, []byte("\r"), []byte("<CR>"))
					}
				}
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if !bytes.Equal(got, part["after"]) {
				t.Errorf("got\n%s\nwant\n%s", got, part["after"])
			}
		})
	}
}

// place is one value of a document with what stands around it.
type place struct {
	pointer    string
	lead, name string // white space before the member, and the member's name as written
	value      string // as written
	leaf       bool
}

// places lists all values in the order of the document.
func places(src []byte) []place {
	var out []place
	d := jsontext.NewDecoder(bytes.NewBuffer(src))
	var walk func(pointer string)
	gap := func() (string, int) { // white space up to the next token
		start := int(d.InputOffset())
		end := start
		for end < len(src) && strings.IndexByte(" \t\r\n,:", src[end]) >= 0 {
			end++
		}
		text := string(src[start:end])
		if i := strings.IndexAny(text, ",:"); i >= 0 {
			text = text[i+1:]
		}
		return text, end
	}
	walk = func(pointer string) {
		switch kind := d.PeekKind(); kind {
		case '{', '[':
			_, _ = d.ReadToken()
			for i := 0; d.PeekKind() != '}' && d.PeekKind() != ']'; i++ {
				lead, nameAt := gap()
				p := place{pointer: pointer + "/" + strconv.Itoa(i), lead: lead}
				if kind == '{' {
					tok, _ := d.ReadToken()
					p.pointer = pointer + "/" + escapeToken(tok.String())
					p.name = string(src[nameAt:d.InputOffset()])
				}
				_, at := gap()
				p.leaf = d.PeekKind() != '{' && d.PeekKind() != '['
				out = append(out, p)
				self := len(out) - 1
				walk(p.pointer)
				out[self].value = string(src[at:d.InputOffset()])
			}
			_, _ = d.ReadToken()
		default:
			_ = d.SkipValue()
		}
	}
	walk("")
	return out
}

func escapeToken(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

// checkEdit holds the laws: the edited document means exactly what the edits
// say, and whatever they do not touch stands as it stood, in the same order.
func checkEdit(fatalf func(string, ...any), src []byte, edits []flags.EditOp, out []byte) {
	var want, got any
	if err := json.Unmarshal(src, &want); err != nil {
		fatalf("%v", err)
	}
	for _, op := range edits {
		want = setAt(want, tokens(op.Pointer), op.Value)
	}
	if err := json.Unmarshal(out, &got); err != nil {
		fatalf("%v\n%s", err, out)
	}
	w, _ := json.Marshal(want)
	g, _ := json.Marshal(got)
	if !bytes.Equal(w, g) {
		fatalf("edits %s\nof %s\ngave %s", show(edits), src, out)
	}
	related := func(pointer string) bool { // on the way to an edit, or below one
		for _, op := range edits {
			if pointer == op.Pointer || strings.HasPrefix(pointer, op.Pointer+"/") || strings.HasPrefix(op.Pointer, pointer+"/") {
				return true
			}
		}
		return false
	}
	var before, after []place
	for _, p := range places(src) {
		if !related(p.pointer) {
			before = append(before, p)
		}
	}
	for _, p := range places(out) {
		if !related(p.pointer) {
			after = append(after, p)
		}
	}
	if len(before) != len(after) {
		fatalf("%d values were not touched, %d are left\nedits %s\nof %s\ngave %s", len(before), len(after), show(edits), src, out)
	}
	for i, b := range before {
		a := after[i]
		if a.pointer != b.pointer || a.name != b.name || a.value != b.value {
			fatalf("%q %s %s became %q %s %s\nedits %s", b.pointer, b.name, b.value, a.pointer, a.name, a.value, show(edits))
		}
	}
}

func show(edits []flags.EditOp) string {
	var b strings.Builder
	for _, op := range edits {
		fmt.Fprintf(&b, "%s=%s ", op.Pointer, op.Value)
	}
	return b.String()
}

func tokens(pointer string) []string { return slices.Collect(jsontext.Pointer(pointer).Tokens()) }

func setAt(v any, path []string, value jsontext.Value) any {
	m, ok := v.(map[string]any)
	if !ok {
		m = map[string]any{}
	}
	if len(path) > 1 {
		m[path[0]] = setAt(m[path[0]], path[1:], value)
		return m
	}
	if value == nil {
		delete(m, path[0])
		return m
	}
	var x any
	_ = json.Unmarshal(value, &x)
	m[path[0]] = x
	return m
}

// drawEdits draws edits of objects that do not meet each other.
func drawEdits(t *rapid.T, src []byte) []flags.EditOp {
	var objects, members []string
	objects = append(objects, "")
	for _, p := range places(src) {
		if p.name == "" {
			continue // items of lists have numbers that edits move
		}
		members = append(members, p.pointer)
		if strings.HasPrefix(p.value, "{") {
			objects = append(objects, p.pointer)
		}
	}
	values := []string{"1", `"x"`, "true", "{}", "[]", `["a", "b"]`, `{"pct":5}`, `{"enabled":true,"tenants":{"t":{"pct":1}}}`, "[\n1\n]"}
	var edits []flags.EditOp
	for range rapid.IntRange(1, 6).Draw(t, "edits") {
		var op flags.EditOp
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0: // delete
			if len(members) == 0 {
				continue
			}
			op.Pointer = rapid.SampledFrom(members).Draw(t, "gone")
		case 1: // replace
			if len(members) == 0 {
				continue
			}
			op = flags.EditOp{Pointer: rapid.SampledFrom(members).Draw(t, "member"), Value: jsontext.Value(draw(t, "value", values...))}
		default: // add, also below what is not there
			name := draw(t, "name", "new", "zz", "aa", "version", "tenants/fresh", "a/b/c", "we~1ird~0 \"name\"")
			op = flags.EditOp{Pointer: rapid.SampledFrom(objects).Draw(t, "object") + "/" + name, Value: jsontext.Value(draw(t, "value", values...))}
		}
		meets := slices.ContainsFunc(edits, func(o flags.EditOp) bool {
			return o.Pointer == op.Pointer || strings.HasPrefix(o.Pointer, op.Pointer+"/") || strings.HasPrefix(op.Pointer, o.Pointer+"/")
		})
		below := slices.ContainsFunc(places(src), func(p place) bool {
			return strings.HasPrefix(op.Pointer, p.pointer+"/") && !strings.HasPrefix(p.value, "{")
		})
		if !meets && !below {
			edits = append(edits, op)
		}
	}
	return edits
}

func TestEditLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLayout(t)
		src := drawDoc(t).text(l)
		edits := drawEdits(t, src)
		kept := bytes.Clone(src)
		out, err := flags.Edit(src, edits)
		if err != nil {
			t.Fatalf("%v\nedits %s\nof %s", err, show(edits), src)
		}
		if !bytes.Equal(src, kept) {
			t.Fatal("the source was written to")
		}
		checkEdit(t.Fatalf, src, edits, out)
		if l.newline == "\r\n" && bytes.Count(out, []byte("\n")) != bytes.Count(out, []byte("\r\n")) && !strings.Contains(show(edits), "[\n1\n]") {
			t.Fatalf("a bare line feed in a document with CRLF\nedits %s\n%q", show(edits), out)
		}
		if l.newline == "" && bytes.Contains(out, []byte("\n")) && !strings.Contains(show(edits), "[\n1\n]") {
			t.Fatalf("a document on one line got another\nedits %s\n%s", show(edits), out)
		}
	})
}

// What is edited and then taken back is the document again, byte for byte.
func TestEditAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := drawDoc(t).text(drawLayout(t))
		var there, back []flags.EditOp
		for _, p := range places(src) {
			if p.leaf && p.name != "" && chance(t, 3) {
				there = append(there, flags.EditOp{Pointer: p.pointer, Value: jsontext.Value(`"something else"`)})
				back = append(back, flags.EditOp{Pointer: p.pointer, Value: jsontext.Value(p.value)})
			}
		}
		out, err := flags.Edit(src, there)
		if err != nil {
			t.Fatal(err)
		}
		again, err := flags.Edit(out, back)
		if err != nil || !bytes.Equal(again, src) {
			t.Fatalf("%v\n%s\nbecame\n%s", err, src, again)
		}
	})
}
