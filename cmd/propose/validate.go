package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/pii"
	"github.com/rampart-flags/rampart/schema"
)

func validateCommand(a *app) *cobra.Command {
	var policy, configFile string
	cmd := &cobra.Command{
		Use:   "validate [FILE…] [flags]",
		Short: "Check that a spec is well formed",
		Long: `validate checks a spec, as strictly as reconcile does, and says where and how to mend what is wrong:
file:line:column, the JSON pointer, the defect, what to do. Without a FILE it checks the repository's
spec; "-" is stdin. Exit 4 when anything is wrong.

With a trust policy, given or found in the repository, that is checked too, and so are the rules that
the policy makes for specs: its environment, and that older clients can read it.

Personal data, such as an e-mail address among the cohorts or in the evidence beside the spec, is warned
of on stderr, with what to write instead (propose fix-pii writes it). A policy with "pii": "deny" makes
it an error, "off" keeps silent.

With --config it checks a rampart.json instead (docs/environments.md): unknown fields, two environments
that share a namespace or a state folder, and the trust policies that it names.`,
		Example: `  propose validate
  propose validate specs/flags.json --json
  git show main:specs/flags.json | propose validate -
  propose validate --config rampart.json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if configFile != "" {
				if len(args) > 0 {
					return usage(errors.New("--config and a FILE exclude each other"))
				}
				return a.validateConfig(configFile)
			}
			if len(args) == 0 {
				args = []string{a.specPath()}
			}
			var errs []error
			for _, path := range args {
				errs = append(errs, a.at(path).validate(path, policy))
			}
			return errors.Join(errs...)
		},
	}
	cmd.Flags().StringVar(&policy, "trust", "", "the trust policy `FILE` (default trust.json of the repository, if it has one)")
	cmd.Flags().StringVar(&configFile, "config", "", "check the environments of this `FILE`, a rampart.json, instead of a spec")
	cli.NoEnv(cmd, "config")
	return cmd
}

// at is a for a spec of a repository that has a policy of its own beside it.
func (a *app) at(path string) *app {
	if _, err := os.Lstat(policyBeside(path)); path == "-" || err != nil {
		return a
	}
	if abs, err := filepath.Abs(path); err != nil || workTreeOf(filepath.Dir(abs)) == "" {
		return a
	}
	own := *a
	own.path = path
	return &own
}

type validateLine struct {
	File        string       `json:"file"`
	OK          bool         `json:"ok"`
	Version     string       `json:"version,omitempty"`
	Environment string       `json:"environment,omitempty"`
	Digest      string       `json:"digest,omitempty"`
	Features    int          `json:"features"`
	Entries     int          `json:"entries"`
	Errors      []defectLine `json:"errors"`
	Personal    []pii.Hit    `json:"personal_data,omitempty"`
}

type defectLine struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitzero"`
	Column  int    `json:"column,omitzero"`
	Pointer string `json:"pointer,omitempty"`
	Problem string `json:"problem"`
	Hint    string `json:"hint,omitempty"`
}

func (a *app) validate(path, policy string) error {
	line := validateLine{File: displayName(path)}
	spec, err := a.readSpec(path)
	if _, serr := os.Stat(path); err != nil && path != "-" && errors.Is(serr, fs.ErrNotExist) {
		err = usage(err) // no trying again helps
	}
	if err == nil {
		line.Version, line.Environment, line.Digest = spec.Version, spec.Environment, spec.Digest()
		line.Features, line.Entries = len(spec.Features()), spec.Len()
		if err = a.checkGuards(spec, line.File); err == nil {
			err = a.checkAgainstPolicy(spec, line.File, policy)
		}
		if err == nil {
			line.Personal, err = a.checkPersonal(spec, path, policy)
		}
	}
	line.OK = err == nil
	if a.json {
		line.Errors = defects(line.File, err)
		return errors.Join(cli.JSONLine(a.env.Stdout, "validate/v1", line), answered(err))
	}
	if err != nil {
		return err
	}
	environment := ""
	if spec.Environment != "" {
		environment = " for " + spec.Environment
	}
	_, err = fmt.Fprintf(a.env.Stdout, "%s: ok, %s%s, %s, %s\n", line.File, spec.Version, environment,
		counted(line.Features, "feature", "features"), counted(line.Entries, "entry", "entries"))
	return err
}

// checkPersonal warns of personal data, and refuses it where the policy does.
func (a *app) checkPersonal(spec *flags.Spec, path, policyPath string) ([]pii.Hit, error) {
	policy, _, err := a.readTrust(policyPath)
	if err != nil {
		return nil, err
	}
	file := displayName(path)
	hits, mode := personalData(spec, policy)
	if rules, _ := piiRules(policy); path != "-" && mode != "off" {
		more, err := a.evidenceFiles(path, rules)
		if err != nil {
			return nil, err
		}
		hits = append(hits, more...)
	}
	if len(hits) == 0 || mode == "off" {
		return nil, nil
	}
	if !a.json {
		a.warnPersonal(file, hits)
	}
	if mode == "deny" {
		return hits, deniedPersonal(file, hits, policy)
	}
	return hits, nil
}

// defects are err's parts for machines.
func defects(file string, err error) []defectLine {
	if err == nil {
		return nil
	}
	var many schema.Errors
	if one := (*schema.Error)(nil); !errors.As(err, &many) && errors.As(err, &one) {
		many = schema.Errors{one}
	}
	if many == nil {
		return []defectLine{{File: file, Problem: err.Error()}}
	}
	out := make([]defectLine, 0, len(many))
	for _, e := range many {
		out = append(out, defectLine{e.File, e.Line, e.Column, e.Pointer, e.Problem, e.Hint})
	}
	return out
}

// answered keeps the exit code of an error that stdout has told already.
func answered(err error) error {
	if err == nil {
		return nil
	}
	return cli.Exit(cli.Code(explained(err)), nil)
}
