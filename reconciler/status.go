package reconciler

import (
	"slices"
	"time"
)

// Status is what the reconciler knows of itself: the body of /api/v1/status (format
// "status/v1") and what "reconcile status" prints. Members may be added; none is ever
// renamed, removed or given a new meaning.
type Status struct {
	Format      string `json:"format"`
	Environment string `json:"environment,omitempty"`
	Namespace   string `json:"namespace"`
	Repo        string `json:"repo"` // without credentials
	Branch      string `json:"branch"`
	Path        string `json:"path"`
	Reconciler  string `json:"reconciler"` // this instance's name
	Software    string `json:"software,omitempty"`
	// Role is leader or follower; empty where no lease is taken. Term is the lease's.
	Role   string  `json:"role,omitempty"`
	Leader *Leader `json:"leader,omitempty"` // nil while nobody is known to lead
	Term   uint64  `json:"term,omitzero"`

	Observed *Mark `json:"observed,omitempty"` // where the branch points
	Verified *Mark `json:"verified,omitempty"` // the newest commit whose spec is accepted
	Applied  *Mark `json:"applied,omitempty"`  // what is live in the store

	HeadLive   bool        `json:"head_live"` // the newest spec in git is what is live
	Conditions []Condition `json:"conditions"`
	Refused    []Refusal   `json:"refused,omitempty"`  // between the last accepted commit and HEAD, newest last
	Deferred   []Refusal   `json:"deferred,omitempty"` // with NotBefore
	Drift      DriftTotals `json:"drift"`
	// Policy is the trust policy in force; nil where unsigned specs are accepted.
	Policy *PolicyStatus `json:"policy,omitempty"`
	// Overrides are the break-glass statements in force, oldest first.
	Overrides []InForce `json:"overrides,omitempty"`
	// Suspended is nil unless a person told the reconciler to take nothing new from git.
	Suspended *Suspension `json:"suspended,omitempty"`

	StartedAt   time.Time `json:"started_at,omitzero"`
	LastPass    time.Time `json:"last_pass,omitzero"`       // the last pass, however it ended
	LastSuccess time.Time `json:"last_success,omitzero"`    // the last pass that saw git and the store in order
	Age         float64   `json:"last_success_age_seconds"` // -1 before the first
	NextPass    time.Time `json:"next_pass,omitzero"`
	Passes      uint64    `json:"passes"`
}

const statusFormat = "status/v1"

// Mark is a commit and what it stands for.
type Mark struct {
	Commit     string    `json:"commit"`
	Generation uint64    `json:"generation,omitzero"`
	Epoch      uint64    `json:"epoch,omitzero"`
	Version    string    `json:"version,omitempty"`
	Digest     string    `json:"digest,omitempty"`
	Kind       Kind      `json:"kind,omitempty"`
	Signers    []string  `json:"signers,omitempty"`
	Roles      []string  `json:"roles,omitempty"`
	Subject    string    `json:"subject,omitempty"`
	Author     string    `json:"author,omitempty"`
	Committed  time.Time `json:"committed,omitzero"`
	At         time.Time `json:"at,omitzero"`
	Entries    int       `json:"entries,omitzero"`
}

// Refusal is a commit that is not live, and why.
type Refusal struct {
	Commit    string    `json:"commit"`
	Subject   string    `json:"subject,omitempty"`
	Author    string    `json:"author,omitempty"`
	Version   string    `json:"version,omitempty"`
	Signers   []string  `json:"signers,omitempty"`
	Code      Code      `json:"code"`
	Message   string    `json:"message"`
	Hint      string    `json:"hint,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	Since     time.Time `json:"since"`
}

// ConditionType names one of the eight questions that status answers.
type ConditionType string

// The conditions. Ready, SourceVerified, SpecValid and Applied are good when true, the
// others when false.
const (
	CondReady            ConditionType = "Ready"          // a verified generation is live
	CondSourceVerified   ConditionType = "SourceVerified" // the newest spec's signatures and authority hold
	CondSpecValid        ConditionType = "SpecValid"      // the newest spec is well formed
	CondApplied          ConditionType = "Applied"        // the last accepted generation is in the store
	CondDriftDetected    ConditionType = "DriftDetected"  // the last look at the store found differences
	CondHistoryRewritten ConditionType = "HistoryRewritten"
	CondStoreUnavailable ConditionType = "StoreUnavailable"
	CondFetchFailed      ConditionType = "FetchFailed"
)

var conditionTypes = []ConditionType{
	CondReady, CondSourceVerified, CondSpecValid, CondApplied,
	CondDriftDetected, CondHistoryRewritten, CondStoreUnavailable, CondFetchFailed,
}

// Truth is a condition's state.
type Truth string

// The three truths: before the first look all is Unknown.
const (
	Unknown Truth = "Unknown"
	True    Truth = "True"
	False   Truth = "False"
)

// Condition answers one question about the reconciler.
type Condition struct {
	Type    ConditionType `json:"type"`
	Status  Truth         `json:"status"`
	Reason  Code          `json:"reason"`
	Message string        `json:"message,omitempty"`
	Since   time.Time     `json:"since"` // of this status and reason
}

// Good says whether the condition is as it should be.
func (c Condition) Good() bool {
	switch c.Type {
	case CondReady, CondSourceVerified, CondSpecValid, CondApplied:
		return c.Status == True
	}
	return c.Status == False
}

// Condition finds a condition; one that was never set is Unknown.
func (s *Status) Condition(t ConditionType) Condition {
	for _, c := range s.Conditions {
		if c.Type == t {
			return c
		}
	}
	return Condition{Type: t, Status: Unknown, Reason: NotYet}
}

// set changes a condition; Since moves only when the status or the reason does.
func (s *Status) set(now time.Time, t ConditionType, truth Truth, reason Code, message string) {
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if c.Type != t {
			continue
		}
		if c.Status != truth || c.Reason != reason {
			c.Since = now
		}
		c.Status, c.Reason, c.Message = truth, reason, message
		return
	}
	s.Conditions = append(s.Conditions, Condition{Type: t, Status: truth, Reason: reason, Message: message, Since: now})
}

func newStatus(now time.Time) Status {
	s := Status{Format: statusFormat, StartedAt: now}
	for _, t := range conditionTypes {
		s.set(now, t, Unknown, NotYet, "")
	}
	return s
}

// clone is a copy that shares nothing that is ever changed in place.
func (s *Status) clone() *Status {
	c := *s
	c.Conditions = slices.Clone(s.Conditions)
	c.Refused = slices.Clone(s.Refused)
	c.Deferred = slices.Clone(s.Deferred)
	c.Overrides = slices.Clone(s.Overrides)
	return &c
}

// age sets the age of the last success.
func (s *Status) age(now time.Time) {
	s.Age = -1
	if !s.LastSuccess.IsZero() {
		s.Age = now.Sub(s.LastSuccess).Seconds()
	}
}
