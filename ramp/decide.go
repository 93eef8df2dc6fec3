package ramp

import (
	"fmt"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// Entry is what is decided upon: one feature resolved for one tenant, or for all that have no
// percentage of their own.
type Entry struct {
	Key     flags.Key
	Pct     flags.Pct
	Enabled bool
	Salted  bool // fractions of a percent can be told apart

	// Tenants are those whose coverage must be good: the tenant itself, or, for a feature's own
	// entry, every listed tenant that follows it.
	Tenants []string
	// Own are the tenants with a percentage of their own, sorted; only for a feature's own entry.
	Own []string
}

// History is what happened to an entry before this run. The zero value is an entry that nothing ever
// happened to. [Log] derives it from commits.
type History struct {
	SteppedAt time.Time `json:"stepped_at,omitzero"` // when the last change of the percentage was merged
	Spent     bool      `json:"spent,omitzero"`      // the last step was decided by this very evidence
	PendingAt time.Time `json:"pending_at,omitzero"` // when a step was made that is not merged yet
	DownAt    time.Time `json:"down_at,omitzero"`    // when the last lowering was made
	Downs     int       `json:"downs,omitzero"`      // lowerings since it last stood at 100 % or was resumed
	Aborts    int       `json:"aborts,omitzero"`     // aborts among them
	Reverted  string    `json:"reverted,omitzero"`   // the commit in which a person took a step back
	Greens    int       `json:"greens,omitzero"`     // green runs in a row before this one, on other evidence
	Behind    *Behind   `json:"behind,omitzero"`     // what an earlier wave still lacks; nil: nothing
}

// Behind is a tenant of an earlier wave that is not there yet.
type Behind struct {
	Tenant string    `json:"tenant"`
	Pct    flags.Pct `json:"pct"`
	Goal   flags.Pct `json:"goal"`
	Until  time.Time `json:"until,omitzero"`  // it is at its goal and soaks until then
	Absent bool      `json:"absent,omitzero"` // the spec does not list it
}

// Decision is where one entry's percentage should go, and why.
type Decision struct {
	Feature  string    `json:"feature"`
	Tenant   string    `json:"tenant"`
	Action   Action    `json:"action"`
	From     flags.Pct `json:"from"`
	To       flags.Pct `json:"to"`
	Verdict  Verdict   `json:"verdict"`
	Code     Code      `json:"code"`
	Reason   string    `json:"reason"`            // a sentence with the numbers in it
	Approval bool      `json:"approval,omitzero"` // a gate: a person must say yes
	Until    time.Time `json:"until,omitzero"`    // a hold that ends by itself ends then, all else being equal
}

// Key names the entry.
func (d *Decision) Key() flags.Key { return flags.Key{Feature: d.Feature, Tenant: d.Tenant} }

// String is the decision on one line.
func (d Decision) String() string {
	if d.Action == Hold {
		return fmt.Sprintf("%s %s %s hold, %s: %s", d.Feature, d.Tenant, d.From, d.Verdict, d.Reason)
	}
	return fmt.Sprintf("%s %s %s -> %s %s, %s: %s", d.Feature, d.Tenant, d.From, d.To, d.Action, d.Verdict, d.Reason)
}

// Decide says where one entry's percentage should go now. It is pure, moves one step at most, raises
// on green evidence only, and lets nothing but `paused` stand in the way of a lowering.
func Decide(e *Entry, g *Guard, ev *Evidence, h *History, now time.Time) Decision {
	var room [256]byte
	f := ev.judge(e, g, h, now, room[:0])
	d := Decision{
		Feature: e.Key.Feature, Tenant: e.Key.Tenant,
		From: e.Pct, To: e.Pct, Verdict: f.verdict, Code: f.code,
	}
	switch {
	case g.Paused:
		d.hold(CodePaused, "paused; "+f.text.String(), time.Time{})
	case f.verdict == Red:
		d.lower(e, g, &f)
	case f.verdict == Green:
		d.raise(e, g, h, now, f.text)
	default:
		d.Reason = f.text.String()
	}
	return d
}

func (d *Decision) hold(code Code, reason string, until time.Time) {
	d.Action, d.To, d.Code, d.Reason, d.Until = Hold, d.From, code, reason, until
}

// lower takes a step down, or goes to the minimum at once. Red at the minimum holds.
func (d *Decision) lower(e *Entry, g *Guard, f *finding) {
	action, to := Down, g.below(e.Pct)
	if f.critical && g.AbortOnCritical {
		action, to = Abort, g.Min
	}
	if !e.Salted && !to.Whole() {
		if to -= to % 1000; to < g.Min {
			to += 1000
		}
	}
	if to >= e.Pct {
		d.Code, d.Reason = CodeAtMin, f.text.add("; already at the minimum, ").pct(g.Min).String()
		return
	}
	d.Action, d.To = action, to
	if action == Abort {
		d.Reason = abortedPrefix + to.String() + ": " + f.text.String()
		return
	}
	d.Reason = f.text.String()
}

// abortedPrefix begins the reason of every abort, so that aborts can be counted in a history.
const abortedPrefix = "aborted to "

// raise goes through everything that may still hold a step up. The order is part of the contract.
func (d *Decision) raise(e *Entry, g *Guard, h *History, now time.Time, good text) {
	to := g.above(e.Pct)
	switch {
	case to <= e.Pct:
		d.hold(CodeAtMax, good.add("; already at the maximum, ").pct(g.goal()).String(), time.Time{})
		return
	case !e.Enabled:
		d.hold(CodeDisabled, "the entry is switched off, and a raise would reach nobody", time.Time{})
		return
	case !e.Salted && !to.Whole():
		d.hold(CodeNeedsSalt, fmt.Sprintf("the next step is %s, and a fraction of a percent needs a salt", to), time.Time{})
		return
	}
	if d.heldByPast(g, h, now) || d.heldByTime(e, g, h, now) || d.heldByOthers(h) {
		return
	}
	d.Action, d.To, d.Code, d.Reason = Up, to, CodeUp, good.String()
	for _, gate := range g.Gates {
		if e.Pct < gate && to >= gate {
			d.Code, d.Approval = CodeGate, true
			d.Reason = good.add("; the gate at ").pct(gate).add(" needs approval").String()
			return
		}
	}
}

// heldByPast holds after lowerings: cool-down, too many aborts, a person's revert.
func (d *Decision) heldByPast(g *Guard, h *History, now time.Time) bool {
	if until := h.DownAt.Add(g.cooldown(h.Downs)); h.Downs > 0 && g.Cooldown > 0 && now.Before(until) {
		d.hold(CodeCooldown, fmt.Sprintf("cooling down for %s after lowering number %d, until %s",
			span(g.cooldown(h.Downs)), h.Downs, stamp(until)), until)
		return true
	}
	if g.MaxAborts > 0 && h.Aborts >= g.MaxAborts {
		d.hold(CodeAborts, fmt.Sprintf("%d aborts, and the guard stops at %d; a person must resume it", h.Aborts, g.MaxAborts), time.Time{})
		return true
	}
	if h.Reverted != "" {
		d.hold(CodeReverted, fmt.Sprintf("a person took the last step back in %.12s; a person must resume it", h.Reverted), time.Time{})
		return true
	}
	return false
}

// heldByTime holds while it is the wrong time: freeze, not_before, bake, greens in a row.
func (d *Decision) heldByTime(e *Entry, g *Guard, h *History, now time.Time) bool {
	if window := frozen(g.Freeze, now); window != "" {
		d.hold(CodeFrozen, "frozen: "+window, time.Time{})
		return true
	}
	if now.Before(g.NotBefore) {
		d.hold(CodeNotBefore, "not before "+stamp(g.NotBefore), g.NotBefore)
		return true
	}
	since := h.SteppedAt
	if h.PendingAt.After(since) {
		since = h.PendingAt // not merged yet, so it cannot have baked for longer
	}
	if bake := g.bake(e.Pct); bake > 0 && !since.IsZero() && now.Before(since.Add(bake)) {
		until := since.Add(bake)
		d.hold(CodeBake, fmt.Sprintf("%s bakes for %s, until %s", e.Pct, span(bake), stamp(until)), until)
		return true
	}
	if have := h.Greens + 1; have < g.Greens {
		d.hold(CodeGreens, fmt.Sprintf("%d green in a row, %d are asked for", have, g.Greens), time.Time{})
		return true
	}
	return false
}

// heldByOthers holds while an earlier wave is not there.
func (d *Decision) heldByOthers(h *History) bool {
	b := h.Behind
	switch {
	case b == nil:
		return false
	case b.Absent:
		d.hold(CodeWave, fmt.Sprintf("%s of an earlier wave has no entry in the spec", b.Tenant), time.Time{})
	case !b.Until.IsZero():
		d.hold(CodeWave, fmt.Sprintf("%s of an earlier wave soaks until %s", b.Tenant, stamp(b.Until)), b.Until)
	default:
		d.hold(CodeWave, fmt.Sprintf("%s of an earlier wave stands at %s, short of %s", b.Tenant, b.Pct, b.Goal), time.Time{})
	}
	return true
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// above is one step up, inside the bounds; p itself where there is none.
func (g *Guard) above(p flags.Pct) flags.Pct {
	to := p
	if len(g.Steps) == 0 {
		to = p + g.StepUp
	} else if i, _ := slices.BinarySearch(g.Steps, p+1); i < len(g.Steps) {
		to = g.Steps[i]
	}
	if to > p && to < g.Min {
		to = g.Min
	}
	return max(min(to, g.Max), p)
}

// below is one step down, inside the bounds; p itself, or more, where there is none.
func (g *Guard) below(p flags.Pct) flags.Pct {
	to := g.Min
	if g.StepDown > 0 {
		to = p - g.StepDown
	} else if i, _ := slices.BinarySearch(g.Steps, p); i > 0 {
		to = g.Steps[i-1]
	}
	return max(min(to, g.Max), g.Min)
}

// bake is how long the entry must stand at p before the next step. Between two steps, the lower one's
// time counts; above the last time in the list, that one.
func (g *Guard) bake(p flags.Pct) time.Duration {
	n := len(g.Bake)
	if n < 2 {
		if n == 0 {
			return 0
		}
		return g.Bake[0]
	}
	i := 0
	if len(g.Steps) > 0 {
		i, _ = slices.BinarySearch(g.Steps, p+1)
	} else {
		i = int((p - g.Min + g.StepUp - 1) / g.StepUp)
	}
	return g.Bake[min(max(i-1, 0), n-1)]
}

// cooldown doubles with each lowering after the first.
func (g *Guard) cooldown(downs int) time.Duration {
	d := g.Cooldown
	for i := 1; i < downs && d > 0 && d < maxDuration; i++ {
		d *= 2
	}
	return min(d, maxDuration)
}
