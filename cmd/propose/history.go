package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

func historyCommand(a *app) *cobra.Command {
	var limit int
	var policy, rev string
	cmd := &cobra.Command{
		Use:   "history [FEATURE] [flags]",
		Short: "List the commits that changed the spec, and what they did",
		Long: `history lists the commits that touched the spec or its signatures, newest first: the version, what changed
for whom, and whose signature, by today's trust policy, stands on it. With a FEATURE it lists those that
changed that one.`,
		Example: `  propose history
  propose history receipts --limit 5
  propose history --json | jq -r .version`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			feature := ""
			if len(args) > 0 {
				feature = args[0]
			}
			return a.history(cmd.Context(), feature, rev, policy, limit)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "stop after `N` commits; 0 means all")
	cmd.Flags().StringVar(&rev, "from", "HEAD", "begin at this `COMMIT`")
	cli.NoEnv(cmd, "from")
	cmd.Flags().StringVar(&policy, "trust", "", "the trust policy `FILE` (default trust.json of the repository, if it has one)")
	return cmd
}

type historyLine struct {
	Commit  string         `json:"commit"`
	When    time.Time      `json:"when"`
	Author  string         `json:"author"`
	Email   string         `json:"email"`
	Subject string         `json:"subject"`
	Version string         `json:"version,omitempty"`
	Digest  string         `json:"digest,omitempty"`
	Signers []string       `json:"signers"`
	Reverts []string       `json:"reverts,omitempty"`
	Changes []flags.Change `json:"changes"`
	Problem string         `json:"problem,omitempty"` // the commit's spec is missing or invalid
}

func (a *app) history(ctx context.Context, feature, rev, policyPath string, limit int) error {
	c, err := needCheckout(a.specPath())
	if err != nil {
		return err
	}
	policy, _, err := a.readTrust(policyPath)
	if err != nil {
		return err
	}
	if _, head, err := c.Head(ctx); err != nil || head == "" {
		return err
	}
	commits, err := c.History(ctx, rev, c.spec, path.Dir(c.spec))
	if err != nil {
		return err
	}
	shown := 0
	for _, commit := range commits {
		line, ours, err := a.historyLine(ctx, c, commit, policy)
		if err != nil {
			return err
		}
		if !ours || (feature != "" && !touches(line.Changes, feature)) {
			continue
		}
		if a.json {
			err = cli.JSONLine(a.env.Stdout, "history/v1", line)
		} else {
			err = a.printHistory(line)
		}
		if shown++; err != nil || shown == limit {
			return err
		}
	}
	if feature != "" && shown == 0 {
		// A feature that was removed has a history, one that never was has none.
		if spec, err := c.specAt(ctx, rev); err == nil && spec != nil && spec.Feature(feature) == nil {
			return noFeature(spec, feature)
		}
	}
	return nil
}

func touches(changes []flags.Change, feature string) bool {
	for _, c := range changes {
		if c.Feature == feature {
			return true
		}
	}
	return false
}

// historyLine says what one commit did to the spec; ours is false when neither the spec nor a
// signature on it changed.
func (a *app) historyLine(ctx context.Context, c *checkout, commit gitrepo.Commit, policy *trust.Policy) (line historyLine, ours bool, err error) {
	line = historyLine{
		Commit: commit.Hash, When: commit.Author.When, Author: commit.Author.Name, Email: commit.Author.Email,
		Subject: commit.Subject(), Reverts: gitrepo.Reverts(commit.Message),
	}
	now, err := c.signedFiles(ctx, commit.Hash)
	if err != nil {
		return line, false, err
	}
	before := map[string]string{}
	var parent string
	if len(commit.Parents) > 0 {
		parent = commit.Parents[0]
		if before, err = c.signedFiles(ctx, parent); err != nil {
			return line, false, err
		}
	}
	if same := len(now) == len(before); same {
		for name, blob := range now {
			same = same && before[name] == blob
		}
		if same {
			return line, false, nil
		}
	}
	spec, err := c.specAt(ctx, commit.Hash)
	switch {
	case err != nil:
		line.Problem = "invalid: " + firstLineOf(err)
		return line, true, nil
	case spec == nil:
		line.Problem = "the commit removes the spec"
		return line, true, nil
	}
	var was *flags.Spec
	if parent != "" && before[c.spec] != "" {
		was, _ = c.specAt(ctx, parent) // after an invalid one, all is new
	}
	line.Version, line.Digest, line.Changes = spec.Version, spec.Digest(), flags.Diff(was, spec)
	if policy != nil {
		line.Signers, err = a.signersAt(ctx, c, commit.Hash, spec, now, policy)
	}
	return line, true, err
}

