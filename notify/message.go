package notify

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/reconciler"
)

// What people are told of.
const (
	Generation = "generation" // a spec went live, or came back
	Refusal    = "refusal"    // a commit was refused, history was rewritten, or a start stopped
	Drift      = "drift"      // somebody else had changed Redis, and it was put right
	Hold       = "hold"       // a commit waits for its time, or a ramp is held
)

// Message is a notification: what templates see, and the body of a plain webhook. While Format is "notification/v1", members may be
// added but are never renamed, removed or given a new meaning.
type Message struct {
	Format      string    `json:"format"`
	ID          string    `json:"id"` // of the event
	Kind        string    `json:"kind"`
	At          time.Time `json:"at"`
	Title       string    `json:"title"`
	Text        string    `json:"text"`
	Environment string    `json:"environment,omitempty"`
	Feature     string    `json:"feature,omitempty"`
	Tenant      string    `json:"tenant,omitempty"`
	Commit      string    `json:"commit,omitempty"`
	Subject     string    `json:"subject,omitempty"`
	Author      string    `json:"author,omitempty"`
	Generation  uint64    `json:"generation,omitempty"`
	Version     string    `json:"version,omitempty"`
	Signers     []string  `json:"signers,omitempty"`
	Code        string    `json:"code,omitempty"`
	Hint        string    `json:"hint,omitempty"`
	Changes     []string  `json:"changes,omitempty"`
	Link        string    `json:"link,omitempty"` // the console

	key string // of what is the same thing
}

const (
	format        = "notification/v1"
	maxChanges    = 10
	shortHash     = 12
	everybodyElse = "__default__"
)

// messageOf is what to tell of an event, if anything.
func messageOf(e reconciler.Event, link string) (Message, bool) {
	m := Message{Format: format, ID: e.ID, At: e.At, Environment: e.Environment, Commit: e.Commit, Subject: e.Subject, Author: e.Author,
		Generation: e.Generation, Version: e.Version, Signers: e.Signers, Code: string(e.Code), Hint: e.Hint, Link: link}
	for i, c := range e.Changes {
		if i == maxChanges {
			m.Changes = append(m.Changes, fmt.Sprintf("and %d more", len(e.Changes)-i))
			break
		}
		m.Changes = append(m.Changes, c.String())
	}
	where := cmp.Or(e.Environment, "flags")
	short := e.Commit[:min(len(e.Commit), shortHash)]
	switch {
	case e.Outcome == reconciler.OutcomeApplied && (e.Kind == reconciler.KindAccept || e.Kind == reconciler.KindRollback || e.Kind == reconciler.KindStart):
		m.Kind, m.key = Generation, fmt.Sprint("generation ", e.Generation)
		m.Title = fmt.Sprintf("%s: generation %d is live", where, e.Generation)
		if e.Kind == reconciler.KindRollback {
			m.Title = fmt.Sprintf("%s: rolled back, generation %d is live", where, e.Generation)
		}
		m.Text = fmt.Sprintf("%s %s, signed by %s\n%s", e.Version, short, cmp.Or(strings.Join(e.Signers, ", "), "nobody"), strings.Join(m.Changes, "\n"))
	case e.Kind == reconciler.KindRefuse, e.Kind == reconciler.KindRewritten, e.Kind == reconciler.KindDiverge:
		m.Kind, m.key = Refusal, fmt.Sprint("refusal ", e.Commit, e.Code)
		m.Title = fmt.Sprintf("%s: refused %s", where, cmp.Or(short, "the branch"))
		m.Text = fmt.Sprintf("%s by %s\n%s: %s", e.Subject, cmp.Or(e.Author, "somebody"), e.Code, e.Message)
		if e.Hint != "" {
			m.Text += "\nWhat to do: " + e.Hint
		}
	case e.Kind == reconciler.KindRepair || e.Kind == reconciler.KindRefill:
		m.Kind, m.key = Drift, "drift "+string(e.Kind)
		m.Title = where + ": Redis differed from git, and was put right"
		if e.Drift != nil {
			m.Text = fmt.Sprintf("%d entries were missing, %d changed, %d extra", e.Drift.Missing, e.Drift.Changed, e.Drift.Extra)
		}
	case e.Kind == reconciler.KindDefer:
		m.Kind, m.key = Hold, "defer "+e.Commit
		m.Title = fmt.Sprintf("%s: %s waits for its time", where, short)
		m.Text = e.Subject + "\n" + e.Message
	default:
		return Message{}, false
	}
	return m, true
}

// HeldRamp is what to tell of a ramp that is held: of the same reason once in a while.
func HeldRamp(environment, feature, tenant, code, reason string, at time.Time, link string) Message {
	who := feature
	if tenant != everybodyElse {
		who += " for " + tenant
	}
	return Message{Format: format, ID: "hold-" + at.UTC().Format(time.RFC3339) + "-" + feature + "-" + tenant, Kind: Hold, At: at, Environment: environment, Feature: feature, Tenant: tenant, Code: code, Link: link,
		Title: fmt.Sprintf("%s: the ramp of %s is held", cmp.Or(environment, "flags"), who), Text: reason, key: "hold " + feature + ":" + tenant + " " + code}
}
