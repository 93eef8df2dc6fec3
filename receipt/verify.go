package receipt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
)

// Finding is one thing that is wrong with a ledger.
type Finding struct {
	Problem Problem `json:"problem"`
	Seq     uint64  `json:"seq,omitzero"`
	Detail  string  `json:"detail"`
}

// Problem names what somebody, or a fault, did to a ledger.
type Problem string

// The problems.
const (
	ProblemEdited     Problem = "edited"     // a record is not what its leaf says
	ProblemMissing    Problem = "missing"    // a leaf has no record
	ProblemReordered  Problem = "reordered"  // a record stands at another's number
	ProblemDamaged    Problem = "damaged"    // the journal does not parse
	ProblemLog        Problem = "log"        // the leaves do not give the checkpoint's root
	ProblemCheckpoint Problem = "checkpoint" // the checkpoint is missing or not signed by the log's key
	ProblemForked     Problem = "forked"     // an anchored checkpoint is not a prefix of this log
	ProblemAnchor     Problem = "anchor"     // what is kept as a notary's answer does not prove what it should
)

// Report is what [Verify] found.
type Report struct {
	Origin    string    `json:"origin"`
	Records   uint64    `json:"records"` // in the journal
	Leaves    uint64    `json:"leaves"`  // that the checkpoint commits to
	Purged    uint64    `json:"purged"`
	Unlogged  uint64    `json:"unlogged"` // durable records that the checkpoint does not commit to yet
	Anchors   int       `json:"anchors"`  // checkpoints that notaries confirmed, all found to be prefixes
	Checked   []Checked `json:"checked,omitempty"`
	Findings  []Finding `json:"findings,omitempty"`
	MoreFound int       `json:"more_found,omitzero"`
	Root      string    `json:"root,omitempty"` // hex, of the checkpoint
}

// OK reports whether nothing was found.
func (r Report) OK() bool { return len(r.Findings) == 0 }

const maxFindings = 100

func (r *Report) found(p Problem, seq uint64, format string, args ...any) {
	if len(r.Findings) == maxFindings {
		r.MoreFound++
		return
	}
	r.Findings = append(r.Findings, Finding{p, seq, fmt.Sprintf(format, args...)})
}

// Check tries the answers that are kept as proofs with a key from outside. Proof says whether the answer is of the one
// whom the check is about, and what is wrong with it.
type Check struct {
	Name  string
	Proof func(AnchorProof) (mine bool, err error)
}

// Checked is what a [Check] found: how many answers hold, and how many receipts the newest of them covers.
type Checked struct {
	Name   string `json:"name"`
	Proofs int    `json:"proofs"`
	Size   uint64 `json:"size"`
}

// WitnessCheck checks the cosignatures of a C2SP witness, by its public key.
func WitnessCheck(key string) (Check, error) {
	verifier, err := witnessKey(key)
	if err != nil {
		return Check{}, err
	}
	return Check{verifier.Name(), func(p AnchorProof) (bool, error) {
		if p.Kind != AnchorWitness {
			return false, nil
		}
		_, mine, err := cosigned([]byte(p.Checkpoint), []byte(p.Answer), verifier)
		return mine, err
	}}, nil
}

// Verify checks a ledger's folder offline, from its files alone: the checkpoint's signature against verifierKey (empty: the
// folder's own key.pub, which proves only that the folder is consistent with itself), every record against its leaf, the
// leaves against the checkpoint's root, the tiles against the leaves, and every anchored checkpoint as a prefix. Each of the
// checks must find at least one answer that holds, and none that does not. It reads a ledger that is being written as well.
// The error is about reading; what is wrong with the ledger is in the report.
func Verify(ctx context.Context, dir, verifierKey string, checks ...Check) (Report, error) {
	var rep Report
	if verifierKey == "" {
		pub, err := os.ReadFile(filepath.Join(dir, "key.pub"))
		if err != nil {
			return rep, fmt.Errorf("reading the ledger's public key: %w", err)
		}
		verifierKey = string(pub)
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(verifierKey))
	if err != nil {
		return rep, fmt.Errorf("reading the ledger's public key: %w", err)
	}
	rep.Origin = verifier.Name()
	cp, err := readCheckpoint(filepath.Join(dir, "log", "checkpoint"), verifier)
	if err != nil {
		rep.found(ProblemCheckpoint, 0, "%v", err)
		return rep, nil
	}
	rep.Leaves, rep.Root = cp.Size, hex.EncodeToString(cp.Hash)
	anchored, err := anchoredCheckpoints(dir, verifier, checks, &rep)
	if err != nil {
		return rep, err
	}
	v := verification{rep: &rep, cp: cp, anchored: anchored, fetcher: client.FileFetcher{Root: filepath.Join(dir, "log")},
		tree: (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)}
	if err := v.run(ctx, journalDir(dir)); err != nil {
		return rep, err
	}
	return rep, nil
}

func readCheckpoint(path string, verifier note.Verifier) (*log.Checkpoint, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the checkpoint: %w", err)
	}
	cp, _, _, err := log.ParseCheckpoint(raw, verifier.Name(), verifier)
	if err != nil {
		return nil, fmt.Errorf("the checkpoint is not signed by %s: %w", verifier.Name(), err)
	}
	return cp, nil
}

type verification struct {
	rep      *Report
	cp       *log.Checkpoint
	anchored []log.Checkpoint // by size
	fetcher  client.FileFetcher
	tree     *compact.Range
	bundle   [][]byte // leaves of the entry bundle at hand
	bundleAt uint64
	tile     []byte // hashes of the level-0 tile at hand
}

