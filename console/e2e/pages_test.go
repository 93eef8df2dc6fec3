package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/internal/worldtest"
)

const oneFlag = `{"version":"flags-v1","environment":"prod","features":{"receipts":{"description":"Signed receipts on every write",
"owner":"team-ledger","pct":10,"cohorts":["A","user-123"],"ramp":{"steps":[1,5,10,20,50,100],"target_coverage":95,"bake":"24h"},
"tenants":{"acme":{"pct":50},"globex":{"enabled":false}}}}}`

func ramped(version string, pct int) string {
	return strings.Replace(strings.Replace(oneFlag, `"flags-v1"`, `"`+version+`"`, 1), `"pct":10`, fmt.Sprintf(`"pct":%d`, pct), 1)
}

// inspect opens each page in every manner that people have, and finds nothing wrong.
func inspect(t *testing.T, chrome context.Context, w *worldtest.World, name string, paths []string) {
	p := newTab(t, chrome, w)
	for _, path := range paths {
		for _, scheme := range []string{"light", "dark"} {
			p.scheme(scheme)
			p.width(1280)
			p.open(path)
			p.axe(name + " " + path + " " + scheme)
			p.shot(name + " " + path + " " + scheme)
		}
		for _, width := range []int64{360, 2560} {
			p.width(width)
			if over := eval[int](p, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); over > 0 {
				t.Errorf("%s %s: %d pixels too wide at %d", name, path, over, width)
			}
			p.shot(fmt.Sprintf("%s %s %d", name, path, width))
		}
		p.clean(name + " " + path)
	}
}

func TestEmptySystem(t *testing.T) {
	chrome := browser(t)
	w := worldtest.New(t)
	w.Start()
	inspect(t, chrome, w, "empty", []string{"/", "/flags", "/history", "/receipts"})
}

func TestOneFlag(t *testing.T) {
	chrome := browser(t)
	w := worldtest.New(t)
	w.Commit(oneFlag, "alice", "Begin with receipts at ten percent")
	w.Start()
	w.AwaitGeneration(1)
	w.Commit(ramped("flags-v1+ramp.1", 20), "bot", "Ramp receipts to 20")
	w.AwaitGeneration(2)
	w.AwaitRefusal(w.Commit(ramped("flags-v1+ramp.2", 90), "bot", "Leap to 90"))
	report := `{"format":"ramp-report/v1","at":"` + time.Now().UTC().Format(time.RFC3339) + `","decisions":[{"feature":"receipts","tenant":"__default__","action":"hold","from":20,"to":20,"verdict":"amber","code":"amber","reason":"coverage 91.2 < 95"}]}`
	if code, body := w.Ask("POST", "/admin/decisions", report); code != 200 {
		t.Fatalf("reporting a decision: %d %s", code, body)
	}
	inspect(t, chrome, w, "one", []string{"/", "/flags", "/flags/receipts?tenant=acme&user=u1", "/history?from=1&to=2", "/history/plan", "/receipts?chain=" + w.Status().Applied.Commit})

	t.Run("keyboard", func(t *testing.T) { keyboard(t, newTab(t, chrome, w)) })
	t.Run("mouse", func(t *testing.T) { mouse(t, newTab(t, chrome, w)) })
	t.Run("admin", func(t *testing.T) { admin(t, newTab(t, chrome, w)) })
	t.Run("policy", func(t *testing.T) { policy(t, newTab(t, chrome, w)) })
	t.Run("no script", func(t *testing.T) { noScript(t, newTab(t, chrome, w)) })
	t.Run("live", func(t *testing.T) { live(t, newTab(t, chrome, w), w) })
	t.Run("refused before", func(t *testing.T) {
		p := newTab(t, chrome, w)
		p.open("/history")
		if got := p.text(`[aria-labelledby="earlier"] tbody`); !strings.Contains(got, "NotAuthorized") || !strings.Contains(got, "may step 10 at most") {
			t.Errorf("of what was refused before, the history says %q", got)
		}
		p.axe("history with earlier refusals")
		p.shot("history with earlier refusals")
	})
}

