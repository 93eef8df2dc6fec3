package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/internal/worldtest"
)

const ramping = `{"version":"VERSION","environment":"prod","features":{
"receipts":{"description":"Signed receipts on every write","owner":"team-ledger","pct":PCT,"cohorts":["A","user-123"],
"ramp":{"steps":[1,5,10,20,50,100],"gates":[50,100],"target_coverage":95,"bake":"24h","waves":[{"name":"friends","tenants":["initech","hooli"],"soak":"48h"}]},
"tenants":{"acme":{"pct":50},"globex":{"enabled":false},"initech":{"pct":100},"hooli":{"pct":100},"umbrella":{"pct":5}}},
"checkout-v2":{"description":"The new checkout","owner":"team-shop","pct":35,"expires":"2026-12-10"},
"dark-mode":{"description":"Dark mode for all","owner":"team-web"},
"legacy-import":{"description":"Import from the old system","owner":"team-data","enabled":false}}}`

// rampedWorld has a flag with a past: steps that a proposer took, one of them back, and one of a person's.
func rampedWorld(t *testing.T) *worldtest.World {
	t.Helper()
	w := worldtest.New(t)
	n := 0
	commit := func(pct int, by, message string) string {
		version := "flags-v1"
		if n > 0 {
			version = fmt.Sprintf("flags-v1+ramp.%d", n)
		}
		n++
		return w.Commit(strings.NewReplacer("VERSION", version, "PCT", fmt.Sprint(pct)).Replace(ramping), by, message)
	}
	step := func(from, to int, action, verdict, reason string) {
		t.Helper()
		commit(to, "bot", fmt.Sprintf("ramp: receipts %d -> %d\n\nOp-Id: 01a2-%d\nRamp-Evidence: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a0%d\n"+
			"Ramp-Decision: receipts __default__ %d -> %d %s %s\nRamp-Reason: receipts __default__ %s: %s\n", from, to, n, n, from, to, action, verdict, verdict, reason))
		w.AwaitGeneration(uint64(n))
	}
	commit(1, "alice", "Begin with receipts at one percent")
	w.Start()
	w.AwaitGeneration(1)
	step(1, 5, "up", "green", "coverage 96.1 >= 95; anchor_p95_ms 24 <= 30")
	step(5, 10, "up", "green", "coverage 97.2 >= 95; anchor_p95_ms 21 <= 30")
	step(10, 5, "down", "red", "anchor_p95_ms 88 > 30")
	step(5, 10, "up", "green", "coverage 98 >= 95; anchor_p95_ms 19 <= 30")
	commit(20, "alice", "A person goes on to twenty")
	w.AwaitGeneration(6)
	report := fmt.Sprintf(`{"format":"ramp-report/v1","at":%q,"decisions":[{"feature":"receipts","tenant":"__default__","action":"hold","from":20,"to":20,"verdict":"amber","code":"bake","reason":"20 %% has been live for 2 h of 24 h","until":%q}]}`,
		time.Now().UTC().Format(time.RFC3339), time.Now().Add(22*time.Hour).UTC().Format(time.RFC3339))
	if code, body := w.Ask("POST", "/admin/decisions", report); code != 200 {
		t.Fatalf("reporting a decision: %d %s", code, body)
	}
	return w
}

// lower puts a break-glass statement in force: receipts is off for a tenant that the spec does not name.
func lower(t *testing.T, w *worldtest.World, tenant string) {
	t.Helper()
	now := time.Now().UTC()
	statement, err := json.Marshal(map[string]any{"format": "override/v1", "environment": "prod", "id": "6f1c2a9be04d47718c3a5e0f9d2b4871",
		"issued": now.Add(-time.Second).Format(time.RFC3339), "expires": now.Add(time.Hour).Format(time.RFC3339), "reason": "receipts time out",
		"set": []map[string]any{{"feature": "receipts", "tenant": tenant, "off": true}}})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := json.Marshal(map[string]any{"format": "sealed/v1", "statement": string(statement), "bundles": []json.RawMessage{w.Keys["alice"].Bundle(statement)}})
	if err != nil {
		t.Fatal(err)
	}
	if code, body := w.Ask("POST", "/admin/override", string(sealed)); code != 200 && code != 202 {
		t.Fatalf("the statement is not taken: %d %s", code, body)
	}
	flagtest.Eventually(t, "the statement to be in force", func() bool {
		_, body := w.Ask("GET", "/api/v1/status", "")
		return strings.Contains(body, "receipts time out")
	})
}

func TestRamp(t *testing.T) {
	chrome := browser(t)
	w := rampedWorld(t)
	lower(t, w, "zeta")
	inspect(t, chrome, w, "ramp", []string{"/", "/flags/receipts"})
	t.Run("marks", func(t *testing.T) { marks(t, newTab(t, chrome, w)) })
	t.Run("lowered", func(t *testing.T) { lowered(t, newTab(t, chrome, w)) })
	t.Run("nowhere", func(t *testing.T) {
		p := newTab(t, chrome, w)
		p.open("/flags/receiptz")
		p.axe("not found")
		p.shot("ramp not found")
		if got := p.text("main"); !strings.Contains(got, "Not found") || !strings.Contains(got, "receiptz") {
			t.Errorf("a flag that is not there: %q", got)
		}
	})
}

