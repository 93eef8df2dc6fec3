package ramp_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

func decode(t testing.TB, src string) *flags.Spec {
	t.Helper()
	s, err := flags.Decode("flags.json", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func good(coverage string) *ramp.Evidence {
	return ramp.NewEvidence(
		evidence.Coverage([]byte(`{"generated_at":"2026-11-22T11:50:00Z","tenants":`+coverage+`}`)),
		evidence.SLO([]byte(`{"generated_at":"2026-11-22T11:50:00Z","anchor_p95_ms":21,"divergence":0,"alerts":[]}`)))
}

// plan runs it and sums every decision up in one word each: "receipts 20>30 up", in the order of names.
func plan(t *testing.T, r ramp.Run) []string {
	t.Helper()
	if r.Settings == (ramp.Settings{}) {
		r.Settings = ramp.DefaultSettings()
	}
	if r.Now.IsZero() {
		r.Now = noon
	}
	out, err := r.Plan()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range out {
		name := o.Feature
		if o.Tenant != flags.DefaultTenant {
			name += "/" + o.Tenant
		}
		got = append(got, fmt.Sprintf("%s %s>%s %s", name, o.From, o.To, o.Code))
	}
	return got
}

func want(t *testing.T, got []string, lines ...string) {
	t.Helper()
	if !slices.Equal(got, lines) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
}

const twoFeatures = `{"version":"flags-v1","features":{"receipts":{"pct":20,"ramp":{},"tenants":{"acme":{"pct":50},"globex":{"enabled":false},"initech":{"cohorts":["B"]}}},"attest":{"pct":0}}}`

func TestWithoutNamesEveryFeatureWithAGuard(t *testing.T) {
	spec := decode(t, twoFeatures)
	want(t, plan(t, ramp.Run{Spec: spec, Evidence: good(`{"__default__":97,"acme":99,"initech":98}`)}), "receipts 20>30 up", "receipts/acme 50>60 up")
	want(t, plan(t, ramp.Run{Spec: spec, Features: []string{"attest"}, Evidence: good(`{"__default__":97}`)}), "attest 0>10 up")
	want(t, plan(t, ramp.Run{Spec: spec, Features: []string{}, Evidence: good(`{}`)}))
}

// The older controller stepped once for each tenant in its list.
func TestOneStepForAListOfTenants(t *testing.T) {
	spec := decode(t, `{"version":"flags-v1","features":{"receipts":{"pct":20}}}`)
	run := ramp.Run{Spec: spec, Features: []string{"receipts", "receipts"}, Tenants: []string{"default", "acme", "beta", "acme"}}
	run.Evidence = good(`{"__default__":97,"acme":97,"beta":97}`)
	want(t, plan(t, run), "receipts 20>30 up")
	run.Evidence = good(`{"__default__":97,"acme":97,"beta":80}`)
	want(t, plan(t, run), "receipts 20>20 coverage")
	run.Evidence = good(`{"__default__":97,"acme":97}`)
	want(t, plan(t, run), "receipts 20>20 missing")
}

// A tenant with a percentage of its own ramps by its own evidence; one that follows holds its feature
// back; one that is switched off has nobody to hurt.
func TestTenantsOwnAndFollowing(t *testing.T) {
	spec := decode(t, twoFeatures)
	want(t, plan(t, ramp.Run{Spec: spec, Evidence: good(`{"__default__":97,"acme":80,"initech":98}`)}), "receipts 20>30 up", "receipts/acme 50>50 coverage")
	want(t, plan(t, ramp.Run{Spec: spec, Evidence: good(`{"__default__":97,"acme":99,"initech":80}`)}), "receipts 20>20 coverage", "receipts/acme 50>60 up")
	want(t, plan(t, ramp.Run{Spec: spec, Tenants: []string{"acme"}, Evidence: good(`{"acme":99}`)}), "receipts/acme 50>60 up")
	want(t, plan(t, ramp.Run{Spec: spec, Tenants: []string{"default"}, Evidence: good(`{"__default__":97}`)}), "receipts 20>30 up")
}

const waves = `{"version":"flags-v1","features":{"receipts":{"pct":0,"ramp":{"steps":[50,100],"waves":[{"tenants":["acme"],"soak":"24h"},{"tenants":["globex"]}]},"tenants":{"acme":%s,"globex":{"cohorts":[]}}}}}`

func TestWaves(t *testing.T) {
	all := good(`{"__default__":99,"acme":99,"globex":99}`)
	at := func(acme string) *flags.Spec { return decode(t, fmt.Sprintf(waves, acme)) }
	want(t, plan(t, ramp.Run{Spec: at(`{"pct":50}`), Evidence: all}),
		"receipts 0>0 wave", "receipts/acme 50>100 up", "receipts/globex 0>0 wave")
	soaking := func(k flags.Key) ramp.History {
		if k.Tenant == "acme" {
			return ramp.History{SteppedAt: noon.Add(-3 * time.Hour)}
		}
		return ramp.History{}
	}
	want(t, plan(t, ramp.Run{Spec: at(`{"pct":100}`), Evidence: all, History: soaking}),
		"receipts 0>0 wave", "receipts/acme 100>100 at-max", "receipts/globex 0>0 wave")
	want(t, plan(t, ramp.Run{Spec: at(`{"pct":100}`), Evidence: all}),
		"receipts 0>0 wave", "receipts/acme 100>100 at-max", "receipts/globex 0>50 up")
	// One that is switched off holds nobody up.
	want(t, plan(t, ramp.Run{Spec: at(`{"pct":0,"enabled":false}`), Evidence: all}),
		"receipts 0>0 wave", "receipts/acme 0>0 disabled", "receipts/globex 0>50 up")
	absent := decode(t, `{"version":"flags-v1","features":{"receipts":{"pct":0,"ramp":{"waves":[{"tenants":["acme"]}]}}}}`)
	want(t, plan(t, ramp.Run{Spec: absent, Evidence: all}), "receipts 0>0 wave")
}

func TestBudgetTakesTheLongestWaiting(t *testing.T) {
	spec := decode(t, `{"version":"flags-v1","features":{"a":{"pct":0,"ramp":{}},"b":{"pct":0,"ramp":{"step_up":5}},"c":{"pct":0,"ramp":{}}}}`)
	history := func(k flags.Key) ramp.History {
		return map[string]ramp.History{"a": {SteppedAt: noon.Add(-1 * time.Hour)}, "b": {SteppedAt: noon.Add(-3 * time.Hour)}, "c": {SteppedAt: noon.Add(-2 * time.Hour)}}[k.Feature]
	}
	run := ramp.Run{Spec: spec, Evidence: good(`{"__default__":99}`), History: history, Budget: ramp.Budget{MaxUps: 2}}
	want(t, plan(t, run), "a 0>0 budget", "b 0>5 up", "c 0>10 up")
	run.Budget = ramp.Budget{MaxExposure: 14_000}
	want(t, plan(t, run), "a 0>0 budget", "b 0>5 up", "c 0>0 budget")
	run.Budget = ramp.Budget{MaxExposure: 15_000}
	want(t, plan(t, run), "a 0>0 budget", "b 0>5 up", "c 0>10 up")
	run.Budget = ramp.Budget{MaxUps: 1}
	run.Evidence = ramp.NewEvidence(evidence.Coverage(nil), evidence.SLO([]byte(`{"generated_at":"2026-11-22T11:50:00Z","divergence":9}`)))
	run.Spec = decode(t, `{"version":"flags-v1","features":{"a":{"pct":30,"ramp":{}},"b":{"pct":30,"ramp":{}}}}`)
	want(t, plan(t, run), "a 30>20 divergence", "b 30>20 divergence") // a budget never holds a lowering
}

func TestGreensInARow(t *testing.T) {
	spec := decode(t, `{"version":"flags-v1","features":{"a":{"pct":0,"ramp":{"greens":3,"max_evidence_age":"26h"}}}}`)
	past := func(hours int, p95 string) ramp.Observation {
		at := noon.Add(-time.Duration(hours) * time.Hour)
		stamp := at.Add(-10 * time.Minute).Format(time.RFC3339)
		return ramp.Observation{At: at, Evidence: ramp.NewEvidence(
			evidence.Coverage([]byte(`{"generated_at":"`+stamp+`","tenants":{"__default__":99}}`)),
			evidence.SLO([]byte(`{"generated_at":"`+stamp+`","anchor_p95_ms":`+p95+`,"divergence":0,"alerts":[]}`)))}
	}
	for _, c := range []struct {
		name string
		past []ramp.Observation
		want string
	}{
		{"none", nil, "a 0>0 greens"},
		{"one", []ramp.Observation{past(24, "21")}, "a 0>0 greens"},
		{"two", []ramp.Observation{past(24, "21"), past(48, "21")}, "a 0>10 up"},
		{"a bad one between", []ramp.Observation{past(24, "21"), past(36, "99"), past(48, "21")}, "a 0>0 greens"},
		{"the same twice is one", []ramp.Observation{past(24, "21"), past(24, "21")}, "a 0>0 greens"},
		{"a bad one hides behind no date", []ramp.Observation{past(24, "99"), past(24, "21"), past(48, "21")}, "a 0>0 greens"},
		{"unknown ends the row", []ramp.Observation{past(24, "21"), {At: noon.Add(-30 * time.Hour), Evidence: ramp.NewEvidence(evidence.Coverage(nil), evidence.SLO(nil))}, past(48, "21")}, "a 0>0 greens"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want(t, plan(t, ramp.Run{Spec: spec, Evidence: good(`{"__default__":99}`), Past: c.past}), c.want)
		})
	}
	// What was green before the last step says nothing of it.
	stepped := func(flags.Key) ramp.History { return ramp.History{SteppedAt: noon.Add(-30 * time.Hour)} }
	want(t, plan(t, ramp.Run{Spec: spec, Evidence: good(`{"__default__":99}`), Past: []ramp.Observation{past(24, "21"), past(48, "21")}, History: stepped}), "a 0>0 greens")
}

func TestGuardErrorsNameEveryFeature(t *testing.T) {
	spec := decode(t, `{"version":"flags-v1","features":{"a":{"ramp":{"waves":[{"tenants":["x"]},{"tenants":["x"]}]}},"b":{"ramp":{"freeze":[{"zone":"Nowhere"}]}}}}`)
	_, err := (&ramp.Run{Spec: spec, Settings: ramp.DefaultSettings(), Evidence: good(`{}`), Now: noon}).Plan()
	if err == nil || !strings.Contains(err.Error(), "feature a:") || !strings.Contains(err.Error(), "feature b:") {
		t.Errorf("got %v", err)
	}
}

// Editing touches the percentage, its record and its version, and nothing beside them.
func TestEditsTouchOnlyWhatMoves(t *testing.T) {
	spec := decode(t, "{\n  \"version\": \"flags-v1\",\n  \"features\": {\n    \"receipts\": {\n      \"cohorts\": [\"A\"],\n      \"pct\": 20,\n      \"ramp\": {},\n      \"tenants\": {\n        \"acme\": { \"version\": \"x2\", \"cohorts\": [\"B\"] },\n        \"beta\": { \"pct\": 50 }\n      }\n    },\n    \"still\": { \"pct\": 7 }\n  }\n}\n")
	run := ramp.Run{Spec: spec, Settings: ramp.DefaultSettings(), Evidence: good(`{"__default__":97.2,"acme":99,"beta":80}`), Now: noon}
	out, err := run.Plan()
	if err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("ab", 32)
	src, err := flags.Edit(spec.Bytes(), ramp.Edits(spec, out, 4, noon, digest))
	if err != nil {
		t.Fatal(err)
	}
	wantSrc := strings.NewReplacer(
		"\"pct\": 20,\n      \"ramp\": {},", "\"pct\": 30,\n      \"version\": \"v1+ramp.4\",\n      \"ramp\": {},\n      \"ramped\": {\n        \"at\": \"2026-11-22T12:00:00Z\",\n        \"from\": 20,\n        \"to\": 30,\n        \"verdict\": \"green\",\n        \"reason\": \"coverage 97.2 >= 95; anchor_p95_ms 21 <= 30\",\n        \"evidence\": \""+digest+"\"\n      },",
		"\"version\": \"x2\"", "\"version\": \"x2+ramp.4\"",
	).Replace(string(spec.Bytes()))
	if string(src) != wantSrc {
		t.Errorf("got\n%s\nwant\n%s", src, wantSrc)
	}
	next := decode(t, strings.Replace(string(src), `"version": "flags-v1"`, `"version": "flags-v1+ramp.4"`, 1))
	for _, c := range flags.Diff(spec, next) {
		if c.Kind != flags.RampUp {
			t.Errorf("a step shows as %s", c)
		}
	}
}
