package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
	"github.com/rampart-flags/rampart/trust"
)

// rampBase is what a run decides upon.
type rampBase struct {
	spec    *flags.Spec
	from    basis
	log     *ramp.Log
	past    []ramp.Observation
	spent   func(k flags.Key, h ramp.History, slo []byte) bool // nil: cannot be told
	subject string                                             // for errors: the file or commit
}

// rampProposal is what a run would do to the spec that it decided upon.
type rampProposal struct {
	cur, next *flags.Spec // the same when nothing moves
	out       []ramp.Outcome
	created   []string
	record    []byte // the evidence of this run, nil when nothing moves
	coverage  []byte
	slo       []byte
}

func (p *rampProposal) changed() bool { return p.next != p.cur }

// digest names the record: "sha256:…".
func (p *rampProposal) digest() string { return evidence.Digest(p.record) }

// which outcomes a run may carry out.
type moves int

const (
	allMoves  moves = iota
	onlyDowns       // where there are downs, ups wait for the next commit
	onlyUps         // downs have a proposal of their own
)

// lowers is whether something goes down.
func (p *rampProposal) lowers() bool {
	return slices.ContainsFunc(p.out, func(o ramp.Outcome) bool { return o.Action.Lowers() })
}

// decide makes the proposal. The same base, evidence and clock give the same bytes.
func (r *rampRun) decide(b rampBase, which moves) (*rampProposal, error) {
	p := &rampProposal{cur: b.spec, next: b.spec, slo: r.in.slo, coverage: r.coverageFor(&r.in, b.spec)}
	features, err := r.features(b.spec, p)
	if err != nil {
		return nil, err
	}
	run := ramp.Run{
		Spec: b.spec, Settings: r.in.settings, Now: r.in.now, Budget: r.budget,
		Evidence: ramp.NewEvidence(evidence.Coverage(p.coverage), evidence.SLO(p.slo)),
		Features: features, Tenants: r.in.tenants, Resumed: r.s.resume, Past: b.past,
		History: func(k flags.Key) ramp.History {
			h := b.log.History(k)
			h.Spent = b.spent != nil && b.spent(k, h, p.slo)
			return h
		},
	}
	if p.out, err = run.Plan(); err != nil {
		return nil, cli.Exit(cli.ExitRefused, cli.Hint(err, "mend the ramp block, then: propose validate"))
	}
	r.holdRaced(p)
	p.partition(which)
	if r.first == nil {
		r.first = b.spec
	}
	return p, r.build(p, b, &run)
}

// features are those to decide on: as named, or every one that has a `ramp` block. With --create, one
// that the spec does not have is made and not decided on.
func (r *rampRun) features(spec *flags.Spec, p *rampProposal) ([]string, error) {
	for _, name := range r.s.resume {
		if spec.Feature(name) == nil {
			return nil, noFeature(spec, name)
		}
	}
	var names []string
	for _, name := range r.s.inputs.features {
		switch {
		case spec.Feature(name) != nil:
			names = append(names, name)
		case r.s.create:
			p.created = append(p.created, name)
		default:
			return nil, cli.Hint(noFeature(spec, name), "or make it, at 0 %%: add --create")
		}
	}
	if len(r.s.inputs.features) == 0 {
		for _, name := range spec.Features() {
			if len(spec.Feature(name).Ramp) > 0 {
				names = append(names, name)
			}
		}
	}
	names = append(names, r.s.resume...)
	slices.Sort(names)
	slices.Sort(p.created)
	p.created = slices.Compact(p.created)
	return append([]string{}, slices.Compact(names)...), nil // never nil: none is none
}

// holdRaced holds what another run moved while this one was deciding: it saw the same evidence.
func (r *rampRun) holdRaced(p *rampProposal) {
	if r.first == nil || r.first == p.cur {
		return
	}
	for i := range p.out {
		o := &p.out[i]
		was, ok := r.first.Entry(o.Feature, o.Tenant)
		if ok && (o.Action == ramp.Up && was.Pct != o.From || o.Action.Lowers() && o.From < was.Pct) {
			o.Shelve(ramp.CodeBeforeStep, fmt.Sprintf("somebody moved it from %s to %s while this run decided", was.Pct, o.From))
		}
	}
}

// partition puts off what is not for this commit: ups where there are downs, so that these make a
// commit of their own, or the downs that have one already.
func (p *rampProposal) partition(which moves) {
	if which == allMoves || which == onlyDowns && !p.lowers() {
		return
	}
	for i := range p.out {
		switch o := &p.out[i]; {
		case which == onlyDowns && o.Action == ramp.Up:
			o.Shelve(ramp.CodeWaitsDown, "others go down first, in a commit of their own")
		case which == onlyUps && o.Action.Lowers():
			o.Shelve(ramp.CodeWaitsDown, "it goes down in a proposal of its own")
		}
	}
}

// build edits the document and keeps the evidence.
func (r *rampRun) build(p *rampProposal, b rampBase, run *ramp.Run) error {
	if len(p.created) == 0 && !slices.ContainsFunc(p.out, func(o ramp.Outcome) bool { return o.Moves() }) {
		return nil
	}
	version, err := nextVersion(b.spec, b.from)
	if err != nil {
		return err
	}
	if p.record, err = r.recordOf(p, b, run); err != nil {
		return err
	}
	edits := rampEdits(b.spec, b.from.made, p.out, p.created, version, r.in.now, p.digest())
	if b.from.made != nil {
		edits = append(edits, r.leftovers(b, edits, version.N)...)
	}
	src, err := editMany(b.spec.Bytes(), edits)
	if err != nil {
		return fmt.Errorf("editing %s: %w", b.subject, err)
	}
	if p.next, err = r.dec.Decode(b.subject, src); err != nil {
		return fmt.Errorf("after these steps the spec would be wrong: %w", err)
	}
	return nil
}

