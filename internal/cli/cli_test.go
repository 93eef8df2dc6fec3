package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestCode(t *testing.T) {
	base := errors.New("boom")
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, ExitOK},
		{base, ExitError},
		{Exit(ExitRefused, base), ExitRefused},
		{fmt.Errorf("planning: %w", Exit(ExitRefused, base)), ExitRefused},
		{Exit(ExitUsage, Exit(ExitRefused, base)), ExitUsage}, // the outermost wins
		{Hint(Exit(ExitRefused, base), "sign it"), ExitRefused},
		{errors.Join(base, Exit(ExitRefused, base)), ExitRefused},
		{Exit(ExitChanges, nil), ExitChanges},
	} {
		if got := Code(c.err); got != c.want {
			t.Errorf("Code(%v) = %d, want %d", c.err, got, c.want)
		}
	}
	if !errors.Is(Exit(ExitRefused, base), base) || !errors.Is(Hint(base, "x"), base) {
		t.Error("Exit and Hint must keep the error they wrap")
	}
	if Hint(nil, "x") != nil {
		t.Error("Hint(nil) must stay nil")
	}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"nil", nil, 0, ""},
		{"answer only", Exit(ExitChanges, nil), 3, ""},
		{"plain", errors.New("reading x: gone"), 1, "propose: error: reading x: gone\n"},
		{
			"hints innermost first, each once",
			Hint(fmt.Errorf("set: %w", Hint(Hint(errors.New("e"), "a"), "b")), "a"), 1,
			"propose: error: set: e\npropose: hint: a\npropose: hint: b\n",
		},
		{
			"several lines, joined hints", errors.Join(Hint(errors.New("one"), "h1"), Hint(errors.New("two"), "h2")), 1,
			"propose: error: one\npropose: error: two\npropose: hint: h1\npropose: hint: h2\n",
		},
		{
			"hostile text cannot steer the terminal", errors.New("name \x1b[2Jx\u202e"), 1,
			`propose: error: name \x1b[2Jx\u202e` + "\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := Report(&out, "propose", c.err); code != c.code || out.String() != c.want {
				t.Errorf("Report = %d %q, want %d %q", code, &out, c.code, c.want)
			}
		})
	}
}

func TestJSONLine(t *testing.T) {
	var out bytes.Buffer
	if err := JSONLine(&out, "x/v1", struct {
		B string   `json:"b"`
		A []string `json:"a"`
	}{B: "<&>"}); err != nil {
		t.Fatal(err)
	}
	if err := JSONLine(&out, "y/v1", struct{}{}); err != nil {
		t.Fatal(err)
	}
	if want := `{"format":"x/v1","b":"<&>","a":[]}` + "\n" + `{"format":"y/v1"}` + "\n"; out.String() != want {
		t.Errorf("got %q, want %q", &out, want)
	}
	if err := JSONLine(&out, "z/v1", []int{1}); err == nil {
		t.Error("an array is not a line")
	}
}

func TestPalette(t *testing.T) {
	env := map[string]string{}
	e := Env{Getenv: func(n string) string { return env[n] }, StdoutTTY: true}
	if got := e.OutPalette().Red("x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("on a terminal: %q", got)
	}
	if got := e.ErrPalette().Red("x"); got != "x" {
		t.Errorf("stderr is no terminal: %q", got)
	}
	env["NO_COLOR"] = "1"
	if got := e.OutPalette().Red("x"); got != "x" {
		t.Errorf("NO_COLOR: %q", got)
	}
}

// tree is a small command tree as the real ones are made.
func tree(saw *string) *cobra.Command {
	root := &cobra.Command{Use: "tool", Short: "a tool"}
	sign := &cobra.Command{Use: "sign FILE", Short: "sign a file", Args: cobra.ExactArgs(1)}
	key := sign.Flags().String("key", "", "the key")
	redis := sign.Flags().StringSlice("redis", nil, "addresses")
	count := sign.Flags().Int("count", 1, "how often")
	sign.Flags().Int("pct", 0, "what to set this once")
	NoEnv(sign, "pct")
	sign.RunE = func(*cobra.Command, []string) error {
		*saw = fmt.Sprintf("key=%s redis=%v count=%d", *key, *redis, *count)
		return nil
	}
	group := &cobra.Command{Use: "group", Short: "more commands"}
	group.AddCommand(&cobra.Command{Use: "leaf", Short: "a leaf", RunE: func(*cobra.Command, []string) error { *saw = "leaf"; return nil }})
	root.AddCommand(sign, group)
	return root
}

func runTree(t *testing.T, environ map[string]string, args ...string) (saw, stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	env := Env{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut, Getenv: func(n string) string { return environ[n] }}
	err := Run(context.Background(), tree(&saw), env, map[string][]string{"redis": {"FLAGS_REDIS_URL", "REDIS_URL"}})
	code = Report(&errOut, "tool", err)
	return saw, out.String(), errOut.String(), code
}

