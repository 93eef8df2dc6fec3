// Package receipt keeps the record of what Rampart did, in a form that anyone can check.
//
// A [Receipt] says what was about to happen, or what happened: one generation applied, one commit refused,
// one repair, one override. A [Ledger] makes receipts durable and puts a salted digest of each into a Merkle
// log on disk (C2SP tlog-tiles, signed checkpoints), so that nobody, the operator included, can change,
// drop or reorder one unseen. Bodies stand beside the log and can be purged; the log still verifies.
//
// On disk, below the ledger's folder:
//
//	journal/<first number>.receipts   one line a receipt: "<number> <salt> <body>\n", fsynced before it counts
//	log/                              the Merkle log: checkpoint, tile/<level>/<n>, tile/entries/<n>
//	anchors/<notary>/                 what outside notaries said of our checkpoints
//	key, key.pub                      the log's own signing key (C2SP signed note) and its public half
//
// A leaf is SHA-256("rampart-receipt-v1" ‖ 0x00 ‖ salt ‖ body). The salt (16 random bytes) keeps a purged
// body from being guessed from its leaf.
package receipt

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Format is the name of the receipt's form. While it is "receipt/v1", fields may be added but are never
// renamed, removed or given another meaning.
const Format = "receipt/v1"

// Kind says what a receipt is about.
type Kind string

// The kinds of receipts.
const (
	Generation    Kind = "generation"     // a spec was accepted and applied
	Rollback      Kind = "rollback"       // an earlier spec came back under a newer generation
	Refusal       Kind = "refusal"        // a commit was quarantined, or deferred
	Repair        Kind = "repair"         // live entries differed from what was applied, and were put right
	Override      Kind = "override"       // a signed break-glass statement came into force or ended
	Suspension    Kind = "suspension"     // a person suspended or resumed reconciling
	PolicyChange  Kind = "policy"         // another trust policy came into force
	AcceptHistory Kind = "accept-history" // a person accepted rewritten history
	Revoked       Kind = "revoked"        // what is live is no longer held up by the policy, or is again
	Signatures    Kind = "signatures"     // the content stayed, and other bundles were written with it
	Request       Kind = "request"        // a person had the reconciler look at git at once
	Anchor        Kind = "anchor"         // a notary confirmed a checkpoint
	Purge         Kind = "purge"          // bodies past their time were removed
)

// Phase tells an announcement from its result.
type Phase string

// The phases. A receipt of something that was only observed, such as a refusal, has an outcome alone.
const (
	Intent  Phase = "intent"
	Outcome Phase = "outcome"
)

// Signer is somebody whose valid signature counted, and the roles it counted in.
type Signer struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles,omitempty"`
}

// RampNote is what the trailers of a ramp's commit say (Ramp-Decision, Ramp-Reason, Ramp-Evidence), joined by "; " where there
// are several.
type RampNote struct {
	Decision string `json:"decision,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Evidence string `json:"evidence,omitempty"`
}

// Change is one effective change, as package flags names it.
type Change struct {
	Kind    string `json:"kind"`
	Feature string `json:"feature,omitempty"`
	Tenant  string `json:"tenant,omitempty"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Rises   bool   `json:"rises,omitzero"`
}

// Drift is what in the store differed from what was applied.
type Drift struct {
	Missing int          `json:"missing"` // entries that were gone
	Changed int          `json:"changed"` // entries with another value
	Extra   int          `json:"extra"`   // entries that no spec holds
	System  []string     `json:"system,omitempty"`
	Found   []DriftEntry `json:"found,omitempty"` // the first of them
}

// DriftEntry is one entry that differed. Was and Want are the first bytes of its values.
type DriftEntry struct {
	Entry string `json:"entry"` // feature:tenant
	Kind  string `json:"kind"`  // missing, changed, extra
	Was   string `json:"was,omitempty"`
	Want  string `json:"want,omitempty"`
}

// Counts is what a write did to the store.
type Counts struct {
	Set      int   `json:"set"`
	Deleted  int   `json:"deleted"`
	Commands int   `json:"commands,omitzero"`
	Bytes    int64 `json:"bytes,omitzero"`
}

