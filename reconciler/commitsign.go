package reconciler

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rampart-flags/rampart/gitrepo"
)

// commitSigned holds a commit to require_signed_commit: it carries an SSH or PGP signature of a signer, or
// the newest commit of the branch does, whose signature covers all that it stands on. Signers and dates
// count at our clock.
func (k court) commitSigned(c content, r ruling) ruling {
	if r.verdict == refused || !k.policy.RequireSignedCommit {
		return r
	}
	err := gitrepo.ErrUnsigned
	if c.files != nil {
		err = k.verifyCommit(c.files, c.commit.Hash)
		if err != nil && k.head != "" && k.head != c.commit.Hash && k.verifyCommit(c.files, k.head) == nil {
			return r
		}
	}
	if err == nil {
		return r
	}
	r.verdict, r.code, r.message = refused, CommitSignature, err.Error()
	if errors.Is(err, gitrepo.ErrUnsigned) {
		r.code = CommitUnsigned
	}
	r.hint = ReasonFor(r.code).Do
	return r
}

func (k court) verifyCommit(files *reader, hash string) error {
	raw, err := files.raw(hash)
	if err != nil {
		return files.blame(err)
	}
	keys, bad := k.commitKeys()
	if _, err = gitrepo.VerifyCommit(raw, keys, k.now); err != nil && len(bad) > 0 {
		return fmt.Errorf("%w (of the policy: %s)", err, strings.Join(bad, "; "))
	}
	return err
}

// commitKeys are the keys for commits of the signers that count now, and what is wrong with the others.
func (k court) commitKeys() (keys []gitrepo.CommitKey, bad []string) {
	for _, s := range k.policy.Signers {
		if !s.Expires.IsZero() && !k.now.Before(s.Expires) {
			continue
		}
		texts := s.SSH
		if s.PGP != "" {
			texts = append(texts[:len(texts):len(texts)], s.PGP)
		}
		for _, text := range texts {
			key, err := gitrepo.ParseCommitKey(s.Name, text)
			if err != nil {
				bad = append(bad, fmt.Sprintf("a key of %s: %v", s.Name, err))
				continue
			}
			keys = append(keys, key)
		}
	}
	return keys, bad
}