func keyboard(t *testing.T, p *tab) {
	p.open("/")
	p.run(chromedp.KeyEvent(kb.Tab))
	if got := p.text(":focus"); got != "Skip to content" {
		t.Errorf("the first stop of the tab key is %q", got)
	}
	p.run(chromedp.KeyEvent(kb.Enter))
	p.await("the content to have the focus", `document.activeElement.id === "main"`)
	p.open("/flags")
	p.typeInto("#q", "ledger"+kb.Enter)
	p.await("the search's answer", `location.search.includes("q=ledger") && document.querySelector("table.flags")`)
	p.run(chromedp.Focus("summary"), chromedp.KeyEvent(kb.Enter))
	p.await("the tenants to unfold", `document.querySelector("details[open] .tenants")?.innerText.includes("globex")`)
	p.run(chromedp.Focus("table.flags a"), chromedp.KeyEvent(kb.Enter))
	p.await("the feature's page", `document.querySelector("h1")?.innerText === "receipts"`)
	for _, want := range []string{"coverage 91.2 < 95", "20 %", "10 → 20", "team-ledger"} {
		if !strings.Contains(p.text("main"), want) {
			t.Errorf("the feature's page does not say %q", want)
		}
	}
	p.clean("keyboard")
}

func mouse(t *testing.T, p *tab) {
	p.open("/")
	if state := p.text("#how"); !strings.EqualFold(state, "refused") {
		t.Errorf("the state is %q", state)
	}
	p.run(chromedp.Click(`nav a[href="/receipts"]`))
	p.await("the receipts", `document.querySelector("h1")?.innerText === "Receipts"`)
	p.run(chromedp.Click(`form[action="/receipts/verify"] button`))
	p.await("the verification's report", `document.querySelector("#report")?.innerText.includes("ok")`)
	p.run(chromedp.Click(`nav a[href="/history"]`))
	p.await("the history", `document.querySelector("h1")?.innerText === "History"`)
	p.run(chromedp.Click(`form button`))
	p.await("the comparison", `document.querySelector(".changes")?.innerText.includes("ramp.up 10 -> 20")`)
	p.clean("mouse")
}

func admin(t *testing.T, p *tab) {
	p.open("/")
	p.await("the buttons to wait for a token", `document.querySelector("[data-post]").disabled`)
	p.typeInto("#token", "a wrong token that is long"+kb.Enter)
	p.await("the button", `!document.querySelector("[data-post]").disabled`)
	p.run(chromedp.Click(`[data-post="/admin/reconcile"]`))
	p.await("the refusal", `document.querySelector("#said").innerText.includes("bearer token required")`)
	p.await("the wrong token to be forgotten", `sessionStorage.length === 0`)
	p.forgive() // the browser logs the 401
	p.await("the page to settle", `document.querySelector("[data-post]").disabled`)
	p.typeInto("#token", worldtest.Token+kb.Enter)
	p.await("the button", `!document.querySelector("[data-post]").disabled`)
	p.run(chromedp.Click(`[data-post="/admin/reconcile"]`))
	p.await("the answer", `document.querySelector("#said").innerText.includes("done")`)
	p.clean("admin")
	if eval[bool](p, `document.documentElement.outerHTML.includes(`+quote(worldtest.Token)+`)`) {
		t.Error("the token stands in the page")
	}
}

