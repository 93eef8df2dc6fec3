// Package trust answers one question: may these signers make these changes?
//
// Authority is the transition, not the file. A [Policy] (trust.json) names signers
// and roles; [Policy.Authorize] looks at what really changes between the last
// accepted spec and the next one, and at who validly signed the next one, and says
// for each change which role covers it, or why none does.
//
// Everything here is pure: no files, no network, no clock of its own. Who signed is
// found out with package signing, before; what to do about the answer is the
// reconciler's business, after.
//
// Beside single transitions the package judges the three other ways in which what is
// live may move: content that was accepted before ([Policy.AuthorizeRollback]), a
// policy that follows another ([Succeeds]), and break-glass statements
// ([Policy.AuthorizeOverride]).
package trust