// Receipt is one record. Format, OpID, ChainID, Kind, Phase, Time and Environment are always set; the rest is
// set where it applies. Times are UTC, RFC 3339.
type Receipt struct {
	Format   string `json:"format"`
	OpID     string `json:"op_id"`                  // UUIDv7 (RFC 9562), one for each operation; intent and outcome share it
	ParentID string `json:"op_parent_id,omitempty"` // the operation that this one came from
	ChainID  string `json:"op_chain_id"`            // 32 hex digits, usable as a W3C trace id, from proposal to anchor
	Kind     Kind   `json:"kind"`
	Phase    Phase  `json:"phase"`

	Time        time.Time `json:"time"`
	Environment string    `json:"environment"`
	Reconciler  string    `json:"reconciler,omitempty"` // who wrote this: the origin of the ledger

	Commit         string   `json:"commit,omitempty"`
	PreviousCommit string   `json:"previous_commit,omitempty"`
	Generation     uint64   `json:"generation,omitzero"`
	Version        string   `json:"version,omitempty"` // of the spec
	Digest         string   `json:"digest,omitempty"`  // "sha256:<hex>" of the spec's bytes
	PreviousDigest string   `json:"previous_digest,omitempty"`
	Policy         string   `json:"policy,omitempty"` // the trust policy in force
	Signers        []Signer `json:"signers,omitempty"`
	Changes        []Change `json:"changes,omitempty"`
	ChangesOmitted int      `json:"changes_omitted,omitzero"` // changes beyond the first MaxChanges, counted only
	Redis          *Counts  `json:"redis,omitempty"`
	Drift          *Drift   `json:"drift,omitempty"` // of a repair

	Result     string  `json:"outcome,omitempty"` // applied, refused, deferred, repaired, failed, ...
	Reason     string  `json:"reason,omitempty"`  // a code, such as NotAuthorized
	Detail     string  `json:"detail,omitempty"`  // one sentence for people
	Seconds    float64 `json:"seconds,omitzero"`  // how long it took
	Backfilled bool    `json:"backfilled,omitzero"`
	Late       bool    `json:"late,omitzero"` // queued while the ledger could not be written

	Ramp     *RampNote `json:"ramp,omitempty"`   // what the commit says of the ramp that made it
	Anchored *Anchored `json:"anchor,omitempty"` // of an anchor receipt
}

// MaxChanges bounds the changes named in one receipt; the rest is counted.
const MaxChanges = 1000

// NewOpID returns a fresh operation id, a UUIDv7: ids sort by time.
func NewOpID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("making an operation id: %w", err)
	}
	return id.String(), nil
}

// NewChainID returns a fresh chain id: 32 hex digits, not all zero, valid as a W3C trace id.
func NewChainID() (string, error) {
	var b [16]byte
	for {
		if _, err := rand.Read(b[:]); err != nil {
			return "", fmt.Errorf("making a chain id: %w", err)
		}
		if b != [16]byte{} {
			return hex.EncodeToString(b[:]), nil
		}
	}
}

// ValidChainID reports whether s may be carried as a chain id: 32 lower-case hex digits, not all zero
// (W3C Trace Context, trace-id).
func ValidChainID(s string) bool {
	if len(s) != 32 {
		return false
	}
	zero := true
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
		zero = zero && c == '0'
	}
	return !zero
}

// complete fills what every receipt has, and cuts what is too long.
func (r *Receipt) complete(now time.Time) error {
	r.Format = Format
	if r.OpID == "" {
		id, err := NewOpID()
		if err != nil {
			return err
		}
		r.OpID = id
	}
	if !ValidChainID(r.ChainID) {
		id, err := NewChainID()
		if err != nil {
			return err
		}
		r.ChainID = id
	}
	if r.Time.IsZero() {
		r.Time = now
	}
	r.Time = r.Time.UTC().Truncate(time.Millisecond)
	if r.Kind == "" || r.Phase == "" {
		return fmt.Errorf("a receipt needs a kind and a phase, this one has %q and %q", r.Kind, r.Phase)
	}
	if n := len(r.Changes) - MaxChanges; n > 0 {
		r.Changes, r.ChangesOmitted = r.Changes[:MaxChanges:MaxChanges], r.ChangesOmitted+n
	}
	return nil
}
