package ramp

import (
	"regexp"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// Revision is one state of the spec on the branch that is followed.
type Revision struct {
	Commit  string
	When    time.Time // when it became the branch's newest commit: its committer's date
	Message string
	Spec    *flags.Spec
}

// Log derives what happened to each entry from the revisions of the spec, told oldest first. It reads
// content: who lowered or raised what, whether the `ramped` record beside it fits (then the bot made
// the change), and whether that record went back (then a person took a step back). The zero value is
// ready to use.
type Log struct {
	last     *flags.Spec
	entries  map[flags.Key]*entryLog
	reverted map[string]string // feature -> commit
}

type entryLog struct {
	steppedAt, pendingAt, downAt time.Time
	downs, aborts                int
}

var revertLine = regexp.MustCompile(`(?m)^This reverts commit ([0-9a-f]{7,64})\b`)

// resumedPrefix begins the reason of the step that a person's resume made.
const resumedPrefix = "resumed: "

// Add tells the next revision.
func (l *Log) Add(r Revision) {
	l.changes(r.Spec, func(c change) { l.apply(c, &r) })
	l.last = r.Spec
}

// Pending tells the content that is to be decided upon, when it is not committed yet. Its steps are not
// live anywhere, but they count as made at the time that their `ramped` record says.
func (l *Log) Pending(spec *flags.Spec) {
	l.changes(spec, func(c change) {
		if !c.bot() {
			return
		}
		e := l.entry(c.key)
		e.pendingAt = c.after.Ramped.At
		l.count(e, c, c.after.Ramped.At)
	})
	l.last = spec
}

// History is what happened to the entry, without [History.Greens] and [History.Behind].
func (l *Log) History(k flags.Key) History {
	h := History{Reverted: l.reverted[k.Feature]}
	if e := l.entries[k]; e != nil {
		h.SteppedAt, h.PendingAt, h.DownAt, h.Downs, h.Aborts = e.steppedAt, e.pendingAt, e.downAt, e.downs, e.aborts
	}
	return h
}

func (l *Log) entry(k flags.Key) *entryLog {
	e := l.entries[k]
	if e == nil {
		if l.entries == nil {
			l.entries = map[flags.Key]*entryLog{}
		}
		e = &entryLog{}
		l.entries[k] = e
	}
	return e
}

// change is one entry whose percentage or `ramped` record is another one now.
type change struct {
	key           flags.Key
	from, to      flags.Pct
	added         bool            // the entry is new: nothing is known of what was before
	before, after *flags.Override // before is nil when the entry had none
}

// bot reports whether the change is the one that its `ramped` record tells of.
func (c *change) bot() bool {
	r := c.after.Ramped
	if r == nil || r.To != c.to {
		return false
	}
	if c.before == nil || c.before.Ramped == nil {
		return true
	}
	was := c.before.Ramped
	if c.to < c.from && r.At.Equal(was.At) { // an alarm may sound in the very second of a step
		return r.From == c.from && !sameRamped(c.before, c.after)
	}
	return r.At.After(was.At)
}

// back reports whether the `ramped` record is older than it was, or gone together with its step.
func (c *change) back() bool {
	was := c.before
	if was == nil || was.Ramped == nil {
		return false
	}
	if c.after.Ramped == nil {
		return c.from == was.Ramped.To && c.to == was.Ramped.From
	}
	return c.after.Ramped.At.Before(was.Ramped.At)
}

func sameRamped(a, b *flags.Override) bool {
	var ra, rb *flags.Ramped
	if a != nil {
		ra = a.Ramped
	}
	if b != nil {
		rb = b.Ramped
	}
	if ra == nil || rb == nil {
		return ra == rb
	}
	return ra.At.Equal(rb.At) && ra.From == rb.From && ra.To == rb.To && ra.Reason == rb.Reason
}

// changes calls f for each entry of next that is not as it was. Features that the specs share are
// passed over unread.
func (l *Log) changes(next *flags.Spec, f func(change)) {
	for _, name := range next.Features() {
		now := next.Feature(name)
		var was *flags.Feature
		if l.last != nil {
			was = l.last.Feature(name)
		}
		if was == now {
			continue
		}
		if was == nil {
			l.forget(name)
		}
		featureChanges(name, was, now, f)
	}
}

func featureChanges(name string, was, now *flags.Feature, f func(change)) {
	one := func(tenant string, before, after *flags.Override) {
		c := change{key: flags.Key{Feature: name, Tenant: tenant}, to: now.Entry(tenant).Pct, added: was == nil, before: before, after: after}
		switch {
		case was != nil:
			c.from = was.Entry(tenant).Pct
		case c.bot():
			c.from = after.Ramped.From // the file's first revision: its own record is all there is
		default:
			c.from = c.to
		}
		if c.from != c.to || !sameRamped(before, after) {
			f(c)
		}
	}
	var before *flags.Override
	if was != nil {
		before = was.Own
	}
	one(flags.DefaultTenant, before, now.Own)
	for tenant, after := range now.Tenants() {
		before = nil
		if was != nil {
			before = was.Tenant(tenant)
		}
		one(tenant, before, after)
	}
}

// forget drops what is known of a feature that left the spec and came back as another one.
func (l *Log) forget(feature string) {
	for k := range l.entries {
		if k.Feature == feature {
			delete(l.entries, k)
		}
	}
	delete(l.reverted, feature)
}

func (l *Log) apply(c change, r *Revision) {
	bot := c.bot()
	e := l.entry(c.key)
	if c.added {
		if bot {
			e.steppedAt = c.after.Ramped.At
			l.count(e, c, e.steppedAt)
		}
		return
	}
	switch {
	case bot && (c.from == c.to || strings.HasPrefix(c.after.Ramped.Reason, resumedPrefix)):
		l.resume(c.key.Feature)
	case !bot && c.from != c.to && (c.back() || revertLine.MatchString(r.Message)):
		if l.reverted == nil {
			l.reverted = map[string]string{}
		}
		l.reverted[c.key.Feature] = r.Commit
	}
	if c.from != c.to {
		e.steppedAt = r.When
		l.count(e, c, r.When)
	}
}

// resume is a person's word that what happened before no longer holds the feature.
func (l *Log) resume(feature string) {
	delete(l.reverted, feature)
	for k, e := range l.entries {
		if k.Feature == feature {
			e.downs, e.aborts = 0, 0
		}
	}
}

// count keeps the lowerings since the entry last stood at 100 %.
func (l *Log) count(e *entryLog, c change, when time.Time) {
	switch {
	case c.to == flags.Full:
		e.downs, e.aborts = 0, 0
	case c.to < c.from:
		e.downs++
		e.downAt = when
		if c.bot() && strings.HasPrefix(strings.TrimPrefix(c.after.Ramped.Reason, resumedPrefix), abortedPrefix) {
			e.aborts++
		}
	}
}
