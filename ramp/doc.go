// Package ramp decides where a feature's percentage should go. It is pure: evidence, guard, history
// and the clock are arguments, and the same arguments always give the same decision.
//
//	d := ramp.Decide(entry, guard, evidence, history, now)
//	fmt.Println(d) // receipts __default__ 10 -> 20 up, green: coverage 97.2 >= 95; anchor_p95_ms 21 <= 30
//
// A decision is made in two moves. First the evidence gets a [Verdict], field by field: red for what
// is usable and bad, unknown for what is missing or cannot be used, amber for what lies between, green
// for the rest. Then the first rule that matches wins:
//
//	paused                                    hold
//	red, critical                             down one step, or abort to the minimum (on_critical)
//	red                                       down one step
//	unknown, amber                            hold
//	cool-down, too many aborts, a revert      hold
//	freeze window, not_before                 hold
//	bake time, greens in a row, earlier wave  hold
//	gate reached                              up, marked for approval
//	run budget                                hold
//	otherwise                                 up one step
//
// So only green evidence ever raises a percentage, and no rule below red stands in the way of a
// lowering. [Plan] decides a whole spec, with waves and the run budget; [Log] derives the history
// of each entry from commits.
package ramp
