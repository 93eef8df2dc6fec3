package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// packaging gives a tree the hidden command that packagers run: it writes what belongs beside the
// program into a folder, laid out as below /usr/share: man pages, and completions for four shells.
func packaging(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:    "packaging DIR",
		Short:  "Write man pages and shell completions into a folder",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			files := map[string][]byte{}
			manPages(root, files)
			if err := completions(root, files); err != nil {
				return err
			}
			for name, content := range files {
				path := filepath.Join(args[0], filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					return fmt.Errorf("writing what belongs to a package: %w", err)
				}
				if err := os.WriteFile(path, content, 0o644); err != nil {
					return fmt.Errorf("writing what belongs to a package: %w", err)
				}
			}
			return nil
		},
	}
}

// completions are the files that bash, zsh, fish and PowerShell read.
func completions(root *cobra.Command, files map[string][]byte) error {
	name := root.Name()
	for path, make := range map[string]func(*bytes.Buffer) error{
		"bash-completion/completions/" + name:         func(b *bytes.Buffer) error { return root.GenBashCompletionV2(b, true) },
		"zsh/vendor-completions/_" + name:             func(b *bytes.Buffer) error { return root.GenZshCompletion(b) },
		"fish/vendor_completions.d/" + name + ".fish": func(b *bytes.Buffer) error { return root.GenFishCompletion(b, true) },
		"powershell/" + name + ".ps1":                 func(b *bytes.Buffer) error { return root.GenPowerShellCompletionWithDesc(b) },
	} {
		var b bytes.Buffer
		if err := make(&b); err != nil {
			return fmt.Errorf("making %s: %w", path, err)
		}
		files[path] = b.Bytes()
	}
	return nil
}

// manPages adds a page for c and for all below it. They hold no date, so that two builds are alike.
func manPages(c *cobra.Command, files map[string][]byte) {
	files["man/man1/"+dashed(c)+".1"] = manPage(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
			manPages(sub, files)
		}
	}
}

// dashed is a command's path as the name of its page: propose-set.
func dashed(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func manPage(c *cobra.Command) []byte {
	var b bytes.Buffer
	name := dashed(c)
	fmt.Fprintf(&b, ".TH %s 1 \"\" %s Rampart\n", quoted(strings.ToUpper(name)), quoted("rampart "+Version()))
	section := func(title string) { fmt.Fprintf(&b, ".SH %s\n", title) }
	section("NAME")
	fmt.Fprintf(&b, "%s \\- %s\n", roff(name), roff(lower(c.Short)))
	section("SYNOPSIS")
	if c.HasAvailableSubCommands() {
		fmt.Fprintf(&b, ".B %s\nCOMMAND [flags]\n", roff(c.CommandPath()))
	} else {
		rest := strings.TrimPrefix(c.UseLine(), c.CommandPath())
		fmt.Fprintf(&b, ".B %s\n%s\n", roff(c.CommandPath()), roff(strings.TrimSpace(rest)))
	}
	if c.Long != "" {
		section("DESCRIPTION")
		for i, paragraph := range strings.Split(strings.TrimSpace(c.Long), "\n\n") {
			if i > 0 {
				b.WriteString(".PP\n")
			}
			b.WriteString(roff(paragraph) + "\n")
		}
	}
	if c.HasAvailableSubCommands() {
		section("COMMANDS")
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" && sub.Name() != "completion" {
				fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s\n", roff(dashed(sub)), roff(sub.Short))
			}
		}
	}
	for _, set := range []struct {
		title string
		flags *pflag.FlagSet
	}{{"OPTIONS", c.NonInheritedFlags()}, {"OPTIONS OF EVERY COMMAND", c.InheritedFlags()}} {
		if set.flags.HasAvailableFlags() {
			section(set.title)
			set.flags.VisitAll(func(f *pflag.Flag) { manFlag(&b, f) })
		}
	}
	section("ENVIRONMENT")
	b.WriteString("Each option can be given by the variable that is named beside it. The option wins. An empty variable counts as not set.\n")
	section("EXIT STATUS")
	for _, line := range [][2]string{{"0", "Done, or nothing to do."}, {"1", "Something broke; trying again may help."}, {"2", "The command line is wrong."},
		{"3", "A plan or a difference has changes."}, {"4", "Refused: a person must act."}} {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", line[0], line[1])
	}
	if c.Example != "" {
		section("EXAMPLES")
		fmt.Fprintf(&b, ".nf\n%s\n.fi\n", roff(strings.Trim(c.Example, "\n")))
	}
	if c.HasParent() {
		section("SEE ALSO")
		fmt.Fprintf(&b, ".BR %s (1)\n", roff(dashed(c.Parent())))
	}
	return b.Bytes()
}

func manFlag(b *bytes.Buffer, f *pflag.Flag) {
	if f.Hidden {
		return
	}
	value, usage := pflag.UnquoteUsage(f)
	fmt.Fprintf(b, ".TP\n.B %s", roff("--"+f.Name))
	if value != "" {
		fmt.Fprintf(b, " %s", roff(value))
	}
	b.WriteString("\n" + roff(usage))
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "0" && f.DefValue != "0s" {
		b.WriteString(roff(" (default " + f.DefValue + ")"))
	}
	b.WriteString("\n")
}

// roff is text in which nothing is a command of roff's.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "’", `\(cq`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// quoted is one argument of a roff command.
func quoted(s string) string { return `"` + strings.ReplaceAll(roff(s), `"`, `\(dq`) + `"` }

// lower is s with a small first letter, as a page's NAME line has it.
func lower(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
