package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/wholefile"
)

// prehistory is what the branch held before the first generation in the state folder.
// Whoever can push could otherwise bring back a file that a maintainer signed long
// ago, and a reconciler that started yesterday would take it for new. It is kept in
// the state folder as seen.json.
type prehistory struct {
	Format string          `json:"format"` // "seen/v1"
	First  string          `json:"first"`  // the first generation's commit
	Blobs  map[string]past `json:"blobs"`  // by git's name for the spec's bytes
}

// past is when content stood in the branch.
type past struct {
	Ago   int       `json:"ago"`   // specs before the first generation's; 1 is the one just before
	Until time.Time `json:"until"` // the date that the commit which replaced it claims
}

const seenFormat = "seen/v1"

func (p *prehistory) find(blob string) (past, bool) {
	if p == nil || blob == "" {
		return past{}, false
	}
	found, ok := p.Blobs[blob]
	return found, ok
}

// learn makes the prehistory known, when there is a candidate to be judged by it.
func (r *Reconciler) learn(ctx context.Context) error {
	if r.source.earlier != nil || r.trust.policy == nil {
		return nil
	}
	p, err := r.prehistoryOf(ctx, r.history.first().Commit)
	if err == nil {
		r.source.earlier = p
	}
	return err
}

// earlierThan is what the branch held before first, which may be a generation that a plan only supposes.
func (r *Reconciler) earlierThan(ctx context.Context, first string) (*prehistory, error) {
	switch {
	case r.trust.policy == nil:
		return nil, nil
	case first != r.history.first().Commit:
		return r.prehistoryOf(ctx, first)
	}
	err := r.learn(ctx)
	return r.source.earlier, err
}

// prehistoryOf reads what was learned before, or learns it. Where the remote itself
// has no more history, there is none.
func (r *Reconciler) prehistoryOf(ctx context.Context, first string) (*prehistory, error) {
	path := filepath.Join(r.folder.dir, "seen.json")
	if src, err := os.ReadFile(path); err == nil {
		var p prehistory
		if json.Unmarshal(src, &p) == nil && p.Format == seenFormat && p.First == first {
			return &p, nil
		}
	}
	p := &prehistory{Format: seenFormat, First: first, Blobs: map[string]past{}}
	commits, err := r.cfg.Repo.Walk(ctx, "", first, []string{r.cfg.path()})
	if errors.Is(err, gitrepo.ErrShallow) {
		r.log.Warn("the remote keeps no history from before the first generation: content of that time cannot be told from new content",
			slog.String("first", first))
		commits = nil
	} else if err != nil {
		return nil, err
	}
	if err := r.fillPrehistory(ctx, p, commits, first); err != nil {
		return nil, err
	}
	src, err := json.Marshal(p)
	if err == nil {
		err = wholefile.Write(path, src, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("keeping what was learned: %w", err)
	}
	return p, nil
}

func (r *Reconciler) fillPrehistory(ctx context.Context, p *prehistory, commits []gitrepo.Commit, first string) error {
	own, err := r.cfg.Repo.FileID(ctx, first, r.cfg.path())
	if err != nil {
		return err
	}
	ago, until, newer := 0, time.Time{}, own
	for i := len(commits) - 1; i >= 0; i-- {
		blob, err := r.cfg.Repo.FileID(ctx, commits[i].Hash, r.cfg.path())
		if err != nil && !errors.Is(err, gitrepo.ErrNotExist) && !errors.Is(err, gitrepo.ErrNotRegular) {
			return err
		}
		if err == nil && blob != newer {
			ago++
			if _, known := p.Blobs[blob]; !known && blob != own {
				p.Blobs[blob] = past{Ago: ago, Until: until}
			}
			newer = blob
		}
		until = commits[i].When.UTC()
	}
	return nil
}
