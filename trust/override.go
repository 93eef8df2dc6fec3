package trust

import (
	"cmp"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/schema"
)

// Override is a break-glass statement: it turns features off or down, for a short
// time, in one environment, while git is away. It can never turn anything on or up.
//
//	{"format":"override/v1","environment":"prod","id":"6f1c…","issued":"2026-11-22T04:00:00Z",
//	 "expires":"2026-11-22T05:00:00Z","reason":"receipts time out",
//	 "set":[{"feature":"receipts","tenant":"acme","off":true},{"feature":"attest","pct":5}]}
type Override struct {
	Environment string
	ID          string // makes the statement one of a kind: it is applied once
	Issued      time.Time
	Expires     time.Time
	Reason      string
	Set         []OverrideItem
}

// OverrideItem is one thing that an override does.
type OverrideItem struct {
	Feature string
	Tenant  string     // "": every entry of the feature
	Pct     *flags.Pct // lower the percentage to this; nil: turn it off, cohorts too
}

type (
	overrideDoc struct {
		Format      string             `json:"format"`
		Environment string             `json:"environment"`
		ID          string             `json:"id"`
		Issued      string             `json:"issued"`
		Expires     string             `json:"expires"`
		Reason      string             `json:"reason"`
		Set         []overrideItemFile `json:"set"`
	}
	overrideItemFile struct {
		Feature string     `json:"feature"`
		Tenant  string     `json:"tenant,omitzero"`
		Off     bool       `json:"off,omitzero"`
		Pct     *flags.Pct `json:"pct,omitzero"`
	}
)

// Encode writes the statement as it is to be signed: one line of JSON and a line
// end. What [ParseOverride] would refuse is an error.
func (o *Override) Encode() ([]byte, error) {
	doc := overrideDoc{
		Format: "override/v1", Environment: o.Environment, ID: o.ID,
		Issued: formatStamp(o.Issued), Expires: formatStamp(o.Expires), Reason: o.Reason,
	}
	for _, it := range o.Set {
		doc.Set = append(doc.Set, overrideItemFile{Feature: it.Feature, Tenant: it.Tenant, Off: it.Pct == nil, Pct: it.Pct})
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("writing the override: %w", err)
	}
	out = append(out, '\n')
	if _, err := ParseOverride("override", out); err != nil {
		return nil, fmt.Errorf("writing the override: %w", err)
	}
	return out, nil
}

// ParseOverride reads a statement strictly. Nothing is verified yet. The error is
// [schema.Errors].
func ParseOverride(file string, src []byte) (*Override, error) {
	var doc overrideDoc
	if err := schema.Decode("override", file, src, &doc); err != nil {
		return nil, err
	}
	var b builder
	o := &Override{Environment: doc.Environment, ID: doc.ID, Reason: doc.Reason}
	o.Issued = b.stamp("/issued", doc.Issued)
	o.Expires = b.stamp("/expires", doc.Expires)
	if len(b.problems) == 0 && !o.Issued.Before(o.Expires) {
		b.fail("/expires", "", "it ends before it begins")
	}
	seen := map[flags.Key]bool{}
	for i, it := range doc.Set {
		key := flags.Key{Feature: it.Feature, Tenant: it.Tenant}
		if seen[key] {
			b.fail(fmt.Sprintf("/set/%d", i), "say each thing once", "%s is set twice", o.target(OverrideItem{Feature: it.Feature, Tenant: it.Tenant}))
		}
		seen[key] = true
		o.Set = append(o.Set, OverrideItem{Feature: it.Feature, Tenant: it.Tenant, Pct: it.Pct})
	}
	report := schema.NewReport(file, src)
	report.AddProblems(0, "", b.problems)
	if err := report.Err(); err != nil {
		return nil, err
	}
	return o, nil
}

func (b *builder) stamp(at, s string) time.Time {
	t, err := parseStamp(s)
	if err != nil {
		b.fail(at, "write it like 2026-11-22T04:00:00Z", "%q is not a time", s)
	}
	return t
}

func (o *Override) target(it OverrideItem) string {
	if it.Tenant == "" {
		return it.Feature
	}
	return it.Feature + " of " + it.Tenant
}

// String is the statement in a few words: "receipts of acme off until 05:00Z".
func (o *Override) String() string {
	s := ""
	for i, it := range o.Set {
		if i > 0 {
			s += ", "
		}
		if it.Pct == nil {
			s += o.target(it) + " off"
		} else {
			s += fmt.Sprintf("%s down to %s", o.target(it), it.Pct)
		}
	}
	return s + " until " + stamp(o.Expires)
}

// ActiveAt says whether the statement is in force at now.
func (o *Override) ActiveAt(now time.Time) bool {
	return !now.Before(o.Issued.Add(-maxSkew)) && now.Before(o.Expires)
}

// Entry is what the statement makes of one entry: never more people on than before.
func (o *Override) Entry(key flags.Key, e flags.Entry) flags.Entry {
	for _, it := range o.Set {
		if it.Feature != key.Feature || it.Tenant != "" && it.Tenant != key.Tenant {
			continue
		}
		if it.Pct == nil {
			e.Enabled = false
		} else {
			e.Pct = min(e.Pct, *it.Pct)
		}
	}
	return e
}

