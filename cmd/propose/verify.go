package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

func verifyCommand(a *app) *cobra.Command {
	var v verifySettings
	cmd := &cobra.Command{
		Use:   "verify [FILE] [flags]",
		Short: "Check who signed the spec, and whether they may",
		Long: `verify looks at every signature beside a spec and says whose it is, or why it does not count. It exits
4 when none counts.

Who is looked for comes from the trust policy, else from --pub. With --from COMMIT it also judges the
change since that commit, as reconcile will: which role covers each part of it, and which part none does.`,
		Example: `  propose verify
  propose verify --pub ~/.config/rampart/shop.pub specs/flags.json
  propose verify --from origin/main`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := a.specPath()
			if len(args) > 0 {
				path = args[0]
				a.path = args[0]
			}
			return a.verify(cmd.Context(), path, v)
		},
	}
	cmd.Flags().StringVar(&v.trust, "trust", "", "the trust policy `FILE` (default trust.json of the repository, if it has one)")
	cmd.Flags().StringSliceVar(&v.pub, "pub", nil, "look for the holder of this public key `FILE`, rather than for the policy's signers")
	cmd.Flags().StringVar(&v.from, "from", "", "judge the change since this `COMMIT` (or file) as reconcile will")
	cli.NoEnv(cmd, "from")
	return cmd
}

type verifySettings struct {
	trust, from string
	pub         []string
}

type verifyLine struct {
	File       string          `json:"file"`
	OK         bool            `json:"ok"`
	Version    string          `json:"version"`
	Digest     string          `json:"digest"`
	Signatures []signatureLine `json:"signatures"`
	Verdict    string          `json:"verdict,omitempty"`    // with --from: allowed, refused, deferred
	Reason     string          `json:"reason,omitempty"`     // with --from
	NotBefore  *time.Time      `json:"not_before,omitempty"` // with --from, when deferred
	Rulings    []rulingLine    `json:"rulings,omitempty"`    // with --from
}

type signatureLine struct {
	Bundle string   `json:"bundle"`
	State  string   `json:"state"` // valid, stale, rejected
	Signer string   `json:"signer,omitempty"`
	KeyID  string   `json:"key_id,omitempty"`
	Roles  []string `json:"roles,omitempty"`
	Reason string   `json:"reason,omitempty"`
}

type rulingLine struct {
	Change  string `json:"change"`
	Role    string `json:"role,omitempty"` // none: not covered
	Because string `json:"because"`
}

func (a *app) verify(ctx context.Context, path string, v verifySettings) error {
	spec, err := a.readSpec(path)
	if err != nil {
		return err
	}
	policy, who, err := a.whoCounts(v)
	if err != nil {
		return err
	}
	bundles, err := a.readBundles(path)
	if err != nil {
		return err
	}
	opt, err := a.verifyOptions()
	if err != nil {
		return err
	}
	result := signing.Verify(signing.NewArtifact(spec.Bytes()), bundles, who, opt)
	line := verifyLine{File: path, Version: spec.Version, Digest: spec.Digest(), Signatures: signatureLines(result, policy)}
	verdict := unsignedError(path, result)
	if policy != nil && v.from == "" && verdict == nil {
		verdict = wrongEnvironment(spec, path, policy)
	}
	if v.from != "" && verdict == nil {
		verdict, err = a.authorize(ctx, &line, spec, policy, result.Signers(), v.from)
		if err != nil {
			return err
		}
	}
	line.OK = verdict == nil
	if a.json {
		return errors.Join(cli.JSONLine(a.env.Stdout, "verify/v1", line), answered(verdict))
	}
	return errors.Join(a.printVerification(line), verdict)
}

// whoCounts is whose signatures are looked for: those of --pub, else those of the policy.
func (a *app) whoCounts(v verifySettings) (*trust.Policy, []signing.Identity, error) {
	var who []signing.Identity
	for _, path := range v.pub {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, fmt.Errorf("reading a public key: %w", err)
		}
		key, err := signing.ParsePublicKey(pem)
		if err != nil {
			return nil, nil, usage(cli.Hint(fmt.Errorf("reading the public key %s: %w", path, err), "--pub takes the public half, such as cosign.pub"))
		}
		who = append(who, signing.Identity{Name: strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), Keys: []signing.PublicKey{key}})
	}
	if who != nil && v.from == "" {
		return nil, who, nil
	}
	policy, _, err := a.readTrust(v.trust)
	if err != nil {
		return nil, nil, err
	}
	if policy == nil {
		return nil, nil, usage(cli.Hint(errors.New("nobody to look for: the repository has no trust.json"), "name the policy with --trust FILE, or a public key with --pub FILE"))
	}
	if who == nil {
		who = policy.Identities()
	}
	return policy, who, nil
}

