package flags

import (
	"cmp"
	"strings"
)

// Kind says what a change does. Policies name kinds, so they are a contract
// (docs/changes.md).
type Kind string

// The kinds of change.
const (
	FeatureAdd    Kind = "feature.add"
	FeatureRemove Kind = "feature.remove"
	TenantAdd     Kind = "tenant.add"
	TenantRemove  Kind = "tenant.remove"
	Enable        Kind = "enable"
	Disable       Kind = "disable"
	RampUp        Kind = "ramp.up"
	RampDown      Kind = "ramp.down"
	CohortAdd     Kind = "cohort.add"
	CohortRemove  Kind = "cohort.remove"
	Salt          Kind = "salt"
	Guard         Kind = "guard"
	Meta          Kind = "meta"
	Base          Kind = "base"
	Other         Kind = "other"
)

// Kinds are all kinds, in the order in which a diff lists them.
var Kinds = []Kind{
	Base, FeatureAdd, FeatureRemove, TenantAdd, TenantRemove, Enable, Disable, RampUp, RampDown,
	CohortAdd, CohortRemove, Salt, Guard, Meta, Other,
}

// Change is one effective difference between two specs.
type Change struct {
	Kind    Kind   `json:"kind"`
	Feature string `json:"feature,omitempty"` // "" when the change is the spec's own
	Tenant  string `json:"tenant,omitempty"`  // [DefaultTenant] for the feature's own entry, "" when no entry is concerned
	Field   string `json:"field,omitempty"`   // the field concerned, for guard, meta, other and base
	From    string `json:"from"`              // for people: "20", "on", "3 members"
	To      string `json:"to"`
	Rises   bool   `json:"rises"` // somebody who was off may be on after it

	// Members are all that a cohort.add or cohort.remove brings or takes.
	Members []string `json:"members,omitempty"`

	// Before and After are the tenant's resolved entry, nil where there is
	// none (feature.add, feature.remove) and for changes that concern no entry.
	Before *Entry `json:"-"`
	After  *Entry `json:"-"`
}

// Key names the entry that the change concerns.
func (c Change) Key() Key { return Key{c.Feature, c.Tenant} }

// String is the change on one line: "receipts acme ramp.up 20 -> 30".
func (c Change) String() string {
	var b strings.Builder
	if c.Feature != "" {
		b.WriteString(c.Feature + " ")
	}
	if c.Tenant != "" && c.Tenant != DefaultTenant {
		b.WriteString(c.Tenant + " ")
	}
	b.WriteString(string(c.Kind))
	if c.Field != "" {
		b.WriteString(" " + c.Field)
	}
	switch c.Kind {
	case FeatureAdd, TenantAdd, CohortAdd:
		b.WriteString(" " + c.To)
	case FeatureRemove, TenantRemove, CohortRemove:
		b.WriteString(" " + c.From)
	default:
		b.WriteString(" " + cmp.Or(c.From, "none") + " -> " + cmp.Or(c.To, "none"))
	}
	return b.String()
}
