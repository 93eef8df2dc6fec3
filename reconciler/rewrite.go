package reconciler

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/internal/wholefile"
	"github.com/rampart-flags/rampart/trust"
)

// KindAcceptHistory is the kind of the event that a maintainer let the reconciler go on from a commit that
// does not descend from the last accepted one.
const KindAcceptHistory Kind = "accept-history"

const (
	statementName = "accept-history.json"
	maxStatement  = 1 << 20
)

// AcceptHistory leaves a sealed statement in a state folder, whether a reconciler runs on it or not. It is
// judged at the next pass that finds history rewritten, and taken away once it was used.
func AcceptHistory(dir string, sealed []byte) error {
	if len(sealed) > maxStatement {
		return fmt.Errorf("accepting a history: the statement is larger than %d bytes", maxStatement)
	}
	s, err := trust.ParseSealed(statementName, sealed)
	if err != nil {
		return fmt.Errorf("accepting a history: %w", err)
	}
	if _, err := trust.ParseAcceptHistory(statementName, s.Statement); err != nil {
		return fmt.Errorf("accepting a history: %w", err)
	}
	if err := wholefile.Write(filepath.Join(dir, statementName), sealed, 0o600); err != nil {
		return fmt.Errorf("accepting a history: %w", err)
	}
	return nil
}

// ErrHistoryRefused: a statement about history that does not count.
var ErrHistoryRefused = errors.New("the statement is refused")

// AcceptHistory takes a sealed statement that history goes on from another commit. One that does not count is refused at once
// ([ErrHistoryRefused]); another is kept in the state folder, for the next pass that finds history rewritten, and that pass is
// hurried. It returns the commit. An instance that does not lead takes the lead for it, or, where it does not know what is live,
// catches up by it; the error is [ErrNotLeader] where it can do neither.
func (r *Reconciler) AcceptHistory(ctx context.Context, sealed []byte) (to string, err error) {
	r.lockSoon()
	defer r.mu.Unlock()
	if r.closed {
		return "", errors.New("the reconciler is closed")
	}
	if err := r.readTrust(ctx); err != nil {
		r.log.Error("the last policy stays in force", slog.Any("error", err))
	}
	if r.trust.policy == nil {
		return "", fmt.Errorf("%w: there is no policy that says who may", ErrHistoryRefused)
	}
	if _, ok := r.history.last(); !ok {
		return "", fmt.Errorf("%w: nothing was accepted yet, so no history was left", ErrHistoryRefused)
	}
	h, _, why := r.statement(sealed)
	if why != "" {
		return "", fmt.Errorf("%w: %s", ErrHistoryRefused, why)
	}
	if err := r.seize(ctx); err != nil && !errors.Is(err, errBehind) { // one that is behind has left the branch alone: it follows again by this
		return "", err
	}
	if err := AcceptHistory(r.cfg.Dir, sealed); err != nil {
		return "", err
	}
	r.Nudge()
	return h.To, nil
}

// supposed is the commit of a rewritten branch that a plan goes on from: the one that it was asked about, or the one of a
// statement that waits. Why there is none, where somebody asked, is for people to read.
func (r *Reconciler) supposed(ctx context.Context, asked string, rewritten *gitrepo.RewrittenError) (to, why string, err error) {
	if to = asked; to == "" {
		if r.lead.passes.following {
			return "", "", nil // it is used by whoever leads: that is seized for it
		}
		src, err := os.ReadFile(filepath.Join(r.folder.dir, statementName))
		if err != nil || r.trust.policy == nil {
			return "", "", nil
		}
		h, _, why := r.statement(src)
		if why != "" {
			return "", why, nil
		}
		to = h.To
	}
	if len(to) >= 7 && strings.HasPrefix(rewritten.To, to) {
		return rewritten.To, "", nil
	}
	within, err := r.cfg.Repo.IsAncestor(ctx, to, rewritten.To)
	if errors.Is(err, gitrepo.ErrNoCommit) || err == nil && !within {
		return "", fmt.Sprintf("%.12s is not in the branch", to), nil
	}
	if err != nil {
		return "", "", fmt.Errorf("looking for %.12s in the branch (give the whole hash): %w", to, err)
	}
	return to, "", nil
}

// goOn looks for a statement that lets the reconciler go on from a commit of the rewritten branch. It says
// whether there was one that counts; else the sentence says why the one that is there does not.
func (r *Reconciler) goOn(ctx context.Context, rewritten *gitrepo.RewrittenError) (ok bool, why string, err error) {
	path := filepath.Join(r.folder.dir, statementName)
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || r.trust.policy == nil {
		return false, "", nil
	}
	if err != nil {
		return false, "", fmt.Errorf("reading %s: %w", statementName, err)
	}
	h, signers, why := r.statement(src)
	if why != "" {
		return false, why, nil
	}
	within, err := r.cfg.Repo.IsAncestor(ctx, h.To, rewritten.To)
	if errors.Is(err, gitrepo.ErrNoCommit) || err == nil && !within {
		return false, fmt.Sprintf("%s: it goes on from %.12s, which is not in the branch", statementName, h.To), nil
	}
	if err != nil {
		return false, "", err
	}
	if err := r.goFrom(ctx, h, signers, src); err != nil {
		return false, "", err
	}
	if err := os.Remove(path); err != nil {
		r.log.Warn("the statement was used and cannot be removed; it means nothing any more", slog.Any("error", err))
	}
	return true, "", nil
}

