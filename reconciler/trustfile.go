package reconciler

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/rampart-flags/rampart/trust"
)

// maxPolicy is how large a policy's file may be, in bytes.
const maxPolicy = 4 << 20

// trustFile is the policy in force. It comes from the file outside the repository, which is read again when it changes, or
// from the repository, where it follows that one. The file is the floor: what was accepted never falls below it.
type trustFile struct {
	path     string // "": unsigned specs are accepted
	root     string // names what keyless signatures are checked against
	src      []byte
	file     *trust.Policy   // what the file says
	accepted *acceptedPolicy // the newest that was taken from the repository; nil: none was
	policy   *trust.Policy   // in force
}

// read takes the file's content into force when it has changed. On an error the last
// policy stays.
func (t *trustFile) read() error {
	if t.path == "" {
		return nil
	}
	f, err := os.Open(t.path)
	if err != nil {
		return fmt.Errorf("reading the trust policy: %w", err)
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxPolicy+1))
	if err != nil {
		return fmt.Errorf("reading the trust policy: %w", err)
	}
	if len(src) > maxPolicy {
		return fmt.Errorf("reading the trust policy: %s is larger than %d bytes", t.path, maxPolicy)
	}
	if t.file != nil && bytes.Equal(src, t.src) {
		return nil
	}
	policy, err := trust.Parse(t.path, src)
	if err != nil {
		return fmt.Errorf("reading the trust policy: %w", err)
	}
	t.src, t.file = src, policy
	t.choose()
	return nil
}

// choose says which of the two is in force: the one with the higher number. Of two with the same number that differ, it is the
// file, for a person put it there by hand.
func (t *trustFile) choose() {
	t.policy = t.file
	if a := t.accepted; a != nil && (t.file == nil || a.policy.Version > t.file.Version) {
		t.policy = a.policy
	}
}

// fromRepository says whether the policy in force was taken from the repository.
func (t *trustFile) fromRepository() bool { return t.accepted != nil && t.policy == t.accepted.policy }

// digest names the policy in force, and what keyless signatures are checked against: what was refused under another one is
// judged anew. It is "" when unsigned specs are accepted.
func (t *trustFile) digest() string { return t.nameOf(t.policy) }

func (t *trustFile) nameOf(p *trust.Policy) string {
	switch {
	case p == nil:
		return ""
	case t.root == "":
		return p.Digest()
	}
	return p.Digest() + " with " + t.root
}