func firstLineOf(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// signedFiles are the spec and the signatures on it that a commit has, each with git's name of its
// content.
func (c *checkout) signedFiles(ctx context.Context, commit string) (map[string]string, error) {
	dir := path.Dir(c.spec) + "/"
	if dir == "./" {
		dir = "."
	}
	out, err := c.git(ctx, "ls-tree", "-z", "--full-tree", commit, "--", dir).Output()
	if err != nil {
		return nil, fmt.Errorf("listing %s at %.12s: %w", dir, commit, err)
	}
	files := map[string]string{}
	for _, line := range strings.Split(string(out), "\x00") {
		info, name, ok := strings.Cut(line, "\t") // <mode> SP <type> SP <object> TAB <path>
		f := strings.Fields(info)
		if ok && len(f) == 3 && (name == c.spec || isBundleOf(path.Base(c.spec), path.Base(name))) {
			files[name] = f[2]
		}
	}
	return files, nil
}

// signersAt are those whom the policy knows and whose signatures on a commit's spec hold.
func (a *app) signersAt(ctx context.Context, c *checkout, commit string, spec *flags.Spec, files map[string]string, policy *trust.Policy) ([]string, error) {
	var bundles []signing.NamedBundle
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name == c.spec {
			continue
		}
		data, err := c.ReadFile(ctx, commit, name, signing.MaxBundle)
		if errors.Is(err, gitrepo.ErrTooLarge) || errors.Is(err, gitrepo.ErrNotRegular) {
			continue
		}
		if err != nil {
			return nil, err
		}
		bundles = append(bundles, signing.NamedBundle{Path: name, Data: data})
	}
	opt, err := a.verifyOptions()
	if err != nil {
		return nil, err
	}
	return signing.Verify(signing.NewArtifact(spec.Bytes()), bundles, policy.Identities(), opt).Signers(), nil
}

func (a *app) printHistory(line historyLine) error {
	paint := a.env.OutPalette()
	var b strings.Builder
	signed := "nobody who counts"
	if len(line.Signers) > 0 {
		signed = strings.Join(line.Signers, ", ")
	}
	fmt.Fprintf(&b, "%s  %s  %s  by %s, signed by %s\n", paint.Bold(line.Commit[:12]), line.When.UTC().Format("2006-01-02 15:04"),
		cli.Printable(line.Version), cli.Printable(line.Author), cli.Printable(signed))
	fmt.Fprintf(&b, "  %s\n", cli.Printable(line.Subject))
	if line.Problem != "" {
		fmt.Fprintf(&b, "  %s\n", paint.Red(cli.Printable(line.Problem)))
	}
	const most = 10
	for i, c := range line.Changes {
		if i == most {
			fmt.Fprintf(&b, "    and %d more\n", len(line.Changes)-i)
			break
		}
		text := "    " + cli.Printable(c.String())
		if c.Kind == flags.Salt {
			text = paint.Red("  ! " + cli.Printable(c.String()))
		}
		b.WriteString(text + "\n")
	}
	_, err := fmt.Fprint(a.env.Stdout, b.String())
	return err
}
