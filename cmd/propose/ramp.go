package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/gitrepo/forge"
	"github.com/rampart-flags/rampart/internal/cli"
)

const rampLong = `ramp reads what was measured, decides for each feature and tenant where its percentage should go, and
edits the spec: one step at most, up on good evidence only, down on bad, and otherwise it holds. Every
decision says why, with the numbers.

By itself it edits the file and prints the decisions. With --key it signs the result; with --commit it
makes one commit of the spec, its signature and the evidence; with --push it sends that commit to the
branch, and with --pr it opens a pull request instead, or brings the open one up to date. What comes
later includes what comes before. Nobody's work is ever overwritten: when the branch moves meanwhile,
it decides anew on what is there now.

Without --feature it takes every feature that has a ramp block. The older controller's settings are
read too: TARGET_COVERAGE, STEP_UP, STEP_DOWN, MIN_PCT, MAX_PCT, RAMP_TENANTS, SLO_HEALTH_JSON,
SLO_ANCHOR_P95_MS, COVERAGE_<TENANT>, COVERAGE_DEFAULT. See docs/ramps.md and docs/evidence.md.`

const rampExample = `  propose ramp --coverage coverage.json --slo slo_health.json --dry-run
  propose ramp --coverage coverage.json --slo slo_health.json --key "$KEY" --pr
  COVERAGE_DEFAULT=97 propose ramp --feature receipts --feature attest --slo slo_health.json
  propose ramp --resume receipts --key "$KEY" --commit`

// rampSettings are the command line of ramp.
type rampSettings struct {
	inputs inputSettings
	sign   signSettings

	create  bool
	resume  []string
	dryRun  bool
	maxUps  int
	maxRise string

	evidenceKey, evidenceDir string
	signEvidence             bool
	push, pr                 bool
	branch, remote           string
	prBranch, autoMerge      string
	labels                   []string
	forge, repository        string
	report                   string
}

func rampCommand(a *app) *cobra.Command {
	var s rampSettings
	cmd := &cobra.Command{
		Use:     "ramp [flags]",
		Short:   "Move percentages by what was measured",
		Long:    rampLong,
		Example: rampExample,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.ramp(cmd.Context(), s) },
	}
	s.inputs.define(cmd)
	f := cmd.Flags()
	f.BoolVar(&s.create, "create", false, "make a --feature that the spec does not have, at 0 %")
	f.StringSliceVar(&s.resume, "resume", nil, "ramp this `FEATURE` again after a revert or too many aborts")
	f.IntVar(&s.maxUps, "max-ups", 0, "raise at most `N` entries in this run (0: no limit)")
	f.StringVar(&s.maxRise, "max-exposure", "0", "raise by at most `N` percentage points in this run, all entries together (0: no limit)")
	f.BoolVar(&s.dryRun, "dry-run", false, "decide and print, write nothing")
	s.sign.define(cmd)
	f.Lookup("commit").Usage = "commit the spec, its signature and the evidence, and nothing else"
	f.BoolVar(&s.signEvidence, "sign-evidence", false, "sign the evidence too, for policies that ask for it")
	f.StringVar(&s.evidenceKey, "evidence-key", "", "sign the evidence with this private `KEY` rather than with the spec's")
	f.StringVar(&s.evidenceDir, "evidence-dir", "", "remember the evidence of runs that held in this `DIR` (default the branch "+seenBranch+")")
	f.BoolVar(&s.push, "push", false, "push the commit to --branch")
	f.BoolVar(&s.pr, "pr", false, "open a pull request against --branch, or bring the open one up to date")
	f.StringVar(&s.branch, "branch", "", "the `BRANCH` that is live (default the one checked out)")
	f.StringVar(&s.remote, "remote", "origin", "the `REMOTE` to push to")
	f.StringVar(&s.prBranch, "pr-branch", "", "the pull request's own `BRANCH` (default rampart/ramp-<environment>)")
	f.StringVar(&s.autoMerge, "auto-merge", "never", "`WHICH` changes go in without review: never, down or always")
	f.StringSliceVar(&s.labels, "label", []string{"rampart"}, "`LABEL`s of the pull request")
	f.StringVar(&s.forge, "forge", "", "`KIND` or KIND=URL of the forge, github, gitlab or gitea, where the remote's address does not tell")
	f.StringVar(&s.repository, "repository", "", "the repository's `URL` at the forge, where the remote's address is an alias or a mirror")
	f.StringVar(&s.report, "report", "", "post every decision to the reconciler at `URL` (its token in $RAMPART_ADMIN_TOKEN)")
	return cmd
}

