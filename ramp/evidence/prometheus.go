package evidence

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/rampart-flags/rampart/flags"
)

// Prometheus collects evidence from one server.
type Prometheus struct {
	URL   string
	Token string // bearer token, "" for none

	// Warn is told what a person should know: a query without an answer, a warning of the server's.
	// Nil: nobody is.
	Warn func(string)
}

// Collected are two documents, nil where nothing was asked for.
type Collected struct {
	Coverage, SLO []byte
}

// Collect asks every query as of one moment and writes what [Coverage] and [SLO] read. A number that a
// query does not give is left out, which later counts as missing; a query that fails, or gives several
// numbers where one belongs, is an error, and then there is no evidence at all.
func (p *Prometheus) Collect(ctx context.Context, q Queries, at time.Time) (out Collected, err error) {
	client, err := api.NewClient(api.Config{Address: p.URL, RoundTripper: bearer{p.Token, http.DefaultTransport}})
	if err != nil {
		return out, fmt.Errorf("asking Prometheus: %w", err)
	}
	c := collector{Prometheus: p, api: v1.NewAPI(client), at: at.UTC().Truncate(time.Second)}
	if q.Coverage.Query != "" {
		if out.Coverage, err = c.coverage(ctx, q); err != nil {
			return out, err
		}
	}
	if len(q.SLO) > 0 {
		if out.SLO, err = c.slo(ctx, q); err != nil {
			return out, err
		}
	}
	return out, nil
}

type bearer struct {
	token string
	next  http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

type collector struct {
	*Prometheus
	api v1.API
	at  time.Time
}

func (c *collector) warn(format string, args ...any) {
	if c.Warn != nil {
		c.Warn(fmt.Sprintf(format, args...))
	}
}

// ask evaluates a query. A scalar is a vector of one.
func (c *collector) ask(ctx context.Context, name, query string) (model.Vector, error) {
	value, warnings, _, err := c.api.Query(ctx, query, c.at)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus for %s: %w", name, err)
	}
	for _, w := range warnings {
		c.warn("%s: %s", name, printable(w))
	}
	var all model.Vector
	switch v := value.(type) {
	case model.Vector:
		all = v
	case *model.Scalar:
		all = model.Vector{{Value: v.Value}}
	default:
		return nil, fmt.Errorf("asking Prometheus for %s: the query gives a %s, want an instant vector or a scalar", name, value.Type())
	}
	kept := all[:0]
	for _, s := range all {
		if v := float64(s.Value); math.IsNaN(v) || math.IsInf(v, 0) {
			c.warn("%s: %s is %g, which says nothing", name, s.Metric, v)
			continue
		}
		kept = append(kept, s)
	}
	if len(kept) == 0 {
		c.warn("%s: Prometheus has no answer", name)
	}
	return kept, nil
}

func (c *collector) coverage(ctx context.Context, q Queries) ([]byte, error) {
	pct, err := c.byTenant(ctx, "coverage", q.Coverage.Query)
	if err != nil {
		return nil, err
	}
	samples := map[string]float64{}
	if q.Coverage.Samples != "" {
		if samples, err = c.byTenant(ctx, "coverage samples", q.Coverage.Samples); err != nil {
			return nil, err
		}
	}
	var tenants document
	for _, t := range slices.Sorted(maps.Keys(pct)) {
		// A rate over a window is estimated and may come out a hair above the whole.
		one := append([]byte(`{"pct":`), value(min(pct[t], 100))...)
		if n, ok := samples[t]; ok {
			one = append(append(one, `,"samples":`...), whole(n)...)
		}
		tenants.add(t, append(one, '}'))
	}
	inner, err := tenants.bytes()
	if err != nil {
		return nil, err
	}
	var doc document
	doc.add("generated_at", c.stamp())
	doc.add("tenants", inner)
	return doc.bytes()
}

func (c *collector) byTenant(ctx context.Context, name, query string) (map[string]float64, error) {
	vector, err := c.ask(ctx, name, query)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for _, s := range vector {
		t := tenant(string(s.Metric["tenant"]))
		if t == "" {
			t = flags.DefaultTenant
		}
		if _, twice := out[t]; twice {
			return nil, fmt.Errorf("asking Prometheus for %s: several numbers for tenant %s; sum by (tenant)", name, t)
		}
		out[t] = float64(s.Value)
	}
	return out, nil
}

func (c *collector) slo(ctx context.Context, q Queries) ([]byte, error) {
	var doc document
	doc.add("generated_at", c.stamp())
	for _, name := range slices.Sorted(maps.Keys(q.SLO)) {
		vector, err := c.ask(ctx, name, q.SLO[name])
		if err != nil {
			return nil, err
		}
		switch {
		case len(vector) > 1:
			return nil, fmt.Errorf("asking Prometheus for %s: %d numbers where one belongs; aggregate them", name, len(vector))
		case len(vector) == 1 && name == "samples":
			doc.add(name, whole(float64(vector[0].Value)))
		case len(vector) == 1:
			doc.add(name, value(float64(vector[0].Value)))
		}
	}
	features, err := c.features(ctx, q)
	if err != nil {
		return nil, err
	}
	if features != nil {
		doc.add("features", features)
	}
	if q.Alerts == nil || *q.Alerts != "" {
		alerts, err := c.alerts(ctx, q.Alerts)
		if err != nil {
			return nil, err
		}
		doc.add("alerts", alerts)
	}
	return doc.bytes()
}

