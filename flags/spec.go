package flags

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Spec is one whole flags.json that holds every rule. It never changes.
type Spec struct {
	SchemaURI   string // "$schema", for editors
	Version     string // as written; see [ParseVersion]
	Previous    string // "sha256:<hex>" of the spec that this one was made from, or ""
	Environment string // the only environment that this spec is for, or ""

	src      []byte
	sum      func() string
	segments *segmentTable
	names    []string         // sorted
	index    map[string]int32 // into doc
	doc      []featureRow     // in the order of the document
	entries  int
}

// Feature is one flag of a spec. It never changes, and specs that a [Decoder]
// read one after another share it while its bytes stay the same.
type Feature struct {
	Name        string
	Description string
	Owner       string
	Expires     string         // a date, "2027-03-01", or ""
	Ramp        jsontext.Value // the guard as written, nil without one
	Own         *Override      // what the feature itself says; what it leaves out has the default

	def     Entry // Own over the defaults: the __default__ entry
	rows    []tenantRow
	byName  []int32  // rows sorted by name, nil when rows are
	uses    []string // segments that Own or a tenant names
	members int      // cohort members of all entries
}

// Override is what a feature or a tenant says for itself, as written: a nil or
// empty field was left out and is inherited.
type Override struct {
	Enabled *bool
	Pct     *Pct
	Cohorts []string // "@name" not expanded; nil when left out, empty when "[]"
	Version string
	Salt    string
	Ramped  *Ramped

	members []string // Cohorts expanded
	refs    []string // segments named in Cohorts
}

// Ramped is the record that a ramp leaves of its last step.
type Ramped struct {
	At       time.Time
	From, To Pct
	Verdict  string
	Reason   string
	Evidence string // "sha256:<hex>", or ""
}

type segmentTable struct {
	raw  []byte // as written
	list map[string][]string
}

type featureRow struct {
	feature    *Feature
	start, end int // of the member in src
}

// tenantRow is one tenant's override. Its place is counted from the start of
// the feature's member, so that a feature may move in the document.
type tenantRow struct {
	name       string
	over       *Override
	start, end uint32
}

// Bytes is the document as it was read and signed. Do not change it.
func (s *Spec) Bytes() []byte { return s.src }

// Digest is "sha256:<hex>" of Bytes. It is computed once.
func (s *Spec) Digest() string { return s.sum() }

func digester(src []byte) func() string {
	return sync.OnceValue(func() string {
		sum := sha256.Sum256(src)
		return "sha256:" + hex.EncodeToString(sum[:])
	})
}

// Features are the features' names, sorted. Do not change the slice.
func (s *Spec) Features() []string { return s.names }

// Feature is the feature of that name, or nil.
func (s *Spec) Feature(name string) *Feature {
	if i, ok := s.index[name]; ok {
		return s.doc[i].feature
	}
	return nil
}

// Len is the number of entries that land in Redis.
func (s *Spec) Len() int { return s.entries }

// Segment returns the members of a segment.
func (s *Spec) Segment(name string) (members []string, ok bool) {
	members, ok = s.segments.list[name]
	return members, ok
}

// Segments are the names of all segments, sorted.
func (s *Spec) Segments() []string {
	names := make([]string, 0, len(s.segments.list))
	for name := range s.segments.list {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Entry is the feature resolved for the tenant: the tenant's own entry where
// it has one, else the feature's. It is false when there is no such feature.
func (s *Spec) Entry(feature, tenant string) (Entry, bool) {
	f := s.Feature(feature)
	if f == nil {
		return Entry{}, false
	}
	return f.Entry(tenant), true
}

// Entries yields every entry that lands in Redis: features by name, in each
// [DefaultTenant] first and then the tenants by name.
func (s *Spec) Entries() iter.Seq2[Key, Entry] {
	return func(yield func(Key, Entry) bool) {
		for _, name := range s.names {
			f := s.Feature(name)
			if !yield(Key{name, DefaultTenant}, f.def) {
				return
			}
			for i := range f.rows {
				row := f.row(i)
				if !yield(Key{name, row.name}, f.resolve(row.over)) {
					return
				}
			}
		}
	}
}

// Entry is the feature resolved for the tenant, or the feature's own entry
// when the tenant has no override.
func (f *Feature) Entry(tenant string) Entry {
	if o := f.Tenant(tenant); o != nil {
		return f.resolve(o)
	}
	return f.def
}

// Tenant is what the feature says for this tenant, or nil.
func (f *Feature) Tenant(name string) *Override {
	if i := f.find(name); i >= 0 {
		return f.rows[i].over
	}
	return nil
}

// Tenants yields the tenants that have an override, sorted by name.
func (f *Feature) Tenants() iter.Seq2[string, *Override] {
	return func(yield func(string, *Override) bool) {
		for i := range f.rows {
			if row := f.row(i); !yield(row.name, row.over) {
				return
			}
		}
	}
}

// TenantCount is the number of tenants that have an override.
func (f *Feature) TenantCount() int { return len(f.rows) }

// row is the i-th tenant in the order of names.
func (f *Feature) row(i int) *tenantRow {
	if f.byName == nil {
		return &f.rows[i]
	}
	return &f.rows[f.byName[i]]
}

// The defaults of fields that a feature leaves out.
const defaultVersion = "v1"

func (f *Feature) resolve(o *Override) Entry { return o.over(f.def) }

// over is e with what o says put over it.
func (o *Override) over(e Entry) Entry {
	if o.Enabled != nil {
		e.Enabled = *o.Enabled
	}
	if o.Pct != nil {
		e.Pct = *o.Pct
	}
	if o.Cohorts != nil {
		e.Cohorts = o.members
	}
	if o.Version != "" {
		e.Version = o.Version
	}
	if o.Salt != "" {
		e.Salt = o.Salt
	}
	return e
}
