package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/signing"
)

func keygenCommand(a *app) *cobra.Command {
	var out, kind string
	cmd := &cobra.Command{
		Use:   "keygen [flags]",
		Short: "Make a key pair to sign with",
		Long: `keygen makes a key pair to sign with: PREFIX.key, encrypted in cosign's own format, and PREFIX.pub.

The password is asked for at the terminal, or taken from RAMPART_KEY_PASSWORD or COSIGN_PASSWORD. The
private half belongs outside the repository; a place that git would track is refused. Nothing is
overwritten. The public half goes into trust.json, under the signer's name.`,
		Example: `  propose keygen --out ~/keys/alice
  COSIGN_PASSWORD=… propose keygen --out /etc/rampart/bot --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				out = filepath.Join(defaultKeyDir(), "cosign")
			}
			public, err := a.newKey(cmd.Context(), out, signing.Kind(kind))
			if err != nil {
				return err
			}
			if a.json {
				return cli.JSONLine(a.env.Stdout, "keygen/v1", struct {
					Key    string       `json:"key"`
					Public string       `json:"public_key"`
					Kind   signing.Kind `json:"kind"`
					ID     string       `json:"id"`
					PEM    string       `json:"pem"`
				}{out + ".key", out + ".pub", public.Kind(), public.ID(), string(public.PEM())})
			}
			fmt.Fprintf(a.env.Stdout, "%s.key\n%s.pub\n", out, out)
			a.env.Talk("in trust.json, under signers: %q: {\"key\": %q}", filepath.Base(out), strings.TrimSpace(string(public.PEM())))
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "write `PREFIX`.key and PREFIX.pub (default rampart/cosign in the user's configuration folder)")
	cmd.Flags().StringVar(&kind, "kind", string(signing.ECDSAP256), "`ALGORITHM`, ecdsa-p256 (which stock cosign takes as it is) or ed25519")
	cli.NoEnv(cmd, "out", "kind")
	return cmd
}
