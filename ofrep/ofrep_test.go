package ofrep

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"github.com/rampart-flags/rampart/flags"
)

// live is a view that a test changes.
type live struct{ now atomic.Pointer[View] }

func (l *live) view() View {
	if v := l.now.Load(); v != nil {
		return *v
	}
	return View{}
}

func (l *live) set(t testing.TB, generation uint64, entries map[flags.Key]flags.Entry) {
	t.Helper()
	s, err := flags.CompileEntries(maps.All(entries))
	if err != nil {
		t.Fatal(err)
	}
	l.now.Store(&View{Snapshot: s, Generation: generation, Commit: "c0ffee", Version: "flags-v1", Revision: fmt.Sprintf("%d-x", generation)})
}

func key(feature, tenant string) flags.Key { return flags.Key{Feature: feature, Tenant: tenant} }

var sample = map[flags.Key]flags.Entry{
	key("receipts", flags.DefaultTenant): {Version: "v1+ramp.7", Enabled: true, Pct: 50_000, Cohorts: []string{"vip"}},
	key("receipts", "acme"):              {Version: "v2", Enabled: true, Pct: flags.Full},
	key("receipts", "globex"):            {Version: "v3"},
	key("attest", flags.DefaultTenant):   {Version: `v"1"`, Enabled: true},
	key("acme-only", "acme"):             {Version: "v1", Enabled: true, Pct: flags.Full},
}

func serve(t testing.TB, o Options) (*Handler, *live) {
	t.Helper()
	l := &live{}
	l.set(t, 7, sample)
	if o.View == nil {
		o.View = l.view
	}
	return New(o), l
}

type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func ask(t testing.TB, h http.Handler, path, body string, header ...string) answer {
	t.Helper()
	return request(t, h, http.MethodPost, path, body, header...)
}

func request(t testing.TB, h http.Handler, method, path, body string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	a := answer{status: rec.Code, header: rec.Result().Header, body: rec.Body.String()}
	if a.body != "" {
		if err := json.Unmarshal(rec.Body.Bytes(), &a.json); err != nil {
			t.Fatalf("%s %s: body %q: %v", method, path, a.body, err)
		}
	}
	return a
}

const flagsPath = "/ofrep/v1/evaluate/flags"

func one(t testing.TB, name string) func(v any) error {
	t.Helper()
	s := compileSchema(t, name)
	return s.Validate
}

// compileSchema gives a part of testdata/ofrep.schema.json, which says what the
// protocol's OpenAPI document says of answers.
func compileSchema(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	src, err := os.ReadFile("testdata/ofrep.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("https://example.org/ofrep.json", bytes.NewReader(src)); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("https://example.org/ofrep.json#/$defs/" + name)
}

func TestSingle(t *testing.T) {
	h, _ := serve(t, Options{})
	success := one(t, "success")
	for _, tc := range []struct {
		feature, context, header string
		value                    bool
		reason, older, entry     string
	}{
		{"receipts", `{"targetingKey":"vip"}`, "", true, "TARGETING_MATCH", "cohort", "receipts:__default__"},
		{"receipts", `{"targetingKey":"vip","tenant":"acme"}`, "", true, "STATIC", "pct-100", "receipts:acme"},
		{"receipts", `{"targetingKey":"vip"}`, "acme", true, "STATIC", "pct-100", "receipts:acme"},
		{"receipts", `{"targetingKey":"vip","tenant":"acme"}`, "globex", true, "STATIC", "pct-100", "receipts:acme"},
		{"receipts", `{"targetingKey":"vip","tenant":"globex"}`, "", false, "DISABLED", "disabled", "receipts:globex"},
		{"receipts", `{"targetingKey":"u"}`, "", flags.Bucket("", "", "u") < 50_000, "SPLIT", "pct-hash", "receipts:__default__"},
		{"receipts", `{"tenant":"initech"}`, "", flags.Bucket("", "initech", "") < 50_000, "SPLIT", "pct-hash", "receipts:__default__"},
		{"receipts", `{"targetingKey":"","tenant":"initech"}`, "", flags.Bucket("", "initech", "") < 50_000, "SPLIT", "pct-hash", "receipts:__default__"},
		{"receipts", `{"targetingKey":null,"tenant":"initech"}`, "", flags.Bucket("", "initech", "") < 50_000, "SPLIT", "pct-hash", "receipts:__default__"},
		{"attest", `{}`, "", false, "SPLIT", "pct-hash", "attest:__default__"},
		{"attest", `null`, "", false, "SPLIT", "pct-hash", "attest:__default__"},
		{"receipts", `{"targeting\u004bey":"v\u0069p","other":{"targetingKey":"x","tenant":["acme"]},"n":1e9}`, "", true, "TARGETING_MATCH", "cohort", "receipts:__default__"},
		{"acme-only", `{"tenant":"acme"}`, "", true, "STATIC", "pct-100", "acme-only:acme"},
	} {
		var header []string
		if tc.header != "" {
			header = []string{"X-Tenant-ID", tc.header}
		}
		a := ask(t, h, flagsPath+"/"+tc.feature, `{"context":`+tc.context+`}`, header...)
		if err := success(any(a.json)); a.status != 200 || err != nil {
			t.Errorf("%s %s: %d %s: %v", tc.feature, tc.context, a.status, a.body, err)
			continue
		}
		variant := "off"
		if tc.value {
			variant = "on"
		}
		m := a.json["metadata"].(map[string]any)
		if a.json["key"] != tc.feature || a.json["value"] != tc.value || a.json["variant"] != variant || a.json["reason"] != tc.reason ||
			m["reason"] != tc.older || m["entry"] != tc.entry || m["generation"] != 7.0 || m["commit"] != "c0ffee" || m["version"] == "" {
			t.Errorf("%s %s: %s, want %+v", tc.feature, tc.context, a.body, tc)
		}
		if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
			t.Errorf("content type %q", ct)
		}
	}
	if a := ask(t, h, "//ofrep/v1/evaluate/flags/attest", `{"context":{}}`); a.status != 200 {
		t.Errorf("a doubled slash: %d", a.status)
	}
	if a := ask(t, h, flagsPath+"/attest", `{}`); a.status != 200 {
		t.Errorf("no context: %d %s", a.status, a.body)
	}
}

