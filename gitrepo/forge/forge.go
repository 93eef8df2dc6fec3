// Package forge opens pull requests (GitLab: merge requests) at GitHub, GitLab
// and Gitea, keeps them up to date in place, merges and closes them.
//
// It sees branches that exist already; pushing them is package gitrepo's. It
// touches only pull requests from a branch of the same repository: one from a
// fork may carry a branch of the same name, and is not ours.
package forge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Kind is a forge's API.
type Kind string

// The forges that are spoken to. Forgejo, and so Codeberg, speaks Gitea's API.
const (
	GitHub Kind = "github"
	GitLab Kind = "gitlab"
	Gitea  Kind = "gitea"
)

// Errors that a forge's answer comes down to. Their text holds no credential.
var (
	// ErrDenied: the token is missing, wrong, or may not do this.
	ErrDenied = errors.New("the forge denied access")
	// ErrNotFound: no such repository or pull request, or the token may not see it.
	ErrNotFound = errors.New("not found at the forge")
	// ErrBlocked: the pull request cannot be merged now: a review or a check is
	// missing, or it conflicts.
	ErrBlocked = errors.New("the pull request cannot be merged")
	// ErrMoved: the pull request's branch holds another commit than expected.
	ErrMoved = errors.New("the pull request's branch moved")
)

// Options says which repository at which forge.
type Options struct {
	// Repository is its address: https://, ssh:// or user@host:path.
	Repository string
	// Kind of the forge. Empty: told from the host's name, else by asking the
	// host (without the token).
	Kind Kind
	// Base is the forge's own address, such as https://git.example.org. Empty:
	// the repository's host.
	Base string
	// Token for the API. It is sent over https only, or to this machine.
	Token string

	// Timeout bounds one request; zero: 30 seconds. Patience bounds how long a
	// refusal is retried that may be over soon; zero: 30 seconds.
	Timeout, Patience time.Duration
}

func (o Options) timeout() time.Duration  { return cmp.Or(o.Timeout, 30*time.Second) }
func (o Options) patience() time.Duration { return cmp.Or(o.Patience, 30*time.Second) }

// String leaves the token out.
func (o Options) String() string { return fmt.Sprintf("{%s %s}", o.Kind, redact(o.Repository)) }

// GoString is String.
func (o Options) GoString() string { return o.String() }

// Proposal is a pull request as it should be.
type Proposal struct {
	Head, Base  string   // branches
	Title, Body string   // Body is Markdown
	Labels      []string // added where missing; others stay
}

// PullRequest is one as the forge has it.
type PullRequest struct {
	Number      int64
	URL         string // for people
	Head, Base  string // branches
	Commit      string // the head's
	Title, Body string
	Labels      []string

	// Unlabelled are labels that could not be set: the proposal stands without.
	Unlabelled []string
}

// Merged says what became of a pull request that was to be merged.
type Merged string

const (
	MergedNow    Merged = "merged"
	MergedQueued Merged = "queued" // it will be, once the forge's checks are through
)

// Forge speaks to one repository at one forge. One goroutine at a time uses it.
type Forge struct {
	opt     Options
	backend backend
	sleep   func(context.Context, time.Duration) error
	now     func() time.Time
}

// backend is one kind of forge. Errors of its methods are [apiError]s where the
// forge answered.
type backend interface {
	// list gives the open pull requests from the repository's own branches into
	// base; with a head, those of that branch only.
	list(ctx context.Context, base, head string) ([]PullRequest, error)
	create(ctx context.Context, p Proposal) (PullRequest, error)
	// edit sets title and body.
	edit(ctx context.Context, number int64, title, body string) error
	// label adds labels, and gives those that cannot be.
	label(ctx context.Context, number int64, labels []string) (missing []string, err error)
	comment(ctx context.Context, number int64, text string) error
	close(ctx context.Context, number int64) error
	// merge merges, now or once checks are through, if the head is commit.
	merge(ctx context.Context, pr PullRequest, commit, message string) (Merged, error)
}

// Open finds out what forge it is. Only a host whose name does not tell is asked.
func Open(ctx context.Context, opt Options) (*Forge, error) {
	at, err := parseAddress(opt.Repository, opt.Base)
	if err != nil {
		return nil, err
	}
	f := &Forge{opt: opt, sleep: sleep, now: time.Now}
	client := &http.Client{Timeout: opt.timeout(), CheckRedirect: sameHost}
	kind := cmp.Or(opt.Kind, at.guess())
	if kind == "" {
		if kind, err = probe(ctx, client, at.base); err != nil {
			return nil, err
		}
	}
	if opt.Token != "" && !at.private() {
		return nil, fmt.Errorf("opening %s: a token may not travel over plain http", at.base)
	}
	switch kind {
	case GitHub:
		f.backend, err = newGitHub(client, at, opt.Token)
	case GitLab:
		f.backend, err = newGitLab(client, at, opt.Token)
	case Gitea:
		f.backend, err = newGitea(client, at, opt.Token)
	default:
		return nil, fmt.Errorf("forge %q is none of github, gitlab, gitea", kind)
	}
	if err != nil {
		return nil, f.scrub("opening "+at.base, err)
	}
	return f, nil
}

