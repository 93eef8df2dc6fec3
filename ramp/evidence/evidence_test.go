package evidence_test

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestCoverageShapes(t *testing.T) {
	c := evidence.Coverage([]byte(`{"$schema":"x","generated_at":"2026-11-22T12:00:00Z","tenants":{"default":{"pct":97.2,"samples":12000},"acme":99.1,"beta":{"pct":50,"generated_at":"2026-11-22T11:00:00Z"}}}`))
	want := map[string]ramp.Measure{
		flags.DefaultTenant: {Pct: 97.2, Samples: 12000},
		"acme":              {Pct: 99.1, Samples: ramp.NoSamples},
		"beta":              {Pct: 50, Samples: ramp.NoSamples, At: noon.Add(-time.Hour)},
	}
	if !c.At.Equal(noon) || !reflect.DeepEqual(c.Tenants, want) || c.Problem != "" {
		t.Errorf("got %+v", c)
	}
	older := evidence.Coverage([]byte(`{"default":97.2,"acme":99.1}`))
	if !older.At.IsZero() || older.Tenants["acme"].Pct != 99.1 || older.Tenants[flags.DefaultTenant].Pct != 97.2 {
		t.Errorf("the older report: %+v", older)
	}
	if c := evidence.Coverage(nil); !c.Missing {
		t.Errorf("no document: %+v", c)
	}
}

func TestCoverageSaysWhatIsWrong(t *testing.T) {
	for src, want := range map[string]string{
		``:                   "not a JSON object",
		`[1]`:                "not a JSON object",
		`{"a":1`:             "not JSON",
		`{"a":1,"a":2}`:      "duplicate",
		`{"tenants":[]}`:     "tenants: not a JSON object",
		`{"generated_at":5}`: "generated_at:",
		`{"generated_at":"0001-01-01T00:00:00Z"}`: "generated_at:",
		"{\"a\":\"\xff\"}":                        "not JSON",
		`{"tenants":{}} {}`:                       "not JSON",
		`{"tenants":{"x":1,"x":2}}`:               "duplicate",
	} {
		if c := evidence.Coverage([]byte(src)); !strings.Contains(c.Problem, want) {
			t.Errorf("%q: problem %q, want %q", src, c.Problem, want)
		}
	}
	for value, want := range map[string]string{
		`"97"`: "a string", `null`: "null", `-1`: "not between", `100.1`: "not between", `1e999`: "beyond all bounds",
		`{"samples":3}`: "pct is missing", `{"pct":1,"x":2}`: "unknown field", `{"pct":1,"samples":-3}`: "a count",
		`{"pct":1,"samples":1.5}`: "a count", `{"pct":1,"generated_at":"x"}`: "not a time", `true`: "a boolean",
	} {
		c := evidence.Coverage([]byte(`{"generated_at":"2026-11-22T12:00:00Z","tenants":{"bad":` + value + `,"good":99}}`))
		if got := c.Tenants["bad"].Problem; !strings.Contains(got, want) {
			t.Errorf("%s: problem %q, want %q", value, got, want)
		}
		if c.Tenants["good"].Problem != "" || c.Problem != "" {
			t.Errorf("%s spoils its neighbour: %+v", value, c)
		}
	}
	if c := evidence.Coverage([]byte(`{"default":1,"__default__":2}`)); c.Tenants[flags.DefaultTenant].Problem == "" {
		t.Error("a tenant that is given twice has no value")
	}
}

func TestSLOKeepsWhatIsUsable(t *testing.T) {
	s := evidence.SLO([]byte(`{"generated_at":"2026-11-22T12:00:00Z","anchor_p95_ms":"x","divergence":1,"error_rate":0.1,"samples":-5,
		"alerts":[{"severity":"critical","name":"A","tenant":"default"},{"name":"no severity"},{"severity":5},7,{"severity":"warning","feature":null}],
		"treated":{"requests":5},"control":{"requests":10,"errors":1},
		"features":{"receipts":{"error_rate":0.2,"samples":9,"tenants":{"acme":{"error_rate":0.3,"odd":"x"}}},"broken":5}}`))
	if s.Problem != "" || s.NoAlerts {
		t.Fatalf("got %+v", s)
	}
	whole := s.Scopes[0]
	if whole.Indicators["divergence"] != 1 || whole.Indicators["error_rate"] != 0.1 || whole.Samples != ramp.NoSamples || whole.Control == nil || whole.Treated != nil {
		t.Errorf("the whole service: %+v", whole)
	}
	for _, field := range []string{"anchor_p95_ms", "samples", "alerts", "treated"} {
		if whole.Broken[field] == "" {
			t.Errorf("%s is not called broken: %v", field, whole.Broken)
		}
	}
	wantAlerts := []ramp.Alert{{Severity: "critical", Name: "A", Tenant: flags.DefaultTenant}, {Severity: "warning"}}
	if !reflect.DeepEqual(s.Alerts, wantAlerts) {
		t.Errorf("alerts %+v, want %+v", s.Alerts, wantAlerts)
	}
	byName := map[string]ramp.Scope{}
	for _, sc := range s.Scopes {
		byName[sc.Feature+"/"+sc.Tenant] = sc
	}
	if byName["receipts/"].Indicators["error_rate"] != 0.2 || byName["receipts/"].Samples != 9 ||
		byName["receipts/acme"].Indicators["error_rate"] != 0.3 || byName["receipts/acme"].Broken["odd"] == "" || byName["broken/"].Broken == nil {
		t.Errorf("scopes %+v", s.Scopes)
	}
}