// Each step of the chart says what decided it: to the mouse, to the keyboard, and in a table.
func marks(t *testing.T, p *tab) {
	p.open("/flags/receipts")
	if n := eval[int](p, `document.querySelectorAll(".mark").length`); n != 6 {
		t.Fatalf("%d marks, want six: the first, four of the proposer's and a person's", n)
	}
	const shown = `[...document.querySelectorAll(".mark .tip")].filter(e => getComputedStyle(e).visibility === "visible").map(e => [...e.querySelectorAll("text")].map(l => l.textContent).join("|"))`
	if got := eval[[]string](p, shown); len(got) != 0 {
		t.Errorf("before anybody points, %q is shown", got)
	}
	// By keyboard: from the region around the chart, tab by tab.
	p.run(chromedp.Focus(`[aria-label="Chart"]`))
	for _, want := range []string{"added, 1 %", "1 → 5 %", "5 → 10 %", "10 → 5 %"} {
		p.run(chromedp.KeyEvent(kb.Tab))
		got := eval[[]string](p, shown)
		if len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Fatalf("the next stop of the tab key shows %q, want %q", got, want)
		}
	}
	got := eval[[]string](p, shown)[0]
	for _, want := range []string{"red: anchor_p95_ms 88 > 30", "evidence sha256:9f86d081884c…", "signed by bot, generation 4"} {
		if !strings.Contains(got, want) {
			t.Errorf("the mark says %q, not %q", got, want)
		}
	}
	p.shot("ramp mark in focus")
	if label := eval[string](p, `document.activeElement.getAttribute("aria-label")`); !strings.Contains(label, "red: anchor_p95_ms 88 > 30") {
		t.Errorf("a screen reader hears %q", label)
	}
	if over := eval[bool](p, `(() => { const c = document.querySelector(".chart").getBoundingClientRect(); return [...document.querySelectorAll(".tip rect")].some(r => { const b = r.getBoundingClientRect(); return b.left < c.left - 1 || b.right > c.right + 1 || b.top < c.top - 1 || b.bottom > c.bottom + 1; }); })()`); over {
		t.Error("a box reaches beyond the chart")
	}
	p.run(chromedp.KeyEvent(kb.Enter))
	p.await("the step's row", `location.hash === "#step-4" && document.querySelector("tr:target")`)
	row := p.text("tr:target")
	for _, want := range []string{"10 → 5 %", "red", "anchor_p95_ms 88 > 30", "sha256:9f86d081884c…", "bot"} {
		if !strings.Contains(row, want) {
			t.Errorf("the row of the step says %q, not %q", row, want)
		}
	}
	if last := p.text("#step-6"); !strings.Contains(last, "10 → 20 %") || !strings.Contains(last, "by hand") {
		t.Errorf("a person's step reads %q", last)
	}
	// By mouse.
	p.open("/flags/receipts")
	p.await("the mark under the mouse", `(() => { const b = document.querySelectorAll(".mark .dot")[4].getBoundingClientRect(); window.at = [b.left + b.width / 2, b.top + b.height / 2]; return b.width > 0; })()`)
	at := eval[[]float64](p, `window.at`)
	p.hover(at[0], at[1])
	p.await("what the mouse points at", shown+`.some(s => s.startsWith("5 → 10 %") && s.includes("coverage 98 >= 95"))`)
	for _, want := range []string{"friends", "soaks 48h", "in 21 h"} {
		if !strings.Contains(p.text("main"), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if next := p.text(".ladder .next"); !strings.Contains(next, "50") || !strings.Contains(next, "gate") {
		t.Errorf("the next step reads %q", next)
	}
	p.clean("marks")
}

// A tenant that only a statement in force names is found and shown.
func lowered(t *testing.T, p *tab) {
	p.open("/")
	if got := p.text("#overrides + ul"); !strings.Contains(got, "receipts of zeta off") || !strings.Contains(got, "receipts time out") || !strings.Contains(got, "alice") {
		t.Errorf("the overview says of the statement %q", got)
	}
	p.open("/flags?tenant=zeta")
	p.run(chromedp.Click("summary"))
	if got := p.text("details[open] .tenants"); !strings.Contains(got, "zeta") || !strings.Contains(got, "not in the spec") || !strings.Contains(got, "off") {
		t.Errorf("the tenant reads %q", got)
	}
	p.open("/flags?show=lowered")
	if got := p.text("table.flags tbody"); !strings.Contains(got, "receipts") || strings.Contains(got, "dark-mode") {
		t.Errorf("flags that are lowered: %q", got)
	}
	p.open("/flags/receipts?tenant=zeta&user=user-123")
	if got := p.text(".answer"); !strings.Contains(got, "off") || !strings.Contains(got, "disabled") {
		t.Errorf("a member of the cohort is told %q", got)
	}
	if got := p.text("ul.heat .lowered"); !strings.Contains(got, "zeta") || !strings.Contains(got, "off") {
		t.Errorf("the heat map says %q", got)
	}
	p.clean("lowered")
}
