package reconciler

import (
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/pii"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// personal looks through what a new spec brings for data about people. Where the policy denies it, the
// commit is refused; where it warns, the findings go with the ruling.
func (k court) personal(c content, next *flags.Spec, changes []flags.Change, r ruling) ruling {
	rules := k.policy.PII
	if r.verdict == refused || rules.Mode == "off" {
		return r
	}
	found := pii.Changes(changes, pii.Rules{Allow: rules.Allow, Deny: rules.Deny})
	inEvidence := k.personalEvidence(c, next)
	deny := rules.Mode == "deny" && (len(found) > 0 || !lowers(changes)) // what its evidence says never holds up a way down
	found = append(found, inEvidence...)
	if len(found) == 0 {
		return r
	}
	if !deny {
		r.found = found
		return r
	}
	r.verdict, r.code, r.message, r.hint = refused, PersonalData, sayFound(found), ReasonFor(PersonalData).Do
	return r
}

func lowers(changes []flags.Change) bool {
	return slices.ContainsFunc(changes, func(c flags.Change) bool { return c.Kind == flags.RampDown || c.Kind == flags.Disable })
}

// personalEvidence looks through the files of evidence that a new spec names and the one before did not. A file that is not
// there, or holds other bytes than its name says, is for the proof of the ramp to refuse.
func (k court) personalEvidence(c content, next *flags.Spec) []pii.Hit {
	if c.files == nil {
		return nil
	}
	var found []pii.Hit
	for _, digest := range pii.Evidence(next, k.last) {
		name := path.Join(path.Dir(c.path), "evidence", strings.TrimPrefix(digest, "sha256:")+".json")
		src, err := c.files.file(name, trust.MaxEvidence)
		if err != nil {
			_ = c.files.blame(err) // a repository that cannot be read is no verdict: the walk asks for it
			continue
		}
		if signing.NewArtifact(src).Digest() == digest {
			found = append(found, pii.Document(name, src, pii.Rules{Allow: k.policy.PII.Allow, Deny: k.policy.PII.Deny})...)
		}
	}
	return found
}

// sayFound is findings in a sentence that shows none of them.
func sayFound(found []pii.Hit) string {
	var names []string
	for _, h := range found {
		names = append(names, h.String())
	}
	return fmt.Sprintf("the change brings personal data: %s", shorten(names, 5))
}

// warnPersonal tells of personal data that was accepted.
func (r *Reconciler) warnPersonal(st step) {
	if len(st.found) == 0 {
		return
	}
	for _, h := range st.found {
		r.metrics.personal.WithLabelValues(string(h.Kind)).Inc()
	}
	r.log.Warn("accepted, with a warning", slog.String("commit", st.Commit), slog.String("message", strings.TrimSpace(sayFound(st.found))))
}
