package ramp_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
)

// Every field of the schema's guard is read here, and every guard of the case files that the schema
// takes is taken here: what a spec may say, a ramp understands.
func TestGuardAgreesWithTheSchema(t *testing.T) {
	src, err := os.ReadFile("../schema/ramp.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties map[string]jsontext.Value `json:"properties"`
	}
	if err := json.Unmarshal(src, &schema); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{
		"steps": `[1,50]`, "step_up": `5`, "step_down": `5`, "min": `1`, "max": `99`, "target_coverage": `90`, "guards": `{"x":{"green":1,"red":2,"better":"lower","min_samples":5},"y":3}`,
		"max_evidence_age": `"2h"`, "min_samples": `7`, "bake": `["1h","2h"]`, "greens": `2`, "cooldown": `"1h30m"`, "max_aborts": `3`, "on_critical": `"abort"`, "gates": `[50]`,
		"waves":      `[{"name":"first","tenants":["acme"],"soak":"1h"}]`,
		"freeze":     `[{"kind":"allow","days":["mon"],"from":"08:00","to":"16:00","zone":"Europe/Berlin","first":"2026-12-01","last":"2026-12-31","reason":"x"}]`,
		"not_before": `"2026-12-01T08:00:00Z"`, "paused": `true`,
	}
	for name := range schema.Properties {
		v, ok := values[name]
		if !ok {
			t.Errorf("the schema has a field %s that no value is known for here", name)
			continue
		}
		guard := fmt.Sprintf(`{%q:%s}`, name, v)
		if err := taken(guard); err != nil {
			t.Errorf("the schema refuses %s: %v", guard, err)
		}
		if _, err := ramp.ParseGuard(jsontext.Value(guard), ramp.DefaultSettings()); err != nil {
			t.Errorf("ParseGuard refuses %s: %v", guard, err)
		}
	}
	for name := range values {
		if _, ok := schema.Properties[name]; !ok {
			t.Errorf("the schema has no field %s", name)
		}
	}

	files, _ := filepath.Glob("testdata/decide/*.txt")
	seen := 0
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(src)) {
			guard, ok := strings.CutPrefix(strings.TrimSpace(line), "guard ")
			if !ok {
				continue
			}
			seen++
			inSchema := taken(guard)
			_, here := ramp.ParseGuard(jsontext.Value(guard), ramp.DefaultSettings())
			if here == nil && inSchema != nil {
				t.Errorf("%s: a ramp takes it, the schema does not: %v", guard, inSchema)
			}
		}
	}
	if seen < 40 {
		t.Errorf("only %d guards were compared", seen)
	}
}

// taken is whether a spec may say this.
func taken(guard string) error {
	_, err := flags.Decode("flags.json", []byte(`{"version":"flags-v1","features":{"a":{"salt":"s","ramp":`+guard+`,"tenants":{"acme":{}}}}}`))
	return err
}
