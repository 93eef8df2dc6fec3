package receipt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rampart-flags/rampart/internal/wholefile"
)

// PurgeOptions say what may go.
type PurgeOptions struct {
	// Before is the time that a receipt must be older than.
	Before time.Time
	// Hold keeps a receipt whatever its age (a legal hold). Nil holds none.
	Hold func(Receipt) bool
	// Evidence removes, or with DryRun counts, what is kept beside the ledger and past its time. Nil means nothing is.
	Evidence func() (int, error)
	// DryRun only counts.
	DryRun bool
}

// Purged is what a purge removed, or would remove.
type Purged struct {
	Bodies   int   `json:"bodies"`
	Proofs   int   `json:"proofs"`   // notaries' answers to checkpoints that newer ones cover
	Evidence int   `json:"evidence"` // values kept beside the ledger
	Held     int   `json:"held"`
	Segments int   `json:"segments"` // files of the journal that were rewritten
	Bytes    int64 `json:"bytes"`    // that the journal shrank by
}

// Purge removes the bodies and salts of receipts past their time and leaves their digests, so that the log still verifies.
// Each file is replaced whole or not at all, so a crash in between loses nothing and the next purge goes on. The newest
// segment, which is being written, is left for later. A notary's newest proof is kept whatever its age. What was done is
// a receipt itself.
func (l *Ledger) Purge(ctx context.Context, opt PurgeOptions) (Purged, error) {
	var done Purged
	names, firsts, err := segments(l.journal.dir)
	if err != nil {
		return done, fmt.Errorf("reading the receipts' journal: %w", err)
	}
	for i := range len(names) - 1 {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		if err := purgeSegment(filepath.Join(l.journal.dir, names[i]), firsts[i], opt, &done); err != nil {
			return done, err
		}
	}
	if err := purgeProofs(filepath.Join(l.opt.Dir, "anchors"), opt, &done); err != nil {
		return done, err
	}
	if opt.Evidence != nil {
		if done.Evidence, err = opt.Evidence(); err != nil {
			return done, err
		}
	}
	if opt.DryRun || done.Bodies+done.Proofs+done.Evidence == 0 {
		return done, nil
	}
	_, err = l.Append(ctx, &Receipt{Kind: Purge, Phase: Outcome, Result: "purged",
		Detail: fmt.Sprintf("%d bodies, %d proofs and %d values of evidence from before %s removed, %d held", done.Bodies, done.Proofs, done.Evidence, opt.Before.UTC().Format(time.RFC3339), done.Held)})
	return done, err
}

func purgeSegment(path string, first uint64, opt PurgeOptions, done *Purged) error {
	var out []byte
	var was int64
	n := 0
	err := scanFile(path, first, 0, func(r Record) error {
		was += int64(len(appendLine(nil, r)))
		if !r.Purged() {
			rec, err := r.Decode()
			if err != nil {
				return err
			}
			if rec.Time.Before(opt.Before) {
				if opt.Hold != nil && opt.Hold(rec) {
					done.Held++
				} else {
					r.Salt, r.Body = nil, nil
					n++
				}
			}
		}
		out = appendLine(out, r)
		return nil
	})
	if err != nil || n == 0 {
		return err
	}
	done.Bodies += n
	done.Segments++
	done.Bytes += was - int64(len(out))
	if opt.DryRun {
		return nil
	}
	if err := wholefile.Write(path, out, 0o600); err != nil {
		return fmt.Errorf("purging %s: %w", path, err)
	}
	return nil
}

// purgeProofs removes notaries' old answers. The newest of each notary stays: it covers everything before it.
func purgeProofs(dir string, opt PurgeOptions, done *Purged) error {
	proofs, err := readProofs(dir)
	if err != nil {
		return err
	}
	newest := map[string]uint64{}
	for _, p := range proofs {
		newest[p.Notary] = max(newest[p.Notary], p.Size)
	}
	proofs = slices.DeleteFunc(proofs, func(p AnchorProof) bool { return p.Size == newest[p.Notary] || !p.ConfirmedAt.Before(opt.Before) })
	done.Proofs += len(proofs)
	if opt.DryRun {
		return nil
	}
	for _, p := range proofs {
		err := os.Remove(filepath.Join(dir, p.Notary, fmt.Sprintf("%020d.json", p.Size)))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing a notary's proof: %w", err)
		}
	}
	return nil
}
