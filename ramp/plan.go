package ramp

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// Run is everything that the decisions of one run follow from.
type Run struct {
	Spec     *flags.Spec
	Settings Settings
	Evidence *Evidence
	Now      time.Time

	// Features are decided, in any order. Nil: every feature that has a `ramp` block.
	Features []string
	// Tenants are listed for this run; "default" and flags.DefaultTenant are a feature's own entry.
	// Nil: that and every tenant that the spec lists.
	Tenants []string
	Budget  Budget
	// Resumed features forget their lowerings, aborts and reverts: a person said so.
	Resumed []string

	// History is what happened to an entry, [Log.History] say. Nil: nothing ever did.
	History func(flags.Key) History
	// Past is the evidence of earlier runs, newest first, for guards that ask for several greens.
	Past []Observation
	// Replay takes History as it is told, greens and waves included, as a record has it.
	Replay bool
}

// Budget bounds how much one run may raise. Zero values are no bound.
type Budget struct {
	MaxUps      int       // entries
	MaxExposure flags.Pct // percentage points, summed over the entries
}

// Observation is the evidence that an earlier run looked at, and when it did.
type Observation struct {
	At       time.Time
	Evidence *Evidence
}

// Outcome is a decision with the history it was made from.
type Outcome struct {
	Decision
	History History `json:"-"`
	Resumed bool    `json:"resumed,omitzero"` // it tells that a person resumed the feature
}

// Moves reports whether the outcome leaves something in the spec.
func (o *Outcome) Moves() bool { return o.Action != Hold || o.Resumed }

// Plan decides each entry once, in the order of features and tenants, and then holds the ups that the
// budget does not reach: those whose last step is the oldest go first. The error wraps [ErrGuard].
func (r *Run) Plan() ([]Outcome, error) {
	p := planner{Run: r, guards: map[string]*Guard{}, resumed: map[string]bool{}}
	for _, name := range r.Resumed {
		p.resumed[name] = true
	}
	if r.Tenants != nil {
		p.listed = map[string]bool{}
		for _, t := range r.Tenants {
			if t == "default" {
				t = flags.DefaultTenant
			}
			p.listed[t] = true
		}
	}
	features := r.Features
	if features == nil {
		for _, name := range r.Spec.Features() {
			if len(r.Spec.Feature(name).Ramp) > 0 {
				features = append(features, name)
			}
		}
	}
	features = slices.Compact(slices.Sorted(slices.Values(features)))
	entries := 0
	for _, name := range features {
		if f := r.Spec.Feature(name); f != nil {
			entries += 1 + f.TenantCount()
		}
	}
	p.out = make([]Outcome, 0, entries)
	var errs error
	for _, name := range features {
		if err := p.feature(name); err != nil {
			errs = joinLines(errs, err)
		}
	}
	if errs != nil {
		return nil, errs
	}
	p.spend()
	return p.out, nil
}

func joinLines(a, b error) error {
	if a == nil {
		return b
	}
	return fmt.Errorf("%w\n%w", a, b)
}

// planner is one Plan under way.
type planner struct {
	*Run
	listed map[string]bool   // nil: all
	guards map[string]*Guard // by their text: most features share one
	out    []Outcome

	resumed map[string]bool
	own     []Entry // of the feature at hand; its room is used again
}

func (p *planner) isListed(tenant string) bool { return p.listed == nil || p.listed[tenant] }

func (p *planner) history(k flags.Key) History {
	if p.History == nil {
		return History{}
	}
	return p.History(k)
}

func (p *planner) guard(raw []byte) (*Guard, error) {
	if g := p.guards[string(raw)]; g != nil {
		return g, nil
	}
	g, err := ParseGuard(raw, p.Settings)
	if err == nil {
		p.guards[string(raw)] = g
	}
	return g, err
}

