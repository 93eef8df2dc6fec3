package evidence

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
)

// RecordFormat names the form of a [Record]. While it stays, fields are only added.
const RecordFormat = "ramp-evidence/v1"

// Record is everything that the decisions of one run followed from, so that anyone can derive them
// again. It is kept as specs/evidence/<sha256>.json, under the digest of its own bytes.
type Record struct {
	Now         time.Time     // the run's clock
	Spec        string        // digest of the spec that was decided upon
	Environment string        // that spec's, or ""
	Settings    ramp.Settings //
	Features    []string      // as listed for the run; nil: every feature that has a `ramp` block
	Tenants     []string      // as listed for the run; nil: all
	Resumed     []string      // features that a person resumed
	Created     []string      // features that the run made, at 0 %
	Budget      ramp.Budget
	Coverage    []byte // as read; nil: there was none
	SLO         []byte // as read; nil: there was none
	Guards      map[string]jsontext.Value
	Moves       []Move
}

// Move is a step that was taken, and the history it was decided with.
type Move struct {
	Feature, Tenant string
	From, To        flags.Pct
	Code            ramp.Code
	History         ramp.History
}

// recordJSON is the form on disk. Sources that are JSON stand in it as they were read, others as text,
// so that reading them again says the same.
type recordJSON struct {
	Format      string                         `json:"format"`
	Now         time.Time                      `json:"now"`
	Spec        string                         `json:"spec"`
	Environment string                         `json:"environment,omitzero"`
	Settings    ramp.Settings                  `json:"settings"`
	Features    []string                       `json:"features,omitzero"`
	Tenants     []string                       `json:"tenants,omitzero"`
	Resumed     []string                       `json:"resumed,omitzero"`
	Created     []string                       `json:"created,omitzero"`
	MaxUps      int                            `json:"max_ups,omitzero"`
	MaxExposure flags.Pct                      `json:"max_exposure,omitzero"`
	Coverage    jsontext.Value                 `json:"coverage,omitzero"`
	SLO         jsontext.Value                 `json:"slo,omitzero"`
	BadCoverage *string                        `json:"coverage_unreadable,omitzero"`
	BadSLO      *string                        `json:"slo_unreadable,omitzero"`
	Guards      map[string]jsontext.Value      `json:"guards"`
	Moves       map[string]map[string]moveJSON `json:"moves"`
}

type moveJSON struct {
	From    flags.Pct    `json:"from"`
	To      flags.Pct    `json:"to"`
	Code    ramp.Code    `json:"code"`
	History ramp.History `json:"history,omitzero"`
}

// ErrRecord is what the errors of [ParseRecord] wrap.
var ErrRecord = errors.New("not a record of ramp evidence")

// Bytes is the record in its one form: the same record gives the same bytes.
func (r *Record) Bytes() ([]byte, error) {
	doc := recordJSON{
		Format: RecordFormat, Now: r.Now.UTC(), Spec: r.Spec, Environment: r.Environment, Settings: r.Settings,
		Features: r.Features, Tenants: r.Tenants, Resumed: r.Resumed, Created: r.Created, MaxUps: r.Budget.MaxUps, MaxExposure: r.Budget.MaxExposure,
		Guards: r.Guards, Moves: map[string]map[string]moveJSON{},
	}
	doc.Coverage, doc.BadCoverage = embed(r.Coverage)
	doc.SLO, doc.BadSLO = embed(r.SLO)
	for _, m := range r.Moves {
		if doc.Moves[m.Feature] == nil {
			doc.Moves[m.Feature] = map[string]moveJSON{}
		}
		doc.Moves[m.Feature][m.Tenant] = moveJSON{m.From, m.To, m.Code, m.History}
	}
	opts := []json.Options{json.Deterministic(true)}
	if len(r.Moves) <= prettyMoves {
		opts = append(opts, jsontext.WithIndent("  "))
	}
	out, err := json.Marshal(&doc, opts...)
	if err != nil {
		return nil, fmt.Errorf("writing the evidence record: %w", err)
	}
	return append(out, '\n'), nil
}

// prettyMoves is up to how many moves a record is laid out for people.
const prettyMoves = 200

// embed gives a source the place in the record that keeps what it says.
func embed(src []byte) (value jsontext.Value, unreadable *string) {
	if src == nil {
		return nil, nil
	}
	v := jsontext.Value(slices.Clone(src))
	if v.IsValid() && v.Kind() == '{' && v.Compact() == nil {
		return v, nil
	}
	src = bytes.TrimPrefix(src, []byte(unreadableMark))
	text := strings.ToValidUTF8(string(src[:min(len(src), 4096)]), "�")
	return nil, &text
}

// unreadableMark makes sure that what could not be read cannot be read later either: cut short, or with
// its invalid bytes replaced, it might.
const unreadableMark = "unreadable: "

func unembed(value jsontext.Value, unreadable *string) []byte {
	if unreadable != nil {
		return []byte(unreadableMark + *unreadable)
	}
	if value.Compact() != nil { // what was parsed as JSON is JSON
		return nil
	}
	return value
}

// Digest is "sha256:<hex>" of a record's bytes, the name under which it is kept.
func Digest(record []byte) string {
	sum := sha256.Sum256(record)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ParseRecord reads a record, strictly. The error wraps [ErrRecord].
func ParseRecord(src []byte) (*Record, error) {
	var doc recordJSON
	if err := json.Unmarshal(src, &doc, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, tidy(err))
	}
	if doc.Format != RecordFormat {
		return nil, fmt.Errorf("%w: format %.40q, want %q", ErrRecord, doc.Format, RecordFormat)
	}
	r := &Record{
		Now: doc.Now, Spec: doc.Spec, Environment: doc.Environment, Settings: doc.Settings, Features: doc.Features, Tenants: doc.Tenants, Resumed: doc.Resumed, Created: doc.Created,
		Budget:   ramp.Budget{MaxUps: doc.MaxUps, MaxExposure: doc.MaxExposure},
		Coverage: unembed(doc.Coverage, doc.BadCoverage), SLO: unembed(doc.SLO, doc.BadSLO), Guards: doc.Guards,
	}
	for feature, tenants := range doc.Moves {
		for t, m := range tenants {
			r.Moves = append(r.Moves, Move{feature, t, m.From, m.To, m.Code, m.History})
		}
	}
	slices.SortFunc(r.Moves, func(a, b Move) int {
		return cmp.Or(cmp.Compare(a.Feature, b.Feature), cmp.Compare(a.Tenant, b.Tenant))
	})
	return r, nil
}

// Evidence is what the record's sources say.
func (r *Record) Evidence() *ramp.Evidence {
	return ramp.NewEvidence(Coverage(r.Coverage), SLO(r.SLO))
}