// goFrom lets the walk begin with the commit of a statement, which is judged like any other.
func (r *Reconciler) goFrom(ctx context.Context, h *trust.AcceptHistory, signers []string, src []byte) error {
	last, _ := r.history.last()
	e := r.newEvent(KindAcceptHistory)
	e.Commit, e.Generation, e.Signers, e.Policy = h.To, last.Number, signers, r.trust.digest()
	e.Message = fmt.Sprintf("history goes on from %.12s in place of %.12s: %s", h.To, h.From, h.Reason)
	if err := r.intent(ctx, e); err != nil {
		return err
	}
	r.cursor.Checked, r.cursor.Generation, r.cursor.Onto, r.cursor.Statement = h.To, last.Number, true, h.ID
	e.Outcome = OutcomeApplied
	r.outcome(ctx, e)
	r.saveCursor()
	r.keepUsed(src)
	r.shareStatement(ctx, src)
	r.log.Warn(e.Message, slog.Any("signers", signers))
	return nil
}

// told is the statement about history that another instance used, where it counts here and was not used here. Where the rewritten
// branch holds what is live, no generation leads to it.
func (r *Reconciler) told() (h *trust.AcceptHistory, signers []string, src []byte) {
	lease, _ := r.lastLease()
	src = lease.Notes.History
	if len(src) == 0 || r.trust.policy == nil {
		return nil, nil, nil
	}
	h, signers, why := r.statement(src)
	if why != "" || h.ID == r.cursor.Statement {
		return nil, nil, nil
	}
	return h, signers, src
}

func (r *Reconciler) wasTold() bool {
	h, _, _ := r.told()
	return h != nil
}

// goOnAsTold goes on from the commit of a statement that another instance used, and says whether there was one.
func (r *Reconciler) goOnAsTold(ctx context.Context, rewritten *gitrepo.RewrittenError) (bool, error) {
	h, signers, src := r.told()
	if h == nil {
		return false, nil
	}
	within, err := r.cfg.Repo.IsAncestor(ctx, h.To, rewritten.To)
	if errors.Is(err, gitrepo.ErrNoCommit) || err == nil && !within {
		return false, nil // not fetched yet, or of another branch
	}
	if err != nil {
		return false, err
	}
	return true, r.goFrom(ctx, h, signers, src)
}

// statementWaits says whether a statement lies in the state folder.
func (r *Reconciler) statementWaits() bool {
	_, err := os.Stat(filepath.Join(r.folder.dir, statementName))
	return err == nil
}

// statementHolds says whether the one that lies there counts, for this instance and now. One that does not, for it was meant for
// what another instance knew, say, lies there until it is replaced.
func (r *Reconciler) statementHolds() bool {
	src, err := os.ReadFile(filepath.Join(r.folder.dir, statementName))
	if err != nil || r.trust.policy == nil {
		return false
	}
	_, _, why := r.statement(src)
	return why == ""
}

// statement reads and judges a sealed statement about history.
func (r *Reconciler) statement(src []byte) (h *trust.AcceptHistory, signers []string, why string) {
	if len(src) > maxStatement {
		return nil, nil, fmt.Sprintf("%s is larger than %d bytes", statementName, maxStatement)
	}
	sealed, err := trust.ParseSealed(statementName, src)
	if err != nil {
		return nil, nil, err.Error()
	}
	signers = sealed.Verify(r.trust.policy, r.cfg.Signing).Signers()
	if len(signers) == 0 {
		return nil, nil, statementName + ": nobody whom the policy names signed it"
	}
	if h, err = trust.ParseAcceptHistory(statementName, sealed.Statement); err != nil {
		return nil, nil, err.Error()
	}
	last, _ := r.history.last()
	if a := r.trust.policy.AuthorizeHistory(h, last.Commit, signers, r.now()); a.Verdict != trust.Allowed {
		return nil, nil, strings.TrimSpace(a.Sentence() + "; " + a.Hint)
	}
	return h, signers, ""
}

// yetToJudge says whether the walk begins with this commit itself: a maintainer said to go on from it, or it brought a policy, and
// its spec is not accepted yet.
func (r *Reconciler) yetToJudge(commit string) bool {
	return r.cursor.Onto && r.cursor.Checked == commit && r.checked() == commit
}

// walkFrom lists the commits to judge: those after the last one that was looked at, and that one too while
// a maintainer has said to go on from it and its content is not accepted yet.
func (r *Reconciler) walkFrom(ctx context.Context, head string) ([]gitrepo.Commit, error) {
	return r.walkAfter(ctx, r.checked(), head)
}

func (r *Reconciler) walkAfter(ctx context.Context, from, head string) ([]gitrepo.Commit, error) {
	commits, err := r.cfg.Repo.Walk(ctx, from, head, r.paths())
	if err != nil || !r.yetToJudge(from) {
		return commits, err
	}
	first, err := r.cfg.Repo.Commit(ctx, from)
	if err != nil {
		return nil, err
	}
	return append([]gitrepo.Commit{first}, commits...), nil
}
