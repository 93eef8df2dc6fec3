package trust

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

const (
	// maxStepAge is how long before its commit a step may have been decided.
	maxStepAge = 7 * 24 * time.Hour
	// maxSkew is how far two honest machines' clocks may be apart.
	maxSkew = 5 * time.Minute
)

// admits checks what a spec must be like whoever signed it. A rollback returns to
// content whose previous was right when it was new.
func (p *Policy) admits(previous, next *flags.Spec, rollback bool) Answer {
	refuse := func(reason Reason, hint, format string, args ...any) Answer {
		return Answer{Reason: reason, Hint: hint, Uncovered: []Ruling{{Sentence: fmt.Sprintf(format, args...)}}}
	}
	if p.Environment != "" && next.Environment != p.Environment {
		said := "names no environment"
		if next.Environment != "" {
			said = fmt.Sprintf("is for environment %q", next.Environment)
		}
		return refuse(WrongEnvironment, fmt.Sprintf(`set "environment": %q in the spec and sign it again`, p.Environment),
			"the spec %s, this policy accepts %q only", said, p.Environment)
	}
	if p.RequirePrevious && previous != nil && !rollback && next.Previous != previous.Digest() {
		return refuse(WrongPrevious, "make the change anew on what is live: propose resolve",
			"the spec was made from %s, the last accepted one is %s", cmp.Or(next.Previous, "an unknown spec (previous is missing)"), previous.Digest())
	}
	if p.LegacyReaders {
		for k, e := range next.Entries() {
			what := ""
			if e.Salt != "" {
				what = "a salt"
			}
			for _, m := range e.Cohorts {
				if strings.HasPrefix(m, "sha256:") {
					what = "a hashed cohort member"
				}
			}
			if what != "" {
				return refuse(LegacyReaders, "leave it out, or take legacy_readers out of the policy once no older client is left",
					"%s has %s, which older clients cannot match (legacy_readers)", k, what)
			}
		}
	}
	return Answer{Verdict: Allowed}
}

// withinLimits counts the entries that leave.
func (p *Policy) withinLimits(previous, next *flags.Spec, changes []flags.Change) Answer {
	l := p.Limits
	if previous == nil || l.MaxRemoved == nil && l.MaxRemovedFraction == nil {
		return Answer{Verdict: Allowed}
	}
	removed := 0
	for _, c := range changes {
		switch {
		case c.Kind == flags.FeatureRemove:
			removed += 1 + previous.Feature(c.Feature).TenantCount()
		case c.Kind == flags.TenantRemove && next.Feature(c.Feature) != nil:
			removed++
		}
	}
	over := ""
	if l.MaxRemoved != nil && removed > *l.MaxRemoved {
		over = fmt.Sprintf("%d entries leave at once, at most %d may", removed, *l.MaxRemoved)
	} else if f := l.MaxRemovedFraction; f != nil && float64(removed) > *f*float64(previous.Len()) {
		over = fmt.Sprintf("%d of %d entries leave at once, at most %g of them may", removed, previous.Len(), *f)
	}
	if over == "" {
		return Answer{Verdict: Allowed}
	}
	return Answer{Reason: TooManyRemoved, Uncovered: []Ruling{{Sentence: over}},
		Hint: "remove them in several commits, or raise limits in the policy"}
}

// rise is by how much a change raises a percentage, and up to where. What is off
// counts as 0, so that a bounded role cannot switch on what was raised in the dark;
// and raising it in the dark counts as well.
func (j *judge) rise(c *flags.Change) (by, to flags.Pct) {
	before, after := j.entries(c)
	if c.Kind == flags.RampUp {
		return after.Pct - before.Pct, after.Pct
	}
	return effective(after) - effective(before), effective(after)
}

// entries are the change's entry before and after it; the zero entry, which is off,
// where there is none. A change that does not carry them (it was read from JSON, say)
// is looked up in the specs, so that it never passes for one that raises nothing.
func (j *judge) entries(c *flags.Change) (before, after flags.Entry) {
	if c.Before == nil && c.After == nil && c.Tenant != "" {
		if j.r.Previous != nil {
			before, _ = j.r.Previous.Entry(c.Feature, c.Tenant)
		}
		after, _ = j.r.Next.Entry(c.Feature, c.Tenant)
		return before, after
	}
	if c.Before != nil {
		before = *c.Before
	}
	if c.After != nil {
		after = *c.After
	}
	return before, after
}

func effective(e flags.Entry) flags.Pct {
	if !e.Enabled {
		return 0
	}
	return e.Pct
}

// evidence says what is wrong with the evidence for a rise, "" when nothing is.
func (j *judge) evidence(role *Role, c *flags.Change) string {
	rec, tenant := ramped(j.r.Next, c)
	before, after := j.entries(c)
	switch {
	case rec == nil:
		return "the entry has no ramped record"
	case rec.Evidence == "":
		return "its ramped record names none"
	case rec.From != before.Pct || rec.To != after.Pct:
		return fmt.Sprintf("its ramped record is about %s -> %s", rec.From, rec.To)
	case rec.At.After(j.r.Committed.Add(maxSkew)):
		return fmt.Sprintf("ramped.at %s lies after the commit", rec.At.UTC().Format(time.RFC3339))
	case j.r.Committed.Sub(rec.At) > maxStepAge:
		return fmt.Sprintf("it was decided on %s, more than seven days before the commit", rec.At.UTC().Format(time.RFC3339))
	case j.r.Proof == nil:
		return "nobody looked for it"
	}
	if j.r.Previous != nil {
		if old, _ := ramped(j.r.Previous, c); old != nil && !rec.At.After(old.At) {
			return "its ramped record is not newer than the one before"
		}
	}
	proof, err := j.r.Proof(rec.Evidence)
	switch {
	case err != nil:
		return err.Error()
	case proof.Measured.After(rec.At.Add(maxSkew)):
		return fmt.Sprintf("it was measured at %s, after the decision", proof.Measured.UTC().Format(time.RFC3339))
	case rec.At.Sub(proof.Measured) > role.EvidenceAge:
		return fmt.Sprintf("it was measured at %s, more than %s before the decision", proof.Measured.UTC().Format(time.RFC3339), role.EvidenceAge)
	case !j.p.MaySignEvidence(proof.Signers, j.r.Now):
		return fmt.Sprintf("it is signed by %s, and nobody of them may sign evidence", cmp.Or(strings.Join(proof.Signers, ", "), "nobody known"))
	}
	return proof.justifies(flags.Key{Feature: c.Feature, Tenant: tenant}, rec)
}

// ramped is the record that goes with the percentage of the change's entry, and whose it is: the
// tenant's where it has a percentage of its own, else the feature's.
func ramped(s *flags.Spec, c *flags.Change) (rec *flags.Ramped, tenant string) {
	f := s.Feature(c.Feature)
	if f == nil {
		return nil, ""
	}
	if o := f.Tenant(c.Tenant); o != nil && o.Pct != nil {
		return o.Ramped, c.Tenant
	}
	if f.Own == nil {
		return nil, ""
	}
	return f.Own.Ramped, flags.DefaultTenant
}
