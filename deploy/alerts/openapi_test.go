package alerts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"go.yaml.in/yaml/v3"

	"github.com/rampart-flags/rampart/internal/worldtest"
)

type operation struct {
	RequestBody struct {
		Content map[string]struct{ Example any } `yaml:"content"`
	} `yaml:"requestBody"`
	Security  []any
	Responses map[string]struct {
		Ref     string         `yaml:"$ref"`
		Content map[string]any `yaml:"content"`
	}
}

// openAPI asks the running server everything that docs/openapi.yaml describes, and holds each answer against its schema; and it
// finds every route of the source described.
func openAPI(t *testing.T, w *worldtest.World) {
	src, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]operation
	}
	var whole any
	if err := yaml.Unmarshal(src, &doc); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(src, &whole); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	schemas := jsonschema.NewCompiler()
	schemas.Draft = jsonschema.Draft2020
	schemas.AssertFormat = true
	if err := schemas.AddResource("openapi.json", bytes.NewReader(asJSON)); err != nil {
		t.Fatal(err)
	}
	for _, route := range sourceRoutes(t) {
		method, path, _ := strings.Cut(route, " ")
		if _, ok := doc.Paths[path][strings.ToLower(method)]; !ok {
			t.Errorf("%s is served and not described", route)
		}
	}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if path == "/audit/dsar" { // an archive, tested where it is made
				continue
			}
			s := &asked{t: t, w: w, schemas: schemas, op: op, method: strings.ToUpper(method), path: strings.ReplaceAll(path, "{feature}", "receipts"), spec: path}
			s.ask(true, s.example())
			if len(op.Security) > 0 {
				if code := s.ask(false, s.example()); code != http.StatusUnauthorized {
					t.Errorf("%s without the token: %d", path, code)
				}
			}
			if method == "post" && slices.Contains([]string{"/admin/coverage", "/admin/ramp", "/admin/decisions"}, path) {
				if code := s.ask(true, "{}"); code != http.StatusBadRequest {
					t.Errorf("%s with an empty object: %d", path, code)
				}
			}
		}
	}
	for _, c := range []struct {
		path string
		code int
	}{
		{"/api/v1/flags?limit=0", 400}, {"/api/v1/flags?limit=1001", 400}, {"/api/v1/flags?after=receipts", 200}, {"/api/v1/flags/none", 404},
		{"/api/v1/history?limit=1", 200}, {"/api/v1/history?before=x", 400}, {"/api/v1/history?before=2", 200},
		{"/api/v1/receipts?limit=1", 200}, {"/api/v1/receipts?from=-1", 400}, {"/api/v1/receipts?chain=none", 200}, {"/api/v1/decisions?feature=none", 200},
	} {
		path, _, _ := strings.Cut(c.path, "?")
		spec := strings.Replace(path, "/flags/none", "/flags/{feature}", 1)
		s := &asked{t: t, w: w, schemas: schemas, op: doc.Paths[spec]["get"], method: "GET", path: c.path, spec: spec}
		if code := s.ask(false, ""); code != c.code {
			t.Errorf("%s: %d, want %d", c.path, code, c.code)
		}
	}
	pages(t, w)
}

// pages: turning pages of one shows all, once each, in order.
func pages(t *testing.T, w *worldtest.World) {
	var seen []uint64
	for next := ""; ; {
		var page struct {
			Receipts []struct{ Seq uint64 }
			Next     uint64
		}
		_, body := w.Ask("GET", "/api/v1/receipts?limit=1"+next, "")
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Receipts {
			seen = append(seen, r.Seq)
		}
		if page.Next == 0 || len(seen) == 5 {
			break
		}
		next = fmt.Sprintf("&from=%d", page.Next)
	}
	if !slices.Equal(seen, []uint64{0, 1, 2, 3, 4}) {
		t.Errorf("page after page shows receipts %v", seen)
	}
}

type asked struct {
	t                  *testing.T
	w                  *worldtest.World
	schemas            *jsonschema.Compiler
	op                 operation
	method, path, spec string
}

func (a *asked) example() string {
	for _, c := range a.op.RequestBody.Content {
		b, err := json.Marshal(c.Example)
		if err != nil {
			a.t.Fatal(err)
		}
		return string(b)
	}
	return ""
}

// ask sends the request, and holds the answer against what is described for its code.
func (a *asked) ask(token bool, body string) int {
	a.t.Helper()
	req, err := http.NewRequest(a.method, a.w.URL+a.path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if token {
		req.Header.Set("Authorization", "Bearer "+worldtest.Token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	code := fmt.Sprint(res.StatusCode)
	described, ok := a.op.Responses[code]
	if !ok {
		a.t.Errorf("%s %s answers %s, which is not described: %.200s", a.method, a.path, code, got)
		return res.StatusCode
	}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	pointer := "/components/responses/Problem"
	if described.Ref == "" {
		if _, ok := described.Content[kind]; !ok {
			a.t.Errorf("%s %s answers %s as %s", a.method, a.path, code, kind)
			return res.StatusCode
		}
		pointer = "/paths/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(a.spec) + "/" + strings.ToLower(a.method) + "/responses/" + code
	}
	if kind != "application/json" {
		return res.StatusCode
	}
	schema, err := a.schemas.Compile("openapi.json#" + pointer + "/content/application~1json/schema")
	if err != nil {
		a.t.Fatalf("%s: %v", pointer, err)
	}
	var v any
	if err := json.Unmarshal(got, &v); err != nil {
		a.t.Fatalf("%s %s: %v", a.method, a.path, err)
	}
	if err := schema.Validate(v); err != nil {
		a.t.Errorf("%s %s: %s is not as described: %#v", a.method, a.path, code, err)
	}
	return res.StatusCode
}

var registered = regexp.MustCompile(`\.Handle(?:Func)?\("((?:GET|POST|PUT|DELETE) /(?:api|admin|webhook|healthz|readyz|metrics|audit)[^"]*)"`)

// sourceRoutes are the routes for programs that the command registers.
func sourceRoutes(t *testing.T) []string {
	files, err := filepath.Glob("../../cmd/reconcile/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		for _, m := range registered.FindAllStringSubmatch(string(src), -1) {
			all = append(all, m[1])
		}
	}
	if len(all) < 10 {
		t.Fatalf("found only %q", all)
	}
	return all
}