// reach is how far a run goes. Each includes those before it.
type reach int

const (
	reachFile   reach = iota // the file in the work tree
	reachCommit              // a commit on the branch that is checked out
	reachPush                // the branch at the remote
	reachPR                  // a pull request
)

func (s *rampSettings) reach() reach {
	switch {
	case s.pr:
		return reachPR
	case s.push:
		return reachPush
	case s.sign.commit:
		return reachCommit
	}
	return reachFile
}

// check refuses what makes no sense whatever the spec says.
func (s *rampSettings) check(a *app) error {
	if provider := a.env.Getenv("FLAGS_PROVIDER"); provider != "" && !strings.EqualFold(provider, "json") {
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("FLAGS_PROVIDER=%s: ramps are written to git and nowhere else", provider),
			"unset FLAGS_PROVIDER; Redis follows git: reconcile run"))
	}
	switch {
	case s.autoMerge != "never" && s.autoMerge != "down" && s.autoMerge != "always":
		return usage(cli.Hint(fmt.Errorf("--auto-merge %q", s.autoMerge), "never, down or always"))
	case s.autoMerge != "never" && !s.pr:
		return usage(cli.Hint(errors.New("--auto-merge is about pull requests"), "add --pr"))
	case s.create && len(s.inputs.features) == 0:
		return usage(cli.Hint(errors.New("--create makes the features that --feature names"), "add --feature NAME"))
	case s.branch != "" && s.reach() < reachPush:
		return usage(cli.Hint(errors.New("--branch says where to push"), "add --push or --pr"))
	case s.signEvidence && s.evidenceKey == "" && !s.sign.signs():
		return usage(cli.Hint(errors.New("--sign-evidence: with what?"), "add --key, --keyless or --evidence-key"))
	case s.maxUps < 0:
		return usage(errors.New("--max-ups: want 0 or more"))
	case a.path == "-":
		return usage(errors.New("--path -: a ramp edits a file"))
	}
	sign := s.sign
	sign.commit = false // an unsigned proposal may yet be signed by whoever reviews it
	return sign.check()
}

// rampDone is what a run came to.
type rampDone struct {
	*rampProposal
	Commit   string // "" when none was made
	Branch   string // that was pushed, or ""
	PR       string // the pull request's address, or ""
	Merged   forge.Merged
	Unsigned bool
	DryRun   bool
}

func (a *app) ramp(ctx context.Context, s rampSettings) error {
	if err := s.check(a); err != nil {
		return err
	}
	r, err := a.newRampRun(s)
	if err != nil {
		return err
	}
	runs, err := r.perform(ctx)
	if err != nil {
		return err
	}
	if err := r.tell(runs); err != nil {
		return err
	}
	return r.sendReport(ctx, runs)
}

// perform does it. With --auto-merge down it may take two commits: one that lowers, and goes in, and
// one that raises, and waits.
func (r *rampRun) perform(ctx context.Context) ([]*rampDone, error) {
	if r.s.reach() == reachFile {
		done, err := r.editFile(ctx)
		return []*rampDone{done}, err
	}
	if r.s.autoMerge != "down" {
		done, err := r.publish(ctx, allMoves)
		return []*rampDone{done}, err
	}
	downs, err := r.publish(ctx, onlyDowns)
	if err != nil || !downs.lowers() {
		return []*rampDone{downs}, err
	}
	// What rises, and what was open for review, is decided on what is there now.
	rest := allMoves
	if downs.Merged != forge.MergedNow {
		rest = onlyUps
	}
	ups, err := r.publish(ctx, rest)
	return []*rampDone{downs, ups}, err
}
