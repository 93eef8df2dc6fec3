package reconciler

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/pii"
)

// personal looks through what a new spec brings for data about people. Where the policy denies it, the
// commit is refused; where it warns, the findings go with the ruling.
func (k court) personal(changes []flags.Change, r ruling) ruling {
	rules := k.policy.PII
	if r.verdict == refused || rules.Mode == "off" {
		return r
	}
	found := pii.Changes(changes, pii.Rules{Allow: rules.Allow, Deny: rules.Deny})
	if len(found) == 0 {
		return r
	}
	if rules.Mode != "deny" {
		r.found = found
		return r
	}
	r.verdict, r.code, r.message, r.hint = refused, PersonalData, sayFound(found), ReasonFor(PersonalData).Do
	return r
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