func TestFailures(t *testing.T) {
	h, _ := serve(t, Options{MaxBody: 1000})
	failure := one(t, "failure")
	for _, tc := range []struct {
		name, path, body string
		status           int
		code             string
	}{
		{"unknown", "/nothing", `{"context":{"targetingKey":"u"}}`, 404, "FLAG_NOT_FOUND"},
		{"another tenant's", "/acme-only", `{"context":{"targetingKey":"u"}}`, 404, "FLAG_NOT_FOUND"},
		{"a key in disguise", "/..%2f..%2fmeta", `{"context":{"targetingKey":"u"}}`, 404, "FLAG_NOT_FOUND"},
		{"an odd key", "/%00%22%ff", `{"context":{}}`, 404, "FLAG_NOT_FOUND"},
		{"nobody", "/receipts", `{"context":{}}`, 400, "TARGETING_KEY_MISSING"},
		{"nobody, no context", "/receipts", `{}`, 400, "TARGETING_KEY_MISSING"},
		{"not JSON", "/receipts", `{"context":`, 400, "PARSE_ERROR"},
		{"empty", "/receipts", ``, 400, "PARSE_ERROR"},
		{"a list", "/receipts", `[]`, 400, "PARSE_ERROR"},
		{"two values", "/receipts", `{"context":{}} {}`, 400, "PARSE_ERROR"},
		{"a name twice", "/receipts", `{"context":{"tenant":"acme","tenant":"globex"}}`, 400, "PARSE_ERROR"},
		{"not UTF-8", "/receipts", "{\"context\":{\"targetingKey\":\"\xff\"}}", 400, "PARSE_ERROR"},
		{"context is a list", "/receipts", `{"context":[]}`, 400, "INVALID_CONTEXT"},
		{"context is text", "/receipts", `{"context":"acme"}`, 400, "INVALID_CONTEXT"},
		{"key is a number", "/receipts", `{"context":{"targetingKey":7}}`, 400, "INVALID_CONTEXT"},
		{"tenant is a list", "/receipts", `{"context":{"targetingKey":"u","tenant":["acme"]}}`, 400, "INVALID_CONTEXT"},
		{"too large", "/receipts", `{"context":{"targetingKey":"` + strings.Repeat("u", 1000) + `"}}`, 413, "GENERAL"},
	} {
		a := ask(t, h, flagsPath+tc.path, tc.body)
		if a.status != tc.status || a.json["errorCode"] != tc.code || a.json["key"] == "" || a.json["key"] == nil {
			t.Errorf("%s: %d %s, want %d %s", tc.name, a.status, a.body, tc.status, tc.code)
		}
		if err := failure(any(a.json)); err != nil && a.status != 413 {
			t.Errorf("%s: %s: %v", tc.name, a.body, err)
		}
		if bulk := ask(t, h, flagsPath, tc.body); (tc.code == "PARSE_ERROR" || tc.code == "INVALID_CONTEXT" || tc.status == 413) != (bulk.status == tc.status) {
			t.Errorf("%s, for all: %d %s", tc.name, bulk.status, bulk.body)
		}
	}
	if a := ask(t, h, flagsPath, strings.Repeat(" ", 1001)); a.json["errorDetails"] != "the body is larger than 1000 bytes" {
		t.Errorf("too large: %s", a.body)
	}
	if a := request(t, h, "GET", flagsPath+"/receipts", ""); a.status != 405 || !strings.Contains(a.header.Get("Allow"), "POST") {
		t.Errorf("GET: %d %v", a.status, a.header)
	}
	if a := ask(t, h, "/ofrep/v1/configuration", ""); a.status != 404 {
		t.Errorf("another path: %d", a.status)
	}
}