// Entries are the entries of s that the statement changes, as they must stand while
// it is in force: what it names, and, where it names a tenant that has no entry of
// its own, one for that tenant. None: git says the same, and the statement is done.
func (o *Override) Entries(s *flags.Spec) map[flags.Key]flags.Entry {
	out := map[flags.Key]flags.Entry{}
	for _, it := range o.Set {
		for key := range o.reach(s, it) {
			was, ok := s.Entry(key.Feature, key.Tenant)
			if !ok {
				continue
			}
			if is := o.Entry(key, was); is.Enabled != was.Enabled || is.Enabled && is.Pct != was.Pct {
				out[key] = is
			}
		}
	}
	return out
}

// reach yields the keys that an item names.
func (o *Override) reach(s *flags.Spec, it OverrideItem) func(func(flags.Key) bool) {
	return func(yield func(flags.Key) bool) {
		if it.Tenant != "" {
			yield(flags.Key{Feature: it.Feature, Tenant: it.Tenant})
			return
		}
		f := s.Feature(it.Feature)
		if f == nil || !yield(flags.Key{Feature: it.Feature, Tenant: flags.DefaultTenant}) {
			return
		}
		for name := range f.Tenants() {
			if !yield(flags.Key{Feature: it.Feature, Tenant: name}) {
				return
			}
		}
	}
}

// OverrideRequest is a statement and all that is known about it.
type OverrideRequest struct {
	Override *Override
	// Spec is what is live by git's word.
	Spec *flags.Spec
	// Signers are the names whose signatures over the statement verified.
	Signers []string
	Now     time.Time
	// Used says whether a statement with this id was applied before. It must be given
	// for a new statement: forgetting it must not let an old one in again.
	Used func(id string) bool
	// InForce says that the statement was applied before and is only checked again, by
	// a client or after the policy changed: that it was used, or that git says a part
	// of it by now, is then no reason against it.
	InForce bool
}

// AuthorizeOverride says whether a break-glass statement may be applied: it is for
// this environment and this moment, was not applied before, lasts no longer than the
// policy allows, lowers something that is there, and for each thing it does a role
// that may disable (for down: or ramp.down) has signed in sufficient number.
func (p *Policy) AuthorizeOverride(r OverrideRequest) Answer {
	o := r.Override
	refuse := func(reason Reason, hint, format string, args ...any) Answer {
		return Answer{Reason: reason, Hint: hint, Uncovered: []Ruling{{Sentence: "override " + o.ID[:min(8, len(o.ID))] + ": " + fmt.Sprintf(format, args...)}}}
	}
	const again = "make a new one: propose override"
	switch {
	case o.Environment != p.Environment:
		return refuse(WrongEnvironment, again, "it is for environment %q, this is %q", o.Environment, p.Environment)
	case checkTime(o.Issued, o.Expires, r.Now) != "":
		return refuse(Expired, again, "%s", checkTime(o.Issued, o.Expires, r.Now))
	case o.Expires.Sub(o.Issued) > p.OverrideTTL:
		return refuse(Expired, "a shorter --ttl will do, or override.max_ttl in the policy", "it lasts %s, the policy allows %s", o.Expires.Sub(o.Issued), p.OverrideTTL)
	case !r.InForce && (r.Used == nil || r.Used(o.ID)):
		return refuse(AlreadyUsed, again, "it was applied before")
	}
	j := p.judge(Request{Next: r.Spec, Signers: r.Signers, Now: r.Now})
	if len(j.counted) == 0 {
		return refuse(Unsigned, "have somebody sign it whose role may disable there", "signed by %s", j.who())
	}
	a := Answer{Verdict: Allowed, Reason: Authorized}
	for _, it := range o.Set {
		if why := o.effect(r.Spec, it); why != "" && !r.InForce {
			return refuse(Malformed, "see what is live: reconcile status", "%s", why)
		}
		ru := j.override(it)
		if ru.verdict != Allowed {
			a.Verdict, a.Reason = Refused, NotAuthorized
			a.Hint = "have somebody sign it whose role may disable there"
			a.Uncovered = append(a.Uncovered, ru.Ruling)
			continue
		}
		a.Covered = append(a.Covered, ru.Ruling)
		a.addRole(ru.Role)
	}
	return a
}

// effect says why an item does nothing, "" when it does something.
func (o *Override) effect(s *flags.Spec, it OverrideItem) string {
	if s.Feature(it.Feature) == nil {
		return fmt.Sprintf("there is no feature %s", it.Feature)
	}
	one := &Override{Set: []OverrideItem{it}}
	if len(one.Entries(s)) > 0 {
		return ""
	}
	if e, _ := s.Entry(it.Feature, cmp.Or(it.Tenant, flags.DefaultTenant)); !e.Enabled {
		return o.target(it) + " is off already"
	}
	return fmt.Sprintf("%s is not above %s: an override only lowers", o.target(it), it.Pct)
}

// override asks the roles about one item of a statement.
func (j *judge) override(it OverrideItem) ruling {
	nobody := &flags.Entry{} // no percentage rises
	c := &flags.Change{Kind: flags.Disable, Feature: it.Feature, Tenant: it.Tenant, To: "off", Before: nobody, After: nobody}
	ru := j.change(c)
	if ru.verdict != Allowed && it.Pct != nil {
		c.Kind, c.To = flags.RampDown, it.Pct.String()
		ru = j.change(c)
	}
	return ru
}
