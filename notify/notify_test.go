package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/reconciler"
)

const secret = "a secret of the tests"

// receiver is somebody who is told.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	signed []bool
	answer func(n int) int // the status of the nth call
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{answer: func(int) int { return 200 }}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.bodies = append(r.bodies, string(body))
		r.signed = append(r.signed, req.Header.Get(Signature) == "sha256="+hex.EncodeToString(mac.Sum(nil)))
		w.WriteHeader(r.answer(len(r.bodies)))
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.bodies...)
}

func open(t *testing.T, opt Options) *Notifier {
	t.Helper()
	opt.pause = func(int) time.Duration { return time.Millisecond }
	n, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func secretFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func refusal(commit string) reconciler.Event {
	return reconciler.Event{ID: "1", Kind: reconciler.KindRefuse, At: noon, Environment: "prod", Commit: commit, Subject: "Leap <!channel> [here](https://evil.example)",
		Author: "Eve", Code: reconciler.NotAuthorized, Message: "ramp.up 20 -> 90 & more", Hint: "have a maintainer sign it", Outcome: reconciler.OutcomeRefused}
}

func accepted(n uint64) reconciler.Event {
	return reconciler.Event{ID: "2", Kind: reconciler.KindAccept, At: noon, Environment: "prod", Commit: strings.Repeat("c", 40), Generation: n, Version: "flags-v1+ramp.1",
		Signers: []string{"bot"}, Changes: []flags.Change{{Kind: flags.RampUp, Feature: "receipts", From: "10", To: "20", Rises: true}}, Outcome: reconciler.OutcomeApplied}
}

func TestEachTargetInItsOwnForm(t *testing.T) {
	hook, slack, teams := newReceiver(t), newReceiver(t), newReceiver(t)
	n := open(t, Options{Link: "https://flags.example", Targets: []Target{
		{Name: "hook", Type: "webhook", URL: hook.URL, SecretFile: secretFile(t)},
		{Name: "slack", Type: "slack", URL: slack.URL},
		{Name: "teams", Type: "teams", URL: teams.URL, Kinds: []string{Refusal}, Template: "{{.Author}}: {{.Code}}\n{{.Subject}}"},
	}})
	rec := n.Recorder(nil)
	for _, e := range []reconciler.Event{accepted(7), refusal("abc")} {
		if err := rec.Outcome(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	flagtest.Eventually(t, "all to be told", func() bool { return len(hook.all()) == 2 && len(slack.all()) == 2 && len(teams.all()) == 1 })
	var m Message
	if err := json.Unmarshal([]byte(hook.all()[0]), &m); err != nil {
		t.Fatal(err)
	}
	if m.Format != "notification/v1" || m.Kind != Generation || m.Generation != 7 || m.Signers[0] != "bot" || m.Changes[0] != "receipts ramp.up 10 -> 20" || m.Title != "prod: generation 7 is live" {
		t.Errorf("the webhook's body: %+v", m)
	}
	if !hook.signed[0] || !hook.signed[1] || slack.signed[0] {
		t.Errorf("signed: webhook %v, Slack %v", hook.signed, slack.signed)
	}
	const wantSlack = `{"text":"prod: refused abc","unfurl_links":false,"unfurl_media":false,"blocks":[
		{"type":"header","text":{"type":"plain_text","emoji":false,"text":"prod: refused abc"}},
		{"type":"section","text":{"type":"mrkdwn","verbatim":true,"text":"Leap &lt;!channel&gt; [here](https://evil.example) by Eve\nNotAuthorized: ramp.up 20 -&gt; 90 &amp; more\nWhat to do: have a maintainer sign it"}},
		{"type":"context","elements":[{"type":"mrkdwn","verbatim":true,"text":"<https://flags.example|Open the console>"}]}]}`
	sameJSON(t, "Slack's message", slack.all()[1], wantSlack)
	const wantTeams = `{"type":"message","attachments":[{"contentType":"application/vnd.microsoft.card.adaptive","contentUrl":null,"content":{
		"$schema":"http://adaptivecards.io/schemas/adaptive-card.json","type":"AdaptiveCard","version":"1.4","msteams":{"width":"Full"},"body":[
		{"type":"RichTextBlock","spacing":"Small","inlines":[{"type":"TextRun","weight":"Bolder","size":"Medium","text":"prod: refused abc"}]},
		{"type":"RichTextBlock","spacing":"Small","inlines":[{"type":"TextRun","text":"Eve: NotAuthorized"}]},
		{"type":"RichTextBlock","spacing":"Small","inlines":[{"type":"TextRun","text":"Leap <!channel> [here](https://evil.example)"}]}],
		"actions":[{"type":"Action.OpenUrl","title":"Open the console","url":"https://flags.example"}]}}]}`
	sameJSON(t, "the card for Teams", teams.all()[0], wantTeams)
}

func sameJSON(t *testing.T, what, got, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal([]byte(got), &a); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("%s is\n%s\nwant\n%s", what, got, want)
	}
}

// Whatever an author writes, and however long: what is sent keeps to what the receivers take.
func TestLimits(t *testing.T) {
	for _, text := range []string{"", "x", strings.Repeat("<", 5000), strings.Repeat("ä&", 2000), strings.Repeat("<", 750), strings.Repeat("line\n\n", 900)} {
		m := Message{Title: "prod: " + text, Text: text, Link: "https://flags.example"}
		src, err := (&Target{Type: "slack"}).render(m)
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Text   string
			Blocks []struct {
				Type string
				Text struct{ Text string }
			}
		}
		if err := json.Unmarshal(src, &s); err != nil {
			t.Fatal(err)
		}
		for _, b := range s.Blocks {
			most := map[string]int{"header": 150, "section": 3000}[b.Type]
			n := utf8.RuneCountInString(b.Text.Text)
			if most > 0 && (n > most || n == 0) {
				t.Errorf("%.10q: a %s of %d characters", text, b.Type, n)
			}
			if b.Type == "section" && (strings.ContainsAny(b.Text.Text, "<>") || regexp.MustCompile(`&(a|am|amp|l|lt|g|gt)?(…|$)`).MatchString(b.Text.Text)) {
				t.Errorf("%.10q: not escaped, or cut in the middle of it: …%s", text, b.Text.Text[max(0, len(b.Text.Text)-20):])
			}
		}
		if src, err = (&Target{Type: "teams"}).render(m); err != nil || len(src) > 28<<10 {
			t.Errorf("%.10q: a card of %d bytes, %v", text, len(src), err)
		}
	}
}

func TestTheSameIsToldOnce(t *testing.T) {
	hook := newReceiver(t)
	clock := flagtest.NewClock(noon)
	n := open(t, Options{Targets: []Target{{Name: "hook", Type: "webhook", URL: hook.URL}}, now: clock.Now})
	rec := n.Recorder(nil)
	tell := func(e reconciler.Event) {
		t.Helper()
		if err := rec.Outcome(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		tell(refusal("abc"))
	}
	tell(refusal("def"))
	tell(reconciler.Event{Kind: reconciler.KindSignatures, Outcome: reconciler.OutcomeApplied}) // nobody needs to know
	tell(accepted(7))
	elsewhere := accepted(7)
	elsewhere.Environment = "staging"
	tell(elsewhere)
	tell(elsewhere)
	flagtest.Eventually(t, "four notifications", func() bool { return len(hook.all()) == 4 })
	clock.Advance(2 * time.Hour)
	tell(refusal("abc"))
	flagtest.Eventually(t, "the fifth, two hours later", func() bool { return len(hook.all()) == 5 })
}

func TestATargetThatFails(t *testing.T) {
	hook := newReceiver(t)
	hook.answer = func(n int) int {
		if n < 3 {
			return 503
		}
		return 200
	}
	dead := newReceiver(t)
	dead.answer = func(int) int { return 500 }
	reg := prometheus.NewRegistry()
	n := open(t, Options{Metrics: reg, Targets: []Target{{Name: "hook", Type: "webhook", URL: hook.URL}, {Name: "dead", Type: "slack", URL: dead.URL}}})
	if err := n.Recorder(nil).Outcome(t.Context(), accepted(7)); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP rampart_notifications_total Notifications by target and result: sent, failed, dropped.
# TYPE rampart_notifications_total counter
rampart_notifications_total{result="dropped",target="dead"} 0
rampart_notifications_total{result="dropped",target="hook"} 0
rampart_notifications_total{result="failed",target="dead"} 1
rampart_notifications_total{result="failed",target="hook"} 0
rampart_notifications_total{result="sent",target="dead"} 0
rampart_notifications_total{result="sent",target="hook"} 1
`
	flagtest.Eventually(t, "one to get through and one to be given up", func() bool { return testutil.GatherAndCompare(reg, strings.NewReader(want)) == nil })
	if len(dead.all()) != attempts || len(hook.all()) != 3 {
		t.Errorf("%d tries at the dead one, %d at the other", len(dead.all()), len(hook.all()))
	}
}

// A target that never answers holds nobody up: everything beyond its queue is dropped, and Close returns.
func TestNothingWaits(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	t.Cleanup(s.Close)
	t.Cleanup(func() { close(hang) })
	n := open(t, Options{Targets: []Target{{Name: "slow", Type: "webhook", URL: s.URL}}})
	rec := n.Recorder(nil)
	for i := range 3 * queueLength {
		if err := rec.Outcome(t.Context(), refusal(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if dropped := testutil.ToFloat64(n.sent.WithLabelValues("slow", "dropped")); dropped < queueLength {
		t.Errorf("%g were dropped", dropped)
	}
	n.Close()
}

type recorded struct{ intents, outcomes int }

func (r *recorded) Intent(context.Context, reconciler.Event) error {
	r.intents++
	return errors.New("no")
}
func (r *recorded) Outcome(context.Context, reconciler.Event) error {
	r.outcomes++
	return errors.New("no")
}

func TestTheNextRecorderHearsAll(t *testing.T) {
	var next recorded
	rec := open(t, Options{}).Recorder(&next)
	if rec.Intent(t.Context(), accepted(1)) == nil || rec.Outcome(t.Context(), accepted(1)) == nil || next.intents != 1 || next.outcomes != 1 {
		t.Errorf("the next recorder's word is lost: %+v", next)
	}
}

func TestTargetsThatAreWrong(t *testing.T) {
	for src, want := range map[string]string{
		`[{"name":"a","type":"mail","url":"https://x.example"}]`:                              `type "mail"`,
		`[{"name":"A","type":"slack","url":"https://x.example"}]`:                             "lower-case",
		`[{"name":"a","type":"slack"}]`:                                                       "want an address",
		`[{"name":"a","type":"slack","url":"file:///etc/passwd"}]`:                            "want an address",
		`[{"name":"a","type":"slack","url":"https://x.example","kinds":["all"]}]`:             `kind "all"`,
		`[{"name":"a","type":"slack","url":"https://x.example","template":"{{.Nonsense}}"}]`:  "template",
		`[{"name":"a","type":"slack","url":"https://x.example","secret_file":"/dev/null"}]`:   "only plain webhooks",
		`[{"name":"a","type":"webhook","url":"https://x.example","secret_file":"/dev/null"}]`: "fewer than 16",
		`[{"name":"a","type":"slack","uri":"https://x.example"}]`:                             "unknown field",
		`[{"name":"a","type":"slack","url":"x"},{"name":"a","type":"slack","url":"y"}]`:       `two are called "a"`,
		`[{"name":"a","type":"slack","url_file":"/nowhere/at/all"}]`:                          "reading its address",
	} {
		targets, err := ParseTargets("notify.json", []byte(src))
		if err == nil {
			_, err = Open(Options{Targets: targets})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", src, err, want)
		}
	}
}

// The address of a Slack target is a secret: no log shows it.
func TestAddressesStaySecret(t *testing.T) {
	target := Target{url: "https://hooks.example/T0/B0/secret"}
	if got := target.redact(fmt.Errorf("Post %q: refused", target.url)).Error(); strings.Contains(got, "secret") {
		t.Error(got)
	}
}
