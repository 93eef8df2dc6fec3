package gitrepo

import (
	"fmt"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Person is an author or committer, with the date that the commit gives for
// them. Neither is proven by anything.
type Person struct {
	Name, Email string
	When        time.Time // zero: now, when a commit is made
}

func (p Person) String() string { return fmt.Sprintf("%s <%s>", p.Name, p.Email) }

// Commit is one commit of a branch.
type Commit struct {
	Hash      string // 40 hex digits
	Parents   []string
	Author    Person
	Committer Person
	When      time.Time // the committer's date: a claim, not a fact
	Message   string

	// Joined: this commit merged the walk's start into the branch, from off its
	// first-parent chain. What lies between the two is judged as one
	// transition, from the start to this commit.
	Joined bool
}

// Subject is the first line of the message.
func (c Commit) Subject() string { return firstLine(c.Message) }

func newCommit(c *object.Commit) Commit {
	out := Commit{
		Hash:      c.Hash.String(),
		Author:    Person{Name: c.Author.Name, Email: c.Author.Email, When: c.Author.When},
		Committer: Person{Name: c.Committer.Name, Email: c.Committer.Email, When: c.Committer.When},
		When:      c.Committer.When,
		Message:   c.Message,
	}
	for _, p := range c.ParentHashes {
		out.Parents = append(out.Parents, p.String())
	}
	return out
}

// parseHash takes a full commit name only, so that nothing a caller passes on
// is resolved as anything else.
func parseHash(s string) (plumbing.Hash, error) {
	if !plumbing.IsHash(s) || len(s) != 40 {
		return plumbing.ZeroHash, fmt.Errorf("%w: %q is not a full commit hash", ErrNoCommit, s)
	}
	return plumbing.NewHash(s), nil
}