func TestNotReady(t *testing.T) {
	h, _ := serve(t, Options{View: func() View { return View{} }})
	if a := ask(t, h, flagsPath+"/receipts", `{}`); a.status != 500 || a.json["key"] != "receipts" || a.json["errorCode"] != "GENERAL" {
		t.Errorf("single: %d %s", a.status, a.body)
	}
	if a := ask(t, h, flagsPath, `{}`); a.status != 500 || a.json["errorDetails"] == "" {
		t.Errorf("bulk: %d %s", a.status, a.body)
	}
}

func TestBulk(t *testing.T) {
	h, l := serve(t, Options{})
	valid := one(t, "bulk")
	for _, body := range []string{
		`{"context":{"targetingKey":"vip"}}`, `{"context":{"targetingKey":"u","tenant":"acme"}}`, `{"context":{"tenant":"globex"}}`, `{"context":{}}`, `{}`,
	} {
		a := ask(t, h, flagsPath, body)
		if err := valid(any(a.json)); a.status != 200 || err != nil {
			t.Fatalf("%s: %d %s: %v", body, a.status, a.body, err)
		}
		if a.header.Get("ETag") == "" || strings.HasPrefix(a.header.Get("ETag"), "W/") {
			t.Errorf("ETag %q", a.header.Get("ETag"))
		}
		// Each is what the single question answers.
		list := a.json["flags"].([]any)
		want := 2
		if strings.Contains(body, "acme") {
			want = 3
		}
		if len(list) != want {
			t.Errorf("%s: %d flags, want %d", body, len(list), want)
		}
		for _, item := range list {
			f := item.(map[string]any)
			single := ask(t, h, flagsPath+"/"+f["key"].(string), body)
			if fmt.Sprint(single.json) != fmt.Sprint(f) {
				t.Errorf("%s: bulk says %v, single %v", body, f, single.json)
			}
		}
	}
	// One feature that cannot be answered spoils none of the others.
	a := ask(t, h, flagsPath, `{}`)
	if !strings.Contains(a.body, "TARGETING_KEY_MISSING") || !strings.Contains(a.body, `"value":false`) {
		t.Errorf("nobody: %s", a.body)
	}
	l.set(t, 8, map[flags.Key]flags.Entry{})
	if a := ask(t, h, flagsPath, `{}`); a.status != 200 || len(a.json["flags"].([]any)) != 0 {
		t.Errorf("no features: %s", a.body)
	}
}

func TestETags(t *testing.T) {
	h, l := serve(t, Options{})
	tag := func(body string, header ...string) string {
		return ask(t, h, flagsPath, body, header...).header.Get("ETag")
	}
	u := `{"context":{"targetingKey":"u"}}`
	first := tag(u)
	for _, header := range []string{first, "W/" + first, `"x", ` + first, `"a,b" ,W/"y",` + first, "*", ` * `, `"x",*`} {
		a := ask(t, h, flagsPath, u, "If-None-Match", header)
		if a.status != 304 || a.body != "" || a.header.Get("ETag") != first {
			t.Errorf("If-None-Match %s: %d %q %q", header, a.status, a.body, a.header.Get("ETag"))
		}
	}
	for _, header := range []string{`"x"`, strings.Trim(first, `"`), `"x" ` + first[:5], "W/", `"`, ""} {
		if a := ask(t, h, flagsPath, u, "If-None-Match", header); a.status != 200 {
			t.Errorf("If-None-Match %s: %d", header, a.status)
		}
	}
	if a := ask(t, h, flagsPath, u, "If-None-Match", `"x"`, "If-None-Match", first); a.status != 304 {
		t.Errorf("two headers: %d", a.status)
	}
	seen := map[string]string{first: u}
	for _, body := range []string{
		`{"context":{"targetingKey":"v"}}`, `{"context":{"targetingKey":"u","tenant":"acme"}}`, `{"context":{"targetingKey":"acme","tenant":"u"}}`,
		`{"context":{"tenant":"u"}}`, `{"context":{"tenant":"public"}}`, `{}`, `{"context":{"targetingKey":"public"}}`,
	} {
		tg := tag(body)
		if other, ok := seen[tg]; ok {
			t.Errorf("%s has the tag of %s", body, other)
		}
		seen[tg] = body
	}
	if tag(`{"context":{"targetingKey":"u","colour":"red"}}`) != first {
		t.Error("an attribute that decides nothing changed the tag")
	}
	if a, b := tag(`{"context":{"targetingKey":"u"}}`, "X-Tenant-ID", "acme"), tag(`{"context":{"targetingKey":"u","tenant":"acme"}}`); a != b {
		t.Error("the tenant's place changed the tag")
	}
	l.set(t, 8, sample)
	if tag(u) == first {
		t.Error("another generation has the same tag")
	}
	if a := ask(t, h, flagsPath, u, "If-None-Match", first); a.status != 200 || !strings.Contains(a.body, `"generation":8`) {
		t.Errorf("after the change: %d %s", a.status, a.body)
	}
	// Another replica, started elsewhere, has the same tags.
	h2, l2 := serve(t, Options{})
	l2.set(t, 8, sample)
	if a := ask(t, h2, flagsPath, u); a.header.Get("ETag") != tag(u) {
		t.Error("two replicas disagree about a tag")
	}
}
