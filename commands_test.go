package rampart

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

var (
	helpTexts = map[string]string{} // by command line
	helpLock  sync.Mutex
)

// helpText is what a command says of itself. Each is asked once.
func helpText(t *testing.T, program string, path []string) string {
	t.Helper()
	helpLock.Lock()
	defer helpLock.Unlock()
	line := strings.Join(append([]string{program}, path...), " ")
	if text, ok := helpTexts[line]; ok {
		return text
	}
	out, err := exec.Command(program, append(append([]string{}, path...), "--help")...).Output()
	if err != nil {
		t.Fatalf("asking %s for its help: %v", line, err)
	}
	helpTexts[line] = string(out)
	return string(out)
}

var (
	aCommand  = regexp.MustCompile(`(?:^|[\s(;|&$"])(propose|reconcile|evaluate|notary) ([^|;&)#>\n]*)`)
	inSpan    = regexp.MustCompile("`([^`\n]+)`")
	flagName  = regexp.MustCompile(`^--([a-z][a-z0-9-]*)`)
	listed    = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*) +`)
	oneWord   = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
	flagThere = regexp.MustCompile(`(?m)^ {2,6}(?:-\w, )?--([a-z][a-z0-9-]*)`)
)

// TestDocumentedCommands: what the pages write as a command of ours is one, and has the flags that it is
// given, in blocks that are only read as well, and in the middle of a sentence.
func TestDocumentedCommands(t *testing.T) {
	bin := builtCommands(t)
	seen := 0
	check := func(page string, line int, program, rest string) {
		words := strings.Fields(strings.TrimSuffix(rest, `\`))
		var path []string
		help := helpText(t, filepath.Join(bin, program), nil)
		for len(words) > 0 {
			_, commands, _ := strings.Cut(help, "\nCommands:\n")
			there := false
			for _, m := range listed.FindAllStringSubmatch(commands, -1) {
				there = there || m[1] == words[0]
			}
			if !there && len(path) == 0 && oneWord.MatchString(words[0]) { // a command may be hidden
				out, err := exec.Command(filepath.Join(bin, program), words[0], "--help").Output()
				there = err == nil && string(out) != help
			}
			if !there || words[0] == "help" || words[0] == "completion" {
				break
			}
			path, words = append(path, words[0]), words[1:]
			help = helpText(t, filepath.Join(bin, program), path)
		}
		if len(path) == 0 && len(words) > 0 && oneWord.MatchString(words[0]) && strings.Contains(help, "\nCommands:\n") &&
			words[0] != "help" && words[0] != "completion" {
			t.Errorf("%s:%d: %s has no command %q", page, line, program, words[0])
			return
		}
		if len(path) == 0 && strings.Contains(help, "\nCommands:\n") {
			return // of all its commands
		}
		flags := map[string]bool{"help": true, "version": true}
		for _, m := range flagThere.FindAllStringSubmatch(help, -1) {
			flags[m[1]] = true
		}
		for _, w := range words {
			if w == "--" {
				break
			}
			if m := flagName.FindStringSubmatch(w); m != nil {
				seen++
				if !flags[m[1]] {
					t.Errorf("%s:%d: %s has no flag --%s", page, line, strings.Join(append([]string{program}, path...), " "), m[1])
				}
			}
		}
	}
	for _, root := range []string{"README.md", "CONTRIBUTING.md", "examples/README.md", "docs"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".md" || strings.HasPrefix(filepath.Base(path), "cli-") || path == "docs/configuration.md" {
				return err
			}
			src, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			block := ""
			for i, line := range strings.Split(string(src), "\n") {
				if mark, ok := strings.CutPrefix(strings.TrimSpace(line), "```"); ok {
					if block != "" {
						block = ""
					} else if block = mark; block == "" {
						block = "text"
					}
					continue
				}
				texts := []string{line}
				switch block {
				case "":
					texts = nil
					for _, m := range inSpan.FindAllStringSubmatch(line, -1) {
						texts = append(texts, m[1])
					}
				case "console":
					if !strings.HasPrefix(line, "$ ") {
						continue // what it printed
					}
				case "sh", "text":
				default:
					continue
				}
				for _, text := range texts {
					if block == "" && !regexp.MustCompile(`^(propose|reconcile|evaluate|notary) `).MatchString(text) {
						continue
					}
					if strings.Contains(text, "─") { // a picture
						continue
					}
					if block == "text" && !regexp.MustCompile(`^[$\w-]*\$? ?(propose|reconcile|evaluate|notary) (-|[a-z]+( |$))`).MatchString(text) {
						continue
					}
					for _, m := range aCommand.FindAllStringSubmatch(text, -1) {
						check(path, i+1, m[1], m[2])
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 100 {
		t.Errorf("only %d flags looked at: the search is broken", seen)
	}
}
