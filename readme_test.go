package rampart

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// guides are the pages whose command blocks are run here, each page from top to bottom in a folder of
// its own, in one shell. A block marked "sh" must succeed; one marked "console" must also print what
// it shows, where "…" stands for anything. Blocks marked "text" and in other languages are to be read
// only. Ports of the page are replaced by free ones, and what a reader downloads is taken from here.
func guides(t *testing.T) []string {
	more, err := filepath.Glob("docs/guides/*.md")
	if err != nil || len(more) < 7 {
		t.Fatalf("the guides are %v, %v", more, err)
	}
	return append([]string{"README.md", "docs/getting-started.md"}, more...)
}

func TestGuides(t *testing.T) {
	flagtest.Need(t, "git", "bash", "sed", "awk")
	bin := builtCommands(t)
	for _, page := range guides(t) {
		t.Run(strings.TrimSuffix(filepath.Base(page), ".md"), func(t *testing.T) {
			t.Parallel()
			runGuide(t, page, bin)
		})
	}
}

// builtCommands is the folder of the commands, built once for all tests that run them.
func builtCommands(t *testing.T) string {
	t.Helper()
	commands.Do(func() {
		var err error
		if commandsDir, err = os.MkdirTemp("", "rampart-commands"); err != nil {
			t.Fatal(err)
		}
		// Linking is most of the time: nobody debugs these, and what git says of the tree is of no use here.
		out, err := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", commandsDir+"/",
			"./cmd/propose", "./cmd/reconcile", "./cmd/evaluate", "./cmd/notary").CombinedOutput()
		if err != nil {
			t.Fatalf("building the commands: %v\n%s", err, out)
		}
	})
	if commandsDir == "" {
		t.Fatal("the commands could not be built")
	}
	return commandsDir
}

var (
	commands    sync.Once
	commandsDir string
)

func TestMain(m *testing.M) {
	code := m.Run()
	if commandsDir != "" {
		os.RemoveAll(commandsDir)
	}
	os.Exit(code)
}

// step is one command of a guide and what it must print; nil means that only success counts.
type step struct {
	line    int
	command string
	prints  []string
}

// endOfStep ends each step's output.
const endOfStep = "\x01end of step"

func runGuide(t *testing.T, page, bin string) {
	src, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	steps := guideSteps(string(src))
	if len(steps) == 0 {
		t.Fatalf("%s has no command to run", page)
	}
	needs(t, steps)
	env, project := guideEnv(t, bin)
	there, back := freePorts(t, string(src))
	// One shell runs them all, so that cd and variables carry over. What it started ends with it.
	var script strings.Builder
	script.WriteString("trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n")
	for _, s := range steps {
		fmt.Fprintf(&script, "%s\nprintf '%s %%d\\n' $?\n", there.Replace(fromHere(s.command, project)), endOfStep)
	}
	file := filepath.Join(t.TempDir(), "guide")
	if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", file)
	cmd.Dir, cmd.Env, cmd.WaitDelay = t.TempDir(), env, 10*time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	judge(t, page, steps, back.Replace(out.String()), err)
}