// List gives the open pull requests into base from branches of this repository
// whose names begin with prefix, oldest first.
func (f *Forge) List(ctx context.Context, base, prefix string) ([]PullRequest, error) {
	var out []PullRequest
	err := f.retry(ctx, transient, func() (err error) {
		out, err = f.backend.list(ctx, base, "")
		return err
	})
	if err != nil {
		return nil, f.scrub("listing pull requests", err)
	}
	out = slices.DeleteFunc(out, func(pr PullRequest) bool { return !strings.HasPrefix(pr.Head, prefix) })
	slices.SortFunc(out, func(a, b PullRequest) int { return cmp.Compare(a.Number, b.Number) })
	return out, nil
}

// Propose opens a pull request for the proposal's branch or, when one is open,
// brings its title, body and labels up to date in place. It waits for a forge
// that has not seen a fresh push yet.
func (f *Forge) Propose(ctx context.Context, p Proposal) (PullRequest, error) {
	pr, err := f.find(ctx, p)
	if err != nil {
		return PullRequest{}, f.scrub("looking for the pull request of "+p.Head, err)
	}
	if pr.Number == 0 {
		if pr, err = f.create(ctx, p); err != nil {
			return PullRequest{}, f.scrub("opening a pull request for "+p.Head, err)
		}
	}
	if pr.Title != p.Title || normal(pr.Body) != normal(p.Body) {
		err := f.retry(ctx, transient, func() error { return f.backend.edit(ctx, pr.Number, p.Title, p.Body) })
		if err != nil {
			return PullRequest{}, f.scrub(fmt.Sprintf("updating pull request %d", pr.Number), err)
		}
		pr.Title, pr.Body = p.Title, p.Body
	}
	missing := slices.DeleteFunc(slices.Clone(p.Labels), func(l string) bool { return slices.Contains(pr.Labels, l) })
	if len(missing) > 0 {
		err := f.retry(ctx, transient, func() (err error) {
			pr.Unlabelled, err = f.backend.label(ctx, pr.Number, missing)
			return err
		})
		if errors.Is(err, ErrDenied) || errors.Is(err, ErrNotFound) {
			// A bot that may open pull requests need not be one that may label.
			pr.Unlabelled, err = missing, nil
		}
		if err != nil {
			return PullRequest{}, f.scrub(fmt.Sprintf("labelling pull request %d", pr.Number), err)
		}
		for _, l := range missing {
			if !slices.Contains(pr.Unlabelled, l) {
				pr.Labels = append(pr.Labels, l)
			}
		}
	}
	return pr, nil
}

// normal undoes what forges do to a body that they store.
func normal(body string) string {
	return strings.TrimRight(strings.ReplaceAll(body, "\r\n", "\n"), "\n ")
}

func (f *Forge) find(ctx context.Context, p Proposal) (pr PullRequest, err error) {
	err = f.retry(ctx, transient, func() error {
		found, err := f.backend.list(ctx, p.Base, p.Head)
		if err == nil && len(found) > 0 {
			pr = found[0]
		}
		return err
	})
	return pr, err
}

// create opens the pull request. A forge may take a moment to see a branch that
// was just pushed (404, or 422 from GitHub), and another run of ours may have
// been faster (409 or 422), so after each refusal the open ones are looked at.
func (f *Forge) create(ctx context.Context, p Proposal) (pr PullRequest, err error) {
	again := func(e *apiError) bool {
		return transient(e) || e.status == 404 || e.status == 409 || e.status == 422
	}
	err = f.retry(ctx, again, func() error {
		if pr, err = f.backend.create(ctx, p); err == nil {
			return nil
		}
		found, ferr := f.backend.list(ctx, p.Base, p.Head)
		if ferr == nil && len(found) > 0 {
			pr = found[0]
			return nil
		}
		return err
	})
	return pr, err
}

// Merge merges a pull request whose head is commit, or has the forge do it once
// its checks are through. (Once it is queued, what others push to the branch
// goes in with it: the forges see to that no more.) The message is that of a
// squash; a merge commit has the forge's own. It waits for a forge that is still finding out whether the
// pull request can be merged; then, ErrBlocked. ErrMoved when the head is
// another commit.
func (f *Forge) Merge(ctx context.Context, pr PullRequest, commit, message string) (Merged, error) {
	var out Merged
	again := func(e *apiError) bool { return transient(e) || e.status == 405 }
	err := f.retry(ctx, again, func() (err error) {
		out, err = f.backend.merge(ctx, pr, commit, message)
		return err
	})
	if err != nil {
		return "", f.scrub(fmt.Sprintf("merging pull request %d", pr.Number), mergeError(err))
	}
	return out, nil
}

// mergeError gives a refused merge its meaning.
func mergeError(err error) error {
	var e *apiError
	if errors.As(err, &e) {
		switch e.status {
		case 409:
			e.why = ErrMoved
		case 405, 406, 422:
			e.why = ErrBlocked
		}
	}
	return err
}

// Close closes a pull request without merging it, and says why in a comment,
// if there is one to be made.
func (f *Forge) Close(ctx context.Context, pr PullRequest, comment string) error {
	if comment != "" {
		if err := f.retry(ctx, transient, func() error { return f.backend.comment(ctx, pr.Number, comment) }); err != nil {
			return f.scrub(fmt.Sprintf("commenting on pull request %d", pr.Number), err)
		}
	}
	if err := f.retry(ctx, transient, func() error { return f.backend.close(ctx, pr.Number) }); err != nil {
		return f.scrub(fmt.Sprintf("closing pull request %d", pr.Number), err)
	}
	return nil
}
