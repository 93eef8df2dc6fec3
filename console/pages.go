package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/receipt"
	"github.com/rampart-flags/rampart/reconciler"
)

type overviewData struct {
	Status  *reconciler.Status
	Recent  []numbered
	Ramping []entryRow
	Anchors []receipt.AnchorState
	Ledger  bool
	Actions []Action
}

func (c *Console) overview(*http.Request) (string, view, error) {
	s := c.opt.Status()
	d := overviewData{Status: s, Ledger: c.opt.Ledger != "", Actions: c.opt.Actions}
	var err error
	d.Recent, _, err = c.index.newest(8, func(n numbered) bool { return n.Phase == receipt.Outcome && n.Kind != receipt.Anchor })
	if c.opt.Anchors != nil {
		d.Anchors = c.opt.Anchors()
	}
	if live := c.opt.Live(); live != nil && live.Spec != nil {
		for _, name := range live.Spec.Features() {
			f := live.Spec.Feature(name)
			if row := c.row(f, flags.DefaultTenant); f.Ramp != nil && row.ramping() && len(d.Ramping) < 10 {
				d.Ramping = append(d.Ramping, row)
			}
		}
	}
	return "overview", view{Title: "Overview", Nav: "overview", Data: d}, err
}

// entryRow is one feature for one tenant, as lists show it.
type entryRow struct {
	Feature, Tenant string
	flags.Entry
	Share    float64 // percent, for the bar
	Decision *Decision
}

func (r entryRow) ramping() bool { return r.Enabled && r.Pct > 0 && r.Pct < flags.Full }

func (c *Console) row(f *flags.Feature, tenant string) entryRow {
	r := entryRow{Feature: f.Name, Tenant: tenant, Entry: f.Entry(tenant)}
	if live := c.opt.Live(); live != nil && live.Spec != nil && live.Spec.Feature(f.Name) == f {
		r.Entry = live.Entry(f.Name, tenant) // with what break-glass statements lower
	}
	if r.Enabled {
		r.Share = float64(r.Pct) / 1000
	}
	if c.opt.Decision != nil {
		if d, ok := c.opt.Decision(f.Name, tenant); ok {
			r.Decision = &d
		}
	}
	return r
}

// flagRow is a feature with its tenants folded under it.
type flagRow struct {
	entryRow
	Description, Owner, Expires string
	Guarded, Held, Expiring     bool
	Tenants                     []entryRow
	More                        int // tenants that are not listed
}

type flagsData struct {
	Rows                 []flagRow
	Query, Filter, Owner string
	Tenant               string
	Found, All, Page     int
	Previous, Next       string // addresses of the neighbouring pages
	Filters              []string
}

const (
	rowsAPage    = 100
	tenantsARow  = 50
	expiresSoon  = 30 * 24 * time.Hour
	maxPlanLines = 200
)

var filters = []string{"all", "ramping", "held", "off", "expiring"}

func (c *Console) flags(r *http.Request) (string, view, error) {
	q := r.URL.Query()
	d := flagsData{Query: strings.TrimSpace(q.Get("q")), Filter: cmp.Or(q.Get("show"), "all"), Owner: q.Get("owner"), Tenant: q.Get("tenant"), Filters: filters}
	d.Page, _ = strconv.Atoi(q.Get("page"))
	d.Page = max(1, d.Page)
	if live := c.opt.Live(); live != nil && live.Spec != nil {
		d.All = len(live.Spec.Features())
		for _, name := range live.Spec.Features() {
			f := live.Spec.Feature(name)
			row := c.flagRow(f)
			if !d.shows(row, f) {
				continue
			}
			d.Found++
			if d.Found > (d.Page-1)*rowsAPage && d.Found <= d.Page*rowsAPage {
				c.tenants(&row, f, d.Tenant)
				d.Rows = append(d.Rows, row)
			}
		}
	}
	turn := func(page int) string {
		q.Set("page", strconv.Itoa(page))
		return c.opt.Base + "/flags?" + q.Encode()
	}
	if d.Page > 1 {
		d.Previous = turn(d.Page - 1)
	}
	if d.Found > d.Page*rowsAPage {
		d.Next = turn(d.Page + 1)
	}
	return "flags", view{Title: "Flags", Nav: "flags", Data: d}, nil
}

func (c *Console) flagRow(f *flags.Feature) flagRow {
	row := flagRow{entryRow: c.row(f, flags.DefaultTenant), Description: f.Description, Owner: f.Owner, Expires: f.Expires, Guarded: f.Ramp != nil}
	row.Held = row.Decision != nil && row.Decision.Action == "hold" && row.Decision.Code != "target"
	if day, err := time.Parse(time.DateOnly, f.Expires); err == nil {
		row.Expiring = day.Sub(c.opt.Now()) < expiresSoon
	}
	return row
}

func (d flagsData) shows(row flagRow, f *flags.Feature) bool {
	if d.Query != "" && !strings.Contains(strings.ToLower(f.Name+" "+f.Description+" "+f.Owner), strings.ToLower(d.Query)) {
		return false
	}
	if d.Owner != "" && f.Owner != d.Owner || d.Tenant != "" && f.Tenant(d.Tenant) == nil {
		return false
	}
	switch d.Filter {
	case "ramping":
		return row.ramping()
	case "held":
		return row.Held
	case "off":
		return !row.Enabled || row.Pct == 0 && len(row.Cohorts) == 0
	case "expiring":
		return row.Expiring
	}
	return true
}

func (c *Console) tenants(row *flagRow, f *flags.Feature, only string) {
	for name := range f.Tenants() {
		if only != "" && name != only {
			continue
		}
		if len(row.Tenants) == tenantsARow {
			row.More++
			continue
		}
		row.Tenants = append(row.Tenants, c.row(f, name))
	}
}

