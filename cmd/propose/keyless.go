package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/signing/keyless"
)

// keylessSettings are the flags of signing without a key of one's own: an identity provider vouches
// for who signs, and a certificate says so.
type keylessSettings struct {
	on     bool
	issuer string
	config string
}

func (k *keylessSettings) define(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&k.on, "keyless", false, "sign without a key: with the identity of a GitHub Actions job, else by signing in with a browser")
	cmd.Flags().StringVar(&k.issuer, "oidc-issuer", "", "with --keyless, sign in at this `URL` (default the public sigstore's)")
	cmd.Flags().StringVar(&k.config, "signing-config", "", "with --keyless, use the services of this signing config `FILE` (default the public sigstore's)")
}

// makeBundle signs text with a key or, with --keyless, with an identity; then there is no public key.
func (a *app) makeBundle(ctx context.Context, text []byte, s signSettings) ([]byte, signing.PublicKey, error) {
	if s.keyless.on {
		bundle, err := a.signKeyless(ctx, text, s.keyless)
		return bundle, signing.PublicKey{}, err
	}
	signer, err := a.signer(ctx, s.key)
	if err != nil {
		return nil, signing.PublicKey{}, err
	}
	bundle, err := signer.Sign(ctx, text)
	return bundle, signer.Public(), err
}

func (a *app) signKeyless(ctx context.Context, text []byte, k keylessSettings) ([]byte, error) {
	opt := keyless.SignOptions{Token: a.identityToken(k.issuer)}
	var err error
	if k.config != "" {
		if opt.SigningConfig, err = os.ReadFile(k.config); err != nil {
			return nil, fmt.Errorf("reading the signing config: %w", err)
		}
	}
	if a.trustedRoot != "" {
		if opt.TrustedRoot, err = os.ReadFile(a.trustedRoot); err != nil {
			return nil, fmt.Errorf("reading the trusted root: %w", err)
		}
	}
	bundle, err := keyless.Sign(ctx, text, opt)
	if errors.Is(err, keyless.ErrNoToken) {
		return nil, cli.Hint(fmt.Errorf("signing without a key: %w", err),
			`in GitHub Actions the job needs "permissions: id-token: write"; elsewhere set SIGSTORE_ID_TOKEN, or run it at a terminal`)
	}
	if err != nil {
		return nil, fmt.Errorf("signing without a key: %w", err)
	}
	return bundle, nil
}

// identityToken is where the identity comes from: SIGSTORE_ID_TOKEN, the job's own, a person's
// browser.
func (a *app) identityToken(issuer string) func(context.Context) (string, error) {
	if token, ok := a.env.Lookup("SIGSTORE_ID_TOKEN"); ok && token != "" {
		return func(context.Context) (string, error) { return token, nil }
	}
	job := keyless.GitHubToken(a.env.Getenv)
	return func(ctx context.Context) (string, error) {
		token, err := job(ctx)
		if errors.Is(err, keyless.ErrNoToken) && a.env.StderrTTY {
			return keyless.BrowserToken(issuer, a.env.Stdin, a.env.Stderr)(ctx)
		}
		return token, err
	}
}

// verifyOptions say what can be verified besides keys: keyless signatures, with --trusted-root.
func (a *app) verifyOptions() (signing.Options, error) {
	if a.trustedRoot == "" || a.keyless != nil {
		return signing.Options{Keyless: a.keyless}, nil
	}
	src, err := os.ReadFile(a.trustedRoot)
	if err != nil {
		return signing.Options{}, fmt.Errorf("reading the trusted root: %w", err)
	}
	v, err := keyless.New(src)
	if err != nil {
		return signing.Options{}, cli.Exit(cli.ExitUsage, err)
	}
	a.keyless = v.Check
	return signing.Options{Keyless: a.keyless}, nil
}
