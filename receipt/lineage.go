package receipt

import (
	"slices"
	"strings"
)

// Step is one operation of a chain: its intent and its outcome, where each was recorded, or the proposal that a commit names.
type Step struct {
	OpID     string   `json:"op_id"`
	ParentID string   `json:"op_parent_id,omitempty"`
	Kind     string   `json:"kind"` // a [Kind], or "proposal"
	Commit   string   `json:"commit,omitempty"`
	Intent   *Receipt `json:"intent,omitempty"`
	Outcome  *Receipt `json:"outcome,omitempty"`
	Seqs     []uint64 `json:"seqs,omitempty"`
	// Attempts counts intents: more than one means that the operation was begun again after a crash.
	Attempts int `json:"attempts,omitempty"`
}

// Unfinished reports whether the step was announced and has no outcome: it is going on, or was cut off.
func (s Step) Unfinished() bool { return s.Intent != nil && s.Outcome == nil }

// Chain is everything that shares a chain id, in the order in which it was first recorded; proposals come before what
// came of them.
type Chain struct {
	ID    string `json:"op_chain_id"`
	Steps []Step `json:"steps"`
	// Missing are parents that steps name and that nothing recorded here is. They are reported, never guessed.
	Missing []string   `json:"missing,omitempty"`
	Anchors []Anchored `json:"anchors,omitempty"` // notaries that confirmed all of the chain's receipts
}

// Complete reports whether every step is finished and no parent is missing.
func (c Chain) Complete() bool {
	return len(c.Missing) == 0 && !slices.ContainsFunc(c.Steps, Step.Unfinished)
}

// Lineage rebuilds the chains that key belongs to: a chain id, an operation's id, or a commit's hash of at least seven digits.
// It reads the records once, in any number of ledgers one after another.
func Lineage(key string, ledgers ...func(fn func(Record) error) error) ([]Chain, error) {
	key = strings.ToLower(strings.TrimSpace(key))
	var all []Receipt
	var seqs []uint64
	wanted := map[string]bool{}
	var order []string
	var anchors []Anchored
	for _, scan := range ledgers {
		err := scan(func(r Record) error {
			if r.Purged() {
				return nil
			}
			rec, err := r.Decode()
			if err != nil {
				return err
			}
			if rec.Anchored != nil {
				anchors = append(anchors, *rec.Anchored)
			}
			all, seqs = append(all, rec), append(seqs, r.Seq)
			if rec.matches(key) && !wanted[rec.ChainID] {
				wanted[rec.ChainID] = true
				order = append(order, rec.ChainID)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	chains := make([]Chain, len(order))
	for i, id := range order {
		chains[i] = buildChain(id, all, seqs, anchors)
	}
	return chains, nil
}

func (r *Receipt) matches(key string) bool {
	switch {
	case key == "":
		return false
	case r.ChainID == key, r.OpID == key, r.ParentID == key:
		return true
	}
	return len(key) >= 7 && strings.HasPrefix(r.Commit, key)
}

const proposal = "proposal"

func buildChain(id string, all []Receipt, seqs []uint64, anchors []Anchored) Chain {
	c := Chain{ID: id}
	at := map[string]int{}
	step := func(op string) *Step {
		i, ok := at[op]
		if !ok {
			i = len(c.Steps)
			at[op] = i
			c.Steps = append(c.Steps, Step{OpID: op})
		}
		return &c.Steps[i]
	}
	var last uint64
	for i := range all {
		r := &all[i]
		if r.ChainID != id {
			continue
		}
		// A commit's receipts name the proposal that made it as their parent.
		if _, known := at[r.ParentID]; r.ParentID != "" && r.Commit != "" && !known && !recordedAs(all, r.ParentID) {
			p := step(r.ParentID)
			p.Kind, p.Commit = proposal, r.Commit
		}
		s := step(r.OpID)
		s.Kind, s.Seqs = string(r.Kind), append(s.Seqs, seqs[i])
		if r.ParentID != "" {
			s.ParentID = r.ParentID
		}
		if r.Commit != "" {
			s.Commit = r.Commit
		}
		if r.Phase == Intent {
			s.Intent = r
			s.Attempts++
		} else {
			s.Outcome = r
		}
		last = max(last, seqs[i])
	}
	for _, s := range c.Steps {
		if _, ok := at[s.ParentID]; s.ParentID != "" && !ok && !slices.Contains(c.Missing, s.ParentID) {
			c.Missing = append(c.Missing, s.ParentID)
		}
	}
	newest := map[string]Anchored{}
	for _, a := range anchors {
		if a.Size > last && (newest[a.Notary].NotaryID == "" || a.Size < newest[a.Notary].Size) {
			newest[a.Notary] = a
		}
	}
	for _, a := range newest {
		c.Anchors = append(c.Anchors, a)
	}
	slices.SortFunc(c.Anchors, func(a, b Anchored) int { return strings.Compare(a.Notary, b.Notary) })
	return c
}

// recordedAs reports whether op is an operation that some receipt is about.
func recordedAs(all []Receipt, op string) bool {
	return slices.ContainsFunc(all, func(r Receipt) bool { return r.OpID == op })
}
