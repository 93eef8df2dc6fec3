package ramp

import "fmt"

// Verdict is what the evidence says of one entry. The zero value knows nothing and moves nothing up.
type Verdict uint8

const (
	Unknown Verdict = iota // missing, or present and unusable
	Amber                  // usable, neither good nor bad
	Red                    // usable and bad
	Green                  // usable and good
)

var verdictNames = [...]string{Unknown: "unknown", Amber: "amber", Red: "red", Green: "green"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// MarshalText writes the verdict's name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a verdict's name.
func (v *Verdict) UnmarshalText(b []byte) error {
	for i, name := range verdictNames {
		if name == string(b) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("unknown verdict %q", b)
}

// Action is what a decision does to the percentage. The zero value does nothing.
type Action uint8

const (
	Hold  Action = iota
	Up           // one step up
	Down         // one step down
	Abort        // at once to the guard's minimum
)

var actionNames = [...]string{Hold: "hold", Up: "up", Down: "down", Abort: "abort"}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// MarshalText writes the action's name.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads an action's name.
func (a *Action) UnmarshalText(b []byte) error {
	for i, name := range actionNames {
		if name == string(b) {
			*a = Action(i)
			return nil
		}
	}
	return fmt.Errorf("unknown action %q", b)
}

// Lowers is whether the action takes the percentage down.
func (a Action) Lowers() bool { return a == Down || a == Abort }

// Code is the machine's word for why a decision came out as it did. Codes are a contract: new ones may
// be added, none changes its meaning.
type Code string

const (
	CodeUp Code = "up" // every condition is met

	// Lowerings.
	CodeCritical   Code = "critical-alert" // a critical alert fires
	CodeDivergence Code = "divergence"     // replicas or notaries disagree
	CodeIndicator  Code = "indicator"      // an indicator is beyond its red limit
	CodeHarm       Code = "harm"           // treated traffic fails more often than control, beyond chance
	CodeAtMin      Code = "at-min"         // red, but already at the minimum: holds

	// Holds for want of usable evidence.
	CodeMissing    Code = "missing"
	CodeUnreadable Code = "unreadable"
	CodeUndated    Code = "undated"
	CodeStale      Code = "stale"
	CodeFuture     Code = "future"
	CodeFewSamples Code = "few-samples"
	CodeBeforeStep Code = "before-step"    // measured before the last step was live, or used for it
	CodeRatio      Code = "ratio"          // treated and control do not stand in the expected ratio
	CodeCoverage   Code = "coverage"       // amber: coverage below target
	CodeBetween    Code = "between"        // amber: an indicator between its green and its red limit
	CodePaused     Code = "paused"         // the guard says so
	CodeCooldown   Code = "cooldown"       // too soon after a lowering
	CodeAborts     Code = "aborts"         // aborted too often; a person must resume
	CodeReverted   Code = "reverted"       // a person took the last step back; a person must resume
	CodeFrozen     Code = "frozen"         // inside a freeze window
	CodeNotBefore  Code = "not-before"     // before the guard's date
	CodeBake       Code = "bake"           // the last step is too young
	CodeGreens     Code = "greens"         // fewer green runs in a row than asked
	CodeWave       Code = "wave"           // an earlier wave is not there yet
	CodeBudget     Code = "budget"         // the run's budget is spent
	CodeAtMax      Code = "at-max"         // nothing left to raise
	CodeDisabled   Code = "disabled"       // the entry is switched off: raising it would do nothing
	CodeNeedsSalt  Code = "needs-salt"     // the next step is a fraction of a percent, which needs a salt
	CodeGate       Code = "gate"           // up, and a person must approve it
	CodeWaitsDown  Code = "waits-for-down" // other entries go down first, on their own
)
