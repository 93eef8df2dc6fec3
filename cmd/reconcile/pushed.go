package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/wholefile"
	"github.com/rampart-flags/rampart/reconciler"
)

// pushed is what others tell this reconciler: coverage by tenant, percentages as a controller sees them, and the proposer's
// latest decisions. It changes nothing that is live. It is kept in the state folder, so that a restart forgets nothing, and
// bounded, so that whoever holds the token cannot fill a disk or a monitoring system.
type pushed struct {
	path string
	now  func() time.Time
	spec func() *reconciler.Live // whose tenants and features are always welcome
	// held hears of each ramp that is held anew. Nil means nobody.
	held func(decision)

	mu   sync.Mutex
	data pushedData

	coverage *prometheus.GaugeVec
	ramp     *prometheus.GaugeVec
	decided  *prometheus.GaugeVec
}

// pushedData is the file pushed.json.
type pushedData struct {
	Format    string                            `json:"format"` // "pushed/v1"
	Coverage  map[string]pushedValue            `json:"coverage"`
	Ramp      map[string]map[string]pushedValue `json:"ramp"`      // tenant, feature
	Decisions map[string]decision               `json:"decisions"` // by feature:tenant
}

type pushedValue struct {
	Pct float64   `json:"pct"`
	At  time.Time `json:"at"`
}

// decision is what the proposer decided for one entry, and why it held.
type decision struct {
	Feature     string    `json:"feature"`
	Tenant      string    `json:"tenant"`
	Action      string    `json:"action"`
	From        flags.Pct `json:"from"`
	To          flags.Pct `json:"to"`
	Verdict     string    `json:"verdict"`
	Code        string    `json:"code"`
	Reason      string    `json:"reason"`
	Approval    bool      `json:"approval,omitempty"`
	Until       time.Time `json:"until,omitzero"`
	At          time.Time `json:"at"`
	Since       time.Time `json:"since,omitzero"` // the first report in a row with this action
	PullRequest string    `json:"pull_request,omitempty"`
}

const (
	pushedName    = "pushed.json"
	pushedFormat  = "pushed/v1"
	maxStrangers  = 100 // tenants or features that no live spec names
	maxDecisions  = 200_000
	maxReasonText = 2000
	maxReportBody = 4 << 20
)

func openPushed(dir string, reg prometheus.Registerer, spec func() *reconciler.Live) (*pushed, error) {
	p := &pushed{path: filepath.Join(dir, pushedName), now: time.Now, spec: spec,
		coverage: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "attest_coverage_pct", Help: "Attestation coverage in percent, as pushed to /admin/coverage."}, []string{"tenant"}),
		ramp:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ramp_pct", Help: "Percentage of a ramp, as pushed to /admin/ramp."}, []string{"tenant", "feature"}),
		decided:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "rampart_ramp_decisions", Help: "Entries by what the proposer last decided for them and why: action, reason code."}, []string{"action", "code"}),
	}
	src, err := os.ReadFile(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("reading what was pushed: %w", err)
	default:
		if err := json.Unmarshal(src, &p.data); err != nil || p.data.Format != pushedFormat {
			p.data = pushedData{} // numbers that will be pushed again: not worth refusing to start
		}
	}
	d := &p.data
	d.Format = pushedFormat
	if d.Coverage == nil {
		d.Coverage = map[string]pushedValue{}
	}
	if d.Ramp == nil {
		d.Ramp = map[string]map[string]pushedValue{}
	}
	if d.Decisions == nil {
		d.Decisions = map[string]decision{}
	}
	for tenant, v := range d.Coverage {
		p.coverage.WithLabelValues(tenant).Set(v.Pct)
	}
	for tenant, features := range d.Ramp {
		for feature, v := range features {
			p.ramp.WithLabelValues(tenant, feature).Set(v.Pct)
		}
	}
	p.countDecisions()
	reg.MustRegister(p.coverage, p.ramp, p.decided)
	return p, nil
}

// save keeps the state. The caller holds mu.
func (p *pushed) save() error {
	src, err := json.Marshal(&p.data)
	if err != nil {
		return fmt.Errorf("encoding what was pushed: %w", err)
	}
	if err := wholefile.Write(p.path, src, 0o600); err != nil {
		return fmt.Errorf("keeping what was pushed: %w", err)
	}
	return nil
}