func signatureLines(result signing.Result, policy *trust.Policy) []signatureLine {
	var out []signatureLine
	for _, s := range result.Valid {
		line := signatureLine{Bundle: s.Path, State: "valid", Signer: s.Signer, KeyID: s.KeyID}
		if policy != nil {
			line.Roles = policy.RolesOf(s.Signer)
		}
		out = append(out, line)
	}
	for _, r := range result.Rejected {
		state := "rejected"
		if errors.Is(r.Reason, signing.ErrOtherBytes) {
			state = "stale"
		}
		out = append(out, signatureLine{Bundle: r.Path, State: state, Reason: r.Reason.Error()})
	}
	return out
}

func unsignedError(path string, result signing.Result) error {
	if len(result.Valid) > 0 {
		return nil
	}
	err := fmt.Errorf("verifying %s: nobody who counts has signed it as it stands", path)
	if len(result.Valid)+len(result.Rejected) == 0 {
		err = fmt.Errorf("verifying %s: there is no signature beside it", path)
	}
	for _, r := range result.Rejected {
		if errors.Is(r.Reason, signing.ErrLegacyBundle) {
			err = cli.Hint(err, "make the older bundle a v0.3 one with stock cosign: cosign bundle create --artifact %s --bundle OLD --key cosign.pub --ignore-tlog --out %s.sigstore.json", path, path)
			break
		}
	}
	return cli.Exit(cli.ExitRefused, cli.Hint(err, "propose sign --key KEY"))
}

// authorize judges the change since from into line. The first error is the verdict, the second says
// that it could not be reached.
func (a *app) authorize(ctx context.Context, line *verifyLine, spec *flags.Spec, policy *trust.Policy, signers []string, from string) (verdict, err error) {
	before, _, err := a.specAt(ctx, from)
	if err != nil {
		return nil, err
	}
	lastUp, err := a.lastUps(ctx, from, policy)
	if err != nil {
		return nil, err
	}
	answer := policy.Authorize(trust.Request{
		Previous: before, Next: spec, Changes: flags.Diff(before, spec), Signers: signers,
		Now: time.Now(), LastUp: lastUp, Proof: a.proofs(policy, spec.Environment),
	})
	line.Verdict, line.Reason = answer.Verdict.String(), string(answer.Reason)
	if !answer.NotBefore.IsZero() {
		line.NotBefore = &answer.NotBefore
	}
	for _, r := range answer.Covered {
		line.Rulings = append(line.Rulings, rulingLine{r.Change.String(), r.Role, r.Sentence})
	}
	for _, r := range answer.Uncovered {
		line.Rulings = append(line.Rulings, rulingLine{r.Change.String(), "", r.Sentence})
	}
	if answer.Verdict == trust.Refused {
		return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("refused (%s): %s", answer.Reason, answer.Sentence()), "%s", answer.Hint)), nil
	}
	return nil, nil
}

func (a *app) printVerification(line verifyLine) error {
	paint := a.env.OutPalette()
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s\n", line.File, line.Version, line.Digest)
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, s := range line.Signatures {
		says := s.Reason
		if s.State == "valid" {
			says = s.Signer + ", " + s.KeyID
			if len(s.Roles) > 0 {
				says += ", role " + strings.Join(s.Roles, ", ")
			}
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", s.State, filepath.Base(s.Bundle), says)
	}
	w.Flush()
	for _, r := range line.Rulings {
		mark := "  covered "
		if r.Role == "" {
			mark = "  refused "
		}
		b.WriteString(mark + " " + r.Because + "\n")
	}
	switch line.Verdict {
	case "":
	case "allowed":
		fmt.Fprintf(&b, "%s: reconcile will accept this change\n", line.Verdict)
	case "deferred":
		fmt.Fprintf(&b, "%s: reconcile will accept this change at %s\n", line.Verdict, line.NotBefore.UTC().Format(time.RFC3339))
	}
	out := cli.Printable(b.String())
	if !line.OK {
		out = paint.Red(out)
	}
	_, err := io.WriteString(a.env.Stdout, out)
	return err
}
