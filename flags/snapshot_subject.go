package flags

import (
	"crypto/sha256"
	"iter"
)

// Subject is one tenant and user, ready for many decisions over one snapshot:
// what depends on the subject alone, the hash of its key above all, is computed
// once, in [Snapshot.For]. It is immutable; copies are independent.
type Subject struct {
	snap   *Snapshot
	tenant string
	key    string
	rows   tenantSlot
	sum    [sha256.Size]byte
}

// For prepares the decisions of one subject. The key is user, or tenant where
// user is empty.
func (s *Snapshot) For(tenant, user string) Subject {
	key := keyOf(tenant, user)
	return Subject{snap: s, tenant: tenant, key: key, rows: s.tenantRows(tenant), sum: sumKey(key)}
}

// Decide is [Snapshot.Decide] for this subject. Unless the entry has a salt,
// nothing is hashed but the feature's name.
func (s *Subject) Decide(feature string) Decision {
	id, ok := s.snap.featureID(feature)
	if !ok {
		return Decision{Reason: ReasonNoConfig}
	}
	r, of := s.row(id)
	how, bucket := s.snap.judge(r, s.key, &s.sum, true)
	if how == noConfig {
		return Decision{Reason: ReasonNoConfig}
	}
	return Decision{On: how >= hashOn, Reason: reasons[how], Version: s.snap.text(r.version), Tenant: of, Bucket: bucket}
}

// Enabled is Decide(feature).On, a little faster.
func (s *Subject) Enabled(feature string) bool {
	id, ok := s.snap.featureID(feature)
	if !ok {
		return false
	}
	r, _ := s.row(id)
	how, _ := s.snap.judge(r, s.key, &s.sum, true)
	return how >= hashOn
}

// NeedsKey reports whether the answer for a feature can depend on who asks: its
// entry is enabled, and has cohorts or a percentage between 0 and 100.
func (s *Subject) NeedsKey(feature string) bool {
	id, ok := s.snap.featureID(feature)
	if !ok {
		return false
	}
	r, _ := s.row(id)
	pct := Pct(r.bits & rowPct)
	return r.bits&rowEnabled != 0 && pct < Full && (pct > 0 || r.bits&rowCohorts != 0)
}

// All yields the decision of every feature, in order of their names, those
// without an entry for this subject (no-config) included.
func (s *Subject) All() iter.Seq2[string, Decision] {
	return func(yield func(string, Decision) bool) {
		for _, id := range s.snap.order {
			var d Decision
			r, of := s.row(id)
			how, bucket := s.snap.judge(r, s.key, &s.sum, true)
			if how == noConfig {
				d.Reason = ReasonNoConfig
			} else {
				d = Decision{On: how >= hashOn, Reason: reasons[how], Version: s.snap.text(r.version), Tenant: of, Bucket: bucket}
			}
			if !yield(s.snap.name(id), d) {
				return
			}
		}
	}
}

// All is [Subject.All] for a tenant and user.
func (s *Snapshot) All(tenant, user string) iter.Seq2[string, Decision] {
	sub := s.For(tenant, user)
	return sub.All()
}

// row returns the row that decides about a feature, and whose it is.
func (s *Subject) row(id uint32) (*row, string) {
	if s.rows.size > 0 {
		if i := s.snap.find(s.rows, id); i >= 0 {
			return &s.snap.rows[i], s.tenant
		}
	}
	return &s.snap.features[id].own, DefaultTenant
}
