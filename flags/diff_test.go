package flags_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/rampart-flags/rampart/flags"
)

// Each file of testdata/diff is a case: a spec, the spec after it, and the
// changes, one a line, "+" before those that raise exposure. PREVIOUS stands
// for the digest of the spec before. Where a "reverse" is given, it is the
// changes of the way back.
func TestDiffCases(t *testing.T) {
	files, err := filepath.Glob("testdata/diff/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	kinds := map[flags.Kind]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			part := func(name string) *txtar.File {
				i := slices.IndexFunc(ar.Files, func(f txtar.File) bool { return f.Name == name })
				if i < 0 {
					return nil
				}
				return &ar.Files[i]
			}
			var d flags.Decoder
			decode := func(src []byte) *flags.Spec {
				s, err := d.Decode("flags.json", src)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			var before *flags.Spec
			text := part("after").Data
			if f := part("before"); f != nil {
				before = decode(f.Data)
				text = bytes.ReplaceAll(text, []byte("PREVIOUS"), []byte(before.Digest()))
			}
			after := decode(text)
			check := func(name string, changes []flags.Change) {
				f := part(name)
				if f == nil {
					return
				}
				var got strings.Builder
				for _, c := range changes {
					kinds[c.Kind] = true
					mark := "  "
					if c.Rises {
						mark = "+ "
					}
					got.WriteString(mark + c.String() + "\n")
				}
				if *update {
					f.Data = []byte(got.String())
				} else if got.String() != string(f.Data) {
					t.Errorf("%s: got\n%swant\n%s", name, got.String(), f.Data)
				}
			}
			check("want", flags.Diff(before, after))
			if before != nil {
				check("reverse", flags.Diff(after, before))
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	for _, k := range flags.Kinds {
		if !kinds[k] {
			t.Errorf("no case shows %s", k)
		}
	}
}

// A change is written with these names; other programs read them.
func TestChangeJSON(t *testing.T) {
	a := mustDecode(t, []byte(`{"version":"flags-v1","features":{"receipts":{"pct":10,"tenants":{"acme":{"cohorts":["A"]}}}}}`))
	b := mustDecode(t, []byte(`{"version":"flags-v1+ramp.1","features":{"receipts":{"pct":20,"owner":"x","tenants":{"acme":{"cohorts":["A","B"],"pct":10}}}}}`))
	got, err := json.Marshal(flags.Diff(a, b))
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"kind":"ramp.up","feature":"receipts","tenant":"__default__","from":"10","to":"20","rises":true},` +
		`{"kind":"meta","feature":"receipts","field":"owner","from":"","to":"x","rises":false},` +
		`{"kind":"cohort.add","feature":"receipts","tenant":"acme","from":"","to":"B","rises":true,"members":["B"]},` +
		`{"kind":"other","feature":"receipts","tenant":"acme","field":"pct","from":"inherited","to":"its own","rises":false}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Changes carry the resolved entries that they are between.
func TestChangeEntries(t *testing.T) {
	a := mustDecode(t, []byte(`{"version":"flags-v1","features":{"receipts":{"pct":10,"tenants":{"acme":{"enabled":false}}},"old":{}}}`))
	b := mustDecode(t, []byte(`{"version":"flags-v1+ramp.1","features":{"receipts":{"pct":20},"new":{"pct":0}}}`))
	for _, c := range flags.Diff(a, b) {
		if c.Kind == flags.Meta || c.Kind == flags.Base {
			continue
		}
		before, inA := a.Entry(c.Feature, c.Tenant)
		after, inB := b.Entry(c.Feature, c.Tenant)
		if inA != (c.Before != nil) || inB != (c.After != nil) {
			t.Errorf("%v: before %v, after %v", c, c.Before, c.After)
			continue
		}
		if inA && !c.Before.Equal(before) || inB && !c.After.Equal(after) {
			t.Errorf("%v: before %v, after %v", c, c.Before, c.After)
		}
	}
}
