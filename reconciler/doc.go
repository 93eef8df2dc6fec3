// Package reconciler makes what is live equal to the newest spec in git that its
// signers were allowed to make, and says so.
//
// It decides nothing about flags. One pass does this, always in this order:
//
//	observe   where does the branch point? (a cheap look; a fetch only when it moved)
//	walk      each commit since the last accepted one that touched the spec, oldest first
//	judge     signature, form, environment, version, authority over the transition
//	accept    one line in the state folder: from here on the generation exists
//	converge  plan against what the store holds, then a write that is refused when
//	          someone else wrote in between
//	report    conditions, metrics, events
//
// The walk and the judgement are pure (walk.go, judge.go): they take values and give
// values. Everything with a side stands around them.
//
// Every failure leaves the last good generation live. What the world may heal by
// itself (no network, no store) is an error and is tried again, sooner or later; what
// a person must mend (a bad signature, a rewritten branch) is a [Ruling] with a
// [Code], shown in [Status], and never stops the look at a newer commit.
package reconciler
