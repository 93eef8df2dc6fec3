package flags

import (
	"bytes"
	"fmt"

	"github.com/rampart-flags/rampart/schema"
)

// The limits of one spec. They keep what a hostile file can cost within bounds
// and lie far above what a team writes; docs/flags.json.md lists them.
const (
	MaxFeatures = 100_000
	MaxEntries  = 500_000 // features and their tenants together
	MaxCohort   = 100_000 // members of one entry, segments expanded

	maxSegments  = 10_000
	maxMembers   = 20_000_000 // members of all entries together
	maxExpanded  = 2_000_000  // members that segments bring, each distinct list counted once
	maxMemberLen = 256        // bytes
	maxValues    = 5_000      // values of one feature without its tenants, or of one tenant
)

// The levels of nesting that are left at each place of the document.
const (
	depthTop     = 15
	depthFeature = 13
	depthTenant  = 12
)

// Decode reads a whole flags.json: strict JSON, the JSON Schema, and the rules
// that a schema cannot say. The error is [schema.Errors], sorted by position.
// The spec keeps src, which must not be changed afterwards.
func Decode(file string, src []byte) (*Spec, error) {
	return new(Decoder).Decode(file, src)
}

// Decoder reads one spec after another. What stands there byte for byte as in
// the spec that it read last is not looked at again but shared, so that one
// changed tenant among 100,000 costs little more than a comparison of the
// bytes. The zero value is ready; it is for one goroutine at a time.
type Decoder struct {
	last *Spec
}

// Decode answers exactly as the function [Decode] does, only faster.
func (d *Decoder) Decode(file string, src []byte) (*Spec, error) {
	return d.decode(file, src, digester(src))
}

// DecodeHashed is Decode for a caller that has the SHA-256 of src already, so
// that a large spec is hashed once.
func (d *Decoder) DecodeHashed(file string, src []byte, sum [32]byte) (*Spec, error) {
	return d.decode(file, src, func() string { return fmt.Sprintf("sha256:%x", sum) })
}

func (d *Decoder) decode(file string, src []byte, sum func() string) (*Spec, error) {
	if d.last != nil {
		if bytes.Equal(d.last.src, src) {
			return d.last, nil
		}
		// Where the shorter way meets anything wrong, the whole document is
		// read anew: an error must name everything, and stand in its place.
		if s := readAfter(d.last, src); s != nil {
			s.sum = sum
			d.last = s
			return s, nil
		}
	}
	s, err := readWhole(file, src)
	if err != nil {
		return nil, err
	}
	s.sum = sum
	d.last = s
	return s, nil
}

// readWhole reads src with nothing to compare it with.
func readWhole(file string, src []byte) (*Spec, error) {
	if err := schema.Check(file, src, schema.Limits{Empty: `the least is {"version":"flags-v1","features":{}}`}); err != nil {
		return nil, err
	}
	r := &reader{src: src, report: schema.NewReport(file, src)}
	if !r.read() {
		if r.report.Err() == nil {
			r.report.Add(0, "", "the document could not be read", "")
		}
		return nil, r.report.Err()
	}
	return r.spec, nil
}

// readAfter reads src by what changed since old. It is nil when src cannot be
// read that way, whether it is valid or not.
func readAfter(old *Spec, src []byte) *Spec {
	if len(src) == 0 || len(src) > 32<<20 {
		return nil
	}
	r := &reader{src: src, old: old, report: schema.NewReport("", src)}
	if !r.read() {
		return nil
	}
	return r.spec
}