// scopeNumbers are the numbers of one feature, or one tenant of it.
type scopeNumbers struct {
	indicators map[string]float64
	traffic    map[string]float64
	tenants    map[string]*scopeNumbers
}

func newScopeNumbers() *scopeNumbers {
	return &scopeNumbers{map[string]float64{}, map[string]float64{}, map[string]*scopeNumbers{}}
}

func (c *collector) features(ctx context.Context, q Queries) ([]byte, error) {
	all := map[string]*scopeNumbers{}
	gather := func(queries map[string]string, put func(*scopeNumbers) map[string]float64) error {
		for _, name := range slices.Sorted(maps.Keys(queries)) {
			vector, err := c.ask(ctx, name+" by feature", queries[name])
			if err != nil {
				return err
			}
			for _, s := range vector {
				feature, t := string(s.Metric["feature"]), tenant(string(s.Metric["tenant"]))
				if feature == "" {
					return fmt.Errorf("asking Prometheus for %s by feature: %s has no feature label", name, s.Metric)
				}
				if all[feature] == nil {
					all[feature] = newScopeNumbers()
				}
				sc := all[feature]
				if t != "" && t != flags.DefaultTenant {
					if sc.tenants[t] == nil {
						sc.tenants[t] = newScopeNumbers()
					}
					sc = sc.tenants[t]
				}
				if _, twice := put(sc)[name]; twice {
					return fmt.Errorf("asking Prometheus for %s by feature: several numbers for %s %s", name, feature, t)
				}
				put(sc)[name] = float64(s.Value)
			}
		}
		return nil
	}
	err := errors.Join(
		gather(q.Features, func(sc *scopeNumbers) map[string]float64 { return sc.indicators }),
		gather(q.Traffic, func(sc *scopeNumbers) map[string]float64 { return sc.traffic }))
	if err != nil || len(all) == 0 {
		return nil, err
	}
	var doc document
	for _, f := range slices.Sorted(maps.Keys(all)) {
		v, err := all[f].bytes()
		if err != nil {
			return nil, err
		}
		doc.add(f, v)
	}
	return doc.bytes()
}

func (sc *scopeNumbers) bytes() ([]byte, error) {
	var doc document
	for _, name := range slices.Sorted(maps.Keys(sc.indicators)) {
		if name == "samples" {
			doc.add(name, whole(sc.indicators[name]))
			continue
		}
		doc.add(name, value(sc.indicators[name]))
	}
	for _, arm := range []string{"treated", "control"} {
		requests, ok := sc.traffic[arm+"_requests"]
		if !ok {
			continue
		}
		errs := min(sc.traffic[arm+"_errors"], requests) // no series of errors means none were seen
		doc.add(arm, append(append(append(append([]byte(`{"requests":`), whole(requests)...), `,"errors":`...), whole(errs)...), '}'))
	}
	if len(sc.tenants) > 0 {
		var tenants document
		for _, t := range slices.Sorted(maps.Keys(sc.tenants)) {
			v, err := sc.tenants[t].bytes()
			if err != nil {
				return nil, err
			}
			tenants.add(t, v)
		}
		inner, err := tenants.bytes()
		if err != nil {
			return nil, err
		}
		doc.add("tenants", inner)
	}
	return doc.bytes()
}

func (c *collector) alerts(ctx context.Context, query *string) ([]byte, error) {
	ask := firingAlerts
	if query != nil {
		ask = *query
	}
	value, warnings, _, err := c.api.Query(ctx, ask, c.at)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus for alerts: %w", err)
	}
	for _, w := range warnings {
		c.warn("alerts: %s", printable(w))
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("asking Prometheus for alerts: the query gives a %s, want an instant vector", value.Type())
	}
	out := []byte{'['}
	seen := map[string]bool{}
	slices.SortFunc(vector, func(a, b *model.Sample) int { return compareText(a.Metric.String(), b.Metric.String()) })
	for _, s := range vector {
		one := alertJSON(s.Metric)
		if seen[string(one)] {
			continue // one alert of many instances is one alert here
		}
		seen[string(one)] = true
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, one...)
	}
	return append(out, ']'), nil
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func alertJSON(m model.Metric) []byte {
	severity := string(m["severity"])
	if severity == "" {
		severity = "none" // said, so that the alert can be read
	}
	out := append([]byte(`{"severity":`), quote(severity)...)
	for _, f := range []struct {
		name  string
		label model.LabelName
	}{{"name", "alertname"}, {"feature", "feature"}, {"tenant", "tenant"}} {
		if v := string(m[f.label]); v != "" {
			out = append(append(out, `,"`+f.name+`":`...), quote(v)...)
		}
	}
	return append(out, '}')
}

func quote(s string) []byte {
	v, _ := jsontext.AppendQuote(nil, s)
	return v
}

func (c *collector) stamp() jsontext.Value { return quote(c.at.Format(time.RFC3339)) }

func value(v float64) jsontext.Value {
	// Ten digits say all that a measurement does, and keep 0.1+0.2 out of a file that people read.
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 10, 64), 64)
	return strconv.AppendFloat(nil, rounded, 'f', -1, 64)
}

// whole is a count: increase() and rate() estimate, and give fractions.
func whole(v float64) jsontext.Value {
	return strconv.AppendFloat(nil, math.Max(0, math.Round(v)), 'f', -1, 64)
}
