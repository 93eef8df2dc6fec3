package reconciler

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

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
	src, bundles, err := c.files.signed(name, trust.MaxEvidence)
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
	found, err := trust.ParseEvidence(name, src, next.Environment)
	found.Signers = p.Signers
	return found, err
}
