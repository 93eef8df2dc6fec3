package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Run executes a command tree in env: its arguments, streams, --version and, by [BindEnv], its
// environment and its manners on a wrong command line.
func Run(ctx context.Context, root *cobra.Command, env Env, aliases map[string][]string) error {
	root.SetArgs(slices.Concat([]string{}, env.Args)) // non-nil: cobra reads os.Args otherwise
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.Version = versionLine()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.Flags().Bool("version", false, "print the version")
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(env.Args...)
	strictHelp(root, env)
	root.AddCommand(packaging(root))
	BindEnv(root, env, aliases)
	return root.ExecuteContext(ctx)
}

// strictHelp makes help and completion refuse what does not exist, as every other command does; cobra's own print help and
// succeed.
func strictHelp(root *cobra.Command, env Env) {
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Run = nil
			c.RunE = func(_ *cobra.Command, args []string) error {
				about := root
				for _, name := range args {
					i := slices.IndexFunc(about.Commands(), func(sub *cobra.Command) bool { return sub.Name() == name || sub.HasAlias(name) })
					if i < 0 {
						return unknownCommand(about, []string{name})
					}
					about = about.Commands()[i]
				}
				about.InitDefaultHelpFlag()
				return about.Help()
			}
		case "completion":
			markGroup(c)
			c.Args = unknownCommand
			c.RunE = func(c *cobra.Command, _ []string) error {
				c.SetOut(env.Stderr)
				_ = c.Help()
				return Exit(ExitUsage, nil)
			}
		}
	}
}

// BindEnv gives a command tree the manners of this package. Call it when the tree is complete.
//
// Every flag can also be given as RAMPART_<NAME> (--state-dir: RAMPART_STATE_DIR), or by one of
// the older names in aliases[flag]; the flag wins, then RAMPART_<NAME>, then the older names in
// order. An empty variable counts as not set. Help names the variables. [NoEnv] makes exceptions.
//
// A wrong command line is an ExitUsage error with a hint: the nearest subcommand or flag, else
// where to read on. A command that has only subcommands prints its help to stderr when called alone.
func BindEnv(cmd *cobra.Command, env Env, aliases map[string][]string) {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetFlagErrorFunc(flagError)
	cmd.SetHelpTemplate(helpTemplate)
	cmd.SetUsageTemplate(usageTemplate)
	described := map[*pflag.Flag]bool{}
	var each func(*cobra.Command)
	each = func(c *cobra.Command) {
		describe := func(f *pflag.Flag) {
			if !described[f] && bindable(f) {
				described[f] = true
				f.Usage += " [$" + strings.Join(envNames(f.Name, aliases), ", $") + "]"
			}
		}
		c.DisableFlagsInUseLine = true
		c.PersistentFlags().VisitAll(describe)
		c.Flags().VisitAll(describe)
		bind(c, env, aliases)
		for _, sub := range c.Commands() {
			if sub.Name() != "completion" && sub.Name() != "help" {
				each(sub)
			}
		}
	}
	each(cmd)
}

// bind makes c read its environment before its arguments are judged: cobra calls Args after
// parsing flags and before everything else, so required flags may come from the environment too.
func bind(c *cobra.Command, env Env, aliases map[string][]string) {
	check := c.Args
	if !c.Runnable() {
		check = unknownCommand
		markGroup(c)
		c.RunE = func(c *cobra.Command, _ []string) error {
			c.SetOut(env.Stderr)
			_ = c.Help()
			return Exit(ExitUsage, nil)
		}
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := readEnv(c, env, aliases); err != nil {
			return Exit(ExitUsage, err)
		}
		if check == nil {
			check = cobra.NoArgs
		}
		err := check(c, args)
		if err == nil || len(Hints(err)) > 0 {
			return err
		}
		return Exit(ExitUsage, Hint(argsError(c, args, err), "usage: %s", c.UseLine()))
	}
}

// markGroup notes, for the usage, that a command does nothing without a subcommand. Its RunE, which prints help, hides that from cobra.
func markGroup(c *cobra.Command) {
	if c.Annotations == nil {
		c.Annotations = map[string]string{}
	}
	c.Annotations["rampart_group"] = "true"
}

// argsError says in this project's words what cobra's own checks of a count say in theirs.
func argsError(c *cobra.Command, args []string, err error) error {
	switch {
	case strings.HasPrefix(err.Error(), "unknown command") && len(args) > 0:
		return fmt.Errorf("%s: unexpected argument %q", c.CommandPath(), args[0])
	case strings.Contains(err.Error(), "arg(s), "):
		return fmt.Errorf("%s %s", c.CommandPath(), err)
	}
	return err
}