func judge(t *testing.T, page string, steps []step, said string, err error) {
	outputs := strings.Split(said, endOfStep+" ")
	for i, s := range steps {
		if i+1 >= len(outputs) {
			t.Fatalf("%s:%d: %s\ndoes not end: %v\n%s", page, s.line, s.command, err, outputs[len(outputs)-1])
		}
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

// needs skips a guide whose programs are not here.
func needs(t *testing.T, steps []step) {
	if slices.ContainsFunc(steps, func(s step) bool { return strings.HasPrefix(s.command, "npm install") }) {
		if _, err := os.Stat("examples/node/node_modules/@openfeature"); err != nil && os.Getenv("CI") != "true" {
			t.Skip("this guide needs what npm installs in examples/node: make setup")
		}
	}
	for _, program := range []string{"curl", "redis-server", "redis-cli", "node", "npm", "python3", "jq", "openssl"} {
		word := regexp.MustCompile(`(^|[ (|;$])` + program + `\b`)
		if slices.ContainsFunc(steps, func(s step) bool { return word.MatchString(s.command) }) {
			flagtest.Need(t, program)
		}
	}
}

func guideEnv(t *testing.T, bin string) (env []string, project string) {
	home := t.TempDir()
	project, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} { // HOME is another one: nothing is to be built anew
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	settings := "[user]\n\tname = Alice\n\temail = alice@example.org\n[init]\n\tdefaultBranch = main\n[protocol \"file\"]\n\tallow = always\n"
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(settings), 0o644); err != nil {
		t.Fatal(err)
	}
	return append(env,
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "HOME="+home, "PROJECT="+project, "XDG_CONFIG_HOME="+filepath.Join(home, ".config"),
		"XDG_STATE_HOME="+filepath.Join(home, ".state"), "TMPDIR="+t.TempDir(), "COSIGN_PASSWORD=sesame", "NO_COLOR=1", "GOFLAGS=-mod=mod", "GOPROXY=off",
		"GOTOOLCHAIN=local", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+filepath.Join(home, ".gitconfig"), "GIT_TERMINAL_PROMPT=0"), project
}

// fromHere takes from this working copy what a reader gets from the network.
func fromHere(command, project string) string {
	return strings.NewReplacer(
		"go get github.com/rampart-flags/rampart@latest",
		"go mod edit -require github.com/rampart-flags/rampart@v0.0.0 -replace github.com/rampart-flags/rampart="+project+" && cp "+project+"/go.sum .",
		"npm install @openfeature/server-sdk @openfeature/ofrep-provider", "ln -s "+project+"/examples/node/node_modules node_modules",
	).Replace(command)
}

var portsOfPages = regexp.MustCompile(`\b(?:8080|8081|6379|3000|3001|4700|9090)\b`)

// freePorts replaces the ports that a page names by free ones, and back.
func freePorts(t *testing.T, page string) (there, back *strings.Replacer) {
	var to, from []string
	used := portsOfPages.FindAllString(page, -1)
	slices.Sort(used)
	for _, port := range slices.Compact(used) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		free := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
		to, from = append(to, port, free), append(from, free, port)
	}
	return strings.NewReplacer(to...), strings.NewReplacer(from...)
}

var heredoc = regexp.MustCompile(`<<-?'?([A-Z]+)'?`)

// guideSteps are the commands of a page. A line that ends in a backslash goes on in the next, and a
// here-document goes up to its end.
func guideSteps(src string) (steps []step) {
	block, until, goesOn := "", "", false
	for i, line := range strings.Split(src, "\n") {
		shell := block == "sh" || block == "console" && strings.HasPrefix(line, "$ ")
		switch {
		case until != "" || goesOn:
			last := &steps[len(steps)-1]
			last.command += "\n" + line
			if until != "" && line == until {
				until = ""
			}
			goesOn = until == "" && strings.HasSuffix(line, `\`)
			continue
		case strings.HasPrefix(line, "```"):
			if block != "" {
				block = ""
			} else if block = strings.TrimPrefix(line, "```"); block == "" {
				block = "text"
			}
			continue
		case block == "sh" && strings.HasPrefix(line, "make "):
			// The demo and the tests have tests of their own; that the targets are there is held here.
			target := strings.Fields(line)[1]
			steps = append(steps, step{line: i + 1, command: "make -C \"$PROJECT\" -n " + target + " >/dev/null"})
			continue
		case block == "sh" && strings.TrimSpace(line) != "":
			steps = append(steps, step{line: i + 1, command: line})
		case block == "console" && shell:
			steps = append(steps, step{line: i + 1, command: line[2:], prints: []string{}})
		case block == "console" && len(steps) > 0:
			steps[len(steps)-1].prints = append(steps[len(steps)-1].prints, line)
		}
		if shell && strings.TrimSpace(line) != "" {
			goesOn = strings.HasSuffix(line, `\`)
			if m := heredoc.FindStringSubmatch(line); m != nil {
				until = m[1]
			}
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
	if printed != "" && !strings.HasSuffix(printed, "\n") {
		printed += "\n"
	}
	return regexp.MustCompile(re.String()).MatchString(printed)
}
