// Package e2e looks at the console in a real browser, over the real commands, git and Redis. It is a module of its own, so that
// whoever imports Rampart does not download a browser's protocol.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/internal/worldtest"
)

func TestMain(m *testing.M) { worldtest.Main(m) }

// patience is how long a page may take. It is generous because tests share a machine.
const patience = 90 * time.Second

// tab is one page of a browser, with everything that went wrong in it.
type tab struct {
	t   *testing.T
	ctx context.Context
	url string // where the world serves

	mu      sync.Mutex
	trouble []string
}

// browser starts Chromium for a test.
func browser(t *testing.T) context.Context {
	t.Helper()
	flagtest.Need(t, "chromium")
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WindowSize(1280, 1000), chromedp.WSURLReadTimeout(patience), chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(func() { _ = chromedp.Cancel(ctx); stop() })
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	return ctx
}

// newTab opens an empty page.
func newTab(t *testing.T, browser context.Context, world *worldtest.World) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx, url: world.URL}
	if err := chromedp.Listen(ctx, p.listen); err != nil {
		t.Fatalf("listening to the browser: %v", err)
	}
	call(p, network.Enable, network.EnableParams{})
	call(p, log.Enable, cdp.Empty{})
	call(p, runtime.Enable, cdp.Empty{})
	return p
}

func (p *tab) listen(ev any) {
	wrong := func(format string, args ...any) {
		p.mu.Lock()
		p.trouble = append(p.trouble, fmt.Sprintf(format, args...))
		p.mu.Unlock()
	}
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		wrong("exception: %s", ev.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		if ev.Type == runtime.ConsoleAPICalledTypeError || ev.Type == runtime.ConsoleAPICalledTypeWarning {
			wrong("console: %s", ev.Type)
		}
	case *log.EventEntryAdded:
		if ev.Entry.Level == "error" || ev.Entry.Level == "warning" {
			wrong("log: %s %s", ev.Entry.Text, ev.Entry.URL)
		}
	case *network.EventResponseReceived:
		if ev.Response.Status >= 400 {
			wrong("request: %d %s", ev.Response.Status, ev.Response.URL)
		}
	case *network.EventLoadingFailed:
		if !ev.Canceled && ev.Type != network.ResourceTypeEventSource {
			wrong("request failed: %s %s", ev.ErrorText, ev.Type)
		}
	case *network.EventRequestWillBeSent:
		if u := ev.Request.URL; !strings.HasPrefix(u, p.url+"/") && !strings.HasPrefix(u, "data:") {
			wrong("request to somebody else: %s", u)
		}
	case *page.EventJavascriptDialogOpening:
		wrong("dialog: %s", ev.Message)
		go func() {
			_, _ = chromedp.Call(p.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
		}()
	}
}

// run does the actions, or fails the test.
func (p *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("in the browser: %v", err)
	}
}

// call sends one command of the browser's protocol.
func call[P, R any](p *tab, cmd cdp.Command[P, R], params P) {
	p.t.Helper()
	if _, err := chromedp.Call(p.ctx, cmd, params); err != nil {
		p.t.Fatalf("in the browser: %v", err)
	}
}

func (p *tab) open(path string) {
	p.t.Helper()
	p.run(chromedp.Navigate(p.url+path), chromedp.WaitReady("main"))
}

// eval is the value of a JavaScript expression, which may be a promise.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("in the browser: %.80s: %v", expression, err)
	}
	return v
}

// typeInto types into a field as a person does, who first goes there: a field that has the focus is never taken away.
func (p *tab) typeInto(selector, text string) {
	p.t.Helper()
	p.await(selector+" to take the focus", `(() => { const e = document.querySelector(`+quote(selector)+`); e.focus(); return document.activeElement === e; })()`)
	p.run(chromedp.KeyEvent(text))
}

// text is what a person reads in the first element that matches.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return eval[string](p, `document.querySelector(`+quote(selector)+`)?.innerText.replaceAll("\u00a0", " ") ?? ""`)
}

// await waits until a JavaScript expression is true.
func (p *tab) await(what, expression string) {
	p.t.Helper()
	flagtest.Eventually(p.t, what, func() bool {
		ctx, cancel := context.WithTimeout(p.ctx, patience)
		defer cancel()
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		return err == nil && ok // a page on its way to the next one cannot be asked
	})
}

// clean fails the test for everything that went wrong since the last call.
func (p *tab) clean(where string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.trouble {
		p.t.Errorf("%s: %s", where, s)
	}
	p.trouble = nil
}

func (p *tab) forgive() {
	p.mu.Lock()
	p.trouble = nil
	p.mu.Unlock()
}

func (p *tab) scheme(name string) {
	p.t.Helper()
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
}

func (p *tab) width(pixels int64) {
	p.t.Helper()
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: pixels, Height: 1000, DeviceScaleFactor: 1})
}

// hover moves the mouse to a place in the window.
func (p *tab) hover(x, y float64) {
	p.t.Helper()
	call(p, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseMoved, X: x, Y: y})
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// axe says what axe-core finds wrong with the page. It goes in by hand of the debugger, so that the page's own policy stays in force.
func (p *tab) axe(where string) {
	p.t.Helper()
	p.run(chromedp.Evaluate[chromedp.Void](axeSource(p.t)))
	found := eval[[]string](p, `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v => v.id + ": " + v.help + " " + v.nodes.slice(0, 3).map(n => n.html + " " + n.failureSummary).join(" | ")))`)
	for _, f := range found {
		p.t.Errorf("%s: axe: %s", where, f)
	}
}

// axeSource is axe-core's code. Where it is not installed yet, npm installs what the lock file names.
func axeSource(t testing.TB) string {
	t.Helper()
	path := filepath.Join("node_modules", "axe-core", "axe.min.js")
	if _, err := os.Stat(path); err != nil {
		flagtest.Need(t, "npm")
		if out, err := exec.Command("npm", "ci", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("installing axe-core: %v\n%s", err, out)
			}
			t.Skipf("this test needs axe-core, and npm ci does not get it: %v", err)
		}
	}
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(src)
}

// shot keeps a picture where RAMPART_SHOTS says, for people to look at.
func (p *tab) shot(name string) {
	p.t.Helper()
	dir := os.Getenv("RAMPART_SHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, url.PathEscape(name)+".png"), png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}
