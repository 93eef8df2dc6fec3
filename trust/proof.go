package trust

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/schema"
)

// MaxEvidence is how large a file of evidence may be, in bytes.
const MaxEvidence = 8 << 20

// Proof is what was found of one evidence file in the commit that is judged.
type Proof struct {
	// Signers are the names whose signatures over the file verified.
	Signers []string
	// Measured is the oldest generated_at in the file, at any depth.
	Measured time.Time
	// Decided is the file's own time, "now": when the run that it records decided.
	Decided time.Time
	// Moves are the steps that the file justifies, by the entry whose percentage they set.
	Moves map[flags.Key]Move
}

// Move is a percentage's way from one value to another.
type Move struct {
	From flags.Pct `json:"from"`
	To   flags.Pct `json:"to"`
}

// ParseEvidence reads from a file of evidence ("ramp-evidence/v1") what a judge wants to know of it: when it was measured and
// decided upon, and which steps it is about. What follows from its numbers is for propose explain-ramp to say. Evidence of
// another environment than the spec's is an error, as is evidence that does not say when it was measured. The proof has no
// signers yet. name is used in errors only.
func ParseEvidence(name string, src []byte, environment string) (Proof, error) {
	if err := schema.Check(name, src, schema.Limits{Bytes: MaxEvidence}); err != nil {
		return Proof{}, err
	}
	fail := func(err error) (Proof, error) { return Proof{}, fmt.Errorf("reading %s: %w", name, err) }
	var doc struct {
		Format      *string                    `json:"format"`
		Environment string                     `json:"environment"`
		Now         string                     `json:"now"`
		Moves       map[string]map[string]Move `json:"moves"`
	}
	if err := json.Unmarshal(src, &doc, json.RejectUnknownMembers(false), jsontext.AllowDuplicateNames(false)); err != nil {
		return fail(err)
	}
	if doc.Environment != environment && (doc.Format != nil || doc.Environment != "") {
		return Proof{}, fmt.Errorf("%s is about environment %q, the spec is for %q", name, doc.Environment, environment)
	}
	p := Proof{Moves: map[flags.Key]Move{}}
	var all any
	err := json.Unmarshal(src, &all)
	if err == nil {
		err = oldestDate(all, &p.Measured)
	}
	if err == nil && doc.Now != "" {
		p.Decided, err = time.Parse(time.RFC3339, doc.Now)
	}
	if err != nil {
		return fail(err)
	}
	if p.Measured.IsZero() {
		return Proof{}, fmt.Errorf("%s does not say when it was measured (generated_at)", name)
	}
	for feature, tenants := range doc.Moves {
		for tenant, m := range tenants {
			p.Moves[flags.Key{Feature: feature, Tenant: tenant}] = m
		}
	}
	return p, nil
}

// oldestDate finds the oldest generated_at at any depth.
func oldestDate(v any, oldest *time.Time) error {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := oldestDate(e, oldest); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, e := range v {
			text, ok := e.(string)
			if name != "generated_at" || !ok {
				if err := oldestDate(e, oldest); err != nil {
					return err
				}
				continue
			}
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return fmt.Errorf("generated_at: %w", err)
			}
			if oldest.IsZero() || at.Before(*oldest) {
				*oldest = at
			}
		}
	}
	return nil
}

// justifies says what is wrong with the proof for a step that a ramped record of the entry at tells of; "" when nothing is.
func (p Proof) justifies(at flags.Key, rec *flags.Ramped) string {
	move, ok := p.Moves[at]
	switch {
	case !ok:
		return fmt.Sprintf("the evidence is about no step of %s", at)
	case move.From != rec.From || move.To != rec.To:
		return fmt.Sprintf("the evidence is about the step %s -> %s", move.From, move.To)
	case !p.Decided.Equal(rec.At):
		return fmt.Sprintf("the evidence was recorded for a decision at %s, the entry was ramped at %s", stamp(p.Decided), stamp(rec.At))
	}
	return ""
}
