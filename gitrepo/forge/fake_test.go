package forge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

const token = "t0ken-never-shown"

// exchange is one request that is expected, and what is answered. Body is
// compared as JSON; "" means that none may be sent.
type exchange struct {
	method, path string // path with its query
	body         string
	status       int // 0: 200
	header       map[string]string
	answer       string
}

// fake is a forge that knows exactly what it will be asked, in order. Anything
// else fails the test.
type fake struct {
	*httptest.Server
	t    *testing.T
	auth string // name: value of the header that carries the token

	mu    sync.Mutex
	plan  []exchange
	slept []time.Duration
}

func newFake(t *testing.T, auth string, plan ...exchange) *fake {
	t.Helper()
	f := &fake{t: t, auth: auth, plan: plan}
	f.Server = httptest.NewServer(f)
	t.Cleanup(func() {
		f.Close()
		if len(f.plan) > 0 {
			t.Errorf("%d requests never came, the next one %s %s", len(f.plan), f.plan[0].method, f.plan[0].path)
		}
	})
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(req.Body)
	got := req.Method + " " + req.URL.RequestURI()
	if len(f.plan) == 0 {
		f.t.Errorf("unexpected request %s %s", got, body)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	next := f.plan[0]
	f.plan = f.plan[1:]
	if want := next.method + " " + next.path; got != want {
		f.t.Errorf("request %s, want %s", got, want)
	}
	if !sameJSON(body, []byte(next.body)) {
		f.t.Errorf("%s sends\n%s\nwant\n%s", got, body, next.body)
	}
	name, value, _ := strings.Cut(f.auth, ": ")
	if have := req.Header.Get(name); have != value {
		f.t.Errorf("%s comes with %s %q, want %q", got, name, have, value)
	}
	for k, v := range next.header {
		w.Header().Set(k, strings.ReplaceAll(v, "HOST", f.URL))
	}
	w.Header().Set("Content-Type", "application/json")
	if next.status != 0 {
		w.WriteHeader(next.status)
	}
	fmt.Fprint(w, next.answer)
}

func sameJSON(a, b []byte) bool {
	if len(bytes.TrimSpace(a)) == 0 || len(b) == 0 {
		return len(bytes.TrimSpace(a)) == len(b)
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// open gives the forge behind the fake, with a clock that only waiting moves on.
func (f *fake) open(kind Kind, path string) *Forge {
	f.t.Helper()
	forge, err := Open(f.t.Context(), Options{Repository: f.URL + "/" + path + ".git", Kind: kind, Base: f.URL, Token: token})
	if err != nil {
		f.t.Fatal(err)
	}
	f.drive(forge)
	return forge
}

func (f *fake) drive(forge *Forge) {
	now := time.Unix(1e9, 0)
	forge.now = func() time.Time { return now }
	forge.sleep = func(_ context.Context, d time.Duration) error {
		f.slept = append(f.slept, d)
		now = now.Add(d)
		return nil
	}
}

func (f *fake) wantSlept(want ...time.Duration) {
	f.t.Helper()
	if !reflect.DeepEqual(f.slept, want) {
		f.t.Errorf("waited %v, want %v", f.slept, want)
	}
}

var proposal = Proposal{
	Head: "rampart/ramp-prod", Base: "main", Title: "Ramp receipts to 20 %",
	Body: "| a | b |\n|---|---|\n", Labels: []string{"rampart", "ramp"},
}

// attempts is how often something is tried within the patience of 30 seconds:
// after 0.25, 0.5, 1, 2 seconds and then every 4.
const attempts = 11
