package migrate

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/rampart-flags/rampart/flags"
)

// Each file in testdata is an export as its product documents it (NAME.in), the spec that it becomes, and the notes.
// UPDATE_GOLDEN=1 rewrites what is wanted.
func TestImports(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) < len(Sources()) {
		t.Fatalf("%d cases for %d sources, %v", len(paths), len(Sources()), err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			from, ok := strings.CutSuffix(a.Files[0].Name, ".in")
			if !ok {
				t.Fatalf("the first file is %s", a.Files[0].Name)
			}
			spec, notes, err := Import(from, a.Files[0].Data, Options{Bind: "prod"})
			if err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			for _, n := range notes {
				said.WriteString(n.String() + "\n")
			}
			got := []txtar.File{{Name: "flags.json", Data: spec}, {Name: "notes", Data: []byte(said.String())}}
			if os.Getenv("UPDATE_GOLDEN") != "" {
				a.Files = append(a.Files[:1], got...)
				if err := os.WriteFile(path, txtar.Format(a), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if len(a.Files) != 3 {
				t.Fatalf("%s says not what is wanted: run with UPDATE_GOLDEN=1 and read it", path)
			}
			for i, g := range got {
				if want := a.Files[i+1].Data; !bytes.Equal(g.Data, want) {
					t.Errorf("%s:\n%s\nwant:\n%s", g.Name, g.Data, want)
				}
			}
		})
	}
}

// What is exported to flagd and imported again decides as before for listed users and for whole percentages' sizes.
func TestThereAndBack(t *testing.T) {
	src := []byte(`{"version":"flags-v1","features":{
		"a":{"pct":20,"cohorts":["user-1"]},
		"b":{"tenants":{"acme":{"pct":50},"globex":{"enabled":false}}},
		"c":{"enabled":false},
		"d":{"pct":0}}}`)
	before, err := flags.Decode("flags.json", src)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := Export("flagd", before)
	if err != nil {
		t.Fatal(err)
	}
	back, _, err := Import("flagd", out, Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	after, err := flags.Decode("flags.json", back)
	if err != nil {
		t.Fatal(err)
	}
	for k, e := range before.Entries() {
		got, ok := after.Entry(k.Feature, k.Tenant)
		if !ok {
			t.Errorf("%v is gone", k)
			continue
		}
		for _, user := range []string{"user-1", "user-2", ""} {
			was, is := flags.Decide(&e, k.Tenant, user), flags.Decide(&got, k.Tenant, user)
			if was.On != is.On {
				t.Errorf("%v, user %q: %+v before, %+v after", k, user, was, is)
			}
		}
	}
}

func TestSeedThereAndBack(t *testing.T) {
	src := []byte(`{"version": "flags-v1", "features": {"receipts": {"pct": 10, "cohorts": ["A"]}, "old": {"enabled": false, "pct": 40}}}`)
	s, err := flags.Decode("flags.json", src)
	if err != nil {
		t.Fatal(err)
	}
	out, notes, err := Export("seed", s)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "version": "flags-v1",
  "features": {
    "old": {
      "pct": 0,
      "cohorts": []
    },
    "receipts": {
      "pct": 10,
      "cohorts": [
        "A"
      ]
    }
  }
}
`
	if string(out) != want || len(notes) != 1 {
		t.Errorf("%s\nnotes %v", out, notes)
	}
}

func TestUnknownFormats(t *testing.T) {
	if _, _, err := Import("statsig", nil, Options{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("import: %v", err)
	}
	if _, _, err := Export("statsig", nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("export: %v", err)
	}
}

// What is another kind of the product's files is refused: taken for an export, it would switch everything off without a word.
func TestForeignExports(t *testing.T) {
	for product, c := range map[string]struct{ in, want string }{
		"unleash":      {`{"version":1,"features":[{"name":"a","enabled":true,"strategies":[{"name":"default"}]}]}`, `no "featureEnvironments" in it`},
		"launchdarkly": {`{"flags":{"a":{"key":"a","on":true,"variations":[true,false]}}}`, `no "items" in it`},
	} {
		spec, notes, err := Import(product, []byte(c.in), Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v and %s; want %q", product, err, notes, spec, c.want)
		}
	}
}

// Whatever bytes come in: an error, or a spec that holds every rule.
func FuzzImport(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.txtar")
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.TrimSuffix(a.Files[0].Name, ".in"), a.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, from string, data []byte) {
		spec, _, err := Import(from, data, Options{})
		if err != nil {
			if strings.Contains(err.Error(), "is not valid") {
				t.Fatalf("the import made a spec that is refused: %v", err)
			}
			return
		}
		if _, err := flags.Decode("flags.json", spec); err != nil {
			t.Fatal(err)
		}
	})
}
