package rampart

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// guides are the pages whose command blocks are run here, each page from top to bottom in a folder of
// its own, in one shell. A block marked "sh" must succeed; one marked "console" must also print what
// it shows, where "…" stands for anything. Blocks marked "text" are to be read only.
var guides = []string{"README.md", "docs/getting-started.md"}

func TestGuides(t *testing.T) {
	flagtest.Need(t, "git", "bash", "sed")
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+"/", "./cmd/propose", "./cmd/reconcile")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the commands: %v\n%s", err, out)
	}
	for _, page := range guides {
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			runGuide(t, page, bin)
		})
	}
}

// step is one command of a guide and what it must print; nil means that only success counts.
type step struct {
	line    int
	command string
	prints  []string
}

func runGuide(t *testing.T, page, bin string) {
	src, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	steps := guideSteps(string(src))
	if len(steps) == 0 {
		t.Fatalf("%s has no command to run", page)
	}
	// One shell runs them all, so that cd and variables carry over; a mark ends each one's output.
	const mark = "\x01end of step"
	var script strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&script, "%s\nprintf '%s %%d\\n' $?\n", s.command, mark)
	}
	home := t.TempDir()
	project, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash")
	cmd.Dir = t.TempDir()
	cmd.Stdin = strings.NewReader(script.String())
	cmd.Env = []string{
		"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + home, "PROJECT=" + project, "XDG_CONFIG_HOME=" + filepath.Join(home, ".config"),
		"XDG_STATE_HOME=" + filepath.Join(home, ".state"), "TMPDIR=" + t.TempDir(), "COSIGN_PASSWORD=sesame", "NO_COLOR=1",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + filepath.Join(home, ".gitconfig"), "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Alice", "GIT_AUTHOR_EMAIL=alice@example.org", "GIT_COMMITTER_NAME=Alice", "GIT_COMMITTER_EMAIL=alice@example.org",
	}
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[user]\n\tname = Alice\n\temail = alice@example.org\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", page, err, &out)
	}
	outputs := strings.Split(out.String(), mark+" ")
	for i, s := range steps {
		printed := outputs[i]
		if i > 0 {
			_, printed, _ = strings.Cut(printed, "\n") // the exit code of the step before
		}
		code, _, _ := strings.Cut(outputs[i+1], "\n")
		if code != "0" {
			t.Fatalf("%s:%d: %s\nexits %s and prints:\n%s", page, s.line, s.command, code, printed)
		}
		if s.prints != nil && !printsAs(printed, s.prints) {
			t.Errorf("%s:%d: %s\nprints:\n%s\nand the page says:\n%s", page, s.line, s.command, printed, strings.Join(s.prints, "\n"))
		}
	}
}

func guideSteps(src string) []step {
	var steps []step
	block := ""
	for i, line := range strings.Split(src, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			if block != "" {
				block = ""
			} else if block = strings.TrimPrefix(line, "```"); block == "" {
				block = "text"
			}
		case block == "sh" && strings.HasPrefix(line, "make "):
			// The demo and the tests have tests of their own; that the targets are there is held here.
			target := strings.Fields(line)[1]
			steps = append(steps, step{line: i + 1, command: "make -C \"$PROJECT\" -n " + target + " >/dev/null"})
		case block == "sh" && strings.TrimSpace(line) != "":
			steps = append(steps, step{line: i + 1, command: line})
		case block == "console" && strings.HasPrefix(line, "$ "):
			steps = append(steps, step{line: i + 1, command: line[2:], prints: []string{}})
		case block == "console":
			steps[len(steps)-1].prints = append(steps[len(steps)-1].prints, line)
		}
	}
	return steps
}

// printsAs compares output with a page's lines. A line "…" alone stands for any lines, "…" within one
// for anything.
func printsAs(printed string, want []string) bool {
	var re strings.Builder
	re.WriteString(`\A`)
	for _, line := range want {
		if line == "…" {
			re.WriteString(`(?:.*\n)*?`)
			continue
		}
		re.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\n`)
	}
	re.WriteString(`\z`)
	return regexp.MustCompile(re.String()).MatchString(printed)
}
