package ofrep

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// keys lets two callers in: one for every tenant, one for some.
func keys(r *http.Request) (Access, error) {
	switch r.Header.Get("Authorization") {
	case "":
		return Access{}, ErrNoKey
	case "Bearer all":
		return Access{Name: "all", Token: "all.t"}, nil
	case "Bearer acme":
		return Access{Name: "acme", Tenants: []string{"acme"}}, nil
	case "Bearer two":
		return Access{Name: "two", Tenants: []string{"acme", "globex"}}, nil
	case "Bearer none":
		return Access{Name: "none", Tenants: []string{}}, nil
	}
	return Access{}, ErrWrongKey
}

func TestAKeySeesItsOwnTenantsOnly(t *testing.T) {
	h, _ := serve(t, Options{Authenticate: keys})
	for _, tc := range []struct {
		key, context, header string
		status               int
		entry                string
	}{
		{"", `{}`, "", 401, ""},
		{"Bearer wrong", `{}`, "", 401, ""},
		{"Bearer all", `{"targetingKey":"vip"}`, "", 200, "receipts:__default__"},
		{"Bearer all", `{"targetingKey":"vip","tenant":"acme"}`, "", 200, "receipts:acme"},
		{"Bearer acme", `{"targetingKey":"vip","tenant":"acme"}`, "", 200, "receipts:acme"},
		{"Bearer acme", `{"targetingKey":"vip"}`, "", 200, "receipts:acme"},
		{"Bearer acme", `{}`, "", 200, "receipts:acme"},
		{"Bearer acme", `{"targetingKey":"vip","tenant":"globex"}`, "", 403, ""},
		{"Bearer acme", `{"targetingKey":"vip"}`, "globex", 403, ""},
		{"Bearer acme", `{"targetingKey":"vip","tenant":"__default__"}`, "", 403, ""},
		{"Bearer two", `{"targetingKey":"vip","tenant":"globex"}`, "", 200, "receipts:globex"},
		{"Bearer two", `{"targetingKey":"vip"}`, "", 403, ""},
		{"Bearer none", `{"targetingKey":"vip","tenant":"acme"}`, "", 403, ""},
	} {
		header := []string{"Authorization", tc.key, "X-Tenant-ID", tc.header}
		a := ask(t, h, flagsPath+"/receipts", `{"context":`+tc.context+`}`, header...)
		if a.status != tc.status {
			t.Errorf("%+v: %d %s", tc, a.status, a.body)
			continue
		}
		if tc.status == 401 && a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%+v: no WWW-Authenticate", tc)
		}
		if tc.entry != "" && a.json["metadata"].(map[string]any)["entry"] != tc.entry {
			t.Errorf("%+v: %s", tc, a.body)
		}
		if bulk := ask(t, h, flagsPath, `{"context":`+tc.context+`}`, header...); bulk.status != tc.status {
			t.Errorf("%+v, for all: %d %s", tc, bulk.status, bulk.body)
		}
	}
}

func TestTooMany(t *testing.T) {
	h, _ := serve(t, Options{Rate: 1, Authenticate: func(r *http.Request) (Access, error) {
		a, err := keys(r)
		if a.Name == "all" {
			a.Rate = 1e9
		}
		return a, err
	}})
	for _, key := range []string{"Bearer acme", "Bearer wrong"} {
		var last answer
		for range 3 {
			last = ask(t, h, flagsPath+"/receipts", `{"context":{"targetingKey":"u"}}`, "Authorization", key)
		}
		if last.status != 429 || last.header.Get("Retry-After") != "1" || last.json["key"] != "receipts" {
			t.Errorf("%s: %d %v %s", key, last.status, last.header, last.body)
		}
	}
	for range 50 {
		if a := ask(t, h, flagsPath, `{"context":{"targetingKey":"u"}}`, "Authorization", "Bearer all"); a.status != 200 {
			t.Fatalf("another caller: %d %s", a.status, a.body)
		}
	}
}

func TestCallersAreForgotten(t *testing.T) {
	l := newLimiter(1)
	start := time.Now()
	for i := range mostCallers + 10 {
		l.of(fmt.Sprint(i), 1, start)
	}
	if n := len(l.callers); n > mostCallers {
		t.Errorf("%d callers are remembered", n)
	}
	l.of("new", 1, start.Add(2*sweepEvery))
	if n := len(l.callers); n != 1 {
		t.Errorf("%d callers are remembered after a pause", n)
	}
}

func TestCORS(t *testing.T) {
	h, _ := serve(t, Options{Origins: []string{"https://shop.example"}, Headers: []string{"X-Mine"}})
	pre := request(t, h, http.MethodOptions, flagsPath, "", "Origin", "https://shop.example", "Access-Control-Request-Method", "POST",
		"Access-Control-Request-Headers", "content-type,if-none-match,x-mine")
	if pre.status != 204 || pre.header.Get("Access-Control-Allow-Origin") != "https://shop.example" || !strings.Contains(pre.header.Get("Access-Control-Allow-Methods"), "POST") {
		t.Errorf("preflight: %d %v", pre.status, pre.header)
	}
	for _, name := range []string{"Content-Type", "If-None-Match", "Authorization", "X-Tenant-ID", "X-Mine"} {
		if !strings.Contains(pre.header.Get("Access-Control-Allow-Headers"), name) {
			t.Errorf("%s is not allowed", name)
		}
	}
	a := ask(t, h, flagsPath, `{}`, "Origin", "https://shop.example")
	if a.status != 200 || !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "ETag") || !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "Retry-After") || a.header.Get("Vary") != "Origin" {
		t.Errorf("answer: %v", a.header)
	}
	if a := ask(t, h, flagsPath, `{}`, "Origin", "https://shop.example", "If-None-Match", a.header.Get("ETag")); a.status != 304 || a.header.Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("304: %d %v", a.status, a.header)
	}
	if a := ask(t, h, flagsPath+"/nothing", `{}`, "Origin", "https://shop.example"); a.header.Get("Access-Control-Allow-Origin") == "" {
		t.Error("an error that the browser may not read")
	}
	for _, origin := range []string{"https://evil.example", "https://shop.example.evil.example", "null"} {
		if a := ask(t, h, flagsPath, `{}`, "Origin", origin); a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s is let in", origin)
		}
	}
	h, _ = serve(t, Options{Origins: []string{"*"}})
	if a := ask(t, h, flagsPath, `{}`, "Origin", "https://anybody.example"); a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("any: %v", a.header)
	}
	h, _ = serve(t, Options{})
	if a := ask(t, h, flagsPath, `{}`, "Origin", "https://shop.example"); a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Vary") != "" {
		t.Errorf("none: %v", a.header)
	}
}

