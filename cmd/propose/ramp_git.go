package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ramp"
)

// maxTries is how often a run decides anew because somebody else was faster.
const maxTries = 8

// editFile decides on the file in the work tree and writes it. Runs on the same file take turns.
func (r *rampRun) editFile(ctx context.Context) (*rampDone, error) {
	if !r.s.dryRun {
		unlock, err := lockSpec(r.file)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	b, err := r.baseOfFile(ctx)
	if err != nil {
		return nil, err
	}
	p, err := r.decide(b, allMoves)
	if err != nil {
		return nil, err
	}
	done := &rampDone{rampProposal: p, DryRun: r.s.dryRun, Unsigned: !r.s.sign.signs()}
	if r.s.dryRun {
		return done, nil
	}
	if err := r.rememberInDir(p); err != nil || !p.changed() {
		return done, err
	}
	files, err := r.files(ctx, p)
	if err != nil {
		return nil, err
	}
	// The spec comes last: what it names must be there before it is.
	for _, name := range append(withoutLast(files, r.file), r.file) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return nil, fmt.Errorf("writing the evidence: %w", err)
		}
		if err := replaceFile(name, files[name]); err != nil {
			return nil, fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return done, nil
}

func withoutLast(files map[string][]byte, last string) []string {
	var names []string
	for name := range files {
		if name != last {
			names = append(names, name)
		}
	}
	return names
}

// lockSpec keeps other proposers away from a file. The lock lies outside the repository.
func lockSpec(file string) (unlock func(), err error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	sum := sha256.Sum256([]byte(abs))
	name := fmt.Sprintf("rampart-%d-%s.lock", os.Getuid(), hex.EncodeToString(sum[:8]))
	unlock, err = lockedfile.MutexAt(filepath.Join(os.TempDir(), name)).Lock()
	if err != nil {
		return nil, fmt.Errorf("waiting for other runs on %s: %w", file, err)
	}
	return unlock, nil
}

// baseOfFile is the spec as it stands in the work tree, with the history of what is checked out.
func (r *rampRun) baseOfFile(ctx context.Context) (b rampBase, err error) {
	if b.spec, err = r.readSpec(r.file); err != nil {
		return b, err
	}
	b.subject, b.log = displayName(r.file), &ramp.Log{}
	if b.from, err = r.basis(ctx, r.file, "HEAD"); err != nil {
		return b, err
	}
	c, err := checkoutOf(r.file)
	if err != nil {
		return b, err
	}
	if c != nil {
		_, head, err := c.Head(ctx)
		if err != nil {
			return b, err
		}
		if head != "" {
			if b.log, err = c.logAt(ctx, head); err != nil {
				return b, err
			}
			b.spent = c.spentAt(ctx, head, b.spec)
		}
	}
	b.log.Pending(b.spec)
	b.past, err = r.past(ctx, c, b.spec)
	return b, err
}

// baseAt is the spec as a commit has it.
func (r *rampRun) baseAt(ctx context.Context, c *checkout, commit string) (b rampBase, err error) {
	b.subject = fmt.Sprintf("%s at %.12s", c.spec, commit)
	if b.spec, err = c.specAt(ctx, commit); err != nil {
		return b, err
	}
	if b.spec == nil {
		return b, cli.Hint(fmt.Errorf("deciding on %s: there is no such file", b.subject), "make one: propose init; or name it: --path FILE")
	}
	b.from = basis{file: b.subject, made: b.spec}
	if b.from.seen, err = c.versions(ctx, commit); err != nil {
		return b, err
	}
	if b.log, err = c.logAt(ctx, commit); err != nil {
		return b, err
	}
	b.spent = c.spentAt(ctx, commit, b.spec)
	b.past, err = r.past(ctx, c, b.spec)
	return b, err
}

// files are the contents to write for a proposal, by path on disk: the spec, the evidence, and their
// signatures.
func (r *rampRun) files(ctx context.Context, p *rampProposal) (map[string][]byte, error) {
	if err := r.guardRecord(p); err != nil {
		return nil, err
	}
	record := filepath.Join(filepath.Dir(r.file), "evidence", recordName(p.digest()))
	files := map[string][]byte{r.file: p.next.Bytes(), record: p.record}
	if r.s.sign.signs() {
		sig, err := r.signSpec(ctx, r.file, p.next, r.s.sign)
		if err != nil {
			return nil, err
		}
		files[sig.path] = sig.bundle
	}
	if r.s.signEvidence || r.s.evidenceKey != "" {
		with := r.s.sign
		if r.s.evidenceKey != "" {
			with = signSettings{key: r.s.evidenceKey}
		}
		bundle, _, err := r.makeBundle(ctx, p.record, with)
		if err != nil {
			return nil, fmt.Errorf("signing the evidence: %w", err)
		}
		files[bundlePath(record, "")] = bundle
	}
	return files, nil
}

func recordName(digest string) string { return strings.TrimPrefix(digest, "sha256:") + ".json" }

// recordPath is where a record lies in the repository.
func (c *checkout) recordPath(digest string) string {
	return path.Join(path.Dir(c.spec), "evidence", recordName(digest))
}

// place is where a run's commit goes.
type place struct {
	c      *checkout
	branch string // that is live
	remote string // "" for the checkout's own branch
}

// stand is how things stand there at one moment.
type stand struct {
	base string // the commit to decide on and to build upon
	at   string // where the branch is now; "" when the remote has none
	head string // what is checked out
	here bool   // branch is checked out, and can follow: it has nothing that base has not
}

func (r *rampRun) place(ctx context.Context) (p place, err error) {
	if p.c, err = needCheckout(r.file); err != nil {
		return p, err
	}
	branch, head, err := p.c.Head(ctx)
	if err != nil {
		return p, err
	}
	if head == "" {
		return p, usage(cli.Hint(errors.New("there is no commit to build upon"), "propose init --commit"))
	}
	if r.s.reach() == reachCommit {
		p.branch = branch
		return p, nil
	}
	p.remote, p.branch = r.s.remote, r.s.branch
	if p.branch == "" {
		p.branch = branch
	}
	if p.branch == "" {
		return p, usage(cli.Hint(errors.New("no branch is checked out"), "say which one is live: --branch main"))
	}
	return p, nil
}

func (p place) look(ctx context.Context) (s stand, err error) {
	branch, head, err := p.c.Head(ctx)
	if err != nil {
		return s, err
	}
	s.head = head
	if p.remote == "" {
		s.base, s.at, s.here = head, head, true
		return s, nil
	}
	s.at, err = p.c.Fetch(ctx, p.remote, p.branch)
	if err != nil && !errors.Is(err, gitrepo.ErrNoBranch) {
		return s, err
	}
	s.base = s.at
	if branch != p.branch {
		if s.at == "" {
			return s, usage(cli.Hint(fmt.Errorf("%s has no branch %s", p.remote, p.branch), "push it first, or name another: --branch main"))
		}
		return s, nil
	}
	ahead := s.at == ""
	if !ahead {
		if ahead, err = p.c.isAncestor(ctx, s.at, head); err != nil {
			return s, err
		}
		if s.here, err = p.c.isAncestor(ctx, head, s.at); err != nil {
			return s, err
		}
	}
	if ahead { // commits of the person's own go along, as they would with git push
		s.base, s.here = head, true
	}
	return s, nil
}

// publish decides, commits and hands on, and begins again when the branch moved meanwhile.
func (r *rampRun) publish(ctx context.Context, which moves) (*rampDone, error) {
	p, err := r.place(ctx)
	if err != nil {
		return nil, err
	}
	if !r.s.dryRun {
		unlock, err := lockSpec(r.file)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	for range maxTries {
		done, err := r.tryPublish(ctx, p, which)
		if !errors.Is(err, gitrepo.ErrMoved) {
			return done, err
		}
		r.env.Talk("%s moved on meanwhile: deciding anew", p.branch)
	}
	return nil, cli.Hint(fmt.Errorf("%s moves on faster than this run can decide", p.branch), "try again")
}

func (r *rampRun) tryPublish(ctx context.Context, at place, which moves) (*rampDone, error) {
	s, err := at.look(ctx)
	if err != nil {
		return nil, err
	}
	if at.remote == "" {
		if err := r.wantClean(ctx, at.c); err != nil {
			return nil, err
		}
	}
	b, err := r.baseAt(ctx, at.c, s.base)
	if err != nil {
		return nil, err
	}
	p, err := r.decide(b, which)
	if err != nil {
		return nil, err
	}
	done := &rampDone{rampProposal: p, DryRun: r.s.dryRun, Unsigned: !r.s.sign.signs()}
	if r.s.dryRun {
		return done, nil
	}
	if p.changed() {
		if done.Commit, err = r.commit(ctx, at.c, s.base, p); err != nil {
			return nil, err
		}
	}
	if r.s.reach() == reachPR {
		err = r.propose(ctx, at, s, done, which)
	} else if p.changed() {
		err = r.handOn(ctx, at, s, done)
	}
	if err != nil {
		return nil, err
	}
	return done, r.remember(ctx, at, p)
}

// wantClean refuses to commit while the files to be committed hold something else than HEAD.
func (r *rampRun) wantClean(ctx context.Context, c *checkout) error {
	out, err := c.git(ctx, "status", "--porcelain", "--untracked-files=all", "--", c.spec, bundlePath(c.spec, r.s.sign.signer)).Output()
	if err != nil {
		return fmt.Errorf("looking at the state of %s: %w", c.spec, err)
	}
	if len(out) == 0 {
		return nil
	}
	return cli.Exit(cli.ExitRefused, cli.Hint(fmt.Errorf("%s has changes that are not committed, and a ramp's commit is the ramp's alone", c.spec),
		"commit them (propose sign --key KEY --commit) or undo them (git checkout -- %s)", c.spec))
}

// commit makes the commit, on no branch yet.
func (r *rampRun) commit(ctx context.Context, c *checkout, base string, p *rampProposal) (string, error) {
	onDisk, err := r.files(ctx, p)
	if err != nil {
		return "", err
	}
	files := map[string][]byte{}
	for name, content := range onDisk {
		inRepo, err := c.Path(name)
		if err != nil {
			return "", fmt.Errorf("committing: %w", err)
		}
		files[inRepo] = content
	}
	return c.CommitFiles(ctx, base, files, r.message(p), r.author(ctx, c))
}

// handOn gives the branch the commit: at the remote, and in the checkout where that is where it was.
func (r *rampRun) handOn(ctx context.Context, at place, s stand, done *rampDone) error {
	if at.remote == "" {
		return at.c.Advance(ctx, s.head, done.Commit)
	}
	if err := at.c.Push(ctx, at.remote, done.Commit, at.branch, s.at); err != nil {
		return err
	}
	done.Branch = at.branch
	if s.here {
		r.follow(ctx, at.c, s.head, done.Commit)
	}
	return nil
}

// follow brings the checkout along after a push. What the person has there comes first.
func (r *rampRun) follow(ctx context.Context, c *checkout, head, commit string) {
	if err := c.Advance(ctx, head, commit); err != nil {
		r.env.Talk("the checkout stays where it is (git pull brings the commit): %v", err)
	}
}

// author is who git is set up for, else the bot.
func (r *rampRun) author(ctx context.Context, c *checkout) gitrepo.Person {
	who := gitrepo.Person{Name: "Rampart", Email: "ramp@rampart.invalid", When: r.in.now}
	// Without a name of its own git would make one up from the machine's.
	name, email := gitAnswer(ctx, c.Root(), "config", "user.name"), gitAnswer(ctx, c.Root(), "config", "user.email")
	if env := r.env.Getenv("GIT_AUTHOR_NAME"); env != "" {
		name, email = env, r.env.Getenv("GIT_AUTHOR_EMAIL")
	}
	if name != "" && email != "" {
		who.Name, who.Email = name, email
	}
	return who
}
