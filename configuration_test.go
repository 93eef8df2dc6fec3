package rampart

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// setting is a flag of one command, as its help tells it, and the subcommands that have it.
type setting struct {
	flag, value, text, def string
	env                    []string
	commands               []string
}

// TestConfiguration holds docs/configuration.md to the help of the built commands: every flag, its
// variables and its default. What stands before and after the marks is written by hand.
func TestConfiguration(t *testing.T) {
	bin := builtCommands(t)
	var b strings.Builder
	takes := map[string]map[string]bool{} // what a variable is set to, by its name
	for _, command := range []string{"propose", "reconcile", "evaluate", "notary"} {
		settings := map[string]*setting{}
		gatherSettings(t, filepath.Join(bin, command), nil, settings)
		writeSettings(&b, command, settings)
		for _, s := range settings {
			for _, name := range s.env {
				if takes[name] == nil {
					takes[name] = map[string]bool{}
				}
				takes[name][cmp.Or(alike[s.value], s.value, "switch")] = true
			}
		}
	}
	for name, values := range takes {
		if len(values) > 1 {
			t.Errorf("$%s means different things, %q: what one call is about is no variable (cli.NoEnv)", name, slices.Sorted(maps.Keys(values)))
		}
	}
	const page = "docs/configuration.md"
	src, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- settings: begin -->\n", "<!-- settings: end -->"
	before, rest, ok := strings.Cut(string(src), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has lost its marks", page)
	}
	flagtest.Golden(t, page, before+begin+b.String()+end+after)
}

// alike are words in help for values that are the same to whoever sets a variable.
var alike = map[string]string{"KEY": "FILE", "PATH": "FILE", "SIGNER": "NAME"}

var (
	flagLine = regexp.MustCompile(`^ {2,6}(?:-\w, )?--([a-z][a-z0-9-]*)(?: (\S+))? {2,}(.*)$`)
	defaults = regexp.MustCompile(`\(default:? (.*)\)$`)
	envNames = regexp.MustCompile(` ?\[(\$[A-Z0-9_, $]+)\]`)
)

// gatherSettings reads the help of a command and of all below it.
func gatherSettings(t *testing.T, program string, path []string, into map[string]*setting) {
	t.Helper()
	var cur *setting
	flush := func() {
		if cur == nil {
			return
		}
		cur.finish()
		key := cur.flag + "\x00" + cur.text + cur.def
		if there := into[key]; there != nil {
			there.commands = append(there.commands, cur.commands...)
		} else if cur.flag != "help" && cur.flag != "version" {
			into[key] = cur
		}
		cur = nil
	}
	section := ""
	for line := range strings.Lines(helpText(t, program, path)) {
		line = strings.TrimRight(line, "\n")
		switch m := flagLine.FindStringSubmatch(line); {
		case line != "" && line[0] != ' ':
			flush()
			section = line
		case section == "Commands:" && strings.HasPrefix(line, "  "):
			if name := strings.Fields(line)[0]; name != "help" && name != "completion" {
				gatherSettings(t, program, append(slices.Clone(path), name), into)
			}
		case strings.HasPrefix(section, "Flags") && m != nil:
			flush()
			where := strings.Join(path, " ")
			if strings.HasPrefix(section, "Flags of every") || where == "" {
				where = "*"
			}
			cur = &setting{flag: m[1], value: m[2], text: m[3], commands: []string{where}}
		case cur != nil && strings.TrimSpace(line) != "":
			cur.text += " " + strings.TrimSpace(line)
		}
	}
	flush()
}

// finish takes the variables and the default out of the text.
func (s *setting) finish() {
	if m := envNames.FindStringSubmatch(s.text); m != nil {
		s.text = strings.Replace(s.text, m[0], "", 1)
		for name := range strings.SplitSeq(m[1], ", ") {
			s.env = append(s.env, strings.TrimPrefix(name, "$"))
		}
	}
	if m := defaults.FindStringSubmatch(s.text); m != nil {
		s.def = strings.Trim(m[1], `"`)
		s.text = strings.TrimSpace(strings.TrimSuffix(s.text, m[0]))
	}
}

func writeSettings(b *strings.Builder, command string, settings map[string]*setting) {
	fmt.Fprintf(b, "\n## %s\n\n| Flag | Variable | Default | Of | |\n|---|---|---|---|---|\n", command)
	all := slices.SortedFunc(maps.Values(settings), func(x, y *setting) int {
		return cmp.Or(cmp.Compare(x.flag, y.flag), cmp.Compare(x.text, y.text), cmp.Compare(x.def, y.def))
	})
	for _, s := range all {
		slices.Sort(s.commands)
		s.commands = slices.Compact(s.commands)
		of := strings.Join(s.commands, ", ")
		if slices.Contains(s.commands, "*") {
			of = "all"
		}
		flag := "`--" + strings.TrimSpace(s.flag+" "+s.value) + "`"
		env := "–"
		if len(s.env) > 0 {
			env = "`" + strings.Join(s.env, "`, `") + "`"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", flag, env, cell(cmp.Or(s.def, "–")), of, cell(s.text))
	}
	b.WriteString("\n")
}

func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`).Replace(text)
}

var readVariable = regexp.MustCompile(`(?:[gG]etenv|LookupEnv|cmpEnv)\("([A-Z][A-Z0-9_]+)"\)`)

// Every variable that the source reads by its name stands on the page.
func TestConfigurationVariables(t *testing.T) {
	page, err := os.ReadFile("docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	files := goList(t, "-f", `{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}`, "./...")
	seen := 0
	for _, file := range files {
		if strings.Contains(file, "/internal/flagtest/") || strings.Contains(file, "/internal/worldtest/") || strings.Contains(file, "/examples/") {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range readVariable.FindAllStringSubmatch(string(src), -1) {
			seen++
			if !strings.Contains(string(page), "`"+m[1]+"`") && !strings.HasPrefix(m[1], "RAMPART_CHAOS_") && m[1] != "DEMO_EXIT" {
				t.Errorf("%s reads $%s, of which docs/configuration.md says nothing", filepath.Base(file), m[1])
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d variables found: the search is broken", seen)
	}
}

var formatName = regexp.MustCompile("[\"`]([a-z][a-z.-]*/v[0-9]+)[\"`]")

// docs/formats.md names every format that the source writes and every schema, and none that is not there.
func TestFormats(t *testing.T) {
	page, err := os.ReadFile("docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{"flag-tests/v1": true} // its name stands in its schema only
	for _, file := range sources(t) {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range formatName.FindAllStringSubmatch(string(src), -1) {
			there[m[1]] = true
			if !strings.Contains(string(page), "`"+m[1]+"`") {
				t.Errorf("%s has the format %s, which docs/formats.md does not list", filepath.Base(file), m[1])
			}
		}
	}
	for _, m := range formatName.FindAllStringSubmatch(string(page), -1) {
		if !there[m[1]] {
			t.Errorf("docs/formats.md lists %s, which nothing writes", m[1])
		}
	}
	schemas, err := filepath.Glob("schema/*.schema.json")
	if err != nil || len(schemas) < 10 {
		t.Fatalf("the schemas are %v, %v", schemas, err)
	}
	for _, path := range schemas {
		if !strings.Contains(string(page), "(../"+path+")") {
			t.Errorf("docs/formats.md does not link %s", path)
		}
	}
}

// sources are the Go files of all modules of the tree that are no tests.
func sources(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() == ".git" || d.Name() == "dist"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
