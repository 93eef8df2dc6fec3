package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

// Runs that hold leave no commit on the live branch, and a bot has no memory. What they saw is kept
// on a branch of its own, or in a folder, so that green runs in a row can be counted:
//
//	<path of the spec>/index.json      {"format":"ramp-seen/v1","runs":[{"at":…,"evidence":"sha256:…"}]}
//	<path of the spec>/<sha256>.json   a record, see docs/evidence.md
const (
	seenBranch = "rampart/evidence"
	seenFormat = "ramp-seen/v1"
	maxSeen    = 200 // runs that are kept
	maxPast    = 64  // runs that are looked at
)

type seenIndex struct {
	Format string    `json:"format"`
	Runs   []seenRun `json:"runs"` // oldest first
}

type seenRun struct {
	At       time.Time `json:"at"`
	Evidence string    `json:"evidence"`
}

// shelf reads files of the memory; a file that is not there is fs.ErrNotExist.
type shelf func(name string) ([]byte, error)

func dirShelf(dir string) shelf {
	return func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
}

func (c *checkout) shelf(ctx context.Context, commit string) shelf {
	return func(name string) ([]byte, error) {
		return c.ReadFile(ctx, commit, path.Join(c.spec, name), evidence.MaxBytes)
	}
}

func (read shelf) index() (seenIndex, error) {
	ix := seenIndex{Format: seenFormat}
	src, err := read("index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return ix, nil
	}
	if err != nil {
		return ix, err
	}
	if err := json.Unmarshal(src, &ix); err != nil || ix.Format != seenFormat {
		return ix, fmt.Errorf("reading index.json: not %s: %w", seenFormat, err)
	}
	return ix, nil
}

// past is the evidence of earlier runs, newest first, where a guard asks for it.
func (r *rampRun) past(ctx context.Context, c *checkout, spec *flags.Spec) ([]ramp.Observation, error) {
	if !asksForGreens(spec) {
		return nil, nil
	}
	var read shelf
	switch {
	case r.s.evidenceDir != "":
		read = dirShelf(r.s.evidenceDir)
	case c != nil:
		_, commit, err := r.seenAt(ctx, c)
		if err != nil || commit == "" {
			return nil, err
		}
		read = c.shelf(ctx, commit)
	default:
		return nil, nil
	}
	ix, err := read.index()
	if err != nil {
		return nil, fmt.Errorf("reading the evidence of earlier runs: %w", err)
	}
	var past []ramp.Observation
	for _, run := range slices.Backward(ix.Runs) {
		if len(past) == maxPast || run.At.After(r.in.now) {
			continue
		}
		o := ramp.Observation{At: run.At, Evidence: ramp.NewEvidence(evidence.Coverage(nil), evidence.SLO(nil))}
		src, err := read(recordName(run.Evidence))
		if err == nil && evidence.Digest(src) == run.Evidence {
			if rec, err := evidence.ParseRecord(src); err == nil {
				o.Evidence = rec.Evidence()
			}
		} // else: a run that is known of, and about which nothing is known, ends the row
		past = append(past, o)
	}
	return past, nil
}

// asksForGreens looks for a guard that wants more than one green run.
func asksForGreens(spec *flags.Spec) bool {
	return slices.ContainsFunc(spec.Features(), func(name string) bool {
		return bytes.Contains(spec.Feature(name).Ramp, []byte(`"greens"`))
	})
}

// seenAt is the remote that the memory's branch lies at, and its head, "" when there is none.
func (r *rampRun) seenAt(ctx context.Context, c *checkout) (remote, commit string, err error) {
	remote = r.s.remote
	if r.s.reach() < reachPush {
		remote = "."
	}
	commit, err = c.RemoteBranch(ctx, remote, seenBranch)
	if err == nil && commit != "" {
		commit, err = c.Fetch(ctx, remote, seenBranch)
	}
	return remote, commit, err
}

// held is whether some entry held for something that more evidence may change.
func (p *rampProposal) held() bool {
	return slices.ContainsFunc(p.out, func(o ramp.Outcome) bool {
		switch o.Code {
		case ramp.CodeAtMax, ramp.CodeAtMin, ramp.CodePaused, ramp.CodeDisabled, ramp.CodeNeedsSalt, ramp.CodeWaitsDown:
			return false
		}
		return o.Action == ramp.Hold
	})
}

