package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

const policyLong = `policy hands the trust policy on: specs/trust.json, whose successor the reconciler takes into force when it
is numbered one higher, names the digest of the one before, and is signed by the maintainers of both.

  propose policy next      number it after the one in force
  (edit specs/trust.json)
  propose policy sign      each maintainer of the old and of the new one
  propose policy verify    what will the reconciler say?

The one in force is looked for in the history of the file and in trust.json at the repository's root,
by the digest; or --from names it: a file or a commit. docs/trust.md and docs/runbooks/policy-rotation.md
say more.`

type policySettings struct {
	file, from string
	signSettings
}

func policyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Hand the trust policy on, inside the repository",
		Long:  policyLong,
		Example: `  propose policy next
  propose policy sign --key bob.key --signer bob
  propose policy verify`,
	}
	cmd.AddCommand(policyNext(a), policySign(a), policyVerify(a))
	return cmd
}

func (p *policySettings) define(cmd *cobra.Command, from bool) {
	cmd.Flags().StringVar(&p.file, "policy", "", "the policy's `FILE` (default trust.json beside the spec)")
	if from {
		cmd.Flags().StringVar(&p.from, "from", "", "the policy in force: a `FILE` or a commit (default: looked for)")
		cli.NoEnv(cmd, "from")
	}
	cli.NoEnv(cmd, "policy")
}

// path is the policy that is handed on.
func (p *policySettings) path(a *app) string {
	if p.file != "" {
		return p.file
	}
	return filepath.Join(filepath.Dir(a.specPath()), "trust.json")
}

