package console

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/reconciler"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func serve(t testing.TB, s *reconciler.Status, live *reconciler.Live) http.Handler {
	t.Helper()
	c, err := New(Options{
		Status: func() *reconciler.Status { return s }, Live: func() *reconciler.Live { return live },
		Generations: func() ([]reconciler.Generation, error) { return nil, reconciler.ErrNoState },
		Now:         func() time.Time { return noon },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	mux := http.NewServeMux()
	c.Register(mux)
	return mux
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
	return w
}

func TestHeaders(t *testing.T) {
	h := serve(t, &reconciler.Status{}, nil)
	for _, path := range []string{"/", "/flags", "/flags/none", "/history", "/receipts", "/static/console.js", "/static/none"} {
		w := get(h, path)
		csp := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a browser may guess the type", path)
		}
	}
	if w := get(h, "/flags/none"); w.Code != http.StatusNotFound {
		t.Errorf("a feature that is not there: %d", w.Code)
	}
	r := httptest.NewRequest("POST", "http://localhost/receipts/verify", nil)
	r.Header.Set("Origin", "https://elsewhere.example")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden {
		t.Errorf("a form of another site: %d", w.Code)
	}
}

// What pages hold needs no inline script or style, or the policy would break them.
func TestNothingInline(t *testing.T) {
	entries, err := files.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		src, err := files.ReadFile("templates/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, no := range []string{" style=", " onclick=", "<style", "javascript:", "https://", "template.HTML"} {
			if strings.Contains(string(src), no) {
				t.Errorf("%s holds %q", e.Name(), no)
			}
		}
	}
}

func TestState(t *testing.T) {
	ok := func(ts ...reconciler.ConditionType) []reconciler.Condition {
		var all []reconciler.Condition
		for _, c := range []reconciler.ConditionType{reconciler.CondReady, reconciler.CondSourceVerified, reconciler.CondSpecValid, reconciler.CondApplied} {
			all = append(all, reconciler.Condition{Type: c, Status: reconciler.True})
		}
		for _, c := range []reconciler.ConditionType{reconciler.CondDriftDetected, reconciler.CondHistoryRewritten, reconciler.CondStoreUnavailable, reconciler.CondFetchFailed} {
			all = append(all, reconciler.Condition{Type: c, Status: reconciler.False})
		}
		for _, flip := range ts {
			for i := range all {
				if all[i].Type == flip {
					all[i].Status = map[reconciler.Truth]reconciler.Truth{reconciler.True: reconciler.False, reconciler.False: reconciler.True}[all[i].Status]
				}
			}
		}
		return all
	}
	held := ok()
	for i := range held {
		if held[i].Type == reconciler.CondReady {
			held[i].Reason, held[i].Message = reconciler.Held, "3 of 9 new commits are judged; the next pass goes on"
		}
	}
	for _, c := range []struct {
		name, word string
		s          reconciler.Status
	}{
		{"before the first look", "starting", reconciler.Status{}},
		{"all good", "in sync", reconciler.Status{Passes: 1, LastSuccess: noon, Conditions: ok()}},
		{"break-glass", "lowered", reconciler.Status{Passes: 1, LastSuccess: noon, Conditions: ok(), Overrides: []reconciler.InForce{{Text: "receipts off until noon"}}}},
		{"more than one pass judges", "applying", reconciler.Status{Passes: 1, LastSuccess: noon, Conditions: held}},
		{"git is gone for a moment", "held", reconciler.Status{Passes: 1, LastSuccess: noon.Add(-time.Minute), Conditions: ok(reconciler.CondFetchFailed)}},
		{"git is gone", "stale", reconciler.Status{Passes: 1, LastSuccess: noon.Add(-time.Hour), Conditions: ok(reconciler.CondFetchFailed)}},
		{"Redis is gone", "stale", reconciler.Status{Passes: 1, LastSuccess: noon, Conditions: ok(reconciler.CondStoreUnavailable)}},
		{"a refused commit", "refused", reconciler.Status{Passes: 1, LastSuccess: noon, Conditions: ok(reconciler.CondSourceVerified), Refused: []reconciler.Refusal{{Code: "NotAuthorized"}}}},
		{"rewritten", "refused", reconciler.Status{Passes: 1, LastSuccess: noon, Conditions: ok(reconciler.CondHistoryRewritten)}},
		{"waits for its time", "held", reconciler.Status{Passes: 1, LastSuccess: noon, Conditions: ok(), Deferred: []reconciler.Refusal{{Message: "not before one"}}}},
		{"not written yet", "applying", reconciler.Status{Passes: 1, LastSuccess: noon, Conditions: ok(reconciler.CondApplied)}},
		{"drift", "drift", reconciler.Status{Passes: 1, LastSuccess: noon, Conditions: ok(reconciler.CondDriftDetected)}},
		{"nothing has looked for long", "stale", reconciler.Status{Passes: 1, LastSuccess: noon.Add(-time.Hour), Conditions: ok()}},
	} {
		if got := stateOf(&c.s, noon); got.Word != c.word {
			t.Errorf("%s: %q (%s), want %q", c.name, got.Word, got.Why, c.word)
		}
	}
}

func TestChart(t *testing.T) {
	at := func(minutes int, kind flags.Kind, from, to string) happened {
		return happened{Change: receipt.Change{Kind: string(kind), Feature: "f", From: from, To: to}, Receipt: &receipt.Receipt{Time: noon.Add(time.Duration(minutes) * time.Minute)}}
	}
	other := at(2, flags.RampUp, "0", "77")
	other.Tenant = "acme"
	past := []happened{at(0, flags.FeatureAdd, "", "on, 10%"), at(1, flags.RampUp, "10", "20"), other, at(3, flags.Disable, "", ""), at(4, flags.Enable, "", "")}
	c := newChart(past, nil, 20*1000, true, noon.Add(10*time.Minute))
	var got []string
	for _, p := range c.Points {
		got = append(got, fmt.Sprintf("%g", p.Pct))
	}
	if text := strings.Join(got, " "); text != "10 20 0 20" {
		t.Errorf("points %s, want 10 20 0 20", text)
	}
	if c.Path != "M0.0 198.0H100.0V176.0H300.0V220.0H400.0V176.0H1000.0" {
		t.Errorf("line %s", c.Path)
	}
	if c := newChart(nil, nil, 0, true, noon); c.Path != "" {
		t.Errorf("a flag without a past is drawn: %s", c.Path)
	}
}

func BenchmarkFlagsPage(b *testing.B) {
	var src strings.Builder
	src.WriteString(`{"version":"flags-v1","features":{`)
	for i := range 5000 {
		if i > 0 {
			src.WriteByte(',')
		}
		fmt.Fprintf(&src, `"feature-%04d":{"pct":%d,"tenants":{`, i, i%101)
		for n := range 20 {
			if n > 0 {
				src.WriteByte(',')
			}
			fmt.Fprintf(&src, `"tenant-%d":{"pct":%d}`, n, (i+n)%101)
		}
		src.WriteString(`}}`)
	}
	src.WriteString(`}}`)
	spec, err := flags.Decode("flags.json", []byte(src.String()))
	if err != nil {
		b.Fatal(err)
	}
	h := serve(b, &reconciler.Status{}, &reconciler.Live{Spec: spec})
	for b.Loop() {
		if w := get(h, "/flags"); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}
