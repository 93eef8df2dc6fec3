package pii

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/rampart-flags/rampart/flags"
)

// Rules say what else counts, and what does not. Both hold values or patterns as package path matches them.
type Rules struct {
	Allow []string // never personal data
	Deny  []string // always personal data
}

// Hit is personal data in a spec.
type Hit struct {
	Feature string `json:"feature,omitempty"`
	Tenant  string `json:"tenant,omitempty"`
	Where   string `json:"where"` // cohorts, tenant name, description, owner, segment, evidence
	Kind    Kind   `json:"kind"`
	Shown   string `json:"shown"` // the match, hidden but for its beginning
	Length  int    `json:"length"`
	// Suggestion is what may stand in its place, "" where nothing may.
	Suggestion string `json:"suggestion,omitempty"`
	Value      string `json:"-"` // the whole text, for whoever mends it
	// Document says that Where names a file, not a part of the spec.
	Document bool `json:"document,omitempty"`
}

func (h Hit) String() string {
	at := h.Where
	switch {
	case h.Document:
		return fmt.Sprintf("%s in %s: %s", h.Kind, at, h.Shown)
	case h.Tenant != "" && h.Tenant != flags.DefaultTenant && h.Where != "tenant name" && len(Find(h.Tenant)) == 0:
		at = fmt.Sprintf("%s of %s for %s", h.Where, h.Feature, h.Tenant)
	case h.Feature != "":
		at = fmt.Sprintf("%s of %s", h.Where, h.Feature)
	}
	return fmt.Sprintf("%s in the %s: %s", h.Kind, at, h.Shown)
}

// Denied is the kind of what the rules forbid by name.
const Denied Kind = "denied"

// Hashed is a cohort member in the form that names nobody: "sha256:<hex>". The decision is the same.
func Hashed(member string) string {
	sum := sha256.Sum256([]byte(member))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Spec looks through all of a spec: cohorts, segments, tenants, descriptions and owners.
func Spec(s *flags.Spec, r Rules) []Hit {
	var hits []Hit
	look := func(feature, tenant, where, text string) {
		if h, ok := r.find(text); ok {
			h.Feature, h.Tenant, h.Where = feature, tenant, where
			if where == "cohorts" || where == "segment" {
				h.Suggestion = Hashed(text)
			}
			hits = append(hits, h)
		}
	}
	for _, name := range s.Segments() {
		members, _ := s.Segment(name)
		for _, m := range members {
			look("", "", "segment", m)
		}
	}
	for _, name := range s.Features() {
		f := s.Feature(name)
		look(name, "", "description", f.Description)
		if f.Own != nil && f.Own.Ramped != nil {
			look(name, flags.DefaultTenant, "reason of the last step", f.Own.Ramped.Reason)
		}
		look(name, "", "owner", f.Owner)
		if f.Own != nil {
			for _, m := range f.Own.Cohorts {
				look(name, flags.DefaultTenant, "cohorts", m)
			}
		}
		for tenant, o := range f.Tenants() {
			look(name, tenant, "tenant name", tenant)
			if o.Ramped != nil {
				look(name, tenant, "reason of the last step", o.Ramped.Reason)
			}
			for _, m := range o.Cohorts {
				look(name, tenant, "cohorts", m)
			}
		}
	}
	return hits
}

// Changes looks only at what a new spec brings: what was live before is no reason to refuse another change.
func Changes(changes []flags.Change, r Rules) []Hit {
	var hits []Hit
	seen := map[string]bool{}
	look := func(c flags.Change, where, text string) {
		key := c.Feature + "\x00" + where + "\x00" + text // once a feature, however many tenants inherit it
		if seen[key] {
			return
		}
		seen[key] = true
		if h, ok := r.find(text); ok {
			h.Feature, h.Tenant, h.Where = c.Feature, c.Tenant, where
			if where == "cohorts" {
				h.Suggestion = Hashed(text)
			}
			hits = append(hits, h)
		}
	}
	for _, c := range changes {
		switch c.Kind {
		case flags.FeatureAdd, flags.TenantAdd:
			if c.Tenant != flags.DefaultTenant && c.Tenant != "" {
				look(c, "tenant name", c.Tenant)
			}
			if c.After != nil {
				for _, m := range c.After.Cohorts {
					if c.Before == nil || !slices.Contains(c.Before.Cohorts, m) {
						look(c, "cohorts", m)
					}
				}
			}
		case flags.CohortAdd:
			for _, m := range c.Members {
				look(c, "cohorts", m)
			}
		case flags.Meta:
			look(c, c.Field, c.To)
		}
	}
	return hits
}

// Text looks through one text, such as a file of evidence.
func Text(where, text string, r Rules) []Hit {
	var hits []Hit
	for _, f := range Find(text) {
		match := text[f.Start:f.End]
		if !r.allows(match) {
			hits = append(hits, Hit{Where: where, Kind: f.Kind, Shown: Redact(match), Length: len(match), Value: match})
		}
	}
	return hits
}

func (r Rules) find(text string) (Hit, bool) {
	if text == "" || strings.HasPrefix(text, "sha256:") || strings.HasPrefix(text, "@") {
		return Hit{}, false // hashed already, or a segment's name
	}
	if matches(r.Deny, text) {
		return Hit{Kind: Denied, Shown: Redact(text), Length: len(text), Value: text}, true
	}
	if dull(text) || matches(r.Allow, text) {
		return Hit{}, false
	}
	for _, f := range Find(text) {
		if match := text[f.Start:f.End]; !r.allows(match) {
			return Hit{Kind: f.Kind, Shown: Redact(match), Length: len(match), Value: text}, true
		}
	}
	return Hit{}, false
}

func (r Rules) allows(match string) bool { return matches(r.Allow, match) }

func matches(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := path.Match(p, text)
		return p == text || err == nil && ok
	})
}

// dull reports whether nothing can be found in the text: most identifiers are passed over by counting.
func dull(text string) bool {
	digits, dots, colons, dashes := 0, 0, 0, 0
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == '@' || c == '%':
			return false
		case c == '.':
			dots++
		case c == ':':
			colons++
		case c == '-':
			dashes++
		}
	}
	return digits < 7 && dots < 2 && colons < 2 && dashes < 5
}
