package trust

import (
	"errors"
	"fmt"
	"time"
)

// ErrRotation is what [Succeeds] wraps: the next policy does not follow the old one.
var ErrRotation = errors.New("the policy does not follow the one in force")

// RotationError says why a policy does not follow another. It wraps [ErrRotation].
type RotationError struct {
	Reason Reason // one of the reasons below
	why    string
}

// Why a policy may not take the place of the one in force.
const (
	PolicyReplayed       Reason = "PolicyReplayed"       // its number is not above the one in force
	PolicySkipped        Reason = "PolicySkipped"        // numbers lie between
	PolicyPrevious       Reason = "PolicyPrevious"       // it names another policy before it, or none
	PolicyEnvironment    Reason = "PolicyEnvironment"    // it is for another place
	PolicyNobody         Reason = "PolicyNobody"         // nobody would be in charge
	PolicyOldMaintainers Reason = "PolicyOldMaintainers" // those in charge have not signed
	PolicyNewMaintainers Reason = "PolicyNewMaintainers" // those who would be have not signed
)

func (e *RotationError) Error() string { return ErrRotation.Error() + ": " + e.why }
func (e *RotationError) Unwrap() error { return ErrRotation }

// Sentence is what is wrong, without the words that every such error begins with.
func (e *RotationError) Sentence() string { return e.why }

// Succeeds says whether next may take the place of old: it is numbered one higher,
// names old's digest, is for the same environment, leaves somebody in charge, and is
// signed by those who may do anything under old and by those who may under next.
// signersOld and signersNew are the names whose signatures over next's bytes verify
// against old's and against next's identities.
//
// It returns nil when next may take over, else a [*RotationError].
func Succeeds(old, next *Policy, signersOld, signersNew []string, now time.Time) error {
	refuse := func(reason Reason, format string, args ...any) error {
		return &RotationError{reason, fmt.Sprintf(format, args...)}
	}
	switch {
	case next.Version <= old.Version:
		return refuse(PolicyReplayed, "it is number %d, and %d must follow %d", next.Version, old.Version+1, old.Version)
	case next.Version != old.Version+1:
		return refuse(PolicySkipped, "it is number %d, and %d must follow %d", next.Version, old.Version+1, old.Version)
	case next.Previous == "":
		return refuse(PolicyPrevious, `it names no previous policy: set "previous": %q`, old.Digest())
	case next.Previous != old.Digest():
		return refuse(PolicyPrevious, "it follows %s, the one in force is %s", next.Previous, old.Digest())
	case next.Environment != old.Environment:
		return refuse(PolicyEnvironment, "it is for environment %q, the one in force for %q", next.Environment, old.Environment)
	case !next.anyoneFull(now):
		return refuse(PolicyNobody, `nobody could change anything, or the policy, any more: keep a role with "may": ["*"] whose threshold can be reached`)
	case !old.HasFull(signersOld, now):
		return refuse(PolicyOldMaintainers, "the maintainers of the one in force have not signed it in sufficient number (found %d signers)", len(signersOld))
	case !next.HasFull(signersNew, now):
		return refuse(PolicyNewMaintainers, "its own maintainers have not signed it in sufficient number (found %d signers)", len(signersNew))
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
