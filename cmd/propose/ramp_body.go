package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

// title is the pull request's.
func (r *rampRun) title(p *rampProposal) string {
	if env := p.cur.Environment; env != "" {
		return env + ": " + r.subject(p)
	}
	return r.subject(p)
}

// rampMark begins the body of a ramp's pull request.
const rampMark = "<!-- rampart:ramp -->"

// body says what is proposed, why, and whom it touches.
func (r *rampRun) body(p *rampProposal) string {
	var b strings.Builder
	b.WriteString(rampMark + "\n")
	if p.approval() {
		b.WriteString("> [!IMPORTANT]\n> A gate is reached: this step waits for a person's approval, whatever merges by itself.\n\n")
	}
	b.WriteString("| | Feature | Tenant | From → to | Verdict | Reason | Who is affected |\n|---|---|---|---|---|---|---|\n")
	touched := r.touched(p)
	rows := 0
	for i := range p.out {
		o := &p.out[i]
		if !o.Moves() {
			continue
		}
		if rows++; rows > maxRows || b.Len() > maxComment*2/3 {
			continue
		}
		mark := "·"
		switch {
		case o.Action == ramp.Up:
			mark = "▲"
		case o.Action.Lowers():
			mark = "▼"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s → %s | %s | %s | %s |\n", mark, mdCode(o.Feature), mdCode(tenantName(o.Tenant)),
			o.From, o.To, o.Verdict, mdText(oneLine(o.Reason)), mdText(touched[o.Key()]))
	}
	if rows > maxRows {
		fmt.Fprintf(&b, "\n… and %s more.\n", counted(rows-maxRows, "step", "steps"))
	}
	for _, name := range p.created {
		fmt.Fprintf(&b, "\n%s is made, at 0 %%.\n", mdCode(name))
	}
	r.bodyHolds(&b, p)
	fmt.Fprintf(&b, "\n%s → %s, decided at %s by `propose ramp`. The evidence is in this change as %s; `propose explain-ramp` derives the steps from it again.\n",
		mdCode(p.cur.Version), mdCode(p.next.Version), r.in.now.Format("2006-01-02 15:04:05 MST"), mdCode("evidence/"+recordName(p.digest())))
	b.WriteString("\nMerging makes it live once the reconciler has verified it. Until then each run brings this pull request up to date, or closes it.\n")
	return b.String()
}

func (r *rampRun) bodyHolds(b *strings.Builder, p *rampProposal) {
	holds := 0
	for i := range p.out {
		o := &p.out[i]
		if o.Moves() {
			continue
		}
		if holds++; holds == 1 {
			b.WriteString("\n<details><summary>What holds, and why</summary>\n\n| Feature | Tenant | At | Verdict | Reason |\n|---|---|---|---|---|\n")
		}
		if holds <= maxRows && b.Len() < maxComment {
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", mdCode(o.Feature), mdCode(tenantName(o.Tenant)), o.From, o.Verdict, mdText(oneLine(o.Reason)))
		}
	}
	if holds > maxRows {
		fmt.Fprintf(b, "\n… and %d more.\n", holds-maxRows)
	}
	if holds > 0 {
		b.WriteString("\n</details>\n")
	}
}

// closingComment says why nothing is proposed any more.
func (r *rampRun) closingComment(p *rampProposal) string {
	var b strings.Builder
	fmt.Fprintf(&b, "At %s nothing of this would be decided again:\n\n", r.in.now.Format("2006-01-02 15:04:05 MST"))
	for i := range p.out {
		if i == maxListed {
			fmt.Fprintf(&b, "- … and %d more\n", len(p.out)-i)
			break
		}
		o := &p.out[i]
		fmt.Fprintf(&b, "- %s stays at %s (%s): %s\n", mdCode(entryName(o)), o.From, o.Verdict, mdText(oneLine(o.Reason)))
	}
	return b.String()
}

// touched says of each entry whom its step reaches: the share of users, and by name the known tenants
// that are dealt into the percentage themselves, where services ask without a user.
func (r *rampRun) touched(p *rampProposal) map[flags.Key]string {
	known := map[string]bool{}
	for _, f := range p.cur.Features() {
		for t := range p.cur.Feature(f).Tenants() {
			known[t] = true
		}
	}
	for t := range evidence.Coverage(p.coverage).Tenants {
		known[t] = t != flags.DefaultTenant
	}
	names := slices.Sorted(maps.Keys(known))
	out := map[flags.Key]string{}
	for _, e := range effects(flags.Diff(p.cur, p.next)) {
		out[flags.Key{Feature: e.Feature, Tenant: e.Tenant}] = e.String()
	}
	for i := range p.out {
		o := &p.out[i]
		if o.Action == ramp.Hold {
			continue
		}
		var on, off []string
		for _, t := range names {
			if !known[t] || (o.Tenant != flags.DefaultTenant && t != o.Tenant) || (o.Tenant == flags.DefaultTenant && hasOwnPct(p.cur, o.Feature, t)) {
				continue
			}
			was, _ := p.cur.Entry(o.Feature, t)
			is, _ := p.next.Entry(o.Feature, t)
			switch before, after := flags.Decide(&was, t, "").On, flags.Decide(&is, t, "").On; {
			case after && !before:
				on = append(on, t)
			case before && !after:
				off = append(off, t)
			}
		}
		k := o.Key()
		if len(on) > 0 {
			out[k] += "; as a tenant turned on: " + some(on, 20)
		}
		if len(off) > 0 {
			out[k] += "; as a tenant turned off: " + some(off, 20)
		}
	}
	return out
}

func hasOwnPct(spec *flags.Spec, feature, tenant string) bool {
	own := spec.Feature(feature).Tenant(tenant)
	return own != nil && own.Pct != nil
}
