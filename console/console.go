// Package console is the web page of a reconciler: what is live, is it what git says, who signed it, what is ramping and why
// one is held, what was refused.
//
// Pages are rendered on the server and work without JavaScript. With it they follow what happens (server-sent events) and offer
// what needs the admin token. Nothing is fetched from anywhere else; the content security policy allows this server alone.
package console

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/reconciler"
)

//go:embed templates/*.html static/*
var files embed.FS

// Options are what the console looks at. Status and Live are required; what is nil is not shown.
type Options struct {
	Status func() *reconciler.Status
	Live   func() *reconciler.Live
	// Plan says what the next pass would do.
	Plan func(ctx context.Context) (*reconciler.Plan, error)
	// Generations are all that were accepted, oldest first.
	Generations func() ([]reconciler.Generation, error)
	// SpecAt reads the spec that a commit holds.
	SpecAt func(ctx context.Context, commit string) (*flags.Spec, error)
	// Ledger is the folder of the receipts, "" where none are kept.
	Ledger string
	// Anchors says how far each notary is.
	Anchors func() []receipt.AnchorState
	// Decision is the latest that the proposer reported for an entry.
	Decision func(feature, tenant string) (Decision, bool)
	// Author says who wrote a commit, and its first line. Nil: nobody can say.
	Author func(ctx context.Context, commit string) (author, subject string, err error)
	// Commit is where the forge shows a commit, "" where that is not known.
	Commit func(hash string) string
	// Base is what stands before every path of a link, such as /environments/prod, where whoever serves the console takes it
	// off again. Empty: the console has the whole address.
	Base string
	// Admit, when set, is asked before a page follows, and told of its end through leave. Its error is the answer, a 503.
	Admit func() (leave func(), err error)
	// Actions are what the overview offers to whoever has the admin token.
	Actions []Action
	// Log takes what goes wrong while a page is made. Nil discards it.
	Log *slog.Logger
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
}

// Action is a button: a POST of {} with the admin token.
type Action struct{ Name, Path string }

// Decision is what a proposer decided for an entry, and why.
type Decision struct {
	Action, Verdict, Code, Reason string
	From, To                      flags.Pct
	Approval                      bool
	Until, At                     time.Time
	PullRequest                   string
}

// Console serves the pages.
type Console struct {
	opt    Options
	pages  map[string]*template.Template
	index  *index
	stream *stream
}

// New prepares the pages. Close ends its event streams.
func New(opt Options) (*Console, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Commit == nil {
		opt.Commit = func(string) string { return "" }
	}
	c := &Console{opt: opt, pages: map[string]*template.Template{}, index: newIndex(opt.Ledger)}
	for _, name := range []string{"overview", "flags", "feature", "history", "plan", "receipts", "problem"} {
		t, err := template.New("base.html").Funcs(c.funcs()).ParseFS(files, "templates/base.html", "templates/parts.html", "templates/"+name+".html")
		if err != nil {
			return nil, fmt.Errorf("reading the console's pages: %w", err)
		}
		c.pages[name] = t
	}
	c.stream = newStream(opt.Status, opt.Admit)
	return c, nil
}

// Close ends the event streams.
func (c *Console) Close() { c.stream.close() }

// Register adds the console's routes.
func (c *Console) Register(mux *http.ServeMux) {
	page := func(pattern string, serve func(r *http.Request) (string, view, error)) {
		mux.Handle(pattern, c.secure(func(w http.ResponseWriter, r *http.Request) { c.page(w, r, serve) }))
	}
	page("GET /{$}", c.overview)
	page("GET /flags", c.flags)
	page("GET /flags/{feature}", c.feature)
	page("GET /history", c.history)
	page("GET /history/plan", c.plan)
	page("GET /receipts", c.receipts)
	page("POST /receipts/verify", c.verify)
	mux.Handle("GET /events", c.secure(c.stream.serve))
	static, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // the folder is embedded: this cannot be
	}
	assets := http.StripPrefix("/static/", http.FileServerFS(static))
	mux.Handle("GET /static/", c.secure(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		assets.ServeHTTP(w, r)
	}))
}

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (c *Console) secure(next http.HandlerFunc) http.Handler {
	cross := http.NewCrossOriginProtection()
	return cross.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		next(w, r)
	}))
}

// view is what a page is made of.
type view struct {
	Title string
	Nav   string // which link of the navigation is this page
	State state
	Env   string
	Now   time.Time
	Role  string // leader, follower, or "" where no lease is taken
	Data  any
}

var errNotFound = errors.New("there is no such page")

type problemData struct {
	Missing bool
	Text    string
}

func (c *Console) page(w http.ResponseWriter, r *http.Request, serve func(r *http.Request) (string, view, error)) {
	name, v, err := serve(r)
	code := http.StatusOK
	if err != nil {
		code = http.StatusInternalServerError
		if errors.Is(err, errNotFound) {
			code = http.StatusNotFound
		} else {
			c.opt.Log.Error("making a page of the console", "path", r.URL.Path, "err", err)
		}
		name, v = "problem", view{Title: "Not found", Data: problemData{Missing: code == http.StatusNotFound, Text: capital(strings.TrimPrefix(err.Error(), errNotFound.Error()+": ")) + "."}}
		if code != http.StatusNotFound {
			v.Title = "Something went wrong"
		}
	}
	s := c.opt.Status()
	v.State, v.Env, v.Now, v.Role = stateOf(s, c.opt.Now()), s.Environment, c.opt.Now(), s.Role
	var body bytes.Buffer // whole or not at all
	if err := c.pages[name].Execute(&body, v); err != nil {
		c.opt.Log.Error("making a page of the console", "path", r.URL.Path, "err", err)
		http.Error(w, "this page could not be made; the log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = body.WriteTo(w)
}
