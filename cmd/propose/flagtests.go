package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/schema"
)

// maxTests bounds a file of flag tests, in bytes.
const maxTests = 4 << 20

// publicTenant is the tenant of whoever names none, as clients have it.
const publicTenant = "public"

func testCommand(a *app) *cobra.Command {
	var github bool
	cmd := &cobra.Command{
		Use:   "test [FILE…] [flags]",
		Short: "Hold the spec to its flag tests",
		Long: `test runs flag tests against the spec in the work tree: who must have a feature and who must not, and how
many percent of many made-up users. Without a FILE it runs every *.test.json beside the spec. It decides as
every client does. docs/flag-tests.md has the format.

Each failure is named; exit 3 when there is one, 4 when a file is not well formed.`,
		Example: `  propose test
  propose test specs/receipts.test.json --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error { return a.test(args, github) },
	}
	cmd.Flags().BoolVar(&github, "github", false, "print failures as annotations for a pull request's checks on GitHub")
	cli.NoEnv(cmd, "github")
	return cmd
}

type testFile struct {
	lines map[string]int // of the cases, by number

	Schema string     `json:"$schema"`
	Format string     `json:"format"`
	Cases  []testCase `json:"cases"`
}

type testCase struct {
	Name    string `json:"name"`
	Feature string `json:"feature"`
	Tenant  string `json:"tenant"`
	User    string `json:"user"`
	Expect  string `json:"expect"`
	Users   *struct {
		Prefix *string `json:"prefix"`
		Count  int     `json:"count"`
	} `json:"users"`
	On *struct {
		Min float64 `json:"min"`
		Max float64 `json:"max"`
	} `json:"on"`
}

type testLine struct {
	File    string `json:"file"`
	Name    string `json:"name"`
	Feature string `json:"feature"`
	OK      bool   `json:"ok"`
	Problem string `json:"problem,omitempty"`
	Line    int    `json:"line,omitzero"` // in the file
}

func (a *app) test(files []string, github bool) error {
	spec, err := a.readSpec(a.specPath())
	if err != nil {
		return err
	}
	if len(files) == 0 {
		if files, err = filepath.Glob(filepath.Join(filepath.Dir(a.specPath()), "*.test.json")); err != nil {
			return fmt.Errorf("looking for tests: %w", err)
		}
	}
	if len(files) == 0 {
		return usage(cli.Hint(fmt.Errorf("no tests lie beside %s", a.specPath()), "write some: docs/flag-tests.md; or name them: propose test FILE"))
	}
	var suites []testFile
	for _, path := range files { // all are read before the first is run
		suite, err := a.readTests(path)
		if err != nil {
			return err
		}
		suites = append(suites, suite)
	}
	ran, failed := 0, 0
	for i, suite := range suites {
		for n, c := range suite.Cases {
			line := testLine{File: displayName(files[i]), Name: cmp.Or(c.Name, fmt.Sprintf("case %d", n+1)), Feature: c.Feature, Line: suite.lines[strconv.Itoa(n)]}
			line.Problem = c.run(spec)
			line.OK = line.Problem == ""
			ran++
			if !line.OK {
				failed++
			}
			if err := a.tellTest(line, github); err != nil {
				return err
			}
		}
	}
	return a.tellTests(ran, failed, github)
}

func (a *app) tellTest(line testLine, github bool) error {
	if github && !line.OK {
		return annotate(a.env.Stdout, annotation{level: "error", file: line.File, line: line.Line, title: line.Name, text: line.Problem})
	}
	if a.json {
		return cli.JSONLine(a.env.Stdout, "flag-test/v1", line)
	}
	if line.OK {
		return nil
	}
	_, err := fmt.Fprintf(a.env.Stdout, "%s %s: %s: %s\n", a.env.OutPalette().Red("FAIL"), line.File, cli.Printable(line.Name), cli.Printable(line.Problem))
	return err
}

func (a *app) tellTests(ran, failed int, github bool) error {
	if failed > 0 {
		err := fmt.Errorf("%d of %s failed", failed, counted(ran, "test", "tests"))
		return cli.Exit(cli.ExitChanges, cli.Hint(err, "see who decides what: propose explain FEATURE; how many: propose assess FEATURE"))
	}
	if a.json || github {
		return nil
	}
	_, err := fmt.Fprintf(a.env.Stdout, "ok, %s\n", counted(ran, "test", "tests"))
	return err
}

func (a *app) readTests(path string) (suite testFile, err error) {
	src, err := a.readFile(path, maxTests+1)
	if errors.Is(err, fs.ErrNotExist) {
		return suite, usage(fmt.Errorf("reading the tests: no file %s", path))
	}
	if err != nil {
		return suite, fmt.Errorf("reading the tests: %w", err)
	}
	if err := schema.Decode("flag-tests", displayName(path), src, &suite); err != nil {
		return suite, err
	}
	for i, c := range suite.Cases {
		if c.On != nil && c.On.Min > c.On.Max {
			return suite, cli.Exit(cli.ExitRefused, fmt.Errorf("%s: /cases/%d/on: min %v is above max %v", displayName(path), i, c.On.Min, c.On.Max))
		}
	}
	suite.lines = memberLines(src, "cases")
	return suite, nil
}

// run says what is wrong, "" for nothing.
func (c testCase) run(spec *flags.Spec) string {
	f := spec.Feature(c.Feature)
	if f == nil {
		return fmt.Sprintf("the spec has no feature %q", c.Feature)
	}
	tenant := cmp.Or(c.Tenant, publicTenant)
	entry := f.Entry(tenant)
	if c.Users == nil {
		d := flags.Decide(&entry, tenant, c.User)
		who := "tenant " + tenant
		if c.User != "" {
			who = "user " + c.User + " of " + who
		}
		if state := onOff(d.On); state != c.Expect {
			return fmt.Sprintf("%s is %s for %s (%s), expected %s", c.Feature, state, who, d.Reason, c.Expect)
		}
		return ""
	}
	prefix := "user-"
	if c.Users.Prefix != nil {
		prefix = *c.Users.Prefix
	}
	on := 0
	for i := range c.Users.Count {
		if flags.Decide(&entry, tenant, prefix+strconv.Itoa(i)).On {
			on++
		}
	}
	share := 100 * float64(on) / float64(c.Users.Count)
	if share < c.On.Min || share > c.On.Max {
		return fmt.Sprintf("%s is on for %.2f %% of %d users %s… of tenant %s, expected %v to %v %%",
			c.Feature, share, c.Users.Count, prefix, tenant, c.On.Min, c.On.Max)
	}
	return ""
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