func TestEnvironment(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ map[string]string
		args    []string
		want    string
	}{
		{"default", nil, []string{"sign", "f"}, "key= redis=[] count=1"},
		{"variable", map[string]string{"RAMPART_KEY": "k", "RAMPART_COUNT": "3"}, []string{"sign", "f"}, "key=k redis=[] count=3"},
		{"the flag wins", map[string]string{"RAMPART_KEY": "k"}, []string{"sign", "f", "--key", "x"}, "key=x redis=[] count=1"},
		{"an empty flag wins too", map[string]string{"RAMPART_KEY": "k"}, []string{"sign", "f", "--key="}, "key= redis=[] count=1"},
		{"an empty variable is none", map[string]string{"RAMPART_COUNT": ""}, []string{"sign", "f"}, "key= redis=[] count=1"},
		{"older name", map[string]string{"REDIS_URL": "b,c"}, []string{"sign", "f"}, "key= redis=[b c] count=1"},
		{"older names in order", map[string]string{"REDIS_URL": "b", "FLAGS_REDIS_URL": "a"}, []string{"sign", "f"}, "key= redis=[a] count=1"},
		{"not a setting", map[string]string{"RAMPART_PCT": "no number"}, []string{"sign", "f"}, "key= redis=[] count=1"},
		{"own name first", map[string]string{"FLAGS_REDIS_URL": "a", "RAMPART_REDIS": "z"}, []string{"sign", "f"}, "key= redis=[z] count=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if saw, _, stderr, code := runTree(t, c.environ, c.args...); saw != c.want || code != 0 {
				t.Errorf("saw %q, code %d, want %q; stderr %s", saw, code, c.want, stderr)
			}
		})
	}
}

func TestWrongCommandLine(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ map[string]string
		args    []string
		want    []string
	}{
		{"slip in a command", nil, []string{"sing"}, []string{`error: unknown command "sing" for tool`, `hint: did you mean "sign"?`}},
		{"slip in a command with a flag", nil, []string{"sing", "--key", "k"}, []string{`unknown command "sing"`, `did you mean "sign"?`}},
		{"nothing near", nil, []string{"frobnicate"}, []string{`unknown command "frobnicate"`, `hint: see tool --help`}},
		{"slip in a nested command", nil, []string{"group", "laef"}, []string{`unknown command "laef" for tool group`, `did you mean "leaf"?`}},
		{"slip in a flag", nil, []string{"sign", "--kye", "k", "f"}, []string{"unknown flag: --kye", `did you mean "--key"?`}},
		{"bad flag value", nil, []string{"sign", "--count", "x", "f"}, []string{`error: --count: "x" is not a whole number`, "hint: see tool sign --help"}},
		{"bad flag value of a switch", nil, []string{"sign", "--version=maybe", "f"}, []string{"unknown flag: --version"}},
		{"help of nothing", nil, []string{"help", "sing"}, []string{`unknown command "sing" for tool`, `did you mean "sign"?`}},
		{"help of nothing nested", nil, []string{"help", "group", "laef"}, []string{`unknown command "laef" for tool group`}},
		{"completion of nothing", nil, []string{"completion", "nosuch"}, []string{`unknown command "nosuch" for tool completion`}},
		{"completion alone", nil, []string{"completion"}, []string{"bash"}},
		{"bad variable", map[string]string{"RAMPART_COUNT": "hunter2"}, []string{"sign", "f"}, []string{"reading $RAMPART_COUNT: not a valid value for --count (int)", "hint: unset RAMPART_COUNT"}},
		{"missing argument", nil, []string{"sign"}, []string{"tool sign accepts 1 arg(s), received 0", "hint: usage: tool sign FILE"}},
		{"argument too many", nil, []string{"group", "leaf", "x"}, []string{`tool group leaf: unexpected argument "x"`, "hint: usage: tool group leaf"}},
		{"alone", nil, nil, []string{"Commands:", "sign"}},
		{"group alone", nil, []string{"group"}, []string{"Commands:", "leaf"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			saw, stdout, stderr, code := runTree(t, c.environ, c.args...)
			if code != ExitUsage || stdout != "" || saw != "" {
				t.Errorf("code %d, stdout %q, ran %q; want code 2 and nothing else", code, stdout, saw)
			}
			for _, want := range c.want {
				if !strings.Contains(stderr, want) {
					t.Errorf("stderr lacks %q:\n%s", want, stderr)
				}
			}
			if strings.Contains(stderr, "hunter2") {
				t.Errorf("stderr shows a variable's value:\n%s", stderr)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	_, out, stderr, code := runTree(t, nil, "sign", "--help")
	for _, want := range []string{"Usage:\n  tool sign FILE\n", "--key", "[$RAMPART_KEY]", "$RAMPART_REDIS, $FLAGS_REDIS_URL, $REDIS_URL"} {
		if !strings.Contains(strings.Join(strings.Fields(out), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("help lacks %q:\n%s", want, out)
		}
	}
	if code != 0 || stderr != "" {
		t.Errorf("help: code %d, stderr %q", code, stderr)
	}
	_, out, _, code = runTree(t, nil, "--version")
	if code != 0 || !strings.HasPrefix(out, "tool "+Version()+" (commit ") {
		t.Errorf("--version: code %d, %q", code, out)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"sign", "set", "diff", "validate", "explain", "explain-ramp"}
	for word, want := range map[string]string{
		"sing": "sign", "vaildate": "validate", "val": "validate", "SIGN": "sign", "dif": "diff",
		"zzz": "", "x": "", "reconcile": "", "explian": "explain",
	} {
		if got := Nearest(word, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