func (p *planner) feature(name string) error {
	f := p.Spec.Feature(name)
	if f == nil {
		return fmt.Errorf("feature %q is not in the spec", name)
	}
	g, err := p.guard(f.Ramp)
	if err != nil {
		return fmt.Errorf("feature %s: %w", name, err)
	}
	def := f.Entry(flags.DefaultTenant)
	whole := Entry{Key: flags.Key{Feature: name, Tenant: flags.DefaultTenant}, Pct: def.Pct, Enabled: def.Enabled, Salted: def.Salt != ""}
	if p.isListed(flags.DefaultTenant) {
		whole.Tenants = append(whole.Tenants, flags.DefaultTenant)
	}
	own := p.own[:0]
	for tenant, o := range f.Tenants() {
		e := f.Entry(tenant)
		if o.Pct != nil || g.wave(tenant) < len(g.Waves) {
			whole.Own = append(whole.Own, tenant)
			if p.isListed(tenant) {
				own = append(own, Entry{Key: flags.Key{Feature: name, Tenant: tenant}, Pct: e.Pct, Enabled: e.Enabled, Salted: e.Salt != "", Tenants: []string{tenant}})
			}
			continue
		}
		// A tenant that is switched off has nobody whom a raise could hurt.
		if e.Enabled {
			whole.Enabled = true
			if p.isListed(tenant) {
				whole.Tenants = append(whole.Tenants, tenant)
			}
		}
	}
	for _, t := range slices.Sorted(maps.Keys(p.listed)) { // listed, but unknown to the spec: it follows the feature
		if t != flags.DefaultTenant && f.Tenant(t) == nil && g.wave(t) == len(g.Waves) {
			whole.Tenants = append(whole.Tenants, t)
		}
	}
	p.own = own
	first := len(p.out)
	if len(whole.Tenants) > 0 {
		p.decide(f, &whole, g)
	}
	for i := range own {
		p.decide(f, &own[i], g)
	}
	if len(p.out) > first && p.resumed[name] {
		p.out[first].Resumed = true
		p.out[first].Reason = resumedPrefix + p.out[first].Reason
	}
	return nil
}

func (p *planner) decide(f *flags.Feature, e *Entry, g *Guard) {
	h := p.history(e.Key)
	if p.resumed[f.Name] {
		h.Downs, h.Aborts, h.Reverted = 0, 0, ""
	}
	if !p.Replay {
		h.Behind = p.behind(f, g, e.Key.Tenant)
		if g.Greens > 1 {
			h.Greens = p.greens(e, g, &h)
		}
	}
	p.out = append(p.out, Outcome{Decision: Decide(e, g, p.Evidence, &h, p.Now), History: h})
}

// behind is the first tenant of an earlier wave that is not at its goal for long enough.
func (p *planner) behind(f *flags.Feature, g *Guard, tenant string) *Behind {
	for i := range min(g.wave(tenant), len(g.Waves)) {
		w := &g.Waves[i]
		for _, t := range w.Tenants {
			if f.Tenant(t) == nil {
				return &Behind{Tenant: t, Goal: g.goal(), Absent: true}
			}
			e := f.Entry(t)
			if e.Enabled && e.Pct < g.goal() {
				return &Behind{Tenant: t, Pct: e.Pct, Goal: g.goal()}
			}
			h := p.history(flags.Key{Feature: f.Name, Tenant: t})
			since := h.SteppedAt
			if h.PendingAt.After(since) {
				since = h.PendingAt
			}
			if until := since.Add(w.Soak); !since.IsZero() && p.Now.Before(until) {
				return &Behind{Tenant: t, Pct: e.Pct, Goal: g.goal(), Until: until}
			}
		}
	}
	return nil
}

// greens counts the earlier green runs in a row. Evidence counts once: each must have been measured
// before the one that came after it.
func (p *planner) greens(e *Entry, g *Guard, h *History) int {
	n, slo, coverage := 0, p.Evidence.slo.At, p.Evidence.coverage.At
	for i := range p.Past {
		past := &p.Past[i]
		if past.Evidence.judge(e, g, h, past.At, nil).verdict != Green {
			break
		}
		if !past.Evidence.slo.At.Before(slo) || !past.Evidence.coverage.At.Before(coverage) {
			continue
		}
		n, slo, coverage = n+1, past.Evidence.slo.At, past.Evidence.coverage.At
		if n+1 >= g.Greens {
			break
		}
	}
	return n
}

// spend holds the ups that the run's budget does not reach.
func (p *planner) spend() {
	var ups []*Outcome
	for i := range p.out {
		if p.out[i].Action == Up {
			ups = append(ups, &p.out[i])
		}
	}
	slices.SortStableFunc(ups, func(a, b *Outcome) int { return a.History.SteppedAt.Compare(b.History.SteppedAt) })
	spent, points := 0, int64(0)
	for _, o := range ups {
		rise := int64(o.To - o.From)
		switch b := p.Budget; {
		case b.MaxUps > 0 && spent >= b.MaxUps:
			o.shelve(fmt.Sprintf("this run may raise %d entries", b.MaxUps))
		case b.MaxExposure > 0 && points+rise > int64(b.MaxExposure):
			o.shelve(fmt.Sprintf("this run may raise by %s points in all, %s are spent", b.MaxExposure, flags.Pct(points)))
		default:
			spent, points = spent+1, points+rise
		}
	}
}

func (o *Outcome) shelve(why string) { o.Shelve(CodeBudget, why) }

// Shelve holds an outcome that was to move, for a reason that lies outside its own evidence.
func (o *Outcome) Shelve(code Code, why string) {
	o.Approval = false
	if o.Resumed {
		why = resumedPrefix + why
	}
	o.hold(code, why, time.Time{})
}
