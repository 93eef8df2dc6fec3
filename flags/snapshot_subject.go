package flags

import (
	"crypto/sha256"
	"hash/maphash"
	"iter"
)

// Subject is one tenant and user, ready for many decisions over one snapshot:
// what depends on the subject alone, the hash of its key above all, is computed
// once, in [Snapshot.For]. It is immutable; copies are independent.
type Subject struct {
	snap       *Snapshot
	tenant     string
	key        string
	tenantHash uint64
	sum        [sha256.Size]byte
}

// For prepares the decisions of one subject. The key is user, or tenant where
// user is empty.
func (s *Snapshot) For(tenant, user string) Subject {
	key := keyOf(tenant, user)
	return Subject{snap: s, tenant: tenant, key: key, tenantHash: maphash.String(seed, tenant), sum: sumKey(key)}
}

// Decide is [Snapshot.Decide] for this subject. Unless the entry has a salt,
// nothing is hashed but the feature's name.
func (s *Subject) Decide(feature string) Decision {
	id, ok := s.snap.featureID(feature)
	if !ok {
		return Decision{Reason: ReasonNoConfig}
	}
	return s.decide(id)
}

// All yields the decision of every feature, in order of their names, those
// without an entry for this subject (no-config) included.
func (s *Subject) All() iter.Seq2[string, Decision] {
	return func(yield func(string, Decision) bool) {
		for _, id := range s.snap.order {
			if !yield(s.snap.text(s.snap.features[id].name), s.decide(id)) {
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

func (s *Subject) decide(id uint32) Decision {
	f := &s.snap.features[id]
	r, of := &f.own, DefaultTenant
	if f.tenants > 0 {
		if i := s.snap.find(id, s.tenant, s.tenantHash); i >= 0 {
			r, of = &s.snap.rows[i], s.tenant
		}
	}
	return s.snap.decide(r, of, s.key, &s.sum, true)
}
