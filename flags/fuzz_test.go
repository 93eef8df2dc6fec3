package flags_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/schema"
)

const seedSpec = `{
  "version": "flags-v1+ramp.7",
  "environment": "prod",
  "segments": { "beta": ["user-123", "user-456"] },
  "features": {
    "receipts": {
      "description": "Signed receipts", "owner": "team-ledger", "enabled": true, "pct": 20,
      "cohorts": ["A", "@beta"], "version": "v1+ramp.7", "expires": "2027-03-01",
      "ramp": { "steps": [1, 5, 10, 20, 50, 100], "target_coverage": 95, "bake": "24h" },
      "ramped": { "at": "2026-11-22T04:07:00Z", "from": 10, "to": 20, "verdict": "green" },
      "tenants": { "acme": { "pct": 50 }, "globex": { "enabled": false }, "fine": {"pct":0.5,"salt":"x"} }
    },
    "attest": { "pct": 5, "salt": "s" }
  }
}
`

func seeds(f *testing.F) []string {
	list := []string{seedSpec, `{"version":"flags-v1","features":{"receipts":{"pct":0,"cohorts":["A"]}}}`, `{"version":"v","features":{}}`}
	files, err := filepath.Glob("testdata/bad/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, string(src))
	}
	return list
}

// Reading src after old gives what reading src alone gives, whatever both are.
// What is accepted is what another parser reads and the whole schema allows,
// and writing it all down anew changes nothing.
func FuzzDecode(f *testing.F) {
	list := seeds(f)
	for i, src := range list {
		f.Add(src, list[(i+1)%len(list)])
		f.Add(seedSpec, src)
	}
	f.Fuzz(func(t *testing.T, old, src string) {
		alone, err := flags.Decode("flags.json", []byte(src))
		var d flags.Decoder
		_, _ = d.Decode("flags.json", []byte(old))
		after, afterErr := d.Decode("flags.json", []byte(src))
		if (err == nil) != (afterErr == nil) || err != nil && err.Error() != afterErr.Error() {
			t.Fatalf("alone: %v\nafter another: %v", err, afterErr)
		}
		if err != nil {
			if alone != nil || after != nil {
				t.Fatal("an error and a spec")
			}
			checkErrors(t, "flags.json", []byte(src), err)
			return
		}
		if meaning(alone) != meaning(after) || len(flags.Diff(alone, after)) != 0 {
			t.Fatalf("alone\n%s\nafter another\n%s", meaning(alone), meaning(after))
		}
		var v any
		if err := json.Unmarshal([]byte(src), &v); err != nil {
			t.Fatalf("accepted, and no JSON: %v", err)
		}
		whole, err := schema.Value([]byte(src), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if problems := schema.Lookup("flags", "").Validate(whole); problems != nil {
			t.Fatalf("accepted against the schema: %v", problems)
		}
		spread := jsontext.Value(src)
		if err := spread.Indent(); err != nil {
			t.Fatal(err)
		}
		again, err := flags.Decode("flags.json", spread)
		if err != nil {
			t.Fatal(err)
		}
		if changes := flags.Diff(alone, again); len(changes) != 0 {
			t.Fatalf("another layout: %v", changes)
		}
	})
}

// What is refused by the reading in parts is refused by the whole schema, or
// by a rule that the schema cannot say.
func FuzzRefuse(f *testing.F) {
	for _, src := range seeds(f) {
		f.Add(src)
	}
	beyond := []string{
		"is a fraction, and without a salt", "unknown segment", "names no segment", "is not the hash of anybody", "a segment cannot hold another one",
		"does not follow", "exclude each other", "is above max", "is below green", "is above green", "bytes, more than 256", "is not a time",
	}
	f.Fuzz(func(t *testing.T, src string) {
		_, err := flags.Decode("flags.json", []byte(src))
		if err == nil || schema.Check("flags.json", []byte(src), schema.Limits{}) != nil {
			return
		}
		whole, valueErr := schema.Value([]byte(src), 1<<20)
		if valueErr != nil || schema.Lookup("flags", "").Validate(whole) != nil {
			return
		}
		for _, reason := range beyond {
			if strings.Contains(err.Error(), reason) {
				return
			}
		}
		t.Fatalf("the schema allows it: %v\n%s", err, src)
	})
}

// An edit gives exactly the edited value, and whatever it does not touch stays.
func FuzzEdit(f *testing.F) {
	for _, src := range seeds(f) {
		f.Add(src, "/features/receipts/pct", "30", "/version", `"flags-v2"`)
		f.Add(src, "/features/receipts/tenants/new/pct", "30", "/features/attest", "")
		f.Add(strings.ReplaceAll(src, "\n", "\r\n"), "/features/new", `{"pct":1,"tenants":{"a":{}}}`, "/segments/x", `["a","b"]`)
	}
	f.Fuzz(func(t *testing.T, src, pointer1, value1, pointer2, value2 string) {
		var edits []flags.EditOp
		for _, e := range [][2]string{{pointer1, value1}, {pointer2, value2}} {
			op := flags.EditOp{Pointer: e[0]}
			if e[1] != "" {
				op.Value = jsontext.Value(e[1])
			}
			edits = append(edits, op)
		}
		kept := []byte(src)
		out, err := flags.Edit([]byte(src), edits)
		if !bytes.Equal(kept, []byte(src)) {
			t.Fatal("the source was written to")
		}
		if err != nil {
			if out != nil {
				t.Fatal("an error and a document")
			}
			return
		}
		if err := schema.Check("out", out, schema.Limits{}); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, op := range edits {
			for token := range jsontext.Pointer(op.Pointer).Tokens() {
				if token == "-" || strings.Trim(token, "0123456789") == "" {
					return // items of lists move: the cases cover them
				}
			}
		}
		checkEdit(t.Fatalf, []byte(src), edits, out)
	})
}
