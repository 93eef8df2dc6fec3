package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/migrate"
)

// maxImport bounds what another product exported, in bytes.
const maxImport = 64 << 20

func importCommand(a *app) *cobra.Command {
	var from, out string
	var opt migrate.Options
	cmd := &cobra.Command{
		Use:   "import --from PRODUCT FILE [flags]",
		Short: "Make a spec from another product's flags",
		Long: `import reads what another product exports and prints a spec; "-" is stdin. Products: ` + strings.Join(migrate.Sources(), ", ") + `.

What did not come along as it was is told on stderr, one line a flag; with --json as JSON lines. Where a
rule cannot be carried, nobody is turned on by that. Percentages keep their size and draw other users.
docs/migration.md says what is carried from where.

The spec goes to stdout, or to --out, which must not exist. Look at it, then sign it: propose sign.`,
		Example: `  propose import --from flagd flags.flagd.json --environment prod --out specs/flags.json
  propose import --from launchdarkly ld.json --source-environment production > specs/flags.json
  redis-dump-tool | propose import --from redis-dump - --json 2> notes.jsonl`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if from == "" {
				return usage(cli.Hint(errors.New("from which product?"), "--from %s", strings.Join(migrate.Sources(), "|")))
			}
			return a.importFrom(from, args[0], out, opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "the `PRODUCT`: "+strings.Join(migrate.Sources(), ", "))
	f.StringVar(&opt.Bind, "environment", "", "bind the new spec to the environment `NAME`")
	f.StringVar(&opt.Environment, "source-environment", "", "read this environment `NAME` of the export, where it has several")
	f.StringVar(&out, "out", "", "write to this new `FILE` rather than to stdout")
	_ = cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions(migrate.Sources(), cobra.ShellCompDirectiveNoFileComp))
	cli.NoEnv(cmd, "from", "environment", "source-environment", "out")
	return cmd
}

func exportCommand(a *app) *cobra.Command {
	var to, out string
	cmd := &cobra.Command{
		Use:   "export --to FORMAT [FILE] [flags]",
		Short: "Write the spec in another product's format",
		Long: `export prints a spec in the format of another product: seed is the older {feature: {pct, cohorts}}, flagd
is flagd's flag definition. Without a FILE it is the repository's spec; "-" is stdin.

What that format cannot say is told on stderr; with --json as JSON lines. The result goes to stdout, or
to --out, which must not exist.`,
		Example: `  propose export --to flagd > flags.flagd.json
  propose export --to seed specs/flags.json --out seed.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if to == "" {
				return usage(cli.Hint(errors.New("in which format?"), "--to %s", strings.Join(migrate.Targets(), "|")))
			}
			path := a.specPath()
			if len(args) > 0 {
				path = args[0]
			}
			return a.exportTo(to, path, out)
		},
	}
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "the `FORMAT`: "+strings.Join(migrate.Targets(), ", "))
	f.StringVar(&out, "out", "", "write to this new `FILE` rather than to stdout")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions(migrate.Targets(), cobra.ShellCompDirectiveNoFileComp))
	cli.NoEnv(cmd, "to", "out")
	return cmd
}

func (a *app) importFrom(from, path, out string, opt migrate.Options) error {
	src, err := a.readFile(path, maxImport+1)
	if errors.Is(err, fs.ErrNotExist) {
		return usage(fmt.Errorf("importing: no file %s", path))
	}
	if err != nil {
		return fmt.Errorf("importing: %w", err)
	}
	if len(src) > maxImport {
		return cli.Exit(cli.ExitRefused, fmt.Errorf("importing %s: it has more than %d MiB", displayName(path), maxImport>>20))
	}
	spec, notes, err := migrate.Import(from, src, opt)
	if errors.Is(err, migrate.ErrUnknown) {
		return usage(nearHint(err, from, migrate.Sources()))
	}
	if err != nil {
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("importing %s: %w", displayName(path), err),
			"docs/migration.md says which export each product is read from"))
	}
	return a.tellMigrated("import", spec, notes, out)
}

func (a *app) exportTo(to, path, out string) error {
	spec, err := a.readSpec(path)
	if err != nil {
		return err
	}
	data, notes, err := migrate.Export(to, spec)
	if errors.Is(err, migrate.ErrUnknown) {
		return usage(nearHint(err, to, migrate.Targets()))
	}
	if err != nil {
		return fmt.Errorf("exporting %s: %w", displayName(path), err)
	}
	return a.tellMigrated("export", data, notes, out)
}

// tellMigrated writes the document and then says what it does not hold. A file that cannot be
// written leaves no notes behind that speak of it.
func (a *app) tellMigrated(verb string, doc []byte, notes []migrate.Note, out string) error {
	if out == "" {
		if _, err := a.env.Stdout.Write(doc); err != nil {
			return err
		}
	} else if err := writeNew(out, doc, 0o644); errors.Is(err, fs.ErrExist) {
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("%sing: %s exists, and is not overwritten", verb, out), "name another file: --out FILE"))
	} else if err != nil {
		return fmt.Errorf("%sing: %w", verb, err)
	}
	lost := 0
	for _, n := range notes {
		if n.Kind == migrate.Lost {
			lost++
		}
		if a.json {
			if err := cli.JSONLine(a.env.Stderr, "migration-note/v1", n); err != nil {
				return err
			}
			continue
		}
		a.env.Talk("%s", cli.Printable(n.String()))
	}
	switch {
	case out != "" && a.json:
		return cli.JSONLine(a.env.Stdout, verb+"/v1", struct {
			File  string `json:"file"`
			Notes int    `json:"notes"`
			Lost  int    `json:"lost"`
		}{out, len(notes), lost})
	case out != "":
		_, err := fmt.Fprintln(a.env.Stdout, out)
		return err
	}
	return nil
}
