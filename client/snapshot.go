package client

import (
	"iter"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// ReasonForced is the reason of a decision that the developer's own environment
// made, see [Client].
const ReasonForced flags.Reason = "forced"

// Decision is the answer for one feature and subject, and what it rests on.
type Decision struct {
	flags.Decision
	// Generation numbers what is live, from 1; 0 when the source has no numbers.
	Generation uint64 `json:"generation,omitempty"`
	// Commit is where in git the flags come from; empty when the source does not say.
	Commit string `json:"commit,omitempty"`
}

// Snapshot is one generation of all flags. It never changes; decisions from one
// snapshot fit together. An empty tenant is the default tenant, an empty user
// lets the tenant decide.
type Snapshot struct {
	Generation  uint64 // number of what is live, from 1; 0 when the source has no numbers
	Commit      string // where in git it comes from, if the source says
	Version     string // of the spec
	Digest      string // of the spec: sha256:<hex>; "" when the source has no spec
	Environment string
	// Revision names exactly these entries: it differs from that of any other set from
	// the same source, and is the same in every process that reads it.
	Revision string
	Signers  []string // who signed it; nil unless verified
	// Source is what it was read from: "redis", "cache", "file <path>", "FLAGS_JSON",
	// "static", or "" before there was any.
	Source string
	// Loaded is when this process read it.
	Loaded time.Time

	flags  *flags.Snapshot
	tenant string
	forced forced
}

// Flags is what the snapshot decides by. Forced features are not in it.
func (s *Snapshot) Flags() *flags.Snapshot { return s.flags }

// DefaultTenant is the tenant of requests that name none.
func (s *Snapshot) DefaultTenant() string { return s.tenant }

// Enabled reports whether the feature is on.
func (s *Snapshot) Enabled(feature, tenant, user string) bool {
	if s.forced != nil {
		if on, ok := s.forced.of(feature); ok {
			return on
		}
	}
	if tenant == "" {
		tenant = s.tenant
	}
	return s.flags.Enabled(feature, tenant, user)
}

// Decide is Enabled with the reason and what it rests on.
func (s *Snapshot) Decide(feature, tenant, user string) Decision {
	if s.forced != nil {
		if on, ok := s.forced.of(feature); ok {
			return s.force(on)
		}
	}
	if tenant == "" {
		tenant = s.tenant
	}
	return Decision{Decision: s.flags.Decide(feature, tenant, user), Generation: s.Generation, Commit: s.Commit}
}

// All yields the decision of every feature, by name.
func (s *Snapshot) All(tenant, user string) iter.Seq2[string, Decision] {
	who := s.For(tenant, user)
	return who.All()
}

// For prepares several decisions about one subject: what depends on the subject
// alone is computed once.
func (s *Snapshot) For(tenant, user string) Subject {
	if tenant == "" {
		tenant = s.tenant
	}
	return Subject{subject: s.flags.For(tenant, user), snapshot: s, tenant: tenant, user: user}
}

func (s *Snapshot) force(on bool) Decision {
	return Decision{Decision: flags.Decision{On: on, Reason: ReasonForced}, Generation: s.Generation, Commit: s.Commit}
}

// Subject is a tenant and user, ready for decisions from one snapshot.
type Subject struct {
	subject      flags.Subject
	snapshot     *Snapshot
	tenant, user string
}

// Tenant is who is asked about.
func (s *Subject) Tenant() string { return s.tenant }

// User is who is asked about, "" when the tenant decides.
func (s *Subject) User() string { return s.user }

// Snapshot is what the decisions come from.
func (s *Subject) Snapshot() *Snapshot { return s.snapshot }

// Enabled reports whether the feature is on for this subject.
func (s *Subject) Enabled(feature string) bool {
	if s.snapshot.forced != nil {
		if on, ok := s.snapshot.forced.of(feature); ok {
			return on
		}
	}
	return s.subject.Enabled(feature)
}

// Decide is Enabled with the reason and what it rests on.
func (s *Subject) Decide(feature string) Decision {
	if s.snapshot.forced != nil {
		if on, ok := s.snapshot.forced.of(feature); ok {
			return s.snapshot.force(on)
		}
	}
	return Decision{Decision: s.subject.Decide(feature), Generation: s.snapshot.Generation, Commit: s.snapshot.Commit}
}

// NeedsKey reports whether the answer for a feature can depend on who asks.
func (s *Subject) NeedsKey(feature string) bool { return s.subject.NeedsKey(feature) }

// All yields the decision of every feature, by name.
func (s *Subject) All() iter.Seq2[string, Decision] {
	return func(yield func(string, Decision) bool) {
		one := Decision{Generation: s.snapshot.Generation, Commit: s.snapshot.Commit}
		for name, d := range s.subject.All() {
			one.Decision = d
			if s.snapshot.forced != nil {
				if on, ok := s.snapshot.forced.of(name); ok {
					one = s.snapshot.force(on)
				}
			}
			if !yield(name, one) {
				return
			}
		}
	}
}