// The content security policy is in force: what a page might be made to hold does not run.
func policy(t *testing.T, p *tab) {
	p.open("/")
	p.run(chromedp.Evaluate[chromedp.Void](`{
  const s = document.createElement("script"); s.textContent = "window.ran = 1"; document.body.append(s);
  const i = document.createElement("img"); i.setAttribute("onerror", "window.ran = 2"); i.src = "data:,"; document.body.append(i);
  const d = document.createElement("div"); d.setAttribute("style", "color: red"); document.body.append(d);
}`))
	p.await("the policy to be named", `true`)
	if eval[bool](p, `"ran" in window`) {
		t.Error("an inline script ran")
	}
	if blocked := eval[bool](p, `fetch("http://127.0.0.1:1/").then(() => false, () => true)`); !blocked {
		t.Error("a request to somebody else went out")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !strings.Contains(strings.Join(p.trouble, "\n"), "Content Security Policy") {
		t.Errorf("the browser does not speak of a policy: %q", p.trouble)
	}
}

func noScript(t *testing.T, p *tab) {
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	p.open("/")
	for _, want := range []string{"Refused", "NotAuthorized", "flags-v1+ramp.1"} {
		if !strings.Contains(p.text("main"), want) {
			t.Errorf("without a script the overview does not say %q", want)
		}
	}
	if strings.Contains(p.text("main"), "Admin token") {
		t.Error("without a script the page offers what it cannot do")
	}
	p.open("/flags/receipts")
	p.typeInto("#try-tenant", "globex")
	p.run(chromedp.Click("form.try button"))
	p.await("the decision", `document.querySelector(".answer")?.innerText.includes("disabled")`)
	p.clean("no script")
}

// live: a change in git is seen in the open page, without a reload, and what a person has opened stays open.
func live(t *testing.T, p *tab, w *worldtest.World) {
	p.open("/flags")
	p.await("the event stream", `!document.querySelector("#live").hidden`)
	p.run(chromedp.Click("summary"), chromedp.Evaluate[chromedp.Void](`window.loadedOnce = true`))
	started := time.Now()
	w.Commit(ramped("flags-v1+ramp.2", 30), "bot", "Ramp receipts to 30")
	pushed := time.Now()
	p.await("thirty percent in the page", `document.querySelector("table.flags .num").innerText.includes("30")`)
	t.Logf("a push is seen in the open page after %v (%v with the commit)", time.Since(pushed).Round(time.Millisecond), time.Since(started).Round(time.Millisecond))
	if !eval[bool](p, `window.loadedOnce === true && document.querySelector("details").open`) {
		t.Error("the page was loaded anew, or folded what a person had opened")
	}
	p.clean("live")
	// A server that goes away and comes back is followed again.
	w.Stop()
	p.await("the loss of the stream", `document.querySelector("#live").hidden`)
	w.Start()
	w.AwaitGeneration(3)
	w.Commit(ramped("flags-v1+ramp.3", 40), "bot", "Ramp receipts to 40")
	p.await("forty percent in the page", `document.querySelector("table.flags .num").innerText.includes("40")`)
}

func TestBigSystem(t *testing.T) {
	chrome := browser(t)
	w := worldtest.New(t)
	features := map[string]any{}
	for i := range 5000 {
		tenants := map[string]any{}
		for n := range 20 {
			tenants[fmt.Sprintf("tenant-%02d", n)] = map[string]any{"pct": (i + 7*n) % 101}
		}
		features[fmt.Sprintf("feature-%04d", i)] = map[string]any{"pct": i % 101, "owner": fmt.Sprintf("team-%d", i%50), "description": "What this one is good for", "tenants": tenants}
	}
	spec, err := json.Marshal(map[string]any{"version": "flags-v1", "environment": "prod", "features": features})
	if err != nil {
		t.Fatal(err)
	}
	w.Commit(string(spec), "alice", "Five thousand features for twenty tenants")
	w.Start()
	w.AwaitGeneration(1)
	inspect(t, chrome, w, "big", []string{"/flags", "/flags/feature-4999"})
	p := newTab(t, chrome, w)
	for _, path := range []string{"/", "/flags", "/flags?page=25", "/flags/feature-2500", "/history", "/receipts"} {
		p.open(path)
		p.await("the first paint", `performance.getEntriesByName("first-contentful-paint").length`)
		t.Logf("%s: first paint after %.0f ms, of which the server took %.0f ms", path,
			eval[float64](p, `performance.getEntriesByName("first-contentful-paint")[0].startTime`),
			eval[float64](p, `performance.getEntriesByType("navigation")[0].responseEnd - performance.getEntriesByType("navigation")[0].requestStart`))
	}
	p.open("/flags")
	p.typeInto("#q", "feature-49"+kb.Enter)
	p.await("a hundred found", `document.querySelector("main").innerText.includes("100 of 5000 flags")`)
	p.open("/flags")
	p.run(chromedp.Click(`a[rel="next"]`))
	p.await("the second page", `location.search.includes("page=2") && document.querySelector("tbody th a").innerText === "feature-0100"`)
	p.clean("big")
}

// What authors of the repository write is shown as they wrote it, and never runs.
func TestHostileText(t *testing.T) {
	chrome := browser(t)
	w := worldtest.New(t)
	const evil = `"'><img src=/x onerror=window.pwned=1><script>window.pwned=2</script>{{.}}</title></textarea>`
	spec := map[string]any{"version": "flags-v1", "environment": "prod", "segments": map[string]any{}, "features": map[string]any{"receipts": map[string]any{
		"description": evil, "owner": evil, "pct": 10, "cohorts": []string{evil, "javascript:window.pwned=3"}, "salt": evil,
		"ramp":   map[string]any{"steps": []int{10, 100}, "bake": "24h"},
		"ramped": map[string]any{"at": "2026-11-22T04:07:00Z", "from": 5, "to": 10, "verdict": "green", "reason": evil}}}}
	src, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	w.Repo.Git("config", "user.name", "x")
	w.Repo.Write("specs/flags.json", string(src))
	w.Repo.Write("specs/flags.json.sigstore.json", string(w.Keys["alice"].Bundle(src)))
	w.Repo.Git("add", "-A")
	w.Repo.Git("commit", "-q", "--author", strings.NewReplacer("<", "(", ">", ")").Replace(evil)+" <a\"onmouseover=window.pwned=4@example.org>", "-m", evil+"\n\nOp-Chain-Id: "+evil)
	w.Repo.Push()
	w.Start()
	w.AwaitGeneration(1)
	w.AwaitRefusal(w.Commit(strings.Replace(string(src), "flags-v1", "flags-v2", 1), "", evil))
	report, err := json.Marshal(map[string]any{"format": "ramp-report/v1", "at": time.Now(), "pull_request": "javascript:window.pwned=5", "decisions": []map[string]any{{
		"feature": "receipts", "tenant": "__default__", "action": "hold", "from": 10, "to": 10, "verdict": evil, "code": evil, "reason": evil}}})
	if err != nil {
		t.Fatal(err)
	}
	if code, body := w.Ask("POST", "/admin/decisions", string(report)); code != 200 {
		t.Fatalf("reporting a decision: %d %s", code, body)
	}
	p := newTab(t, chrome, w)
	for _, path := range []string{"/", "/flags", "/flags?q=%22%3E%3Cimg+src%3D/x%3E&owner=%22%3E%3Cimg+src%3D/x%3E", "/flags/receipts?tenant=%3Cimg+src=/x%3E&user=%22onfocus%3Dalert(1)", "/history", "/history/plan", "/receipts?chain=%3Cscript%3E", "/receipts"} {
		p.open(path)
		p.await("the page to settle", `document.readyState === "complete"`)
		if eval[bool](p, `"pwned" in window || document.querySelector("main img, main script, [onerror], [onmouseover], [onfocus], a[href^='javascript:']") !== null`) {
			t.Errorf("%s: what an author wrote became part of the page", path)
		}
		p.clean(path)
	}
	p.open("/flags/receipts")
	if got := p.text(".lead"); got != evil {
		t.Errorf("the description reads %q", got)
	}
	flagtest.Eventually(t, "the reconciler to go on", func() bool { code, _ := w.Ask("GET", "/healthz", ""); return code == 200 })
}