func policyNext(a *app) *cobra.Command {
	var p policySettings
	cmd := &cobra.Command{
		Use:   "next [flags]",
		Short: "Number the policy after the one in force",
		Long: `next gives specs/trust.json the number that follows the policy in force, and that one's digest as
"previous". Where the file is not there, or is the one in force, it begins as a copy of it. Nothing else in it is
touched: edit it before or after.

The policy in force is what the branch's last commit has there; where it has none, trust.json at the
repository's root; or what --from names, such as origin/main while a proposal is under way.`,
		Example: `  propose policy next
  propose policy next --from /etc/rampart/trust.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.policyNext(cmd.Context(), p) },
	}
	p.define(cmd, true)
	return cmd
}

func (a *app) policyNext(ctx context.Context, p policySettings) error {
	path := p.path(a)
	old, src, err := a.policyFrom(ctx, path, cmp.Or(p.from, "HEAD"))
	if err != nil {
		return err
	}
	text, err := a.readFile(path, maxTrust+1)
	if errors.Is(err, fs.ErrNotExist) {
		text = src
	} else if err != nil {
		return fmt.Errorf("reading the policy: %w", err)
	}
	out, err := trust.Renumber(path, text, old.Version+1, old.Digest())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := replaceFile(path, out); err != nil {
		return fmt.Errorf("writing the policy: %w", err)
	}
	if a.json {
		return cli.JSONLine(a.env.Stdout, "policy.next/v1", struct {
			Policy   string `json:"policy"`
			Version  int    `json:"version"`
			Previous string `json:"previous"`
		}{path, old.Version + 1, old.Digest()})
	}
	fmt.Fprintln(a.env.Stdout, path)
	a.env.Talk("number %d, after %s; edit it, then: propose policy sign --key KEY --signer YOUR-NAME", old.Version+1, old.Digest())
	return nil
}

func policySign(a *app) *cobra.Command {
	var p policySettings
	cmd := &cobra.Command{
		Use:   "sign [flags]",
		Short: "Sign the policy as it stands",
		Long: `sign writes a sigstore bundle beside the policy: trust.json.sigstore.json, or, with --signer,
trust.json.<signer>.sigstore.json. The maintainers of the policy in force must sign, and those of the next one; who is
both signs once. A policy that breaks the format is not signed.`,
		Example: `  propose policy sign --key alice.key
  propose policy sign --key bob.key --signer bob`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.policySign(cmd.Context(), p) },
	}
	p.define(cmd, false)
	p.defineKey(cmd)
	cmd.Flags().Lookup("trust").Hidden = true // the policy itself says who is who
	return cmd
}

func (a *app) policySign(ctx context.Context, p policySettings) error {
	if !p.signs() {
		return usage(cli.Hint(errors.New("nothing to sign with"), "give --key KEY, or --keyless"))
	}
	if err := p.check(); err != nil {
		return err
	}
	path := p.path(a)
	policy, src, err := a.parsePolicy(path)
	if err != nil {
		return err
	}
	bundle, by, err := a.makeBundle(ctx, src, p.signSettings)
	if err != nil {
		return fmt.Errorf("signing %s: %w", path, err)
	}
	where, err := a.whereToSign(path, src, by, policy, p.signer)
	if err != nil {
		return err
	}
	if err := replaceFile(where, bundle); err != nil {
		return fmt.Errorf("writing the signature: %w", err)
	}
	if a.json {
		return cli.JSONLine(a.env.Stdout, "policy.sign/v1", struct {
			Policy  string `json:"policy"`
			Version int    `json:"version"`
			Digest  string `json:"digest"`
			Bundle  string `json:"bundle"`
			KeyID   string `json:"key_id,omitempty"`
		}{path, policy.Version, policy.Digest(), where, by.ID()})
	}
	fmt.Fprintln(a.env.Stdout, where)
	a.env.Talk("signed policy version %d; is that enough? propose policy verify", policy.Version)
	return nil
}

func policyVerify(a *app) *cobra.Command {
	var p policySettings
	cmd := &cobra.Command{
		Use:   "verify [flags]",
		Short: "Say whether the reconciler will take the policy",
		Long: `verify judges specs/trust.json as the reconciler will: does it follow the policy in force, and have the
maintainers of both signed it? It exits 4 when it would be refused, and says what is missing.

The one in force is the one that the policy names as its previous.`,
		Example: `  propose policy verify
  propose policy verify --from origin/main`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.policyVerify(cmd.Context(), p) },
	}
	p.define(cmd, true)
	return cmd
}

type policyLine struct {
	Policy     string          `json:"policy"`
	OK         bool            `json:"ok"`
	Version    int             `json:"version"`
	Digest     string          `json:"digest"`
	From       int             `json:"from"`
	Signatures []signatureLine `json:"signatures"`
	Reason     string          `json:"reason,omitempty"`
	Message    string          `json:"message,omitempty"`
}

func (a *app) policyVerify(ctx context.Context, p policySettings) error {
	path := p.path(a)
	next, src, err := a.parsePolicy(path)
	if err != nil {
		return err
	}
	old, _, err := a.policyFrom(ctx, path, cmp.Or(p.from, next.Previous))
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
	artifact := signing.NewArtifact(src)
	before := signing.Verify(artifact, bundles, old.Identities(), opt)
	after := signing.Verify(artifact, bundles, next.Identities(), opt)
	line := policyLine{Policy: path, Version: next.Version, Digest: next.Digest(), From: old.Version, Signatures: signatureLines(after, next)}
	verdict := trust.Succeeds(old, next, before.Signers(), after.Signers(), time.Now())
	line.OK = verdict == nil
	if unfit := (*trust.RotationError)(nil); errors.As(verdict, &unfit) {
		line.Reason, line.Message = string(unfit.Reason), unfit.Sentence()
		verdict = cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("refused (%s): %s: %s", unfit.Reason, path, unfit.Sentence()), "%s", policyHints[unfit.Reason]))
	}
	if a.json {
		return errors.Join(cli.JSONLine(a.env.Stdout, "policy.verify/v1", line), answered(verdict))
	}
	fmt.Fprintf(a.env.Stdout, "%s: policy version %d, %s, after version %d\n", path, next.Version, next.Digest(), old.Version)
	for _, side := range []struct {
		name   string
		result signing.Result
		policy *trust.Policy
	}{{"in force", before, old}, {"next", after, next}} {
		for _, s := range signatureLines(side.result, side.policy) {
			says := s.Reason
			if s.State == "valid" {
				says = s.Signer + ", role " + fmt.Sprint(s.Roles)
			}
			fmt.Fprint(a.env.Stdout, cli.Printable(fmt.Sprintf("  %-8s  %-8s  %s  %s", side.name, s.State, filepath.Base(s.Bundle), says))+"\n")
		}
	}
	if verdict == nil {
		fmt.Fprintln(a.env.Stdout, "reconcile will take it into force")
	}
	return verdict
}

var policyHints = map[trust.Reason]string{
	trust.PolicyReplayed: "propose policy next", trust.PolicySkipped: "propose policy next", trust.PolicyPrevious: "propose policy next",
	trust.PolicyEnvironment:    "keep the environment: another one has a policy of its own",
	trust.PolicyNobody:         `keep a role with "may": ["*"] and no bounds, whose threshold can be reached`,
	trust.PolicyOldMaintainers: "a maintainer of the one in force: propose policy sign --key KEY --signer NAME",
	trust.PolicyNewMaintainers: "a maintainer of the next one: propose policy sign --key KEY --signer NAME",
}

func (a *app) parsePolicy(path string) (*trust.Policy, []byte, error) {
	src, err := a.readFile(path, maxTrust+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, cli.Hint(fmt.Errorf("reading the policy: no file %s", path), "propose policy next")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the policy: %w", err)
	}
	p, err := trust.Parse(path, src)
	return p, src, err
}

// policyFrom finds the policy in force: a file; what a commit has at path, or at the repository's root; or, by a digest, what
// either of the two ever was.
func (a *app) policyFrom(ctx context.Context, path, from string) (*trust.Policy, []byte, error) {
	missing := func(err error) error {
		return cli.Hint(fmt.Errorf("looking for the policy in force: %w", err), "name it: --from FILE")
	}
	if info, err := os.Stat(from); err == nil && info.Mode().IsRegular() {
		return a.parsePolicy(from)
	}
	c, err := needCheckout(path)
	if err != nil {
		return nil, nil, missing(err)
	}
	name, err := c.Path(path)
	if err != nil {
		return nil, nil, err
	}
	if from == "" {
		return nil, nil, missing(fmt.Errorf("%s names no previous policy", path))
	}
	if digestForm.MatchString(from) {
		return policyByDigest(ctx, c, name, from, missing)
	}
	for _, try := range []string{name, "trust.json"} {
		src, err := c.ReadFile(ctx, from, try, maxTrust)
		if errors.Is(err, gitrepo.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, missing(err)
		}
		p, err := trust.Parse(fmt.Sprintf("%s at %.12s", try, from), src)
		return p, src, err
	}
	return nil, nil, missing(fmt.Errorf("%s has neither %s nor trust.json", from, name))
}

func policyByDigest(ctx context.Context, c *checkout, name, digest string, missing func(error) error) (*trust.Policy, []byte, error) {
	var found []byte
	for _, try := range []string{name, "trust.json"} {
		err := c.Line(ctx, "HEAD", try, maxTrust, func(_ gitrepo.Commit, src []byte) error {
			if sum := sha256.Sum256(src); "sha256:"+hex.EncodeToString(sum[:]) == digest {
				found = append([]byte(nil), src...)
			}
			return nil
		})
		if err != nil {
			return nil, nil, missing(err)
		}
		if found != nil {
			p, err := trust.Parse(try, found)
			return p, found, err
		}
	}
	return nil, nil, missing(fmt.Errorf("nothing in the history of %s and trust.json has the digest %s", name, digest))
}