func TestCoverageFromEnv(t *testing.T) {
	env := func(pairs ...string) func(string) string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return func(name string) string { return m[name] }
	}
	tenants := []string{flags.DefaultTenant, "acme", "big.corp-1"}
	if src := evidence.CoverageFromEnv(env(), tenants, noon); src != nil {
		t.Errorf("nothing set gives %s: 95 is not assumed", src)
	}
	src := evidence.CoverageFromEnv(env("COVERAGE_DEFAULT", "97", "COVERAGE_BIG_CORP_1", " 88.5 "), tenants, noon)
	c := evidence.Coverage(src)
	for name, pct := range map[string]float64{flags.DefaultTenant: 97, "acme": 97, "big.corp-1": 88.5} {
		if c.Tenants[name].Pct != pct || !c.At.Equal(noon) {
			t.Errorf("%s: %+v in %s", name, c.Tenants[name], src)
		}
	}
	c = evidence.Coverage(evidence.CoverageFromEnv(env("COVERAGE_ACME", "99"), tenants, noon))
	if _, ok := c.Tenants[flags.DefaultTenant]; ok || c.Tenants["acme"].Pct != 99 {
		t.Errorf("only acme is known: %+v", c)
	}
	for _, bad := range []string{"NaN", "Inf", "1e400", "much", "-1", "101", "0x10"} {
		c := evidence.Coverage(evidence.CoverageFromEnv(env("COVERAGE_DEFAULT", bad), tenants, noon))
		if m := c.Tenants[flags.DefaultTenant]; m.Problem == "" || math.IsNaN(m.Pct) {
			t.Errorf("COVERAGE_DEFAULT=%s: %+v", bad, m)
		}
	}
}

func TestRecordRoundTrip(t *testing.T) {
	r := evidence.Record{
		Now: noon, Spec: "sha256:x", Environment: "prod", Settings: ramp.DefaultSettings(), Features: []string{"a"}, Tenants: []string{"default"},
		Resumed: []string{"a"}, Budget: ramp.Budget{MaxUps: 3, MaxExposure: 20_000},
		Coverage: []byte(`{"tenants": {"acme": 1e0}}`), SLO: []byte(`not json`),
		Guards: map[string]jsontext.Value{"a": jsontext.Value(`{"greens":2}`)},
		Moves: []evidence.Move{
			{Feature: "a", Tenant: flags.DefaultTenant, To: 10_000, Code: ramp.CodeUp, History: ramp.History{SteppedAt: noon, Greens: 2}},
			{Feature: "a", Tenant: "acme", From: 500, To: 10_000, Code: ramp.CodeGate},
		},
	}
	src, err := r.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	again, err := evidence.ParseRecord(src)
	if err != nil {
		t.Fatal(err)
	}
	second, err := again.Bytes()
	if err != nil || !bytes.Equal(src, second) {
		t.Errorf("%v\n%s\n%s", err, src, second)
	}
	if string(again.Coverage) != `{"tenants":{"acme":1e0}}` {
		t.Errorf("a source comes back as %s", again.Coverage)
	}
	if got := evidence.Coverage(again.Coverage); got.Tenants["acme"].Pct != 1 {
		t.Errorf("coverage: %+v", got)
	}
	if got := evidence.SLO(again.SLO); got.Problem == "" || got.Missing {
		t.Errorf("an unreadable source stays unreadable: %+v", got)
	}
	for _, bad := range []string{``, `{}`, `{"format":"ramp-evidence/v2"}`, `{"format":"ramp-evidence/v1","x":1}`} {
		if _, err := evidence.ParseRecord([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestDated(t *testing.T) {
	for src, want := range map[string]string{
		`{"default":97}`:                    `{"generated_at": "2026-11-22T12:00:00Z","default":97}`,
		` {} `:                              `{"generated_at": "2026-11-22T12:00:00Z"}`,
		`{"generated_at":"x","default":97}`: `{"generated_at":"x","default":97}`,
		`broken`:                            `broken`,
	} {
		if got := evidence.Dated([]byte(src), noon); string(got) != want {
			t.Errorf("%q: got %q, want %q", src, got, want)
		}
	}
}
