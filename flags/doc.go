// Package flags knows what a spec says, what changed between two specs, and
// what a resolved entry decides for a subject. It is pure: no clock, no
// network, no files.
//
// A spec is one whole flags.json (docs/flags.json.md draws it). [Decode] reads
// one, strictly; a [Decoder] reads one spec after another and redoes only what
// changed. A [Spec] never changes once it is made, so parts of it may be shared
// between specs and between goroutines.
//
//	spec, err := flags.Decode("specs/flags.json", src)
//	entry, ok := spec.Entry("receipts", "acme") // as it will stand in Redis
//	for _, c := range flags.Diff(before, spec) { fmt.Println(c) }
//
// [Diff] names what a new spec does to people (ramp.up, enable, cohort.add and
// so on), whatever way it was written down. [Edit] changes a document and keeps
// every byte that the change does not touch.
package flags
