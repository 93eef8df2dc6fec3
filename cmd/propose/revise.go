package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
)

// basis is what a change starts from, besides the document itself.
type basis struct {
	file string      // for errors
	made *flags.Spec // the last committed spec, that the new one names as its previous; nil before the first commit
	seen []string    // every version that the file ever had
	base string      // a new base for the version, "" to keep it

	dec *flags.Decoder // reads what was edited; nil means one of its own
}

func (b basis) decode(src []byte) (*flags.Spec, error) {
	if b.dec == nil {
		return flags.Decode(b.file, src)
	}
	return b.dec.Decode(b.file, src)
}

// revision is a document with a change made to it.
type revision struct {
	spec    *flags.Spec
	changes []flags.Change // from the basis' committed spec, all being new where there is none
}

// revise makes edits to a spec, gives the result its version and previous, and stamps each entry
// that differs from the committed spec with the ramp number of that version. Bytes that no edit
// touches stay. Edits that change nothing give the spec back as it was.
func revise(cur *flags.Spec, edits []flags.EditOp, from basis) (revision, error) {
	src, err := flags.Edit(cur.Bytes(), edits)
	if err != nil {
		return revision{}, fmt.Errorf("editing %s: %w", from.file, err)
	}
	mid, err := from.decode(src)
	if err != nil {
		return revision{}, fmt.Errorf("after this change the spec would be wrong: %w", err)
	}
	if len(flags.Diff(cur, mid)) == 0 && from.base == "" {
		return revision{spec: cur, changes: flags.Diff(from.made, cur)}, nil
	}
	return stamp(mid, from)
}

// stamp gives a document whose content is final its version, previous and entry versions.
func stamp(mid *flags.Spec, from basis) (revision, error) {
	version, err := nextVersion(mid, from)
	if err != nil {
		return revision{}, err
	}
	edits := []flags.EditOp{{Pointer: "/version", Value: text(version.String())}}
	if from.made != nil {
		edits = append(edits, flags.EditOp{Pointer: "/previous", Value: text(from.made.Digest())})
	}
	edits = append(edits, entryStamps(mid, flags.Diff(from.made, mid), version.N)...)
	src, err := flags.Edit(mid.Bytes(), edits)
	if err != nil {
		return revision{}, fmt.Errorf("writing the version into %s: %w", from.file, err)
	}
	next, err := from.decode(src)
	if err != nil {
		return revision{}, fmt.Errorf("writing the version into %s: %w", from.file, err)
	}
	return revision{spec: next, changes: flags.Diff(from.made, next)}, nil
}

// nextVersion counts from the committed spec, not from the work tree's: several edits before one
// commit are one change.
func nextVersion(mid *flags.Spec, from basis) (flags.Version, error) {
	current, base := mid.Version, from.base
	if from.made != nil {
		current = from.made.Version
		if base == "" {
			v, err := flags.ParseVersion(mid.Version)
			if err != nil {
				return flags.Version{}, fmt.Errorf("counting the version on: %w", err)
			}
			base = v.Base
		}
	}
	v, err := flags.NextVersion(current, base, from.seen)
	if err != nil {
		return v, fmt.Errorf("counting the version on: %w", err)
	}
	return v, nil
}

// entryStamps writes ramp number n on every entry that a change concerns. A tenant that inherits its
// version follows its feature's stamp and needs none of its own.
func entryStamps(mid *flags.Spec, changes []flags.Change, n int) []flags.EditOp {
	stamped := map[flags.Key]bool{}
	for _, c := range changes {
		if c.Tenant != "" && c.Kind != flags.FeatureRemove && c.Kind != flags.TenantRemove {
			stamped[c.Key()] = true
		}
	}
	var edits []flags.EditOp
	write := func(pointer, version string) {
		v, err := flags.ParseVersion(version)
		if err != nil || v.With(n).String() == version {
			return // a decoded spec has no other versions
		}
		edits = append(edits, flags.EditOp{Pointer: pointer + "/version", Value: text(v.With(n).String())})
	}
	for key := range stamped {
		f := mid.Feature(key.Feature)
		if f == nil {
			continue
		}
		pointer := pointerTo("features", key.Feature)
		if key.Tenant == flags.DefaultTenant {
			write(pointer, f.Entry(flags.DefaultTenant).Version)
			continue
		}
		over := f.Tenant(key.Tenant)
		if over == nil || (over.Version == "" && stamped[flags.Key{Feature: key.Feature, Tenant: flags.DefaultTenant}]) {
			continue
		}
		write(pointer+pointerTo("tenants", key.Tenant), f.Entry(key.Tenant).Version)
	}
	slices.SortFunc(edits, func(a, b flags.EditOp) int { return strings.Compare(a.Pointer, b.Pointer) })
	return edits
}

// text is s as a JSON string.
func text(s string) jsontext.Value {
	v, err := jsontext.AppendQuote(nil, s)
	if err != nil { // invalid UTF-8, which Decode refuses by name
		return jsontext.Value(`"\ufffd"`)
	}
	return v
}

// texts is list as a JSON array of strings.
func texts(list []string) jsontext.Value {
	v, err := json.Marshal(list)
	if err != nil {
		return jsontext.Value(`["\ufffd"]`)
	}
	return v
}
