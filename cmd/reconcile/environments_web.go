package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rampart-flags/rampart/gitrepo"
	"github.com/rampart-flags/rampart/reconciler"
)

// environmentBase is what stands before the paths of an environment.
func environmentBase(name string) string { return "/environments/" + url.PathEscape(name) }

// serve serves all environments: each below /environments/NAME as if it were alone, and what is about all of them beside.
func (f *fleet) serve(ctx context.Context) (*server, error) {
	if f.web.listen == "off" {
		return &server{address: "off", stop: func() {}}, nil
	}
	l, err := f.web.open()
	if err != nil {
		return nil, err
	}
	f.address = l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", f.index)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]bool{"ok": true}) })
	mux.HandleFunc("GET /readyz", f.ready)
	mux.Handle("GET /metrics", f.metricsHandler())
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, f.status()) })
	newWebhook(f.a.env, f.pushed).routes(mux)
	// Beside the environments' own series of the same names, these carry an empty label.
	reg := prometheus.WrapRegistererWith(prometheus.Labels{"environment": ""}, f.reg)
	own := measured(reg, bounded(mux))
	guard := &guard{names: f.web.allowHosts, env: f.a.env}
	return serve(ctx, f.log, l, f.web.room, guard.hosts(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/environments/"); ok {
			f.environment(w, r, rest)
			return
		}
		own.ServeHTTP(w, r)
	})), func() {}), nil
}

// environment hands a request on to the environment that its path names.
func (f *fleet) environment(w http.ResponseWriter, r *http.Request, rest string) {
	name, _, below := strings.Cut(rest, "/")
	m := f.member(name)
	switch {
	case m == nil:
		answer(w, http.StatusNotFound, map[string]string{"error": "no such environment"})
		return
	case !below:
		http.Redirect(w, r, environmentBase(name)+"/", http.StatusPermanentRedirect)
		return
	}
	// Cleaned here: below, the prefix is off, and the redirect that mends a path would lead out of the environment.
	if is := r.URL.EscapedPath(); is != cleanPath(is) {
		http.Redirect(w, r, (&url.URL{RawPath: cleanPath(is), Path: cleanPath(r.URL.Path), RawQuery: r.URL.RawQuery}).String(), http.StatusTemporaryRedirect)
		return
	}
	s := m.site()
	if s == nil || s.handler == nil {
		w.Header().Set("Retry-After", "5")
		answer(w, http.StatusServiceUnavailable, map[string]string{"error": "the environment is not open: " + m.state().Error})
		return
	}
	http.StripPrefix("/environments/"+name, s.handler).ServeHTTP(w, r)
}

// cleanPath is path.Clean that keeps the last slash.
func cleanPath(p string) string {
	out := path.Clean(p)
	if strings.HasSuffix(p, "/") && out != "/" {
		out += "/"
	}
	return out
}

// environmentState is an element of /api/v1/status, where a process has many environments.
type environmentState struct {
	Name  string    `json:"name"`
	State string    `json:"state"` // open, opening, failed
	Error string    `json:"error,omitempty"`
	Since time.Time `json:"since"`
	Path  string    `json:"path"` // what stands before its paths
	// Status is nil while it is not open.
	Status *reconciler.Status `json:"status,omitempty"`
}

const environmentsFormat = "environments/v1"

// environmentsStatus is /api/v1/status of a process with many environments, sorted by name.
type environmentsStatus struct {
	Format       string             `json:"format"`
	Environments []environmentState `json:"environments"`
}

func (m *member) state() environmentState {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := environmentState{Name: m.e.Environment, State: "opening", Since: m.since.UTC(), Path: environmentBase(m.e.Environment)}
	switch {
	case m.now != nil:
		out.State, out.Status = "open", m.now.o.Status()
	case m.err != nil:
		out.State, out.Error = "failed", m.err.Error()
	}
	return out
}

func (f *fleet) status() environmentsStatus {
	out := environmentsStatus{Format: environmentsFormat, Environments: []environmentState{}}
	for _, m := range f.all() {
		out.Environments = append(out.Environments, m.state())
	}
	return out
}

// unready says why an environment is not ready, "" where it is.
func (s environmentState) unready() (reason, message string) {
	if s.Status == nil {
		return s.State, s.Error
	}
	if c := s.Status.Condition(reconciler.CondReady); c.Status != reconciler.True {
		return string(c.Reason), c.Message
	}
	return "", ""
}

// overview is an environment in a word, and why; good where nothing is to be looked at. Being suspended hides no trouble.
func (s environmentState) overview() (word, why string, good bool) {
	word, why = s.unready()
	switch {
	case word != "":
	case s.Status.HeadLive:
		word, good = "live", true
	default:
		word, why = "held", s.Status.Condition(reconciler.CondReady).Message
	}
	if s.State == "stopped" && s.Status != nil {
		word, why, good = "stopped", "", false
	}
	if s.Status == nil || s.Status.Suspended == nil {
		return word, why, good
	}
	told := s.Status.Suspended.String()
	if word == "live" || word == "held" {
		return "suspended", told, false
	}
	if why != "" && why != told {
		told = firstLine(why) + "; " + told
	}
	return word, told, false
}

