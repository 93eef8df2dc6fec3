package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
)

// commitSpec commits a spec and what belongs to it. The message says what changed since HEAD, unless
// a subject is given. It returns "" when HEAD has all of it already.
func (a *app) commitSpec(ctx context.Context, path string, spec *flags.Spec, files []string, s signSettings) (string, error) {
	if s.fullMessage != "" {
		return a.commitFiles(ctx, path, files, s.fullMessage)
	}
	// A signature that somebody else left beside the spec belongs to it as much as the newest one.
	bundles, err := a.readBundles(path)
	if err != nil {
		return "", err
	}
	for _, b := range bundles {
		if !slices.Contains(files, b.Path) {
			files = append(files, b.Path)
		}
	}
	c, err := needCheckout(path)
	if err != nil {
		return "", err
	}
	var before *flags.Spec
	if _, head, err := c.Head(ctx); err != nil {
		return "", err
	} else if head != "" {
		before, _ = c.specAt(ctx, head) // one that cannot be read tells nothing
	}
	message := changeMessage(s.message, flags.Diff(before, spec)) + a.trailers(spec)
	return a.commitFiles(ctx, path, files, message)
}

// commitFiles commits files, as they are on disk, and nothing else.
func (a *app) commitFiles(ctx context.Context, path string, files []string, message string) (string, error) {
	c, err := needCheckout(path)
	if err != nil {
		return "", err
	}
	var names []string
	for _, f := range files {
		name, err := c.Path(f)
		if err != nil {
			return "", fmt.Errorf("committing: %w", err)
		}
		names = append(names, name)
	}
	hash, err := c.CommitPaths(ctx, message, nil, names...)
	switch {
	case errors.Is(err, gitrepo.ErrUnchanged):
		return "", nil
	case errors.Is(err, gitrepo.ErrBusy):
		return "", cli.Hint(err, "finish it first: propose resolve --key KEY")
	case err != nil && !hasIdentity(ctx, filepath.Dir(path)):
		return "", noIdentity(errors.New("committing: git does not know who commits; the files are made, and wait"))
	}
	return hash, err
}

// hasIdentity is whether git knows whose commits are made in dir.
func hasIdentity(ctx context.Context, dir string) bool {
	return gitAnswer(ctx, dir, "var", "GIT_COMMITTER_IDENT") != "" && gitAnswer(ctx, dir, "var", "GIT_AUTHOR_IDENT") != ""
}

func noIdentity(err error) error {
	return cli.Hint(err, `git config --global user.name "Your Name" && git config --global user.email you@example.com`)
}

// maxListed bounds the lines of a message that say what changed.
const maxListed = 50

// changeMessage is a commit's message: a subject, and a line for each change.
func changeMessage(subject string, changes []flags.Change) string {
	var features []string
	for _, c := range changes {
		if c.Feature != "" && !slices.Contains(features, c.Feature) {
			features = append(features, c.Feature)
		}
	}
	if subject == "" {
		switch {
		case len(changes) == 0:
			subject = "flags: sign the spec anew"
		case len(changes) == 1:
			subject = "flags: " + changes[0].String()
		case len(features) == 0:
			subject = "flags: " + counted(len(changes), "change", "changes")
		default:
			subject = fmt.Sprintf("flags: %s in %s", counted(len(changes), "change", "changes"), some(features, 3))
		}
	}
	subject = strings.Join(strings.Fields(cli.Printable(subject)), " ")
	if len(changes) < 2 {
		return subject + "\n"
	}
	var b strings.Builder
	b.WriteString(subject + "\n\n")
	for i, c := range changes {
		if i == maxListed {
			fmt.Fprintf(&b, "and %d more\n", len(changes)-i)
			break
		}
		b.WriteString(strings.ReplaceAll(cli.Printable(c.String()), "\n", " ") + "\n")
	}
	return b.String()
}

// trailers tie a commit to the version it makes and to the chain of operations it belongs to: that
// of $OP_CHAIN_ID, else one that begins here.
func (a *app) trailers(spec *flags.Spec) string {
	op := uuid.Must(uuid.NewV7()).String()   // it sorts by time
	chain := strings.ReplaceAll(op, "-", "") // 32 hex digits, as a trace id has
	if given, ok := a.env.Lookup("OP_CHAIN_ID"); ok && given != "" && !strings.ContainsAny(given, "\r\n") {
		chain = given
	}
	return fmt.Sprintf("\nFlags-Version: %s\nOp-Id: %s\nOp-Chain-Id: %s\n", spec.Version, op, chain)
}

// commitsAnyway tells whoever gives --commit, as other commands have it, that this one needs none.
func commitsAnyway(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if missing, ok := errors.AsType[*pflag.NotExistError](err); ok && missing.GetSpecifiedName() == "commit" {
			return usage(cli.Hint(err, "%s commits by itself: leave --commit out", c.CommandPath()))
		}
		return c.Parent().FlagErrorFunc()(c, err)
	})
}