// editMany is flags.Edit for any number of edits. Each keeps in memory what it found of the document,
// so very many are made in turns; how, is a part of what the bytes of a step are.
func editMany(src []byte, edits []flags.EditOp) (out []byte, err error) {
	const most = 120_000
	for part := range slices.Chunk(edits, most) {
		if src, err = flags.Edit(src, part); err != nil {
			return nil, err
		}
	}
	return src, nil
}

// rampEdits are all the changes that a run makes to the document: steps, new features, version, and the
// digest of the spec that it was made from.
func rampEdits(cur, made *flags.Spec, out []ramp.Outcome, created []string, version flags.Version, now time.Time, digest string) []flags.EditOp {
	edits := ramp.Edits(cur, out, version.N, now, digest)
	edits = append(edits, flags.EditOp{Pointer: "/version", Value: text(version.String())})
	if made != nil {
		edits = append(edits, flags.EditOp{Pointer: "/previous", Value: text(made.Digest())})
	}
	for _, name := range created {
		edits = append(edits, flags.EditOp{Pointer: "/features/" + name, Value: object([]field{
			{"pct", jsontext.Value("0")}, {"version", text(flags.Version{Base: "v1", N: version.N}.String())},
		})})
	}
	return edits
}

// leftovers stamps the entries that somebody changed in the file since it was last committed.
func (r *rampRun) leftovers(b rampBase, have []flags.EditOp, n int) []flags.EditOp {
	if b.from.made.Digest() == b.spec.Digest() {
		return nil
	}
	done := map[string]bool{}
	for _, op := range have {
		done[op.Pointer] = true
	}
	return slices.DeleteFunc(entryStamps(b.spec, flags.Diff(b.from.made, b.spec), n), func(op flags.EditOp) bool { return done[op.Pointer] })
}

func (r *rampRun) recordOf(p *rampProposal, b rampBase, run *ramp.Run) ([]byte, error) {
	rec := evidence.Record{
		Now: r.in.now, Spec: b.spec.Digest(), Environment: b.spec.Environment, Settings: r.in.settings,
		Tenants: r.in.tenants, Budget: r.budget, Coverage: p.coverage, SLO: p.slo, Guards: map[string]jsontext.Value{},
	}
	if len(r.s.inputs.features)+len(r.s.resume) > 0 {
		rec.Features = run.Features
	}
	rec.Resumed, rec.Created = r.s.resume, p.created
	rec.Moves = make([]evidence.Move, 0, len(p.out))
	for i := range p.out {
		o := &p.out[i]
		if !o.Moves() {
			continue
		}
		if raw := b.spec.Feature(o.Feature).Ramp; len(raw) > 0 {
			rec.Guards[o.Feature] = raw
		}
		rec.Moves = append(rec.Moves, evidence.Move{Feature: o.Feature, Tenant: o.Tenant, From: o.From, To: o.To, Code: o.Code, History: o.History})
	}
	return rec.Bytes()
}

// logAt derives the history of every entry from the branch's commits up to rev.
func (c *checkout) logAt(ctx context.Context, rev string) (*ramp.Log, error) {
	log, dec := &ramp.Log{}, &flags.Decoder{}
	err := c.Line(ctx, rev, c.spec, maxSpec, func(commit gitrepo.Commit, src []byte) error {
		if src == nil {
			return nil
		}
		spec, err := dec.Decode(c.spec, src)
		if err != nil {
			return nil //nolint:nilerr // nobody ever accepted it, so nothing of it was live
		}
		log.Add(ramp.Revision{Commit: commit.Hash, When: commit.When, Message: commit.Message, Spec: spec})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the history of %s: %w", c.spec, err)
	}
	return log, nil
}

// spentAt tells whether an entry's last step was decided by the very evidence at hand. It matters only
// in the second of the step: what is older is refused for its age, what is newer is other evidence.
func (c *checkout) spentAt(ctx context.Context, commit string, spec *flags.Spec) func(flags.Key, ramp.History, []byte) bool {
	used := map[string][]byte{} // a record's SLO evidence, by the record's digest
	return func(k flags.Key, h ramp.History, slo []byte) bool {
		at := evidence.SLO(slo).At
		if h.SteppedAt.IsZero() || at.IsZero() || !at.Truncate(time.Second).Equal(h.SteppedAt.Truncate(time.Second)) {
			return false
		}
		own := spec.Feature(k.Feature).Own
		if k.Tenant != flags.DefaultTenant {
			own = spec.Feature(k.Feature).Tenant(k.Tenant)
		}
		if own == nil || own.Ramped == nil || own.Ramped.Evidence == "" {
			return false
		}
		digest := own.Ramped.Evidence
		if _, ok := used[digest]; !ok {
			used[digest] = nil
			if rec, err := c.recordAt(ctx, commit, digest); err == nil {
				used[digest] = append([]byte{}, rec.SLO...)
			}
		}
		return used[digest] != nil && slices.Equal(used[digest], compact(slo))
	}
}

// compact is a source as a record keeps it.
func compact(src []byte) []byte {
	v := jsontext.Value(slices.Clone(src))
	if v.Compact() != nil {
		return src
	}
	return v
}

// recordAt reads the record that a commit keeps under its digest, and holds it to that digest.
func (c *checkout) recordAt(ctx context.Context, commit, digest string) (*evidence.Record, error) {
	src, err := c.ReadFile(ctx, commit, c.recordPath(digest), trust.MaxEvidence)
	if err != nil {
		return nil, err
	}
	if evidence.Digest(src) != digest {
		return nil, fmt.Errorf("%s holds other bytes than its name says", c.recordPath(digest))
	}
	return evidence.ParseRecord(src)
}
