package console

import (
	"cmp"
	"maps"
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
	Ramping []flagRow
	Counts  []filterLink // flags by kind
	Anchors []receipt.AnchorState
	Ledger  bool
	Actions []Action
	Others  int // ramping flags that are not listed
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
		c.survey(&d, live)
	}
	return "overview", view{Title: "Overview", Nav: "overview", Data: d}, err
}

const maxRamping = 10

// survey counts the flags by kind, and finds those that are ramping: held ones first, then those with a guard.
func (c *Console) survey(d *overviewData, live *reconciler.Live) {
	counts, lowered := map[string]int{}, loweredTenants(live)
	var order [3][]flagRow // held, guarded, moved by hand
	for _, name := range live.Spec.Features() {
		f := live.Spec.Feature(name)
		row := c.flagRow(f)
		row.AnyLowered = row.Lowered || len(lowered[name]) > 0
		for _, filter := range filters {
			if row.is(filter) {
				counts[filter]++
			}
		}
		if !row.ramping() {
			continue
		}
		at := 2
		if row.Held {
			at = 0
		} else if row.Guarded {
			at = 1
		}
		if len(order[at]) < maxRamping {
			order[at] = append(order[at], row)
		}
	}
	d.Ramping = slices.Concat(order[0], order[1], order[2])
	d.Ramping = d.Ramping[:min(len(d.Ramping), maxRamping)]
	d.Others = max(0, counts["ramping"]-len(d.Ramping))
	for _, filter := range filters {
		link := filterLink{Name: filter, Count: counts[filter], URL: c.opt.Base + "/flags?show=" + filter}
		if filter == "all" {
			link.URL = c.opt.Base + "/flags"
		}
		if link.Count > 0 || filter != "lowered" && filter != "expiring" {
			d.Counts = append(d.Counts, link)
		}
	}
}

// entryRow is one feature for one tenant, as lists show it.
type entryRow struct {
	Feature, Tenant string
	flags.Entry
	Share    float64 // percent, for the bar
	Decision *Decision
	Lowered  bool // by a break-glass statement in force
	Unlisted bool // the spec does not name the tenant; a statement does
}

func (r entryRow) ramping() bool { return r.Enabled && r.Pct > 0 && r.Pct < flags.Full }

