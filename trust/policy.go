package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/signing"
)

// Policy is one trust.json. It does not change once [Parse] has made it.
type Policy struct {
	// Version is the policy's own number, from 1.
	Version int
	// Previous is the digest of the policy before it, "" if it names none.
	Previous string
	// Environment is the only environment the policy accepts specs for; "" means
	// that specs are not bound to one.
	Environment string
	// Signers and Roles are sorted by name.
	Signers []Signer
	Roles   []Role
	// Rollback bounds what git revert may do; its defaults are filled in.
	Rollback Rollback
	// Limits bound each transition, whoever signed it.
	Limits Limits
	// OverrideTTL is how long a break-glass statement may last.
	OverrideTTL time.Duration
	// RequirePrevious, LegacyReaders and RequireSignedCommit are the switches of the
	// same names.
	RequirePrevious, LegacyReaders, RequireSignedCommit bool
	// PII is what to do about personal data in a spec.
	PII PII

	digest  string
	signers map[string]*Signer
}

// Signer is a person or a machine whose signatures can count. However many keys it
// has, it is one vote.
type Signer struct {
	Name    string
	Keys    []signing.PublicKey
	Keyless *signing.Keyless
	SSH     []string  // for commit signatures: lines as in authorized_keys
	PGP     string    // for commit signatures: one armored block
	Expires time.Time // zero: never
}

// expired says whether the signer no longer counts at now.
func (s *Signer) expired(now time.Time) bool {
	return !s.Expires.IsZero() && !now.Before(s.Expires)
}

// Role says what signers may do, once Threshold of them have signed.
type Role struct {
	Name      string
	Signers   []string
	Threshold int
	// May holds kinds of change, [Any], or [Evidence].
	May []flags.Kind
	// Features and Tenants are globs; empty means all.
	Features, Tenants []string
	// MaxStep and MaxPct bound how far an entry may rise; nil means no bound.
	MaxStep, MaxPct *flags.Pct
	// MinInterval is the time between two rises of one entry; zero means none.
	MinInterval time.Duration
	// Evidence says that a rise must carry signed evidence, which was at most
	// EvidenceAge old when the step was decided.
	Evidence    bool
	EvidenceAge time.Duration
}

const (
	// Any in [Role.May] covers every kind of change, also those that this version
	// does not know.
	Any flags.Kind = "*"
	// Evidence in [Role.May] makes the role's signers ones who may sign evidence. A
	// role of this name has the same power.
	Evidence flags.Kind = "evidence"
)

// Rollback bounds the return to content that was accepted before.
type Rollback struct {
	MaxGenerations int
	MaxAge         time.Duration
	Raise          bool
}

// Limits bound one transition. Nil means no limit.
type Limits struct {
	MaxRemoved         *int
	MaxRemovedFraction *float64
}

// PII is what to do about personal data: Mode is "deny", "warn" (the default) or
// "off"; Allow and Deny are values, or patterns, that never or always are such.
type PII struct {
	Mode  string
	Allow []string
	Deny  []string
}

// Digest is "sha256:<hex>" of the bytes the policy was parsed from.
func (p *Policy) Digest() string { return p.digest }

func digestOf(src []byte) string {
	sum := sha256.Sum256(src)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Identities is whom to look for in bundles, for [signing.Verify]. Expired signers
// are among them: their signatures are found and named, and then do not count.
func (p *Policy) Identities() []signing.Identity {
	out := make([]signing.Identity, 0, len(p.Signers))
	for _, s := range p.Signers {
		out = append(out, signing.Identity{Name: s.Name, Keys: s.Keys, Keyless: s.Keyless})
	}
	return out
}

// HasFull says whether signers, as of now, reach the threshold of a role that may
// do anything at all: "*" with neither scope nor bound.
func (p *Policy) HasFull(signers []string, now time.Time) bool {
	counted := p.counted(signers, now)
	return slices.ContainsFunc(p.Roles, func(r Role) bool {
		return r.full() && r.reached(counted)
	})
}

// Maintainers keeps those of signers who, as of now, are in a role that may do anything at all: whose signatures
// count towards [Policy.HasFull]. Each is there once.
func (p *Policy) Maintainers(signers []string, now time.Time) []string {
	counted := p.counted(signers, now)
	var out []string
	for _, name := range signers {
		if counted[name] && !slices.Contains(out, name) && slices.ContainsFunc(p.Roles, func(r Role) bool { return r.full() && slices.Contains(r.Signers, name) }) {
			out = append(out, name)
		}
	}
	return out
}

// RolesOf lists the roles that signer is in, sorted, for people to read.
func (p *Policy) RolesOf(signer string) []string {
	var out []string
	for _, r := range p.Roles {
		if slices.Contains(r.Signers, signer) {
			out = append(out, r.Name)
		}
	}
	return out
}

// MaySignEvidence says whether signers, as of now, reach the threshold of a role
// that may sign evidence: one named "evidence", one that may "evidence", or "*".
func (p *Policy) MaySignEvidence(signers []string, now time.Time) bool {
	counted := p.counted(signers, now)
	return slices.ContainsFunc(p.Roles, func(r Role) bool {
		return r.reached(counted) &&
			(r.Name == string(Evidence) || slices.Contains(r.May, Evidence) || slices.Contains(r.May, Any))
	})
}

// counted keeps the names that the policy knows and that have not expired. It is a
// set: a name that signed twice is there once.
func (p *Policy) counted(signers []string, now time.Time) map[string]bool {
	out := make(map[string]bool, len(signers))
	for _, name := range signers {
		if s := p.signers[name]; s != nil && !s.expired(now) {
			out[name] = true
		}
	}
	return out
}

// votes counts the role's signers among those that signed.
func (r *Role) votes(counted map[string]bool) int {
	n := 0
	for _, name := range r.Signers { // without repetitions: Parse sees to it
		if counted[name] {
			n++
		}
	}
	return n
}

func (r *Role) reached(counted map[string]bool) bool { return r.votes(counted) >= r.Threshold }

func (r *Role) full() bool {
	return slices.Contains(r.May, Any) && len(r.Features) == 0 && len(r.Tenants) == 0 &&
		r.MaxStep == nil && r.MaxPct == nil && r.MinInterval == 0 && !r.Evidence
}

func (r *Role) may(k flags.Kind) bool {
	if slices.Contains(r.May, Any) {
		return true
	}
	// Evidence is a power, not a change. Were a diff ever to call a change that,
	// only "*" would cover it.
	return k != Evidence && k != flags.Other && slices.Contains(r.May, k)
}