// ready is 200 as soon as one environment is ready: what one meets takes no other out of service. It names those that are not;
// with ?all they make it 503.
func (f *fleet) ready(w http.ResponseWriter, r *http.Request) {
	type lack struct {
		Environment string `json:"environment"`
		Reason      string `json:"reason"`
		Message     string `json:"message,omitempty"`
	}
	all := f.status().Environments
	lacks := []lack{}
	for _, s := range all {
		if reason, message := s.unready(); reason != "" {
			lacks = append(lacks, lack{s.Name, reason, message})
		}
	}
	code := http.StatusOK
	if len(lacks) == len(all) || r.URL.Query().Has("all") && len(lacks) > 0 {
		code = http.StatusServiceUnavailable
	}
	answer(w, code, map[string]any{"ready": code == http.StatusOK, "environments": len(all), "not_ready": lacks})
}

// metricsHandler shows what can be measured: what one environment cannot say is logged, and hides no other.
func (f *fleet) metricsHandler() http.Handler {
	opt := promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError, ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelError)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		promhttp.HandlerFor(f.gatherers(), opt).ServeHTTP(w, r)
	})
}

// gatherers are the process's metrics, and each environment's.
func (f *fleet) gatherers() prometheus.Gatherers {
	all := prometheus.Gatherers{f.reg}
	for _, m := range f.all() {
		if s := m.site(); s != nil {
			all = append(all, s.reg)
		}
	}
	return all
}

// pushed hurries the environments of the repository that a forge tells of, or all where the call names none.
func (f *fleet) pushed(body []byte) {
	var call struct {
		Repository struct {
			CloneURL   string `json:"clone_url"`
			SSHURL     string `json:"ssh_url"`
			HTMLURL    string `json:"html_url"`
			GitHTTPURL string `json:"git_http_url"`
			GitSSHURL  string `json:"git_ssh_url"`
		} `json:"repository"`
	}
	_ = json.Unmarshal(body, &call) // what cannot be read names no repository
	named := map[string]bool{}
	for _, u := range []string{call.Repository.CloneURL, call.Repository.SSHURL, call.Repository.HTMLURL, call.Repository.GitHTTPURL, call.Repository.GitSSHURL} {
		if u != "" {
			named[repositoryID(u)] = true
		}
	}
	for _, m := range f.all() {
		if len(named) == 0 || named[repositoryID(m.e.Repo)] {
			m.hurry()
		}
	}
}

// repositoryID is host and path of a repository's address, however it is spelled.
func repositoryID(address string) string {
	s := gitrepo.Redact(address)
	if _, rest, found := strings.Cut(s, "://"); found {
		s = rest
	} else if host, path, found := strings.Cut(s, ":"); found { // git@host:path
		s = host + "/" + path
	}
	if _, rest, found := strings.Cut(s, "@"); found {
		s = rest
	}
	host, path, _ := strings.Cut(s, "/")
	host, _, _ = strings.Cut(host, ":")
	return strings.ToLower(host) + "/" + strings.TrimSuffix(strings.Trim(path, "/"), ".git")
}

const indexStyle = `body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1d2733;background:#fff}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .8rem .4rem 0;border-bottom:1px solid #d8dee6;vertical-align:top}
a{color:#0b5cad}.good{color:#176b36}.bad{color:#a3201a}.detail{color:#55606d}
@media (prefers-color-scheme:dark){body{color:#e4e9ef;background:#14191f}th,td{border-color:#333c47}a{color:#7ab8ff}.good{color:#7fd79b}.bad{color:#ff9c94}.detail{color:#a3adb9}}`

var (
	indexPage = template.Must(template.New("index").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Rampart: environments</title><style>` + indexStyle + `</style></head>
<body><main><h1>Environments</h1>
<p>{{.Ready}} of {{len .Rows}} are ready.</p>
<table><thead><tr><th scope="col">Environment</th><th scope="col">State</th><th scope="col">Generation</th><th scope="col">Repository</th></tr></thead><tbody>
{{range .Rows}}<tr><th scope="row">{{if .Open}}<a href="{{.Path}}/">{{.Name}}</a>{{else}}{{.Name}}{{end}}</th><td><span class="{{if .Good}}good{{else}}bad{{end}}">{{.Word}}</span>{{with .Why}} <span class="detail">{{.}}</span>{{end}}</td><td>{{with .Generation}}{{.}}{{end}}{{with .Version}} <span class="detail">{{.}}</span>{{end}}</td><td>{{.Repo}} <span class="detail">{{.Branch}} {{.File}}</span></td></tr>
{{end}}</tbody></table></main></body></html>
`))
	indexPolicy = func() string {
		sum := sha256.Sum256([]byte(indexStyle))
		return fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", base64.StdEncoding.EncodeToString(sum[:]))
	}()
)

// index lists the environments for people.
func (f *fleet) index(w http.ResponseWriter, _ *http.Request) {
	type row struct {
		Name, Path, Word, Why, Version, Repo, Branch, File string
		Good, Open                                         bool
		Generation                                         uint64
	}
	page := struct {
		Rows  []row
		Ready int
	}{}
	for _, m := range f.all() {
		s := m.state()
		r := row{Name: s.Name, Path: s.Path, Open: s.Status != nil, Repo: gitrepo.Redact(m.e.Repo), Branch: m.e.Branch, File: m.e.Path}
		r.Word, r.Why, r.Good = s.overview()
		if word, _ := s.unready(); word == "" {
			page.Ready++
		}
		if s.Status != nil && s.Status.Applied != nil {
			r.Generation, r.Version = s.Status.Applied.Generation, s.Status.Applied.Version
		}
		page.Rows = append(page.Rows, r)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", indexPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	_ = indexPage.Execute(w, page)
}
