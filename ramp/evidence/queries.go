package evidence

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Queries say which PromQL gives which number (docs/evidence.md, "queries.json"):
//
//	{ "coverage": { "query": "… by (tenant) …", "samples": "… by (tenant) …" },
//	  "slo":      { "anchor_p95_ms": "histogram_quantile(…)", "divergence": "…", "samples": "…" },
//	  "features": { "error_rate": "… by (feature, tenant) …" },
//	  "traffic":  { "treated_requests": "… by (feature) …", "treated_errors": …, "control_requests": …, "control_errors": … },
//	  "alerts":   "ALERTS{alertstate=\"firing\"}" }
type Queries struct {
	Coverage struct {
		Query   string `json:"query"`
		Samples string `json:"samples"`
	} `json:"coverage"`
	SLO      map[string]string `json:"slo"`      // one number each
	Features map[string]string `json:"features"` // one number for each feature, or feature and tenant
	Traffic  map[string]string `json:"traffic"`  // the four counts
	Alerts   *string           `json:"alerts"`   // nil: those that fire; "": do not ask
}

// ErrQueries is what the errors of [ParseQueries] wrap.
var ErrQueries = errors.New("the queries cannot be used")

var trafficCounts = []string{"control_errors", "control_requests", "treated_errors", "treated_requests"}

const firingAlerts = `ALERTS{alertstate="firing"}`

// ParseQueries reads queries.json, strictly.
func ParseQueries(src []byte) (q Queries, err error) {
	if err := json.Unmarshal(src, &q, json.RejectUnknownMembers(true)); err != nil {
		if semantic, ok := errors.AsType[*json.SemanticError](err); ok && errors.Is(semantic.Err, json.ErrUnknownName) {
			return q, fmt.Errorf("%w: unknown field %s", ErrQueries, semantic.JSONPointer)
		}
		return q, fmt.Errorf("%w: %w", ErrQueries, tidy(err))
	}
	if q.Coverage.Query == "" && q.Coverage.Samples != "" {
		return q, fmt.Errorf("%w: coverage has samples and no query", ErrQueries)
	}
	if q.Coverage.Query == "" && len(q.SLO) == 0 {
		return q, fmt.Errorf("%w: neither coverage nor slo is asked for", ErrQueries)
	}
	for _, name := range []string{"generated_at", "alerts", "features", "treated", "control", "$schema"} {
		if q.SLO[name] != "" || q.Features[name] != "" {
			return q, fmt.Errorf("%w: %s is no indicator", ErrQueries, name)
		}
	}
	if q.Features["tenants"] != "" {
		return q, fmt.Errorf("%w: tenants is no indicator", ErrQueries)
	}
	if len(q.Traffic) > 0 && !slices.Equal(slices.Sorted(maps.Keys(q.Traffic)), trafficCounts) {
		return q, fmt.Errorf("%w: traffic needs all of %q", ErrQueries, trafficCounts)
	}
	return q, nil
}

// document writes an object of evidence, laid out for people, members in the given order.
type document struct {
	buf []byte
	n   int
}

func (d *document) add(name string, v jsontext.Value) {
	if d.n++; d.n == 1 {
		d.buf = append(d.buf, '{')
	} else {
		d.buf = append(d.buf, ',')
	}
	d.buf, _ = jsontext.AppendQuote(d.buf, name)
	d.buf = append(append(d.buf, ':'), v...)
}

func (d *document) bytes() ([]byte, error) {
	v := jsontext.Value("{}")
	if d.n > 0 {
		v = append(d.buf, '}')
	}
	if err := v.Indent(jsontext.WithIndent("  ")); err != nil {
		return nil, fmt.Errorf("writing evidence: %w", err)
	}
	return append(v, '\n'), nil
}
