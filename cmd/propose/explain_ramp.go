package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

func explainRampCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "explain-ramp [COMMIT]",
		Short: "Derive a ramp's steps again from the evidence that its commit carries",
		Long: `explain-ramp takes the evidence that a ramp's commit carries and the spec and the history before it,
decides again, and compares: every step, and the bytes of the spec.

It exits 0 when all of it matches and 4 when anything does not: a step that the evidence does not give,
a step that it gives and that is missing, evidence that was changed, or a change beside the steps.`,
		Example: `  propose explain-ramp
  propose explain-ramp 1a2b3c4 --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			rev := "HEAD"
			if len(args) > 0 {
				rev = args[0]
			}
			return a.explainRamp(cmd.Context(), rev)
		},
	}
}

// derivation is what a commit's steps are held against.
type derivation struct {
	c       *checkout
	commit  gitrepo.Commit
	was, is *flags.Spec
	digest  string
	rec     *evidence.Record
	trouble []string // what does not match
	notes   []string // what could not be checked
	steps   []derivedStep
}

// derivedStep is one step, as the commit has it and as the evidence gives it.
type derivedStep struct {
	Feature string       `json:"feature"`
	Tenant  string       `json:"tenant"`
	From    flags.Pct    `json:"from"`
	To      flags.Pct    `json:"to"`
	Derived flags.Pct    `json:"derived"`
	Match   bool         `json:"match"`
	Verdict ramp.Verdict `json:"verdict"`
	Code    ramp.Code    `json:"code"`
	Reason  string       `json:"reason"`
}

func (a *app) explainRamp(ctx context.Context, rev string) error {
	c, err := needCheckout(a.specPath())
	if err != nil {
		return err
	}
	d, err := c.derivation(ctx, rev)
	if err != nil {
		return err
	}
	if d.rec != nil {
		if err := d.derive(ctx); err != nil {
			return err
		}
	}
	if err := a.tellDerivation(d); err != nil {
		return err
	}
	if len(d.trouble) > 0 {
		return cli.Exit(cli.ExitRefused, fmt.Errorf("%.12s does not follow from its evidence: %s", d.commit.Hash, d.trouble[0]))
	}
	return nil
}

// derivation reads the commit, the spec before it, and the one record that its steps name.
func (c *checkout) derivation(ctx context.Context, rev string) (d *derivation, err error) {
	d = &derivation{c: c}
	if d.commit, err = c.Commit(ctx, rev); err != nil {
		return nil, usage(err)
	}
	none := usage(cli.Hint(fmt.Errorf("%.12s holds no step of a ramp", d.commit.Hash), "find one: propose history"))
	if len(d.commit.Parents) == 0 {
		return nil, none
	}
	if d.was, err = c.specAt(ctx, d.commit.Parents[0]); err != nil {
		return nil, err
	}
	if d.is, err = c.specAt(ctx, d.commit.Hash); err != nil {
		return nil, err
	}
	if d.was == nil || d.is == nil {
		return nil, none
	}
	digests := evidenceNamed(d.was, d.is)
	switch len(digests) {
	case 0:
		return nil, none
	case 1:
		d.digest = digests[0]
	default:
		d.trouble = append(d.trouble, fmt.Sprintf("its steps name %d pieces of evidence: it sums several runs up, explain those one by one", len(digests)))
		return d, nil
	}
	if d.rec, err = c.recordAt(ctx, d.commit.Hash, d.digest); err != nil {
		if errors.Is(err, gitrepo.ErrNotExist) {
			err = fmt.Errorf("the evidence %s is not in it", c.recordPath(d.digest))
		}
		d.trouble = append(d.trouble, err.Error())
		return d, nil
	}
	if d.rec.Spec != d.was.Digest() {
		d.trouble = append(d.trouble, fmt.Sprintf("it was decided upon the spec %.19s…, and the one before it is %.19s…", d.rec.Spec, d.was.Digest()))
	}
	return d, nil
}

// evidenceNamed lists the evidence that entries name now and did not name before.
func evidenceNamed(was, is *flags.Spec) []string {
	named := map[string]bool{}
	look := func(before, after *flags.Override) {
		if after == nil || after.Ramped == nil || after.Ramped.Evidence == "" {
			return
		}
		if before == nil || before.Ramped == nil || before.Ramped.Evidence != after.Ramped.Evidence {
			named[after.Ramped.Evidence] = true
		}
	}
	for _, name := range is.Features() {
		now, then := is.Feature(name), was.Feature(name)
		if now == then {
			continue
		}
		if then == nil {
			look(nil, now.Own)
			continue
		}
		look(then.Own, now.Own)
		for tenant, own := range now.Tenants() {
			look(then.Tenant(tenant), own)
		}
	}
	return slices.Sorted(maps.Keys(named))
}

// derive decides again, once with the history that the evidence tells and once with the one that git
// has, and compares.
func (d *derivation) derive(ctx context.Context) error {
	told := map[flags.Key]ramp.History{}
	for _, m := range d.rec.Moves {
		told[flags.Key{Feature: m.Feature, Tenant: m.Tenant}] = m.History
	}
	for name, guard := range d.rec.Guards {
		if f := d.was.Feature(name); f == nil || !bytes.Equal(compact(guard), compact(f.Ramp)) {
			d.trouble = append(d.trouble, fmt.Sprintf("the evidence holds another guard for %s than the spec", name))
		}
	}
	out, err := d.plan(func(k flags.Key) ramp.History { return told[k] })
	if err != nil {
		return err
	}
	d.compare(out, told)
	d.withinBudget()
	d.compareBytes(out)
	log, err := d.c.logAt(ctx, d.commit.Parents[0])
	if err != nil {
		d.notes = append(d.notes, "the history was not checked: "+err.Error())
		return nil
	}
	for k, h := range told {
		git := log.History(k)
		if slices.Contains(d.rec.Resumed, k.Feature) {
			git.Downs, git.Aborts, git.Reverted = 0, 0, ""
		}
		if !sameHistory(h, git) {
			d.trouble = append(d.trouble, fmt.Sprintf("%s was decided with a history that git does not have: %s", k, describeHistory(h, git)))
		}
	}
	slices.Sort(d.trouble)
	return nil
}

// withinBudget holds the steps against the run's own bounds.
func (d *derivation) withinBudget() {
	ups, points := 0, int64(0)
	for _, s := range d.steps {
		if s.To > s.From {
			ups, points = ups+1, points+int64(s.To-s.From)
		}
	}
	b := d.rec.Budget
	if b.MaxUps > 0 && ups > b.MaxUps || b.MaxExposure > 0 && points > int64(b.MaxExposure) {
		d.trouble = append(d.trouble, fmt.Sprintf("it raises %s by %s points in all, more than its budget", counted(ups, "entry", "entries"), flags.Pct(points)))
	}
}

func (d *derivation) plan(history func(flags.Key) ramp.History) ([]ramp.Outcome, error) {
	run := ramp.Run{
		Spec: d.was, Settings: d.rec.Settings, Evidence: d.rec.Evidence(), Now: d.rec.Now,
		Features: d.rec.Features, Tenants: d.rec.Tenants, Resumed: d.rec.Resumed, History: history, Replay: true,
	}
	out, err := run.Plan()
	if err != nil {
		return nil, fmt.Errorf("deciding again: %w", err)
	}
	return out, nil
}

// compare holds each step against the decision. A decision to move that the record does not tell of is
// no trouble: the run may have waited with it.
func (d *derivation) compare(out []ramp.Outcome, told map[flags.Key]ramp.History) {
	derived := map[flags.Key]*ramp.Outcome{}
	for i := range out {
		derived[out[i].Key()] = &out[i]
	}
	for key, now := range d.is.Entries() {
		was, ok := d.was.Entry(key.Feature, key.Tenant)
		_, moved := told[key]
		if !ok || was.Pct == now.Pct && !moved || was.Pct != now.Pct && !moved && d.follows(key) {
			continue
		}
		s := derivedStep{Feature: key.Feature, Tenant: key.Tenant, From: was.Pct, To: now.Pct, Derived: was.Pct}
		if o := derived[key]; o != nil {
			s.Derived, s.Verdict, s.Code, s.Reason = o.To, o.Verdict, o.Code, o.Reason
		}
		if s.Match = moved && s.Derived == s.To; !s.Match {
			d.trouble = append(d.trouble, fmt.Sprintf("%s goes from %s to %s, and the evidence gives %s", key, s.From, s.To, s.Derived))
		}
		d.steps = append(d.steps, s)
	}
}

// follows is whether the entry has no percentage of its own, and moves with its feature's.
func (d *derivation) follows(k flags.Key) bool {
	own := d.is.Feature(k.Feature).Tenant(k.Tenant)
	return k.Tenant != flags.DefaultTenant && own != nil && own.Pct == nil
}

// compareBytes makes the spec again.
func (d *derivation) compareBytes(out []ramp.Outcome) {
	version, err := flags.ParseVersion(d.is.Version)
	if err != nil { // a decoded spec has a version
		return
	}
	kept := out[:0:0]
	for _, m := range d.rec.Moves {
		for _, o := range out {
			if o.Key() == (flags.Key{Feature: m.Feature, Tenant: m.Tenant}) {
				kept = append(kept, o)
			}
		}
	}
	src, err := editMany(d.was.Bytes(), rampEdits(d.was, d.was, kept, d.rec.Created, version, d.rec.Now, d.digest))
	if err != nil {
		d.trouble = append(d.trouble, "making the spec again: "+err.Error())
		return
	}
	if bytes.Equal(src, d.is.Bytes()) {
		return
	}
	why := "the spec made again has other bytes"
	if again, err := flags.Decode("the spec made again", src); err == nil {
		if changes := flags.Diff(again, d.is); len(changes) > 0 {
			why = "it changes more than its steps: " + changes[0].String()
		}
	}
	d.trouble = append(d.trouble, why)
}

// sameHistory compares what both can know: green runs and waves are told by the evidence alone.
func sameHistory(told, git ramp.History) bool {
	return told.SteppedAt.Equal(git.SteppedAt) && told.DownAt.Equal(git.DownAt) &&
		told.Downs == git.Downs && told.Aborts == git.Aborts && told.Reverted == git.Reverted
}

func describeHistory(told, git ramp.History) string {
	switch {
	case !told.SteppedAt.Equal(git.SteppedAt):
		return fmt.Sprintf("last step %s, not %s", told.SteppedAt.Format(time.RFC3339), git.SteppedAt.Format(time.RFC3339))
	case told.Downs != git.Downs || told.Aborts != git.Aborts || !told.DownAt.Equal(git.DownAt):
		return fmt.Sprintf("%d lowerings, %d of them aborts, not %d and %d", told.Downs, told.Aborts, git.Downs, git.Aborts)
	}
	return fmt.Sprintf("reverted in %q, not %q", told.Reverted, git.Reverted)
}

func (a *app) tellDerivation(d *derivation) error {
	for _, s := range d.steps {
		if a.json {
			if err := cli.JSONLine(a.env.Stdout, "ramp-step/v1", s); err != nil {
				return err
			}
			continue
		}
		paint, mark := a.env.OutPalette().Green, "matches"
		if !s.Match {
			paint, mark = a.env.OutPalette().Red, "differs"
		}
		o := ramp.Outcome{Decision: ramp.Decision{Feature: s.Feature, Tenant: s.Tenant}}
		fmt.Fprintf(a.env.Stdout, "%s  %s %s -> %s, derived %s (%s): %s\n", paint(mark), entryName(&o), s.From, s.To, s.Derived, s.Verdict, cli.Printable(oneLine(s.Reason)))
	}
	for _, note := range d.notes {
		a.env.Talk("%s", note)
	}
	if !a.json {
		for _, line := range d.trouble {
			fmt.Fprintln(a.env.Stdout, a.env.OutPalette().Red("differs")+"  "+cli.Printable(line))
		}
		return nil
	}
	return cli.JSONLine(a.env.Stdout, "ramp-explained/v1", struct {
		Commit   string   `json:"commit"`
		Match    bool     `json:"match"`
		Evidence string   `json:"evidence"`
		Version  string   `json:"version"`
		Trouble  []string `json:"trouble,omitempty"`
		Notes    []string `json:"notes,omitempty"`
	}{d.commit.Hash, len(d.trouble) == 0, d.digest, d.is.Version, d.trouble, d.notes})
}
