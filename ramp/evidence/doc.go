// Package evidence gets the numbers that ramps are decided by: from files, from the environment, from a
// report that someone pushed, from Prometheus. What it reads never fails as a whole: a field that
// cannot be used is recorded with its reason, and the fields beside it still count, because one broken
// number must not hide a critical alert.
//
// docs/evidence.md draws the files.
package evidence
