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

// trustFile is the policy in force, read again when its file changes.
type trustFile struct {
	path   string // "": unsigned specs are accepted
	root   string // names what keyless signatures are checked against
	src    []byte
	policy *trust.Policy
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
	if t.policy != nil && bytes.Equal(src, t.src) {
		return nil
	}
	policy, err := trust.Parse(t.path, src)
	if err != nil {
		return fmt.Errorf("reading the trust policy: %w", err)
	}
	t.src, t.policy = src, policy
	return nil
}

// digest names the policy in force, and what keyless signatures are checked against: what was refused under another one is
// judged anew. It is "" when unsigned specs are accepted.
func (t *trustFile) digest() string {
	switch {
	case t.policy == nil:
		return ""
	case t.root == "":
		return t.policy.Digest()
	}
	return t.policy.Digest() + " with " + t.root
}
