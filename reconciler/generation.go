package reconciler

import (
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// Kind says how a generation came to be, or what an [Event] is about.
type Kind string

// How a generation came to be.
const (
	KindStart    Kind = "start"    // a cold start's first: the newest spec that a "*" role signed
	KindResume   Kind = "resume"   // a cold start that found its own work in the store
	KindAccept   Kind = "accept"   // an authorized transition
	KindRollback Kind = "rollback" // content that was accepted before, brought back by git revert
)

// Generation is one accepted spec: one line of generations.jsonl in the state folder,
// and there the moment of acceptance. It is never judged again.
type Generation struct {
	Format      string    `json:"format"` // "generation/v1"
	Number      uint64    `json:"generation"`
	Kind        Kind      `json:"kind"`
	Commit      string    `json:"commit"`
	Version     string    `json:"version"`
	Digest      string    `json:"digest"`             // "sha256:…" of the spec's bytes
	Previous    string    `json:"previous,omitempty"` // the digest before it
	Environment string    `json:"environment,omitempty"`
	Signers     []string  `json:"signers,omitempty"`
	Roles       []string  `json:"roles,omitempty"` // the roles that authorized it
	Policy      string    `json:"policy,omitempty"`
	At          time.Time `json:"at"`        // when it was accepted; in a replay, when it was committed
	Committed   time.Time `json:"committed"` // the commit's own date, a claim
	// Raised lists the entries whose exposure rose, as feature:tenant. Where they were
	// more than maxRaised, RaisedMany is set instead and stands for all entries.
	Raised     []string `json:"raised,omitempty"`
	RaisedMany bool     `json:"raised_many,omitzero"`
}

const (
	generationFormat = "generation/v1"
	maxRaised        = 2000
)

// history is what the accepted generations say about a new candidate. A fork sees its
// parent and grows on its own, so that a walk can be thrown away.
type history struct {
	parent   *history
	all      []Generation        // oldest first, the parent's not repeated
	byDigest map[string]lifetime // the newest generation with that content
	versions map[string]string   // version -> digest
	raised   map[flags.Key]time.Time
	// raisedAny is the newest RaisedMany.
	raisedAny time.Time
}

// lifetime is a generation and since when it is no longer live, zero while it is.
type lifetime struct {
	Generation
	until time.Time
}

func newHistory(all []Generation) *history {
	h := (*history)(nil).fork()
	for _, g := range all {
		h.add(g)
	}
	return h
}

func (h *history) fork() *history {
	return &history{parent: h, byDigest: map[string]lifetime{}, versions: map[string]string{}, raised: map[flags.Key]time.Time{}}
}

func (h *history) add(g Generation) {
	if before, ok := h.last(); ok {
		if l, ok := h.acceptedBefore(before.Digest); ok {
			l.until = g.At
			h.byDigest[before.Digest] = l
		}
	}
	h.byDigest[g.Digest] = lifetime{Generation: g}
	h.versions[g.Version] = g.Digest
	h.all = append(h.all, g)
	if g.RaisedMany && g.At.After(h.raisedAny) {
		h.raisedAny = g.At
	}
	for _, s := range g.Raised {
		if k, ok := parseEntryName(s); ok && g.At.After(h.raised[k]) {
			h.raised[k] = g.At
		}
	}
}

// last is the newest generation.
func (h *history) last() (Generation, bool) {
	for ; h != nil; h = h.parent {
		if n := len(h.all); n > 0 {
			return h.all[n-1], true
		}
	}
	return Generation{}, false
}

// first is the oldest generation known.
func (h *history) first() Generation {
	var g Generation
	for ; h != nil; h = h.parent {
		if len(h.all) > 0 {
			g = h.all[0]
		}
	}
	return g
}

// acceptedBefore finds the newest generation with this content.
func (h *history) acceptedBefore(digest string) (lifetime, bool) {
	for ; h != nil; h = h.parent {
		if l, ok := h.byDigest[digest]; ok {
			return l, true
		}
	}
	return lifetime{}, false
}

// stoodFor is the digest that a version stood for.
func (h *history) stoodFor(version string) (digest string, ok bool) {
	for ; h != nil; h = h.parent {
		if digest, ok := h.versions[version]; ok {
			return digest, true
		}
	}
	return "", false
}

// lastRaised is when the entry's exposure last rose, as far as is known; the zero
// time when it never did.
func (h *history) lastRaised(k flags.Key) time.Time {
	var newest time.Time
	for ; h != nil; h = h.parent {
		for _, t := range []time.Time{h.raised[k], h.raisedAny} {
			if t.After(newest) {
				newest = t
			}
		}
	}
	return newest
}

// parseEntryName reads "feature:tenant".
func parseEntryName(s string) (flags.Key, bool) {
	feature, tenant, ok := strings.Cut(s, ":")
	return flags.Key{Feature: feature, Tenant: tenant}, ok
}

// raisedBy lists the entries that changes turn on for anybody.
func raisedBy(changes []flags.Change) (names []string, many bool) {
	seen := map[flags.Key]bool{}
	for _, c := range changes {
		if k := c.Key(); c.Rises && c.Feature != "" && !seen[k] {
			if len(seen) == maxRaised {
				return nil, true
			}
			seen[k] = true
			names = append(names, k.String())
		}
	}
	return names, false
}