func (c *Console) row(f *flags.Feature, tenant string) entryRow {
	r := entryRow{Feature: f.Name, Tenant: tenant, Entry: f.Entry(tenant)}
	if live := c.opt.Live(); live != nil && live.Spec != nil && live.Spec.Feature(f.Name) == f {
		r.Entry = live.Entry(f.Name, tenant) // with what break-glass statements lower
		_, r.Lowered = live.Layer[flags.Key{Feature: f.Name, Tenant: tenant}]
		r.Unlisted = tenant != flags.DefaultTenant && f.Tenant(tenant) == nil
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
	AnyLowered                  bool // by a break-glass statement, for everybody or a tenant
	Tenants                     []entryRow
	More                        int // tenants that are not listed
}

type flagsData struct {
	Rows                 []flagRow
	Query, Filter, Owner string
	Tenant               string
	Found, All, Page     int
	From, To             int    // the rows shown, counted from 1
	Previous, Next       string // addresses of the neighbouring pages
	Filters              []filterLink
	Owners               []string // for the field's suggestions
	Narrowed             bool     // by words, tenant or owner
}

// filterLink leads to the flags of one kind.
type filterLink struct {
	Name, URL string
	Count     int
	Current   bool
}

const (
	rowsAPage   = 100
	tenantsARow = 50
	expiresSoon = 30 * 24 * time.Hour
)

var filters = []string{"all", "ramping", "held", "off", "lowered", "expiring"}

const maxOwners = 200 // suggestions

func (c *Console) flags(r *http.Request) (string, view, error) {
	q := r.URL.Query()
	d := flagsData{Query: strings.TrimSpace(q.Get("q")), Filter: cmp.Or(q.Get("show"), "all"), Owner: q.Get("owner"), Tenant: q.Get("tenant")}
	d.Narrowed = d.Query != "" || d.Owner != "" || d.Tenant != ""
	d.Page, _ = strconv.Atoi(q.Get("page"))
	d.Page = max(1, d.Page)
	counts, owners := map[string]int{}, map[string]bool{}
	if live := c.opt.Live(); live != nil && live.Spec != nil {
		d.All = len(live.Spec.Features())
		lowered := loweredTenants(live)
		for _, name := range live.Spec.Features() {
			f := live.Spec.Feature(name)
			if f.Owner != "" && len(owners) < maxOwners {
				owners[f.Owner] = true
			}
			row := c.flagRow(f)
			row.AnyLowered = row.Lowered || len(lowered[name]) > 0
			if !d.matches(f, lowered[name]) {
				continue
			}
			for _, filter := range filters {
				if row.is(filter) {
					counts[filter]++
				}
			}
			if !row.is(d.Filter) {
				continue
			}
			d.Found++
			if d.Found > (d.Page-1)*rowsAPage && d.Found <= d.Page*rowsAPage {
				c.tenants(&row, f, lowered[name], d.Tenant)
				d.Rows = append(d.Rows, row)
			}
		}
	}
	d.Owners = slices.Sorted(maps.Keys(owners))
	d.From, d.To = (d.Page-1)*rowsAPage+1, (d.Page-1)*rowsAPage+len(d.Rows)
	turn := func(show string, page int) string {
		to := maps.Clone(q)
		to.Del("page")
		if page > 1 {
			to.Set("page", strconv.Itoa(page))
		}
		if to.Set("show", show); show == "all" {
			to.Del("show")
		}
		if len(to) == 0 {
			return c.opt.Base + "/flags"
		}
		return c.opt.Base + "/flags?" + to.Encode()
	}
	for _, f := range filters {
		if counts[f] > 0 || f == "all" || f == d.Filter {
			d.Filters = append(d.Filters, filterLink{f, turn(f, 1), counts[f], f == d.Filter})
		}
	}
	if d.Page > 1 {
		d.Previous = turn(d.Filter, d.Page-1)
	}
	if d.Found > d.Page*rowsAPage {
		d.Next = turn(d.Filter, d.Page+1)
	}
	return "flags", view{Title: "Flags", Nav: "flags", Data: d}, nil
}

// loweredTenants are the tenants, by feature, whose entry a break-glass statement lowers; the spec may not name them.
func loweredTenants(live *reconciler.Live) map[string][]string {
	var out map[string][]string
	for k := range live.Layer {
		if k.Tenant == flags.DefaultTenant {
			continue
		}
		if out == nil {
			out = map[string][]string{}
		}
		out[k.Feature] = append(out[k.Feature], k.Tenant)
	}
	for _, tenants := range out {
		slices.Sort(tenants)
	}
	return out
}

// tenantsOf are a feature's tenants: those that the spec names, then those that only a statement in force names.
func tenantsOf(f *flags.Feature, lowered []string) []string {
	var out []string
	for name := range f.Tenants() {
		out = append(out, name)
	}
	for _, name := range lowered {
		if f.Tenant(name) == nil {
			out = append(out, name)
		}
	}
	return out
}

func (c *Console) flagRow(f *flags.Feature) flagRow {
	row := flagRow{entryRow: c.row(f, flags.DefaultTenant), Description: f.Description, Owner: f.Owner, Expires: f.Expires, Guarded: f.Ramp != nil}
	row.Held = row.Decision != nil && row.Decision.Action == "hold" && row.Decision.Code != "target"
	if day, err := time.Parse(time.DateOnly, f.Expires); err == nil {
		row.Expiring = day.Sub(c.opt.Now()) < expiresSoon
	}
	return row
}

// matches says whether a feature is among those that were searched for.
func (d flagsData) matches(f *flags.Feature, lowered []string) bool {
	if d.Query != "" && !strings.Contains(strings.ToLower(f.Name+" "+f.Description+" "+f.Owner), strings.ToLower(d.Query)) {
		return false
	}
	return (d.Owner == "" || f.Owner == d.Owner) && (d.Tenant == "" || f.Tenant(d.Tenant) != nil || slices.Contains(lowered, d.Tenant))
}

func (row flagRow) is(filter string) bool {
	switch filter {
	case "ramping":
		return row.ramping()
	case "held":
		return row.Held
	case "off":
		return !row.Enabled || row.Pct == 0 && len(row.Cohorts) == 0
	case "lowered":
		return row.AnyLowered
	case "expiring":
		return row.Expiring
	}
	return true
}

func (c *Console) tenants(row *flagRow, f *flags.Feature, lowered []string, only string) {
	for _, name := range tenantsOf(f, lowered) {
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

// featureURL is where a feature is shown.
func featureURL(name string) string { return "/flags/" + url.PathEscape(name) }
