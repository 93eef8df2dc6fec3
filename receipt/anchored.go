package receipt

import (
	"bytes"
	"cmp"
	"path/filepath"
	"slices"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

// anchoredCheckpoints reads the checkpoints that notaries confirmed, by size, and reports two of one size that differ, and
// answers that do not prove what they should.
func anchoredCheckpoints(dir string, verifier note.Verifier, checks []Check, rep *Report) ([]log.Checkpoint, error) {
	proofs, err := readProofs(filepath.Join(dir, "anchors"))
	if err != nil {
		return nil, err
	}
	var cps []log.Checkpoint
	for _, p := range proofs {
		cp, _, _, err := log.ParseCheckpoint([]byte(p.Checkpoint), verifier.Name(), verifier)
		switch {
		case err != nil:
			rep.found(ProblemCheckpoint, p.Size, "the checkpoint that notary %s confirmed is not signed by this log: %v", p.Notary, err)
			continue
		case cp.Size != p.Size:
			rep.found(ProblemAnchor, p.Size, "the proof of notary %s says %d receipts, its checkpoint %d", p.Notary, p.Size, cp.Size)
		}
		cps = append(cps, *cp)
	}
	rep.check(proofs, checks)
	rep.Anchors = len(cps)
	slices.SortStableFunc(cps, func(a, b log.Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	kept := cps[:0]
	for _, cp := range cps {
		if n := len(kept); n > 0 && kept[n-1].Size == cp.Size {
			if !bytes.Equal(kept[n-1].Hash, cp.Hash) {
				rep.found(ProblemForked, cp.Size, "notaries hold two histories of size %d: %x and %x", cp.Size, kept[n-1].Hash[:8], cp.Hash[:8])
			}
			continue
		}
		if cp.Size > 0 {
			kept = append(kept, cp)
		}
	}
	return kept, nil
}

// check tries every answer with every check.
func (r *Report) check(proofs []AnchorProof, checks []Check) {
	for _, c := range checks {
		done := Checked{Name: c.Name}
		for _, p := range proofs {
			mine, err := c.Proof(p)
			switch {
			case err != nil:
				r.found(ProblemAnchor, p.Size, "what %s answered to %d receipts: %v", p.Notary, p.Size, err)
			case mine:
				done.Proofs, done.Size = done.Proofs+1, max(done.Size, p.Size)
			}
		}
		if done.Proofs == 0 {
			r.found(ProblemAnchor, 0, "nothing here was confirmed by %s", c.Name)
		}
		r.Checked = append(r.Checked, done)
	}
}
