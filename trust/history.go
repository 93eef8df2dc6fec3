package trust

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/rampart-flags/rampart/schema"
)

// AcceptHistory is the deliberate way on after a legitimate rewrite of history: it
// lets one reconciler environment go on from a commit that does not descend from the
// last accepted one. It names both, so it means nothing anywhere else or later.
//
//	{"format":"accept-history/v1","environment":"prod","id":"6f1c…","issued":"2026-11-22T04:00:00Z",
//	 "from":"<last accepted commit>","to":"<commit to go on from>","reason":"moved to a new host"}
type AcceptHistory struct {
	Environment string
	ID          string
	Issued      time.Time
	From, To    string // full commit hashes, lower-case hex
	Reason      string
}

type acceptHistoryDoc struct {
	Format      string `json:"format"`
	Environment string `json:"environment"`
	ID          string `json:"id"`
	Issued      string `json:"issued"`
	From        string `json:"from"`
	To          string `json:"to"`
	Reason      string `json:"reason"`
}

// acceptHistoryTTL is how long a statement can be used after it was issued.
const acceptHistoryTTL = 24 * time.Hour

// Encode writes the statement as it is to be signed: one line of JSON and a line
// end. What [ParseAcceptHistory] would refuse is an error.
func (h *AcceptHistory) Encode() ([]byte, error) {
	out, err := json.Marshal(acceptHistoryDoc{
		Format: "accept-history/v1", Environment: h.Environment, ID: h.ID,
		Issued: formatStamp(h.Issued), From: h.From, To: h.To, Reason: h.Reason,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the statement: %w", err)
	}
	out = append(out, '\n')
	if _, err := ParseAcceptHistory("accept-history", out); err != nil {
		return nil, fmt.Errorf("writing the statement: %w", err)
	}
	return out, nil
}

// ParseAcceptHistory reads a statement strictly. Nothing is verified yet. The error
// is [schema.Errors].
func ParseAcceptHistory(file string, src []byte) (*AcceptHistory, error) {
	var doc acceptHistoryDoc
	if err := schema.Decode("accept-history", file, src, &doc); err != nil {
		return nil, err
	}
	var b builder
	h := &AcceptHistory{Environment: doc.Environment, ID: doc.ID, From: doc.From, To: doc.To, Reason: doc.Reason}
	h.Issued = b.stamp("/issued", doc.Issued)
	report := schema.NewReport(file, src)
	report.AddProblems(0, "", b.problems)
	if err := report.Err(); err != nil {
		return nil, err
	}
	return h, nil
}

// AuthorizeHistory says whether the statement lets a reconciler whose last accepted
// commit is last go on from its To: it is for this environment, this commit and
// these 24 hours, and a role that may do anything has signed it in sufficient number.
func (p *Policy) AuthorizeHistory(h *AcceptHistory, last string, signers []string, now time.Time) Answer {
	refuse := func(reason Reason, hint, format string, args ...any) Answer {
		return Answer{Reason: reason, Hint: hint, Uncovered: []Ruling{{Sentence: "accept-history: " + fmt.Sprintf(format, args...)}}}
	}
	const again = "make a new one: reconcile accept-history COMMIT --reason …"
	switch {
	case h.Environment != p.Environment:
		return refuse(WrongEnvironment, again, "it is for environment %q, this is %q", h.Environment, p.Environment)
	case h.From != last:
		return refuse(AlreadyUsed, again, "it goes on from %.12s, the last accepted commit is %.12s", h.From, last)
	case checkTime(h.Issued, h.Issued.Add(acceptHistoryTTL), now) != "":
		return refuse(Expired, again, "%s", checkTime(h.Issued, h.Issued.Add(acceptHistoryTTL), now))
	case !p.HasFull(signers, now):
		return refuse(NotAuthorized, `have enough maintainers sign it: a role with "may": ["*"]`, "signed by %s, which is not enough of a role that may rewrite history", p.judge(Request{Signers: signers, Now: now}).who())
	}
	return Answer{Verdict: Allowed, Reason: Authorized, Covered: []Ruling{{Sentence: fmt.Sprintf("history goes on from %.12s: %s", h.To, h.Reason)}}}
}
