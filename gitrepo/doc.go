// Package gitrepo brings commits in and sends commits out. It answers what a
// branch says, what changed since a commit, and what a file held then; it knows
// nothing of flags, signatures on content, or Redis.
//
// There are two ways to look at a repository:
//
//   - [Open] keeps a bare clone of one branch in a state folder, for a program
//     that follows it: a cheap check of the remote's head, a fetch, a walk over
//     the commits since the last accepted one. Nothing is ever checked out, and
//     no git binary is needed, except that file:// addresses run git's own
//     upload-pack.
//   - [OpenLocal] is a person's checkout, and drives the git binary there, so
//     that hooks, commit signing, attributes and the index work as the person
//     set them up.
//
// # The state folder
//
//	<Dir>/lock        held while a process uses the folder
//	<Dir>/current     JSON: which clone is in force, of which address and branch
//	<Dir>/clone-<n>/  a bare repository, readable by stock git
//
// A clone is made under a new number and comes into force when current is
// replaced by a rename, so a process killed at any moment leaves either the old
// clone or the new one. What is half made, or does not read back, is dropped
// and fetched anew: the folder holds nothing that the remote does not have.
//
// The first clone has depth 1, and later fetches have no depth. When a walk
// needs what is missing, the branch is cloned whole, once.
package gitrepo