const bundleWidth = 256

func (v *verification) run(ctx context.Context, journal string) error {
	err := scan(journal, 0, func(r Record) error {
		if r.Seq%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		return v.record(ctx, r)
	})
	switch {
	case errors.Is(err, ErrDamaged):
		problem := ProblemDamaged
		if m := (*misplaced)(nil); errors.As(err, &m) {
			elsewhere, err := standsElsewhere(journal, m.want)
			if err != nil {
				return err
			}
			if problem = ProblemReordered; !elsewhere {
				problem = ProblemMissing // it was taken out, and those behind it stand where they did not
			}
		}
		v.rep.found(problem, v.rep.Records, "%v", err)
	case errors.Is(err, fs.ErrNotExist):
		v.rep.found(ProblemMissing, 0, "%v", err)
	case err != nil:
		return err
	}
	if v.rep.Records < v.cp.Size {
		v.rep.found(ProblemMissing, v.rep.Records, "records %d to %d are gone: the checkpoint commits to %d", v.rep.Records, v.cp.Size-1, v.cp.Size)
		// Go on with the log alone, so that what is wrong there is found as well.
		for n := v.tree.End(); n < v.cp.Size; n++ {
			leaf, err := v.leaf(ctx, n)
			if err != nil {
				v.rep.found(ProblemLog, n, "%v", err)
				return nil
			}
			if err := v.grow(leaf); err != nil {
				return err
			}
		}
	}
	return v.finish()
}

func (v *verification) record(ctx context.Context, r Record) error {
	v.rep.Records++
	if r.Purged() {
		v.rep.Purged++
	}
	if r.Seq >= v.cp.Size {
		v.rep.Unlogged++
		return nil
	}
	leaf, err := v.leaf(ctx, r.Seq)
	if err != nil {
		v.rep.found(ProblemLog, r.Seq, "%v", err)
		leaf = r.Leaf[:]
	}
	if !bytes.Equal(leaf, r.Leaf[:]) {
		v.rep.found(ProblemEdited, r.Seq, "record %d is not what was logged: its digest is %x, the leaf says %x", r.Seq, r.Leaf[:8], leaf[:min(8, len(leaf))])
	}
	return v.grow(leaf)
}

// leaf reads leaf n from the log's entry bundles.
func (v *verification) leaf(ctx context.Context, n uint64) ([]byte, error) {
	at := n / bundleWidth
	if v.bundle == nil || v.bundleAt != at {
		b, err := client.GetEntryBundle(ctx, v.fetcher.ReadEntryBundle, at, v.cp.Size)
		if err != nil {
			return nil, fmt.Errorf("reading leaves from %d on: %w", at*bundleWidth, err)
		}
		v.bundle, v.bundleAt = b.Entries, at
		partial := uint8(0)
		if (at+1)*bundleWidth > v.cp.Size {
			partial = uint8(v.cp.Size % bundleWidth)
		}
		if v.tile, err = v.fetcher.ReadTile(ctx, 0, at, partial); err != nil {
			return nil, fmt.Errorf("reading the tile of leaves from %d on: %w", at*bundleWidth, err)
		}
	}
	i := int(n % bundleWidth)
	if i >= len(v.bundle) || len(v.bundle[i]) != sha256.Size {
		return nil, fmt.Errorf("the log has no leaf %d", n)
	}
	hash := rfc6962.DefaultHasher.HashLeaf(v.bundle[i])
	if (i+1)*sha256.Size > len(v.tile) || !bytes.Equal(hash, v.tile[i*sha256.Size:(i+1)*sha256.Size]) {
		return nil, fmt.Errorf("the tile of leaf %d does not match its entry", n)
	}
	return v.bundle[i], nil
}

// grow adds a leaf to the tree and compares it with the anchored checkpoints of its size.
func (v *verification) grow(leaf []byte) error {
	if err := v.tree.Append(rfc6962.DefaultHasher.HashLeaf(leaf), nil); err != nil {
		return fmt.Errorf("building the tree: %w", err)
	}
	for len(v.anchored) > 0 && v.anchored[0].Size <= v.tree.End() {
		a := v.anchored[0]
		v.anchored = v.anchored[1:]
		root, err := v.tree.GetRootHash(nil)
		if err != nil {
			return fmt.Errorf("building the tree: %w", err)
		}
		if a.Size == v.tree.End() && !bytes.Equal(root, a.Hash) {
			v.rep.found(ProblemForked, a.Size, "a notary holds another history: at size %d its root is %x, here it is %x", a.Size, a.Hash[:8], root[:8])
		}
	}
	return nil
}

func (v *verification) finish() error {
	for _, a := range v.anchored {
		v.rep.found(ProblemForked, a.Size, "a notary holds a checkpoint of size %d, here are only %d leaves", a.Size, v.tree.End())
	}
	if v.tree.End() != v.cp.Size {
		return nil // said already
	}
	root := rfc6962.DefaultHasher.EmptyRoot()
	if v.cp.Size > 0 {
		var err error
		if root, err = v.tree.GetRootHash(nil); err != nil {
			return fmt.Errorf("building the tree: %w", err)
		}
	}
	if !bytes.Equal(root, v.cp.Hash) {
		v.rep.found(ProblemLog, v.cp.Size, "the leaves give the root %x, the signed checkpoint says %x", root[:8], v.cp.Hash[:8])
	}
	return nil
}