// listener reads an event stream.
type listener struct {
	t    testing.TB
	resp *http.Response
	mu   sync.Mutex
	seen []string // data lines
	ids  []string
}

func listen(t testing.TB, url string, header ...string) *listener {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{t: t, resp: resp}
	t.Cleanup(func() { resp.Body.Close() })
	go func() {
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			l.mu.Lock()
			if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
				l.seen = append(l.seen, data)
			}
			if id, ok := strings.CutPrefix(s.Text(), "id: "); ok {
				l.ids = append(l.ids, id)
			}
			l.mu.Unlock()
		}
	}()
	return l
}

func (l *listener) events() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.seen...)
}

func TestEventStream(t *testing.T) {
	h, v := serve(t, Options{Authenticate: keys, Listen: func(token string) bool { return token == "all.t" }, MaxStreams: 3})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close) // after the streams below: it waits for them
	bulk := ask(t, h, flagsPath, `{}`, "Authorization", "Bearer all")
	stream := bulk.json["eventStreams"].([]any)[0].(map[string]any)
	uri := stream["endpoint"].(map[string]any)["requestUri"].(string)

	l := listen(t, srv.URL+uri)
	if l.resp.StatusCode != 200 || l.resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v", l.resp.StatusCode, l.resp.Header)
	}
	// It begins with what is live: that may be newer than what was fetched.
	flagtest.Eventually(t, "the first event", func() bool { return len(l.events()) == 1 })
	if e := l.events()[0]; !strings.Contains(e, `"type":"refetchEvaluation"`) || !strings.Contains(e, `"etag":"7-x"`) || !strings.Contains(e, `"lastModified":`) {
		t.Errorf("event %s", e)
	}
	v.set(t, 8, sample)
	h.Changed()
	flagtest.Eventually(t, "the change", func() bool { return len(l.events()) == 2 })
	h.Changed() // nothing changed: nobody is sent to fetch
	v.set(t, 9, sample)
	h.Changed()
	flagtest.Eventually(t, "the next change", func() bool { return len(l.events()) == 3 })
	if again := ask(t, h, flagsPath, `{}`, "Authorization", "Bearer all"); !strings.Contains(again.body, uri) {
		t.Error("another generation moved the stream: clients would drop their connections")
	}

	// Who reconnects hears of a change in between, and of nothing else.
	late := listen(t, srv.URL+uri, "Last-Event-ID", "8-x")
	flagtest.Eventually(t, "the missed event", func() bool { return len(late.events()) == 1 })
	back := listen(t, srv.URL+uri, "Last-Event-ID", "9-x")
	flagtest.Eventually(t, "three streams", func() bool { return h.Streams() == 3 })
	if got := back.events(); len(got) != 0 {
		t.Errorf("who missed nothing heard %q", got)
	}
	res, err := http.Get(srv.URL + uri)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "3 event streams") || !strings.Contains(string(body), "--max-streams") {
		t.Errorf("one too many: %d %s, %v", res.StatusCode, body, err)
	}
	if r := listen(t, srv.URL+pathEvents); r.resp.StatusCode != 401 {
		t.Errorf("no token: %d", r.resp.StatusCode)
	}
	back.resp.Body.Close()
	flagtest.Eventually(t, "the closed stream to be forgotten", func() bool { return h.Streams() == 2 })
}

func TestNoStreams(t *testing.T) {
	h, _ := serve(t, Options{MaxStreams: -1})
	if a := ask(t, h, flagsPath, `{}`); strings.Contains(a.body, "eventStreams") {
		t.Errorf("%s", a.body)
	}
}

func TestStreamTokens(t *testing.T) {
	a, b := StreamToken("web", []byte("1")), StreamToken("web", []byte("2"))
	if a == b || a != StreamToken("web", []byte("1")) || !strings.HasPrefix(a, "web.") || a == StreamToken("we", []byte("1")) {
		t.Errorf("tokens %q and %q", a, b)
	}
}

func TestObserve(t *testing.T) {
	var seen []string
	h, _ := serve(t, Options{Observe: func(what string, status int, took time.Duration) {
		seen = append(seen, fmt.Sprintf("%s %d %v", what, status, took > 0))
	}})
	ask(t, h, flagsPath, `{}`)
	ask(t, h, flagsPath+"/nothing", `{}`)
	ask(t, h, "/ofrep/v2", `{}`)
	if got := strings.Join(seen, ","); got != "bulk 200 true,single 404 true,other 404 true" {
		t.Errorf("observed %s", got)
	}
}