type featureData struct {
	flagRow
	Version, Commit string
	Own             *flags.Ramped
	Chart           chart
	History         []happened
	Guard           []guardField
	Heat            []entryRow
	Try             *tried
	TryTenant, User string
	Generation      uint64
}

type guardField struct{ Name, Value string }

// tried is a decision that was asked for in the page.
type tried struct {
	flags.Decision
	Key    string
	Bucket flags.Pct
	Pct    flags.Pct
}

func (c *Console) feature(r *http.Request) (string, view, error) {
	live := c.opt.Live()
	name := r.PathValue("feature")
	if live == nil || live.Spec == nil || live.Spec.Feature(name) == nil {
		return "", view{}, fmt.Errorf("%w: no feature %q is live", errNotFound, name)
	}
	f := live.Spec.Feature(name)
	d := featureData{flagRow: c.flagRow(f), Version: live.Version, Commit: live.Commit, Guard: guardFields(f.Ramp), Generation: live.Generation.Number}
	if f.Own != nil {
		d.Own = f.Own.Ramped
	}
	for tenant := range f.Tenants() {
		d.Heat = append(d.Heat, c.row(f, tenant))
	}
	past, err := c.index.feature(name)
	if err != nil {
		return "", view{}, err
	}
	d.Chart = newChart(past, d.Pct, d.Enabled, c.opt.Now())
	slices.Reverse(past)
	d.History = past[:min(len(past), 100)]
	q := r.URL.Query()
	d.TryTenant, d.User = q.Get("tenant"), q.Get("user")
	if d.TryTenant != "" || d.User != "" {
		e := live.Entry(f.Name, d.TryTenant)
		d.Try = &tried{Decision: flags.Decide(&e, d.TryTenant, d.User), Key: cmp.Or(d.User, d.TryTenant), Bucket: flags.Bucket(e.Salt, d.TryTenant, d.User), Pct: e.Pct}
	}
	return "feature", view{Title: name, Nav: "flags", Data: d}, nil
}

// guardFields are the members of the ramp block, in their order, as they were written.
func guardFields(raw []byte) []guardField {
	if len(raw) == 0 {
		return nil
	}
	var out []guardField
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	if _, err := dec.Token(); err != nil {
		return nil
	}
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			return out
		}
		text := strings.TrimSpace(string(value))
		var plain string
		if json.Unmarshal(value, &plain) == nil {
			text = plain
		}
		out = append(out, guardField{fmt.Sprint(name), text})
	}
	return out
}

type historyData struct {
	Generations []reconciler.Generation // newest first
	Refused     []reconciler.Refusal
	Deferred    []reconciler.Refusal
	From, To    uint64
	Changes     []flags.Change
	Omitted     int
	Compared    bool
	Problem     string
	More        int
}

func (c *Console) history(r *http.Request) (string, view, error) {
	s := c.opt.Status()
	d := historyData{Refused: slices.Clone(s.Refused), Deferred: s.Deferred}
	slices.Reverse(d.Refused)
	all, err := c.opt.Generations()
	if err != nil && !errors.Is(err, reconciler.ErrNoState) {
		return "", view{}, err
	}
	slices.Reverse(all)
	d.Generations = all[:min(len(all), 200)]
	d.More = len(all) - len(d.Generations)
	q := r.URL.Query()
	d.From, _ = strconv.ParseUint(q.Get("from"), 10, 64)
	d.To, _ = strconv.ParseUint(q.Get("to"), 10, 64)
	if d.From > 0 && d.To > 0 {
		d.Compared = true
		d.Changes, err = c.compare(r.Context(), all, d.From, d.To)
		if err != nil {
			d.Problem = err.Error()
		}
		d.Changes, d.Omitted = cut(d.Changes)
	} else if len(all) > 1 {
		d.From, d.To = all[1].Number, all[0].Number
	}
	return "history", view{Title: "History", Nav: "history", Data: d}, nil
}

func cut(changes []flags.Change) ([]flags.Change, int) {
	if n := len(changes) - maxPlanLines; n > 0 {
		return changes[:maxPlanLines], n
	}
	return changes, 0
}

func (c *Console) compare(ctx context.Context, all []reconciler.Generation, from, to uint64) ([]flags.Change, error) {
	if c.opt.SpecAt == nil {
		return nil, errors.New("specs of earlier generations are not at hand")
	}
	read := func(n uint64) (*flags.Spec, error) {
		for _, g := range all {
			if g.Number == n {
				return c.opt.SpecAt(ctx, g.Commit)
			}
		}
		return nil, fmt.Errorf("there is no generation %d", n)
	}
	a, err := read(from)
	if err != nil {
		return nil, err
	}
	b, err := read(to)
	if err != nil {
		return nil, err
	}
	return flags.Diff(a, b), nil
}

type planData struct {
	*reconciler.Plan
	Omitted         int
	Rises, Rebucket int
}

func (c *Console) plan(r *http.Request) (string, view, error) {
	if c.opt.Plan == nil {
		return "", view{}, fmt.Errorf("%w: plans are not made here", errNotFound)
	}
	p, err := c.opt.Plan(r.Context())
	if err != nil {
		return "", view{}, err
	}
	d := planData{Plan: p}
	for _, ch := range p.Changes {
		if ch.Rises {
			d.Rises++
		}
		if ch.Kind == flags.Salt {
			d.Rebucket++
		}
	}
	d.Plan.Changes, d.Omitted = cut(p.Changes)
	return "plan", view{Title: "Plan", Nav: "history", Data: d}, nil
}

// featureURL is where a feature is shown.
func featureURL(name string) string { return "/flags/" + url.PathEscape(name) }