// seen is what a run that held adds to the memory, nil when that knows it already.
func (r *rampRun) seen(p *rampProposal, read shelf) (map[string][]byte, error) {
	rec := evidence.Record{
		Now: r.in.now, Spec: p.cur.Digest(), Environment: p.cur.Environment, Settings: r.in.settings, Tenants: r.in.tenants,
		Coverage: p.coverage, SLO: p.slo, Guards: map[string]jsontext.Value{},
	}
	src, err := rec.Bytes()
	if err != nil {
		return nil, err
	}
	ix, err := read.index()
	if err != nil {
		return nil, fmt.Errorf("reading the evidence of earlier runs: %w", err)
	}
	files := map[string][]byte{}
	if n := len(ix.Runs); n > 0 {
		if last, err := read(recordName(ix.Runs[n-1].Evidence)); err == nil && sameSources(last, src) {
			return nil, nil
		}
	}
	clean, err := r.cleanRecord(src)
	if err != nil {
		return nil, err
	}
	if !clean {
		r.env.Talk("the evidence of this run is not kept: the policy forbids the personal data in it")
		return nil, nil
	}
	ix.Runs = append(ix.Runs, seenRun{r.in.now, evidence.Digest(src)})
	files[recordName(evidence.Digest(src))] = src
	if drop := len(ix.Runs) - maxSeen; drop > 0 {
		for _, run := range ix.Runs[:drop] {
			files[recordName(run.Evidence)] = nil
		}
		ix.Runs = ix.Runs[drop:]
	}
	out, err := json.Marshal(&ix, jsontext.WithIndent("  "))
	if err != nil {
		return nil, fmt.Errorf("writing the evidence of earlier runs: %w", err)
	}
	files["index.json"] = append(out, '\n')
	return files, nil
}

// sameSources is whether two records hold the same evidence.
func sameSources(a, b []byte) bool {
	ra, err := evidence.ParseRecord(a)
	if err != nil {
		return false
	}
	rb, err := evidence.ParseRecord(b)
	return err == nil && bytes.Equal(ra.SLO, rb.SLO) && bytes.Equal(ra.Coverage, rb.Coverage)
}

// rememberInDir keeps the evidence of a run that held in --evidence-dir.
func (r *rampRun) rememberInDir(p *rampProposal) error {
	if r.s.evidenceDir == "" || !p.held() {
		return nil
	}
	files, err := r.seen(p, dirShelf(r.s.evidenceDir))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.s.evidenceDir, 0o755); err != nil {
		return fmt.Errorf("keeping the evidence: %w", err)
	}
	// The index comes last: it names the others.
	for _, name := range append(withoutLast(files, "index.json"), "index.json") {
		full := filepath.Join(r.s.evidenceDir, name)
		switch content, ok := files[name]; {
		case !ok:
		case content == nil:
			err = errors.Join(err, os.Remove(full))
		default:
			err = errors.Join(err, replaceFile(full, content))
		}
	}
	if err != nil {
		return fmt.Errorf("keeping the evidence: %w", err)
	}
	return nil
}

// remember keeps the evidence of a run that held, on the memory's branch unless there is a folder. It
// is a help for later runs: where it cannot be written, that is said, and this run still counts.
func (r *rampRun) remember(ctx context.Context, at place, p *rampProposal) error {
	if r.s.evidenceDir != "" {
		return r.rememberInDir(p)
	}
	if !p.held() {
		return nil
	}
	for range maxTries {
		err := r.rememberOnBranch(ctx, at, p)
		switch {
		case errors.Is(err, gitrepo.ErrMoved):
			continue
		case err != nil && ctx.Err() == nil:
			r.env.Talk("the evidence of this run is not kept on %s: %v", seenBranch, err)
		}
		return ctx.Err()
	}
	return nil
}

func (r *rampRun) rememberOnBranch(ctx context.Context, at place, p *rampProposal) error {
	remote, commit, err := r.seenAt(ctx, at.c)
	if err != nil {
		return err
	}
	read := at.c.shelf(ctx, commit)
	if commit == "" {
		read = func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	}
	files, err := r.seen(p, read)
	if err != nil || files == nil {
		return err
	}
	inRepo := map[string][]byte{}
	for name, content := range files {
		inRepo[path.Join(at.c.spec, name)] = content
	}
	subject := fmt.Sprintf("evidence: %s held at %s\n", at.c.spec, r.in.now.Format(time.RFC3339))
	hash, err := at.c.CommitFiles(ctx, commit, inRepo, subject, r.author(ctx, at.c))
	if err != nil {
		return err
	}
	return at.c.Push(ctx, remote, hash, seenBranch, commit)
}
