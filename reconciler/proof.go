package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/schema"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// maxEvidence is how large a file of evidence may be, in bytes.
const maxEvidence = 8 << 20

// reader reads one commit's files while it is judged. What the commit itself is to blame for is the
// answer; what may pass by itself is kept in trouble, and then nothing is said about the commit.
type reader struct {
	file    func(name string, max int64) ([]byte, error)
	glob    func(pattern string, max int64) ([]gitrepo.File, error)
	raw     func(commit string) ([]byte, error)
	trouble error
}

func (r *Reconciler) reader(ctx context.Context, commit string) *reader {
	return &reader{
		file: func(name string, max int64) ([]byte, error) { return r.cfg.Repo.ReadFile(ctx, commit, name, max) },
		glob: func(pattern string, max int64) ([]gitrepo.File, error) {
			return r.cfg.Repo.ReadGlob(ctx, commit, pattern, max)
		},
		raw: func(hash string) ([]byte, error) { return r.cfg.Repo.RawCommit(ctx, hash) },
	}
}

// signed reads a file and the bundles beside it.
func (r *reader) signed(name string, max int64) ([]byte, []signing.NamedBundle, error) {
	src, err := r.file(name, max)
	if err != nil {
		return nil, nil, r.blame(err)
	}
	files, err := r.glob(globQuote(name)+".*sigstore.json", signing.MaxBundle)
	if err != nil {
		return nil, nil, r.blame(err)
	}
	var bundles []signing.NamedBundle
	for _, f := range files {
		bundles = append(bundles, signing.NamedBundle{Path: f.Path, Data: f.Data, Err: f.Err})
	}
	return src, bundles, nil
}

func (r *reader) blame(err error) error {
	if !errors.Is(err, gitrepo.ErrNotExist) && !errors.Is(err, gitrepo.ErrNotRegular) && !errors.Is(err, gitrepo.ErrTooLarge) {
		r.trouble = errors.Join(r.trouble, err)
	}
	return err
}

// proof looks for evidence in the commit that is judged: under its digest, beside the spec. Nothing of
// it is parsed before somebody whom the policy names has signed it. Each file is looked at once.
func (k court) proof(c content, next *flags.Spec) func(digest string) (trust.Proof, error) {
	type answer struct {
		proof trust.Proof
		err   error
	}
	seen := map[string]answer{}
	return func(digest string) (trust.Proof, error) {
		if a, ok := seen[digest]; ok {
			return a.proof, a.err
		}
		var a answer
		a.proof, a.err = k.look(c, next, digest)
		seen[digest] = a
		return a.proof, a.err
	}
}

func (k court) look(c content, next *flags.Spec, digest string) (trust.Proof, error) {
	name, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(name) != 64 || strings.Trim(name, "0123456789abcdef") != "" || c.files == nil {
		return trust.Proof{}, fmt.Errorf("%q names no file", digest)
	}
	name = path.Join(path.Dir(c.path), "evidence", name+".json")
	src, bundles, err := c.files.signed(name, maxEvidence)
	switch {
	case errors.Is(err, gitrepo.ErrNotExist):
		return trust.Proof{}, fmt.Errorf("the commit has no file %s", name)
	case err != nil:
		return trust.Proof{}, fmt.Errorf("reading %s: %w", name, err)
	}
	artifact := signing.NewArtifact(src)
	if artifact.Digest() != digest {
		return trust.Proof{}, fmt.Errorf("%s holds other bytes than its name says", name)
	}
	p := trust.Proof{Signers: signing.Verify(artifact, bundles, k.policy.Identities(), k.keyless).Signers()}
	if !k.policy.MaySignEvidence(p.Signers, k.now) {
		if len(p.Signers) == 0 {
			return p, fmt.Errorf("%s is signed by nobody known", name)
		}
		return p, fmt.Errorf("%s is signed by %s, and nobody of them may sign evidence", name, strings.Join(p.Signers, ", "))
	}
	p.Measured, err = measured(name, src, next.Environment)
	return p, err
}

// measured is when the oldest of the evidence's sources was measured: the oldest generated_at in it, at any
// depth. What follows from the numbers is for propose explain-ramp to say. Evidence of another environment
// is none.
func measured(name string, src []byte, environment string) (time.Time, error) {
	if err := schema.Check(name, src, schema.Limits{Bytes: maxEvidence}); err != nil {
		return time.Time{}, err
	}
	var doc map[string]any
	if err := json.Unmarshal(src, &doc); err != nil {
		return time.Time{}, fmt.Errorf("reading %s: %w", name, err)
	}
	about, _ := doc["environment"].(string)
	if _, record := doc["format"]; about != environment && (record || about != "") {
		return time.Time{}, fmt.Errorf("%s is about environment %q, the spec is for %q", name, about, environment)
	}
	var oldest time.Time
	if err := oldestDate(doc, &oldest); err != nil {
		return time.Time{}, fmt.Errorf("reading %s: %w", name, err)
	}
	if oldest.IsZero() {
		return time.Time{}, fmt.Errorf("%s does not say when it was measured (generated_at)", name)
	}
	return oldest, nil
}

func oldestDate(v any, oldest *time.Time) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := oldestDate(e, oldest); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, e := range v {
			text, ok := e.(string)
			if name != "generated_at" || !ok {
				if err := oldestDate(e, oldest); err != nil {
					return err
				}
				continue
			}
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return fmt.Errorf("generated_at: %w", err)
			}
			if oldest.IsZero() || at.Before(*oldest) {
				*oldest = at
			}
		}
	}
	return nil
}
