package gitrepo

import (
	"errors"
	"fmt"
	"io/fs"
)

// Errors about the remote. The text around them never holds a credential, nor
// what a server sent in an error page.
var (
	// ErrDenied: the remote wants other credentials than those given, or none
	// that were given may read (or push).
	ErrDenied = errors.New("access denied")
	// ErrNoRepository: there is no repository at the address, or the
	// credentials may not see it.
	ErrNoRepository = errors.New("repository not found")
	// ErrNoBranch: the repository has no such branch (any more), or is empty.
	ErrNoBranch = errors.New("no such branch")
	// ErrHostKey: the SSH server's key is not in known_hosts, or is another.
	ErrHostKey = errors.New("SSH host key not trusted")
	// ErrSHA256: the repository uses SHA-256 object names.
	ErrSHA256 = errors.New("SHA-256 repositories are not supported")
	// ErrMoved: the remote branch is not where the push expected it.
	ErrMoved = errors.New("remote branch moved")
	// ErrRejected: the remote refused the push: a hook, a protected branch.
	ErrRejected = errors.New("push rejected")
)

// Errors about what a commit holds.
var (
	// ErrNoCommit: no such commit in the clone.
	ErrNoCommit = errors.New("no such commit")
	// ErrNotExist: the commit has no file at the path. It is also fs.ErrNotExist.
	ErrNotExist = fmt.Errorf("no such file in the commit: %w", fs.ErrNotExist)
	// ErrNotRegular: the path is a symbolic link, a submodule or a folder.
	ErrNotRegular = errors.New("not a regular file")
	// ErrTooLarge: a file, object or pack is larger than the limit.
	ErrTooLarge = errors.New("larger than the limit")
)

// ErrAddress: a repository's address is none that can be followed.
var ErrAddress = errors.New("not a repository's address")

// addressError is [ErrAddress], said in its own words.
type addressError string

func badAddress(address, why string) error {
	return addressError(fmt.Sprintf("reading the repository address %s: %s", Redact(address), why))
}

func (e addressError) Error() string { return string(e) }

func (e addressError) Is(target error) bool { return target == ErrAddress }

// ErrUnchanged: a commit would hold nothing that its parent does not.
var ErrUnchanged = errors.New("nothing to commit")

// Errors about history and the state folder.
var (
	// ErrRewritten: the branch does not descend from the commit that was
	// accepted last. The error is a [*RewrittenError].
	ErrRewritten = errors.New("history was rewritten")
	// ErrShallow: the history needed is cut off, and could not be deepened.
	ErrShallow = errors.New("history is cut off (shallow clone)")
	// ErrLocked: another process uses the state folder.
	ErrLocked = errors.New("state folder is in use by another process")
	// ErrDamaged: the clone in the state folder does not read back. The next
	// [Repo.Fetch] makes it anew.
	ErrDamaged = errors.New("clone is damaged")
)

// Rewrite says in which way a branch left the accepted history.
type Rewrite string

const (
	// Rewound: the branch now points at an ancestor of the accepted commit.
	Rewound Rewrite = "rewound"
	// Diverged: both have a common ancestor, and went different ways.
	Diverged Rewrite = "diverged"
	// Unrelated: no common ancestor (an orphan branch).
	Unrelated Rewrite = "unrelated"
	// Vanished: the accepted commit is not in the branch's history, and not in
	// the clone either, so more cannot be said.
	Vanished Rewrite = "vanished"
)

// RewrittenError says that To does not descend from From. It is [ErrRewritten].
type RewrittenError struct {
	From, To string
	How      Rewrite
	Base     string // the newest common ancestor, for [Diverged] only
}

func (e *RewrittenError) Error() string {
	switch e.How {
	case Rewound:
		return fmt.Sprintf("history was rewritten: the branch went back to %s, an ancestor of the accepted %s", short(e.To), short(e.From))
	case Diverged:
		return fmt.Sprintf("history was rewritten: %s and the accepted %s part at %s", short(e.To), short(e.From), short(e.Base))
	case Unrelated:
		return fmt.Sprintf("history was rewritten: %s has no commit in common with the accepted %s", short(e.To), short(e.From))
	default:
		return fmt.Sprintf("history was rewritten: %s does not descend from the accepted %s", short(e.To), short(e.From))
	}
}

// Is makes errors.Is(err, ErrRewritten) true.
func (e *RewrittenError) Is(target error) bool { return target == ErrRewritten }

func short(hash string) string {
	if len(hash) > 12 {
		return hash[:12]
	}
	return hash
}
