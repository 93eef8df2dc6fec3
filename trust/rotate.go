package trust

import (
	"errors"
	"fmt"
	"time"
)

// ErrRotation is what [Succeeds] wraps: the next policy does not follow the old one.
var ErrRotation = errors.New("the policy does not follow the one in force")

// Succeeds says whether next may take the place of old: it is numbered one higher,
// names old's digest, is for the same environment, leaves somebody in charge, and is
// signed by those who may do anything under old and by those who may under next.
// signersOld and signersNew are the names whose signatures over next's bytes verify
// against old's and against next's identities.
//
// It returns nil when next may take over, else an error that wraps [ErrRotation].
func Succeeds(old, next *Policy, signersOld, signersNew []string, now time.Time) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrRotation}, args...)...)
	}
	switch {
	case next.Version != old.Version+1:
		return refuse("it is number %d, and %d must follow %d", next.Version, old.Version+1, old.Version)
	case next.Previous == "":
		return refuse(`it names no previous policy: set "previous": %q`, old.Digest())
	case next.Previous != old.Digest():
		return refuse("it follows %s, the one in force is %s", next.Previous, old.Digest())
	case next.Environment != old.Environment:
		return refuse("it is for environment %q, the one in force for %q", next.Environment, old.Environment)
	case !next.anyoneFull(now):
		return refuse(`nobody could change anything, or the policy, any more: keep a role with "may": ["*"] whose threshold can be reached`)
	case !old.HasFull(signersOld, now):
		return refuse("the maintainers of the one in force have not signed it in sufficient number (found %d signers)", len(signersOld))
	case !next.HasFull(signersNew, now):
		return refuse("its own maintainers have not signed it in sufficient number (found %d signers)", len(signersNew))
	}
	return nil
}

// anyoneFull says whether a role that may do anything could still be reached.
func (p *Policy) anyoneFull(now time.Time) bool {
	everyone := make([]string, 0, len(p.Signers))
	for _, s := range p.Signers {
		everyone = append(everyone, s.Name)
	}
	return p.HasFull(everyone, now)
}
