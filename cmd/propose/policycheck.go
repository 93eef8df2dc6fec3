package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// checkAgainstPolicy asks the trust policy what it demands of a spec whoever signs it.
func (a *app) checkAgainstPolicy(spec *flags.Spec, file, policyPath string) error {
	policy, _, err := a.readTrust(policyPath)
	if err != nil || policy == nil {
		return err
	}
	answer := policy.Authorize(trust.Request{Next: spec, Changes: []flags.Change{}, Now: time.Now()})
	switch answer.Reason {
	case trust.WrongEnvironment:
		return wrongEnvironment(spec, file, policy)
	case trust.LegacyReaders:
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("%s: %s: %s", file, answer.Reason, answer.Sentence()), "%s", answer.Hint))
	}
	return nil
}

// wrongEnvironment refuses a spec that the policy is not about. It may as well be the policy that is the wrong one: a repository can
// hold several environments.
func wrongEnvironment(spec *flags.Spec, file string, policy *trust.Policy) error {
	answer := policy.Authorize(trust.Request{Next: spec, Changes: []flags.Change{}, Now: time.Now()})
	if answer.Reason != trust.WrongEnvironment {
		return nil
	}
	err := fmt.Errorf("%s: %s: %s", file, answer.Reason, answer.Sentence())
	if spec.Environment == "" {
		return cli.Exit(cli.ExitRefused, cli.Hint(err, "%s", answer.Hint))
	}
	return cli.Exit(cli.ExitRefused, cli.Hint(err, "%s", environmentHint(spec.Environment, policy.Environment)))
}

func environmentHint(spec, policy string) string {
	if spec == "" {
		return "propose set --environment " + policy
	}
	return fmt.Sprintf("name the policy of %s: --trust FILE; or, if the spec is for %s: propose set --environment %s", spec, policy, policy)
}

// lastUps tells when an entry last rose before rev, as far back as the policy's roles look. The
// commits' dates are claims, as they are for a reconciler without state.
func (a *app) lastUps(ctx context.Context, rev string, policy *trust.Policy) (func(flags.Key) time.Time, error) {
	var window time.Duration
	for _, r := range policy.Roles {
		window = max(window, r.MinInterval)
	}
	ups := map[flags.Key]time.Time{}
	never := func(k flags.Key) time.Time { return ups[k] }
	if window == 0 {
		return never, nil
	}
	c, err := checkoutOf(a.specPath())
	if err != nil || c == nil {
		return never, err
	}
	commit, err := c.Resolve(ctx, rev)
	if err != nil {
		return never, nil // a file, which has no history
	}
	commits, err := c.History(ctx, commit, c.spec)
	if err != nil {
		return nil, err
	}
	for _, past := range commits {
		if time.Since(past.When) > window || len(past.Parents) == 0 {
			break
		}
		after, err := c.specAt(ctx, past.Hash)
		if err != nil || after == nil {
			continue // never accepted by anyone
		}
		before, err := c.specAt(ctx, past.Parents[0])
		if err != nil {
			continue
		}
		for _, change := range flags.Diff(before, after) {
			if change.Rises && ups[change.Key()].Before(past.When) {
				ups[change.Key()] = past.When
			}
		}
	}
	return never, nil
}

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// proofs looks for evidence beside the spec: evidence/<hex>.json, signed as specs are.
func (a *app) proofs(policy *trust.Policy, environment string) func(string) (trust.Proof, error) {
	return func(digest string) (trust.Proof, error) {
		if !digestForm.MatchString(digest) {
			return trust.Proof{}, fmt.Errorf("evidence %q is no digest", digest)
		}
		name := strings.TrimPrefix(digest, "sha256:")
		path := filepath.Join(filepath.Dir(a.specPath()), "evidence", name+".json")
		src, err := a.readFile(path, trust.MaxEvidence)
		if err != nil {
			return trust.Proof{}, fmt.Errorf("reading the evidence: %w", err)
		}
		if sum := sha256.Sum256(src); hex.EncodeToString(sum[:]) != name {
			return trust.Proof{}, fmt.Errorf("%s holds other bytes than its name says", path)
		}
		proof, err := trust.ParseEvidence(path, src, environment)
		if err != nil {
			return trust.Proof{}, err
		}
		bundles, err := a.readBundles(path)
		if err != nil {
			return trust.Proof{}, err
		}
		opt, err := a.verifyOptions()
		if err != nil {
			return trust.Proof{}, err
		}
		result := signing.Verify(signing.NewArtifact(src), bundles, policy.Identities(), opt)
		proof.Signers = result.Signers()
		return proof, nil
	}
}
