package main

import (
	"bufio"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ramp"
)

// maxTrailers bounds the decisions that a commit's trailers name; the evidence names them all.
const maxTrailers = 50

// message is the commit's: what moves, a line for each decision, and trailers for machines.
func (r *rampRun) message(p *rampProposal) string {
	var b strings.Builder
	b.WriteString(r.subject(p) + "\n\n")
	lines := 0
	for _, moving := range []bool{true, false} {
		for i := range p.out {
			o := &p.out[i]
			if o.Moves() != moving {
				continue
			}
			if lines++; lines <= maxListed {
				b.WriteString(oneLine(decisionLine(o)) + "\n")
			}
		}
	}
	for _, name := range p.created {
		fmt.Fprintf(&b, "%s made, at 0 %%\n", name)
	}
	if lines > maxListed {
		fmt.Fprintf(&b, "and %d more\n", lines-maxListed)
	}
	b.WriteString(r.trailers(p.next))
	fmt.Fprintf(&b, "Ramp-Evidence: %s\n", p.digest())
	named := 0
	for i := range p.out {
		o := &p.out[i]
		if !o.Moves() {
			continue
		}
		if named++; named > maxTrailers {
			break
		}
		fmt.Fprintf(&b, "Ramp-Decision: %s %s %s -> %s %s %s\n", o.Feature, o.Tenant, o.From, o.To, o.Action, o.Verdict)
		fmt.Fprintf(&b, "Ramp-Reason: %s %s %s: %s\n", o.Feature, o.Tenant, o.Code, oneLine(o.Reason))
	}
	return b.String()
}

