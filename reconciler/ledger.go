package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/rampart-flags/rampart/receipt"
)

// LedgerRecorder turns events into receipts. What raises exposure must be durable before the store is written; what lowers it,
// and repairs, go ahead and leave their receipt as soon as the ledger can be written (a full disk must not block a kill).
type LedgerRecorder struct {
	Ledger *receipt.Ledger
	// Next hears of every event as well; nil means nobody.
	Next Recorder
}

// Intent makes the announcement durable. An error means that nothing was recorded, and is returned for events that rise only.
func (l LedgerRecorder) Intent(ctx context.Context, e Event) error {
	r := NewReceipt(e, receipt.Intent)
	var err error
	if e.Rises() {
		_, err = l.Ledger.Append(ctx, r)
	} else {
		l.Ledger.Queue(ctx, r)
	}
	if l.Next != nil {
		err = errors.Join(err, l.Next.Intent(ctx, e))
	}
	return err
}

// Outcome records what became of it. It waits in memory while the ledger cannot be written: what happened has happened.
func (l LedgerRecorder) Outcome(ctx context.Context, e Event) error {
	durable := l.Ledger.Queue(ctx, NewReceipt(e, receipt.Outcome))
	var err error
	if !durable {
		err = errors.New("the receipt waits: the ledger cannot be written")
	}
	if l.Next != nil {
		err = errors.Join(err, l.Next.Outcome(ctx, e))
	}
	return err
}

var receiptKinds = map[Kind]receipt.Kind{
	KindStart: receipt.Generation, KindResume: receipt.Generation, KindAccept: receipt.Generation, KindApply: receipt.Generation,
	KindRollback: receipt.Rollback, KindRepair: receipt.Repair, KindRefill: receipt.Repair,
	KindRefuse: receipt.Refusal, KindDefer: receipt.Refusal, KindRewritten: receipt.Refusal, KindDiverge: receipt.Refusal,
}

// NewReceipt is an event as a receipt. Its chain is the one that the commit's trailers carry (Op-Chain-Id), its parent their
// operation (Op-Id); a commit without trailers is the beginning of a chain of its own.
func NewReceipt(e Event, phase receipt.Phase) *receipt.Receipt {
	kind, ok := receiptKinds[e.Kind]
	if !ok { // the two have the same name
		kind = receipt.Kind(e.Kind)
	}
	r := &receipt.Receipt{
		OpID: e.ID, ParentID: trailer(e, "Op-Id"), ChainID: chainOf(e),
		Kind: kind, Phase: phase, Time: e.At, Environment: e.Environment,
		Commit: e.Commit, Generation: e.Generation, Version: e.Version, Digest: e.Digest, PreviousDigest: e.Previous, Policy: e.Policy,
		Result: string(e.Outcome), Reason: string(e.Code), Detail: e.Message,
	}
	if e.Error != "" {
		r.Detail = strings.TrimSpace(r.Detail + " " + e.Error)
	}
	for _, s := range e.Signers {
		r.Signers = append(r.Signers, receipt.Signer{Name: s, Roles: e.Roles})
	}
	for _, c := range e.Changes {
		r.Changes = append(r.Changes, receipt.Change{Kind: string(c.Kind), Feature: c.Feature, Tenant: c.Tenant, From: c.From, To: c.To, Rises: c.Rises})
	}
	note := receipt.RampNote{Decision: joined(e, "Ramp-Decision"), Reason: joined(e, "Ramp-Reason"), Evidence: joined(e, "Ramp-Evidence")}
	if note != (receipt.RampNote{}) {
		r.Ramp = &note
	}
	if e.Counts != nil {
		r.Redis = &receipt.Counts{Set: e.Counts.Set, Deleted: e.Counts.Deleted, Commands: e.Counts.Commands}
	}
	if d := e.Drift; d != nil {
		r.Drift = &receipt.Drift{Missing: d.Missing, Changed: d.Changed, Extra: d.Extra, System: d.System}
		for _, f := range d.Found {
			r.Drift.Found = append(r.Drift.Found, receipt.DriftEntry(f))
		}
	}
	return r
}

// joined is every value of a trailer in one text, cut where it grows beyond use: the commit has the whole.
func joined(e Event, name string) string {
	const most = 4000
	text := strings.Join(e.Trailers[name], "; ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

func trailer(e Event, name string) string {
	if v := e.Trailers[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// chainOf is the chain that an event belongs to: the one its commit names, else one that follows from the commit, so that
// whatever happens to that commit is found together, else one of its own.
func chainOf(e Event) string {
	if c := trailer(e, "Op-Chain-Id"); receipt.ValidChainID(c) {
		return c
	}
	if e.Commit != "" {
		sum := sha256.Sum256([]byte("rampart-chain-v1\x00" + e.Commit))
		return hex.EncodeToString(sum[:16])
	}
	if id := strings.ReplaceAll(e.ID, "-", ""); receipt.ValidChainID(id) { // a UUID is 32 hex digits
		return id
	}
	return "" // the ledger makes one
}
