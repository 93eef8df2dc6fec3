package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// check is what a source gave, to be verified.
type check struct {
	spec     *flags.Spec
	previous *flags.Spec // the last spec that counted, or nil
	bundles  []signing.NamedBundle
	meta     *redisstore.Meta // nil where there is no store
}

// verify returns who signed the spec, when that is good enough; it returns nil
// and no error when signatures are not asked for. The error wraps
// ErrUnverified.
func (c *Client) verify(k check) ([]string, error) {
	v := c.opts.Verify
	if v == nil {
		return nil, nil
	}
	if want := v.Policy.Environment; want != "" && k.spec.Environment != want {
		return nil, fmt.Errorf("%w: the spec is for environment %q, the policy for %q", ErrUnverified, k.spec.Environment, want)
	}
	result := signing.Verify(signing.NewArtifact(k.spec.Bytes()), k.bundles, v.Policy.Identities(), v.Options)
	signers := result.Signers()
	attested := false
	if len(v.Reconciler) > 0 && k.meta != nil {
		if err := v.attested(k.meta, k.spec); err != nil {
			return nil, err
		}
		attested = true
	}
	if v.Policy.HasFull(signers, c.now()) {
		return signers, nil
	}
	if attested {
		if missing := v.Policy.Holds(nil, signers, c.now()); missing != "" {
			return nil, fmt.Errorf("%w: %s%s", ErrUnverified, missing, rejections(result))
		}
		return signers, nil
	}
	// Nobody vouches for the transition, so it is judged here, as far as that goes: when
	// an entry last rose is not known, and evidence is not at hand.
	answer := v.Policy.Authorize(trust.Request{
		Previous: k.previous, Next: k.spec, Signers: signers, Now: c.now(), LastUp: neverUp,
	})
	if answer.Verdict != trust.Allowed {
		return nil, fmt.Errorf("%w: %s%s", ErrUnverified, answer.Sentence(), rejections(result))
	}
	return signers, nil
}

func neverUp(flags.Key) time.Time { return time.Time{} }

// attested checks the reconciler's signature over environment, generation and
// digest, and that they are about this spec.
func (v *Verification) attested(m *redisstore.Meta, spec *flags.Spec) error {
	if m.Digest != spec.Digest() {
		return fmt.Errorf("%w: meta is about another spec", ErrUnverified)
	}
	if m.Environment != spec.Environment {
		return fmt.Errorf("%w: meta is about environment %q, the spec about %q", ErrUnverified, m.Environment, spec.Environment)
	}
	if m.Attestation == "" {
		return fmt.Errorf("%w: generation %d carries no attestation", ErrUnverified, m.Generation)
	}
	who := []signing.Identity{{Name: "reconciler", Keys: v.Reconciler}}
	r := signing.Verify(signing.NewArtifact(m.Attested()), []signing.NamedBundle{{Path: "attestation", Data: []byte(m.Attestation)}}, who, v.Options)
	if len(r.Valid) == 0 {
		return fmt.Errorf("%w: the attestation of generation %d does not hold%s", ErrUnverified, m.Generation, rejections(r))
	}
	return nil
}

// rejections says why bundles did not count.
func rejections(r signing.Result) string {
	var why []string
	for _, b := range r.Rejected {
		why = append(why, fmt.Sprintf("%s: %v", b.Path, b.Reason))
	}
	if len(why) == 0 {
		return ""
	}
	return " (" + strings.Join(why, "; ") + ")"
}

// overrides are the signed break-glass statements in force, checked as the spec
// is. Those that do not count are in the error; the rest is returned beside it.
func (c *Client) overrides(spec *flags.Spec, statements map[string][]byte) ([]*trust.Override, error) {
	var valid []*trust.Override
	var errs []error
	for id, raw := range statements {
		o, err := c.override(spec, raw)
		if err != nil {
			errs = append(errs, fmt.Errorf("override %s: %w", id, err))
			continue
		}
		if o.ActiveAt(c.now()) {
			valid = append(valid, o)
		}
	}
	return valid, errors.Join(errs...)
}

func (c *Client) override(spec *flags.Spec, raw []byte) (*trust.Override, error) {
	sealed, err := trust.ParseSealed("override", raw)
	if err != nil {
		return nil, err
	}
	o, err := trust.ParseOverride("override", sealed.Statement)
	if err != nil {
		return nil, err
	}
	v := c.opts.Verify
	if v == nil || !o.ActiveAt(c.now()) {
		return o, nil
	}
	signers := sealed.Verify(v.Policy, v.Options).Signers()
	answer := v.Policy.AuthorizeOverride(trust.OverrideRequest{
		Override: o, Spec: spec, Signers: signers, Now: c.now(), InForce: true,
	})
	if answer.Verdict != trust.Allowed {
		return nil, fmt.Errorf("%w: %s", ErrUnverified, answer.Sentence())
	}
	return o, nil
}