// noEnv marks a flag that is what one call is about, not a setting.
const noEnv = "rampart_no_env"

// NoEnv keeps flags of cmd out of the environment: those that say what one call is about, such as the percentage to set, where to
// begin or as of when, which a variable left behind must never repeat. And those that are of another meaning elsewhere: a variable
// means one thing, whichever command reads it.
func NoEnv(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.Flags().SetAnnotation(name, noEnv, []string{"true"}); err != nil {
			panic(err) // no such flag
		}
	}
}

func bindable(f *pflag.Flag) bool {
	return f.Name != "help" && f.Name != "version" && f.Annotations[noEnv] == nil
}

func envNames(flag string, aliases map[string][]string) []string {
	name := "RAMPART_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	return append([]string{name}, aliases[flag]...)
}

func readEnv(c *cobra.Command, env Env, aliases map[string][]string) error {
	var errs []error
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || !bindable(f) {
			return
		}
		for _, name := range envNames(f.Name, aliases) {
			value := env.getenv(name)
			if value == "" {
				continue
			}
			if err := c.Flags().Set(f.Name, value); err != nil {
				// The value may be a secret in the wrong variable: name the variable only.
				errs = append(errs, Hint(fmt.Errorf("reading $%s: not a valid value for --%s (%s)", name, f.Name, f.Value.Type()),
					"unset %s, or give --%s", name, f.Name))
			}
			return
		}
	})
	return errors.Join(errs...)
}

func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %s", args[0], c.CommandPath())
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return Exit(ExitUsage, didYouMean(err, c, args[0], names, ""))
}

func flagError(c *cobra.Command, err error) error {
	// "propose sing --key k" fails on the flag that only sign knows; the command is what is wrong.
	if args := c.Flags().Args(); c.HasAvailableSubCommands() && len(args) > 0 {
		return unknownCommand(c, args)
	}
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return Exit(ExitUsage, Hint(wrongValue(wrong), "see %s --help", c.CommandPath()))
	}
	missing, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return Exit(ExitUsage, Hint(err, "see %s --help", c.CommandPath()))
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	name := missing.GetSpecifiedName()
	if short := missing.GetSpecifiedShortnames(); short != "" {
		name, err = short, fmt.Errorf("unknown flag: -%s", short)
	}
	return Exit(ExitUsage, didYouMean(err, c, name, names, "--"))
}

// wrongValue says what a flag takes, in words that do not name the library's functions.
func wrongValue(err *pflag.InvalidValueError) error {
	f := err.GetFlag()
	want := map[string]string{
		"bool": "true or false", "duration": "a time such as 10s or 5m", "int": "a whole number", "uint": "a whole number that is not negative",
		"uint64": "a whole number that is not negative", "int64": "a whole number", "float64": "a number",
	}[f.Value.Type()]
	if want == "" {
		cause := errors.Unwrap(err)
		return fmt.Errorf("--%s: %q: %w", f.Name, err.GetValue(), cause)
	}
	return fmt.Errorf("--%s: %q is not %s", f.Name, err.GetValue(), want)
}

func didYouMean(err error, c *cobra.Command, word string, names []string, prefix string) error {
	if near := Nearest(word, names); near != "" {
		return Hint(err, "did you mean %q?", prefix+near)
	}
	return Hint(err, "see %s --help", c.CommandPath())
}

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`

const usageTemplate = `Usage:
{{- if .HasAvailableSubCommands}}
{{- if not (index .Annotations "rampart_group")}}
  {{.UseLine}}
{{- end}}
  {{.CommandPath}} COMMAND [flags]

Commands:
{{- range .Commands}}{{if or .IsAvailableCommand (eq .Name "help")}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}
{{- else}}
  {{.UseLine}}
{{- end}}
{{- if .HasExample}}

Examples:
{{.Example | trimTrailingWhitespaces}}
{{- end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{(.LocalFlags.FlagUsagesWrapped 110) | trimTrailingWhitespaces}}
{{- end}}
{{- if .HasAvailableInheritedFlags}}

Flags of every command:
{{(.InheritedFlags.FlagUsagesWrapped 110) | trimTrailingWhitespaces}}
{{- end}}
{{- if .HasAvailableSubCommands}}

Read more: {{.CommandPath}} COMMAND --help
{{- end}}
`
