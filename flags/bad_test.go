package flags_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/schema"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Every file under testdata/bad is refused, with the errors that stand in the
// .want file beside it. The first ones came from teams that wrote them.
func TestBadDocumentsAreRefused(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.json")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d bad documents, %v", len(files), err)
	}
	good, err := flags.Decode("good.json", []byte(`{"version":"flags-v1","features":{"receipts":{"tenants":{"acme":{"pct":1}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".json"), func(t *testing.T) {
			src, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			spec, err := flags.Decode(name, src)
			if err == nil || spec != nil {
				t.Fatalf("accepted: %v, %v", spec, err)
			}
			checkErrors(t, name, src, err)
			for _, jargon := range []string{"jsonschema", "jsontext", "additionalProperties", "allOf", "anyOf", "#/"} {
				if strings.Contains(err.Error(), jargon) {
					t.Errorf("%v: %q is a word for programmers", err, jargon)
				}
			}
			golden := strings.TrimSuffix(file, ".json") + ".want"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, readErr := os.ReadFile(golden)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if got := err.Error() + "\n"; got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}

			// After a good one, a Decoder says the same and forgets nothing.
			var d flags.Decoder
			if _, err := d.Decode("good.json", good.Bytes()); err != nil {
				t.Fatal(err)
			}
			if _, again := d.Decode(name, src); again == nil || again.Error() != err.Error() {
				t.Errorf("after a good document: %v", again)
			}
			if s, err := d.Decode("good.json", good.Bytes()); err != nil || s.Version != "flags-v1" {
				t.Errorf("the good document after a bad one: %v", err)
			}
		})
	}
}

// checkErrors holds what every error promises: it names the file, a place in
// it, and comes in the order of places.
func checkErrors(t *testing.T, name string, src []byte, err error) {
	t.Helper()
	var list schema.Errors
	if !errors.As(err, &list) || len(list) == 0 {
		t.Fatalf("%T is not schema.Errors", err)
	}
	lines := strings.SplitAfter(string(src), "\n")
	if !slices.IsSortedFunc(list, func(a, b *schema.Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	}) {
		t.Errorf("not sorted by position:\n%v", err)
	}
	for _, e := range list {
		if e.File != name || e.Problem == "" {
			t.Errorf("%+v names no file or no problem", e)
		}
		if e.Line < 1 || e.Line > len(lines) || e.Column < 1 || e.Column > len(lines[e.Line-1])+1 {
			t.Errorf("%v: there is no such place", e)
		}
	}
}
