package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

func signCommand(a *app) *cobra.Command {
	var s signSettings
	cmd := &cobra.Command{
		Use:   "sign [flags]",
		Short: "Sign the spec as it stands",
		Long: `sign writes a sigstore bundle beside the spec: flags.json.sigstore.json. It is the file that
"cosign sign-blob --bundle" writes, and stock cosign checks it. An invalid spec is not signed.

When somebody else's valid signature lies there, yours goes beside it, into
flags.json.<signer>.sigstore.json, under the name that the trust policy knows your key by, or --signer.

The password of the key is asked for at the terminal, or taken from RAMPART_KEY_PASSWORD or
COSIGN_PASSWORD. --key is a file outside the repository, env://VARIABLE holding PEM, or a key that a
key-management service keeps, such as awskms://alias/flags (by sigstore's plugins).`,
		Example: `  propose sign --key ~/.config/rampart/shop.key
  propose sign --key bob.key --signer bob --commit`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.sign(cmd.Context(), s) },
	}
	s.define(cmd)
	return cmd
}

// signSettings are the flags of every command that can sign and commit.
type signSettings struct {
	key, signer, trust string
	commit             bool
	message            string // the subject of the commit's message
	fullMessage        string // all of it
	keyless            keylessSettings
}

func (s *signSettings) define(cmd *cobra.Command) {
	s.defineKey(cmd)
	cmd.Flags().BoolVar(&s.commit, "commit", false, "commit the spec and its signature, and nothing else")
	cmd.Flags().StringVar(&s.message, "message", "", "the commit's `SUBJECT` (default: what changed)")
}

// defineKey is define for a command that always commits, with a message of its own.
func (s *signSettings) defineKey(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.key, "key", "", "sign with this private `KEY`: a file, env://VARIABLE, or a key-management URI")
	s.keyless.define(cmd)
	cmd.Flags().StringVar(&s.signer, "signer", "", "sign beside others, in the bundle named for this `SIGNER`")
	cmd.Flags().StringVar(&s.trust, "trust", "", "the trust policy `FILE` (default trust.json of the repository, if it has one)")
}

var signerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// check refuses what could not work before anything is written.
func (s *signSettings) check() error {
	if s.signer != "" && !signerName.MatchString(s.signer) {
		return usage(cli.Hint(fmt.Errorf("--signer %q cannot be part of a file name", s.signer), "letters, digits, hyphens and underscores"))
	}
	if s.key != "" && s.keyless.on {
		return usage(errors.New("--key and --keyless are two ways to sign: choose one"))
	}
	if s.commit && !s.signs() {
		return usage(cli.Hint(errors.New("--commit without --key: nobody accepts a spec that is not signed"), "add --key, or commit later: propose sign --key KEY --commit"))
	}
	return nil
}

// signs says whether there is something to sign with.
func (s *signSettings) signs() bool { return s.key != "" || s.keyless.on }

// signed is a signature and where it goes.
type signed struct {
	path   string
	bundle []byte
	by     signing.PublicKey
}

// signSpec signs spec, which is or will be the content of the file at path. Nothing is written.
func (a *app) signSpec(ctx context.Context, path string, spec *flags.Spec, s signSettings) (signed, error) {
	policy, _, err := a.readTrust(s.trust)
	if err != nil {
		return signed{}, err
	}
	var out signed
	if out.bundle, out.by, err = a.makeBundle(ctx, spec.Bytes(), s); err != nil {
		return signed{}, fmt.Errorf("signing %s: %w", path, err)
	}
	out.path, err = a.whereToSign(path, spec.Bytes(), out.by, policy, s.signer)
	return out, err
}

// whereToSign never takes the place of somebody else's signature that still counts.
func (a *app) whereToSign(path string, content []byte, key signing.PublicKey, policy *trust.Policy, signer string) (string, error) {
	if signer != "" {
		return bundlePath(path, signer), nil
	}
	first := bundlePath(path, "")
	data, err := a.readFile(first, signing.MaxBundle+1)
	if err != nil {
		return first, nil // none there
	}
	there := []signing.NamedBundle{{Path: first, Data: data}}
	mine := signing.Identity{Name: "me", Keys: []signing.PublicKey{key}}
	result := signing.Verify(signing.NewArtifact(content), there, []signing.Identity{mine}, signing.Options{})
	if len(result.Valid) > 0 || !errors.Is(result.Rejected[0].Reason, signing.ErrUnknownSigner) {
		return first, nil // mine, or worth nothing for these bytes
	}
	if policy != nil {
		for _, who := range policy.Identities() {
			for _, k := range who.Keys {
				if key.ID() != "" && k.Equal(key) && signerName.MatchString(who.Name) {
					return bundlePath(path, who.Name), nil
				}
			}
		}
	}
	return "", usage(cli.Hint(fmt.Errorf("signing %s: %s holds another signer's valid signature", path, first), "sign beside it: --signer YOUR-NAME"))
}

// tellReused warns of a spec that was edited by hand and kept its version: the reconciler would refuse it much later. It is signed all
// the same, since what was committed and never accepted has used no version up.
func (a *app) tellReused(ctx context.Context, path string, spec *flags.Spec) {
	c, err := checkoutOf(path)
	if err != nil || c == nil {
		return // no history to tell from
	}
	commit, err := c.stoodFor(ctx, spec)
	switch {
	case err != nil:
		a.env.Warn("", "whether version %s was used before cannot be told: %v", spec.Version, err)
	case commit != "":
		a.env.Warn(newVersion, "version %s stands for other content at %.12s; the reconciler refuses this one where it has accepted that", spec.Version, commit)
	}
}

func (a *app) sign(ctx context.Context, s signSettings) error {
	if !s.signs() {
		return usage(cli.Hint(errors.New("nothing to sign with"), "give --key KEY, or --keyless; make a key: propose keygen"))
	}
	if err := s.check(); err != nil {
		return err
	}
	path := a.specPath()
	spec, err := a.readSpec(path)
	if err != nil {
		return err
	}
	a.tellReused(ctx, path, spec)
	sig, err := a.signSpec(ctx, path, spec, s)
	if err != nil {
		return err
	}
	if err := replaceFile(sig.path, sig.bundle); err != nil {
		return fmt.Errorf("writing the signature: %w", err)
	}
	commit := ""
	if s.commit {
		if commit, err = a.commitSpec(ctx, path, spec, []string{path, sig.path}, s); err != nil {
			return err
		}
	}
	if a.json {
		return cli.JSONLine(a.env.Stdout, "sign/v1", struct {
			Spec    string `json:"spec"`
			Version string `json:"version"`
			Digest  string `json:"digest"`
			Bundle  string `json:"bundle"`
			KeyID   string `json:"key_id,omitempty"` // none with --keyless
			Commit  string `json:"commit,omitempty"`
		}{path, spec.Version, spec.Digest(), sig.path, sig.by.ID(), commit})
	}
	fmt.Fprintln(a.env.Stdout, sig.path)
	a.env.Talk("signed %s (%s)", spec.Version, filepath.Base(path))
	return nil
}
