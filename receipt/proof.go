package receipt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
)

// Proof shows that a record is in the log: anybody with the log's public key can check it (RFC 6962, section 2.1.1).
type Proof struct {
	Seq        uint64   `json:"seq"`
	Leaf       []byte   `json:"leaf"`               // the leaf's data, base64
	Salt       []byte   `json:"salt,omitempty"`     // with the body, gives the leaf
	Path       [][]byte `json:"path"`               // sibling hashes, from the leaf up, base64
	Size       uint64   `json:"size"`               // of the tree that the checkpoint commits to
	Checkpoint string   `json:"checkpoint"`         // the signed note
	Receipt    []byte   `json:"receipt,omitempty"`  // the body as it was written, base64
	Anchors    []string `json:"notaries,omitempty"` // notaries that confirmed a checkpoint of at least this record
}

// ErrNotLogged says that the checkpoint does not commit to the record yet; a moment later it will.
var ErrNotLogged = errors.New("the log's checkpoint does not include this receipt yet")

// ErrNoRecord says that the ledger has no such record.
var ErrNoRecord = errors.New("no such receipt")

// Prove returns the proof of record seq under the newest checkpoint in a ledger's folder.
func Prove(ctx context.Context, dir string, seq uint64) (Proof, error) {
	cp, err := newestCheckpoint(dir)
	if err != nil {
		return Proof{}, err
	}
	var rec *Record
	stop := errors.New("found")
	if err := scan(journalDir(dir), seq, func(r Record) error { rec = &r; return stop }); err != nil && err != stop {
		return Proof{}, err
	}
	if rec == nil || rec.Seq != seq {
		return Proof{}, fmt.Errorf("%w: %d", ErrNoRecord, seq)
	}
	if seq >= cp.Size {
		return Proof{}, fmt.Errorf("%w: receipt %d, checkpoint of size %d", ErrNotLogged, seq, cp.Size)
	}
	builder, err := client.NewProofBuilder(ctx, cp.Size, client.FileFetcher{Root: filepath.Join(dir, "log")}.ReadTile)
	if err != nil {
		return Proof{}, fmt.Errorf("proving receipt %d: %w", seq, err)
	}
	path, err := builder.InclusionProof(ctx, seq)
	if err != nil {
		return Proof{}, fmt.Errorf("proving receipt %d: %w", seq, err)
	}
	return Proof{Seq: seq, Leaf: rec.Leaf[:], Salt: rec.Salt, Path: path, Size: cp.Size, Checkpoint: string(cp.Note), Receipt: rec.Body}, nil
}

// Check checks the proof against the log's public key and, where the body is in it, the body against the leaf.
func (p Proof) Check(verifierKey string) error {
	verifier, err := note.NewVerifier(strings.TrimSpace(verifierKey))
	if err != nil {
		return fmt.Errorf("reading the ledger's public key: %w", err)
	}
	cp, _, _, err := log.ParseCheckpoint([]byte(p.Checkpoint), verifier.Name(), verifier)
	if err != nil {
		return fmt.Errorf("the checkpoint is not signed by %s: %w", verifier.Name(), err)
	}
	if cp.Size != p.Size {
		return fmt.Errorf("the proof is for %d leaves, its checkpoint for %d", p.Size, cp.Size)
	}
	if p.Receipt != nil {
		if leaf := leafOf(p.Salt, p.Receipt); !bytes.Equal(leaf[:], p.Leaf) {
			return errors.New("the receipt is not the one that was logged")
		}
	}
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Seq, p.Size, rfc6962.DefaultHasher.HashLeaf(p.Leaf), p.Path, cp.Hash); err != nil {
		return fmt.Errorf("the receipt is not in the log: %w", err)
	}
	return nil
}

// Decode reads the receipt in a record's body.
func (r Record) Decode() (Receipt, error) {
	var out Receipt
	if r.Purged() {
		return out, fmt.Errorf("receipt %d was purged: only its digest is left", r.Seq)
	}
	if err := json.Unmarshal(r.Body, &out); err != nil {
		return out, fmt.Errorf("decoding receipt %d: %w", r.Seq, err)
	}
	return out, nil
}