func (r *rampRun) subject(p *rampProposal) string {
	if r.s.sign.message != "" {
		return oneLine(cli.Printable(r.s.sign.message))
	}
	var moved []*ramp.Outcome
	var features []string
	for i := range p.out {
		if o := &p.out[i]; o.Moves() {
			moved = append(moved, o)
			if !slices.Contains(features, o.Feature) && len(features) < 10 {
				features = append(features, o.Feature)
			}
		}
	}
	switch {
	case len(moved) == 0:
		return "ramp: make " + some(p.created, 3)
	case len(moved) == 1 && moved[0].Action == ramp.Hold:
		return "ramp: resume " + moved[0].Feature
	case len(moved) == 1:
		o := moved[0]
		return fmt.Sprintf("ramp: %s %s -> %s", entryName(o), o.From, o.To)
	}
	return fmt.Sprintf("ramp: %s in %s", counted(len(moved), "step", "steps"), some(features, 3))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// entryName is an entry for people: the feature's own goes by the feature's name.
func entryName(o *ramp.Outcome) string {
	if o.Tenant == flags.DefaultTenant {
		return o.Feature
	}
	return o.Feature + " " + o.Tenant
}

func decisionLine(o *ramp.Outcome) string {
	if o.Action == ramp.Hold {
		return entryName(o) + " stays at " + o.From.String() + " (" + o.Verdict.String() + "): " + o.Reason
	}
	line := entryName(o) + " " + o.From.String() + " -> " + o.To.String() + " (" + o.Verdict.String() + "): " + o.Reason
	if o.Approval {
		line += " [approval]"
	}
	return line
}

// tell prints the decisions, and what became of them.
func (r *rampRun) tell(runs []*rampDone) error {
	if r.json {
		return r.tellJSON(runs)
	}
	paint := r.env.OutPalette()
	for _, done := range runs {
		out := bufio.NewWriter(r.env.Stdout)
		for _, name := range done.created {
			fmt.Fprintf(out, "%s  made, at 0 %%\n", name)
		}
		for i := range done.out {
			o := &done.out[i]
			if len(runs) > 1 && (o.Code == ramp.CodeWaitsDown || done != runs[0] && o.Code == ramp.CodeBeforeStep) {
				continue // the other commit tells
			}
			fmt.Fprintln(out, painted(o, paint))
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if done == runs[0] && slices.ContainsFunc(done.out, func(o ramp.Outcome) bool { return o.Code == ramp.CodeUndated }) {
			r.env.Talk("evidence that does not say when it was measured decides nothing: give it a generated_at, or say it with --slo-at and --coverage-at")
		}
		if len(done.out)+len(done.created) == 0 {
			r.env.Talk("nothing to decide: no feature has a ramp block, and none was named (--feature)")
		}
		r.tellDone(done)
	}
	return nil
}

func painted(o *ramp.Outcome, paint cli.Palette) string {
	line := cli.Printable(decisionLine(o)) // a reason is one line by itself
	switch {
	case o.Action == ramp.Up:
		return paint.Green("▲ ") + line
	case o.Action.Lowers():
		return paint.Red("▼ ") + line
	}
	return paint.Dim("· ") + line
}

func (r *rampRun) tellDone(done *rampDone) {
	name := fmt.Sprintf("%s -> %s", done.cur.Version, done.next.Version)
	switch {
	case !done.changed():
		r.env.Talk("no change: %s", done.cur.Version)
		if done.PR != "" {
			r.env.Talk("closed, for nothing of it holds any more: %s", done.PR)
		}
		return
	case done.DryRun:
		r.env.Talk("%s, had this not been a dry run", name)
		return
	case done.PR != "" && done.Merged != "":
		r.env.Talk("%s, %s: %s", name, done.Merged, done.PR)
	case done.PR != "":
		r.env.Talk("%s, proposed: %s", name, done.PR)
	case done.Branch != "":
		r.env.Talk("%s, pushed to %s as %.12s", name, done.Branch, done.Commit)
	case done.Commit != "":
		r.env.Talk("%s, committed as %.12s", name, done.Commit)
	default:
		r.env.Talk("%s, written to %s", name, r.file)
	}
	if done.Unsigned {
		r.env.Talk("not signed yet: propose sign --key KEY")
	}
}

// decided is a decision as --json and --report tell it.
type decided struct {
	ramp.Decision
	Resumed bool `json:"resumed,omitzero"`
}

// summary is the last line of --json. Its first fields are the older controller's.
type summary struct {
	OK          bool           `json:"ok"`
	Changed     bool           `json:"changed"`
	SpecVersion string         `json:"spec_version"`
	Features    jsontext.Value `json:"features"`
	Previous    string         `json:"previous_version,omitzero"`
	Now         time.Time      `json:"now"`
	Digest      string         `json:"digest"`
	Evidence    string         `json:"evidence,omitzero"`
	Created     []string       `json:"created,omitzero"`
	Commit      string         `json:"commit,omitzero"`
	Branch      string         `json:"branch,omitzero"`
	PullRequest string         `json:"pull_request,omitzero"`
	Merged      string         `json:"merged,omitzero"`
	Approval    bool           `json:"approval,omitzero"`
	DryRun      bool           `json:"dry_run,omitzero"`
}

func (r *rampRun) tellJSON(runs []*rampDone) error {
	for _, done := range runs {
		for i := range done.out {
			if err := cli.JSONLine(r.env.Stdout, "ramp-decision/v1", decided{done.out[i].Decision, done.out[i].Resumed}); err != nil {
				return err
			}
		}
	}
	last := runs[len(runs)-1]
	s := summary{OK: true, SpecVersion: last.next.Version, Now: r.in.now, Digest: last.next.Digest(), DryRun: last.DryRun}
	for _, done := range runs {
		s.Changed = s.Changed || done.changed()
		s.Approval = s.Approval || done.approval()
		s.Created = append(s.Created, done.created...)
		if done.changed() {
			s.Previous, s.Evidence, s.Commit, s.Branch = runs[0].cur.Version, done.digest(), done.Commit, done.Branch
		}
		if done.PR != "" {
			s.PullRequest, s.Merged = done.PR, string(done.Merged)
		}
	}
	var doc struct {
		Features jsontext.Value `json:"features"`
	}
	if err := json.Unmarshal(last.next.Bytes(), &doc); err != nil {
		return fmt.Errorf("summing up: %w", err)
	}
	if err := doc.Features.Compact(); err != nil {
		return fmt.Errorf("summing up: %w", err)
	}
	s.Features = doc.Features
	return cli.JSONLine(r.env.Stdout, "ramp/v1", s)
}

// approval is whether a gate was reached: then a person must say yes, whatever --auto-merge says.
func (p *rampProposal) approval() bool {
	return slices.ContainsFunc(p.out, func(o ramp.Outcome) bool { return o.Approval })
}
