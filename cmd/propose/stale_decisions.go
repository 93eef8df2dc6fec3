package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"github.com/rampart-flags/rampart/internal/cli"
)

// decisionsMetric is the counter that evaluate keeps, one series a feature.
const decisionsMetric = "rampart_decisions_total"

// maxDecisions bounds a document with counts, in bytes.
const maxDecisions = 32 << 20

// decisions are how often each feature was asked for, nil when nobody was asked. A feature that is
// not in it was not counted, which says nothing about it.
func (a *app) decisions(ctx context.Context, s staleSettings) (map[string]float64, error) {
	if s.decisions == "" && s.prometheus == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var counts map[string]float64
	var err error
	if s.prometheus != "" {
		counts, err = a.decisionsByPrometheus(ctx, s)
	} else {
		counts, err = a.decisionsFrom(ctx, s.decisions)
	}
	if err != nil {
		return nil, err
	}
	if len(counts) == 0 {
		return nil, cli.Hint(fmt.Errorf("%s: it counts no feature's decisions", cmp.Or(s.prometheus, displayName(s.decisions))),
			"evaluate counts them as %s; docs/hygiene.md has the other form", decisionsMetric)
	}
	return counts, nil
}

func (a *app) decisionsByPrometheus(ctx context.Context, s staleSettings) (map[string]float64, error) {
	if u, err := url.Parse(s.prometheus); err != nil || u.Host == "" {
		return nil, usage(cli.Hint(fmt.Errorf("--prometheus %q is no address", s.prometheus), "such as http://127.0.0.1:9090"))
	}
	client, err := api.NewClient(api.Config{Address: s.prometheus, RoundTripper: tokenTripper(a.env.Getenv("RAMPART_PROMETHEUS_TOKEN"))})
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus: %w", err)
	}
	query := fmt.Sprintf("sum by (feature) (increase(%s[%dd]))", decisionsMetric, s.days)
	value, warnings, _, err := v1.NewAPI(client).Query(ctx, query, s.now)
	if err != nil {
		return nil, fmt.Errorf("asking Prometheus for decisions: %w", err)
	}
	for _, w := range warnings {
		a.env.Talk("%s", w)
	}
	vector, ok := value.(model.Vector)
	if !ok {
		return nil, fmt.Errorf("asking Prometheus for decisions: it gives a %s, want an instant vector", value.Type())
	}
	counts := map[string]float64{}
	for _, sample := range vector {
		counts[string(sample.Metric["feature"])] += float64(sample.Value)
	}
	return counts, nil
}

type tokenTripper string

func (t tokenTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if t != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+string(t))
	}
	return http.DefaultTransport.RoundTrip(r)
}

// decisionsFrom reads a file, stdin or an address.
func (a *app) decisionsFrom(ctx context.Context, from string) (map[string]float64, error) {
	doing := "reading the decisions of " + displayName(from)
	var src []byte
	var err error
	if u, perr := url.Parse(from); perr == nil && (u.Scheme == "http" || u.Scheme == "https") {
		doing = "asking " + u.Redacted() + " for decisions"
		src, err = fetched(ctx, from)
	} else {
		src, err = a.readFile(from, maxDecisions+1)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if len(src) > maxDecisions {
		return nil, cli.Exit(cli.ExitRefused, fmt.Errorf("%s: it has more than %d MiB", doing, maxDecisions>>20))
	}
	counts, err := parseDecisions(src)
	if err != nil {
		return nil, cli.Exit(cli.ExitRefused, fmt.Errorf("%s: %w", doing, err))
	}
	return counts, nil
}

func fetched(ctx context.Context, from string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxDecisions+1))
}

var (
	decisionsLine = regexp.MustCompile(`(?m)^` + decisionsMetric + `\{([^}]*)\} +([0-9.eE+-]+)`)
	featureLabel  = regexp.MustCompile(`(?:^|,)feature="([^"]*)"`)
)

// parseDecisions reads {"features": {"receipts": 12}}, or metrics in Prometheus' text format.
func parseDecisions(src []byte) (map[string]float64, error) {
	if text := strings.TrimSpace(string(src)); strings.HasPrefix(text, "{") {
		var doc struct {
			Features map[string]float64 `json:"features"`
		}
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			return nil, fmt.Errorf(`want {"features": {"receipts": 12}}: %w`, err)
		}
		return doc.Features, nil
	}
	counts := map[string]float64{}
	for _, m := range decisionsLine.FindAllSubmatch(src, -1) {
		label := featureLabel.FindSubmatch(m[1])
		n, err := strconv.ParseFloat(string(m[2]), 64)
		if label == nil || err != nil {
			continue
		}
		counts[string(label[1])] += n
	}
	return counts, nil
}