var (
	pushedTenant  = regexp.MustCompile(`^(__default__|[A-Za-z0-9][A-Za-z0-9._@-]{0,127})$`)
	pushedFeature = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,127}$`)
)

func (p *pushed) routes(mux *http.ServeMux, g *guard) {
	mux.Handle("POST /admin/coverage", g.admin(p.postCoverage))
	mux.Handle("POST /admin/ramp", g.admin(p.postRamp))
	mux.Handle("POST /admin/decisions", g.admin(p.postDecisions))
	mux.HandleFunc("GET /api/v1/coverage", p.getCoverage)
	mux.HandleFunc("GET /api/v1/decisions", p.getDecisions)
}

func (p *pushed) postCoverage(w http.ResponseWriter, r *http.Request) {
	const required = "tenant,pct required"
	var body struct {
		Tenant any `json:"tenant"`
		Pct    any `json:"pct"`
	}
	if !readBody(w, r, &body, required) {
		return
	}
	tenant, pct, ok := tenantAndPct(body.Tenant, body.Pct)
	if !ok {
		bad(w, required)
		return
	}
	if !pushedTenant.MatchString(tenant) || pct < 0 || pct > 100 {
		bad(w, "tenant must be a tenant's name and pct a number from 0 to 100")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.data.Coverage[tenant]; !known && !p.welcome(tenant, "") && p.strangers() >= maxStrangers {
		tooMany(w, "tenants")
		return
	}
	p.data.Coverage[tenant] = pushedValue{pct, p.now().UTC()}
	if !p.kept(w) {
		return
	}
	p.coverage.WithLabelValues(tenant).Set(pct)
	answer(w, http.StatusOK, map[string]bool{"ok": true})
}

func (p *pushed) postRamp(w http.ResponseWriter, r *http.Request) {
	const required = "tenant,feature,pct required"
	var body struct {
		Tenant  any `json:"tenant"`
		Feature any `json:"feature"`
		Pct     any `json:"pct"`
	}
	if !readBody(w, r, &body, required) {
		return
	}
	tenant, pct, ok := tenantAndPct(body.Tenant, body.Pct)
	feature := text(body.Feature)
	if !ok || feature == "" {
		bad(w, required)
		return
	}
	if !pushedTenant.MatchString(tenant) || !pushedFeature.MatchString(feature) || pct < 0 || pct > 100 {
		bad(w, "tenant and feature must be names and pct a number from 0 to 100")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.data.Ramp[tenant][feature]; !known && !p.welcome(tenant, feature) && p.strangers() >= maxStrangers {
		tooMany(w, "tenants or features")
		return
	}
	if p.data.Ramp[tenant] == nil {
		p.data.Ramp[tenant] = map[string]pushedValue{}
	}
	p.data.Ramp[tenant][feature] = pushedValue{pct, p.now().UTC()}
	if !p.kept(w) {
		return
	}
	p.ramp.WithLabelValues(tenant, feature).Set(pct)
	answer(w, http.StatusOK, map[string]bool{"ok": true})
}

// postDecisions takes what "propose ramp --report" sends.
func (p *pushed) postDecisions(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Format      string     `json:"format"`
		At          time.Time  `json:"at"`
		PullRequest string     `json:"pull_request"`
		Decisions   []decision `json:"decisions"`
	}
	const required = `want {"format":"ramp-report/v1","at":…,"decisions":[…]}`
	if !readBody(w, r, &body, required) {
		return
	}
	if body.Format != "ramp-report/v1" || body.At.IsZero() {
		bad(w, required)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range body.Decisions {
		if !pushedFeature.MatchString(d.Feature) || !pushedTenant.MatchString(d.Tenant) || len(d.Reason) > maxReasonText || !slices.Contains([]string{"hold", "up", "down", "abort"}, d.Action) {
			bad(w, fmt.Sprintf("a decision needs a feature, a tenant, an action (hold, up, down, abort) and a reason of at most %d bytes", maxReasonText))
			return
		}
	}
	for _, d := range body.Decisions {
		key := d.Feature + ":" + d.Tenant
		if before, known := p.data.Decisions[key]; known && before.At.After(body.At) {
			continue // reports may overtake each other
		} else if !known && len(p.data.Decisions) >= maxDecisions {
			tooMany(w, "decisions")
			return
		}
		d.At, d.Since, d.PullRequest = body.At, body.At, body.PullRequest
		if before, known := p.data.Decisions[key]; known && before.Action == d.Action && !before.Since.IsZero() {
			d.Since = before.Since
		}
		p.data.Decisions[key] = d
		if p.held != nil && d.Action == "hold" && d.Code != "target" && d.Since.Equal(body.At) {
			p.held(d)
		}
	}
	p.dropGone()
	if !p.kept(w) {
		return
	}
	p.countDecisions()
	answer(w, http.StatusOK, map[string]bool{"ok": true})
}

// dropGone forgets decisions about entries that no live spec has any more.
func (p *pushed) dropGone() {
	live := p.spec()
	if live == nil || live.Spec == nil {
		return
	}
	for key, d := range p.data.Decisions {
		if live.Spec.Feature(d.Feature) == nil && p.now().Sub(d.At) > 24*time.Hour {
			delete(p.data.Decisions, key)
		}
	}
}

func (p *pushed) countDecisions() {
	p.decided.Reset()
	for _, d := range p.data.Decisions {
		code := d.Code
		if len(code) > 40 || !pushedFeature.MatchString(code) {
			code = "other"
		}
		p.decided.WithLabelValues(d.Action, code).Inc()
	}
}

// Decision is the latest decision about an entry.
func (p *pushed) Decision(feature, tenant string) (decision, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, ok := p.data.Decisions[feature+":"+tenant]
	return d, ok
}

// getCoverage is what was pushed, in the shape of coverage evidence, each value with its own time.
func (p *pushed) getCoverage(w http.ResponseWriter, _ *http.Request) {
	type value struct {
		Pct         float64   `json:"pct"`
		GeneratedAt time.Time `json:"generated_at"`
	}
	out := struct {
		GeneratedAt time.Time        `json:"generated_at,omitzero"`
		Tenants     map[string]value `json:"tenants"`
	}{Tenants: map[string]value{}}
	p.mu.Lock()
	for tenant, v := range p.data.Coverage {
		if tenant == "default" { // the older name of everybody else
			tenant = flags.DefaultTenant
		}
		out.Tenants[tenant] = value{v.Pct, v.At}
		if out.GeneratedAt.IsZero() || v.At.Before(out.GeneratedAt) {
			out.GeneratedAt = v.At
		}
	}
	p.mu.Unlock()
	answer(w, http.StatusOK, out)
}

func (p *pushed) getDecisions(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	all := make([]decision, 0, min(len(p.data.Decisions), 1000))
	for _, d := range p.data.Decisions {
		if f := r.URL.Query().Get("feature"); f == "" || f == d.Feature {
			all = append(all, d)
		}
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b decision) int {
		if c := strings.Compare(a.Feature, b.Feature); c != 0 {
			return c
		}
		return strings.Compare(a.Tenant, b.Tenant)
	})
	more := max(0, len(all)-1000)
	answer(w, http.StatusOK, map[string]any{"format": "decisions/v1", "decisions": all[:len(all)-more], "more": more})
}

// welcome reports whether the live spec names the tenant, or the feature.
func (p *pushed) welcome(tenant, feature string) bool {
	live := p.spec()
	if live == nil || live.Spec == nil {
		return false
	}
	if feature != "" {
		f := live.Spec.Feature(feature)
		return f != nil && (tenant == flags.DefaultTenant || tenant == "default" || f.Tenant(tenant) != nil)
	}
	if tenant == flags.DefaultTenant || tenant == "default" {
		return true
	}
	return slices.ContainsFunc(live.Spec.Features(), func(name string) bool { return live.Spec.Feature(name).Tenant(tenant) != nil })
}

// strangers counts series that no live spec accounts for.
func (p *pushed) strangers() int {
	n := 0
	for tenant := range p.data.Coverage {
		if !p.welcome(tenant, "") {
			n++
		}
	}
	for tenant, features := range p.data.Ramp {
		for feature := range features {
			if !p.welcome(tenant, feature) {
				n++
			}
		}
	}
	return n
}

// kept saves the state, or answers that it cannot.
func (p *pushed) kept(w http.ResponseWriter) bool {
	if err := p.save(); err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return false
	}
	return true
}
