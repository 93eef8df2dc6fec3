package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

// collectSettings are the command line of collect.
type collectSettings struct {
	prometheus, queries string
	from                string
	report, reportAt    string
	coverage, slo       string
	nowText             string
	trust               string
	timeout             time.Duration
}

func collectCommand(a *app) *cobra.Command {
	var s collectSettings
	cmd := &cobra.Command{
		Use:   "collect [flags]",
		Short: "Write the evidence that ramps are decided by",
		Long: `collect writes coverage.json and slo_health.json, for propose ramp: from a Prometheus server, from what
was pushed to a reconciler, from a report of the older {"tenant": pct} kind, or from several of them.

A number that has no answer is left out, which a ramp takes for missing and holds. When a source cannot
be asked at all, nothing is written: the files of the last time are there still, and grow old.

Personal data in what was collected is warned of: tenants and alerts must name nobody, for a ramp keeps
its evidence in git. The policy's "pii" says what else counts.

docs/evidence.md shows queries.json. Tokens are read from $RAMPART_PROMETHEUS_TOKEN and
$RAMPART_ADMIN_TOKEN.`,
		Example: `  propose collect --prometheus http://prometheus:9090 --queries queries.json
  propose collect --from http://reconciler:8080 --prometheus http://prometheus:9090 --queries queries.json
  curl -s https://coverage.internal/report | propose collect --coverage-report -`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.collect(cmd.Context(), s) },
	}
	f := cmd.Flags()
	f.StringVar(&s.prometheus, "prometheus", "", "ask the Prometheus server at `URL`")
	f.StringVar(&s.queries, "queries", "", "which PromQL gives which number: `FILE`")
	f.StringVar(&s.from, "from", "", "take the coverage that was pushed to the reconciler at `URL`")
	f.StringVar(&s.report, "coverage-report", "", "take the coverage of a report, {\"tenant\": pct}: `FILE`, \"-\" for stdin")
	f.StringVar(&s.reportAt, "coverage-at", "", "when a report that does not say so was measured: `TIME` (default now, for stdin only)")
	f.StringVar(&s.coverage, "coverage", "coverage.json", "write the coverage to `FILE`, \"-\" for stdout")
	f.StringVar(&s.slo, "slo", "slo_health.json", "write indicators and alerts to `FILE`, \"-\" for stdout")
	f.StringVar(&s.nowText, "now", "", "ask for the numbers as of this `TIME` (default the clock)")
	f.StringVar(&s.trust, "trust", "", "the trust policy `FILE` (default trust.json of the repository, if it has one)")
	f.DurationVar(&s.timeout, "timeout", 30*time.Second, "give up after this `DURATION`")
	cli.NoEnv(cmd, "from", "now")
	return cmd
}

func (a *app) collect(ctx context.Context, s collectSettings) error {
	now, err := parseTime("--now", s.nowText, time.Now())
	if err != nil {
		return err
	}
	if s.prometheus == "" && s.from == "" && s.report == "" {
		return usage(cli.Hint(errors.New("nothing to collect from"), "--prometheus URL --queries FILE, --from URL, or --coverage-report FILE"))
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var coverage [][]byte
	var slo []byte
	if s.report != "" {
		doc, err := a.reported(s, now)
		if err != nil {
			return err
		}
		coverage = append(coverage, doc)
	}
	if s.from != "" {
		doc, err := a.pushedCoverage(ctx, s.from)
		if err != nil {
			return err
		}
		coverage = append(coverage, doc)
	}
	if s.prometheus != "" {
		got, err := a.fromPrometheus(ctx, s, now)
		if err != nil {
			return err
		}
		if slo = got.SLO; got.Coverage != nil {
			coverage = append(coverage, got.Coverage)
		}
	}
	if len(coverage) > 0 {
		doc, err := evidence.Merge(coverage...)
		if err != nil {
			return fmt.Errorf("putting the coverage together: %w", err)
		}
		if err := a.checkCollected(s.trust, s.coverage, doc); err != nil {
			return err
		}
		if err := a.writeEvidence(s.coverage, doc); err != nil {
			return err
		}
	}
	if slo == nil {
		return nil
	}
	if err := a.checkCollected(s.trust, s.slo, slo); err != nil {
		return err
	}
	return a.writeEvidence(s.slo, slo)
}

func (a *app) fromPrometheus(ctx context.Context, s collectSettings, now time.Time) (got evidence.Collected, err error) {
	if s.queries == "" {
		return got, usage(cli.Hint(errors.New("--prometheus: which queries?"), "--queries queries.json; docs/evidence.md shows one"))
	}
	if u, err := url.Parse(s.prometheus); err != nil || u.Host == "" {
		return got, usage(cli.Hint(fmt.Errorf("--prometheus %q is no address", s.prometheus), "such as http://127.0.0.1:9090"))
	}
	src, err := a.readFile(s.queries, 1<<20)
	if err != nil {
		return got, fmt.Errorf("reading the queries: %w", err)
	}
	queries, err := evidence.ParseQueries(src)
	if err != nil {
		return got, cli.Exit(cli.ExitRefused, fmt.Errorf("%s: %w", s.queries, err))
	}
	p := evidence.Prometheus{
		URL: s.prometheus, Token: a.env.Getenv("RAMPART_PROMETHEUS_TOKEN"),
		Warn: func(line string) { a.env.Talk("%s", line) },
	}
	return p.Collect(ctx, queries, now)
}

// reported reads an older report. When it was measured must be said by somebody: a file's own date
// says when it was copied or checked out.
func (a *app) reported(s collectSettings, now time.Time) ([]byte, error) {
	src, err := a.readFile(s.report, evidence.MaxBytes+1)
	if err != nil {
		return nil, fmt.Errorf("reading the report: %w", err)
	}
	at, err := parseTime("--coverage-at", s.reportAt, time.Time{})
	if err != nil {
		return nil, err
	}
	if at.IsZero() && s.report == "-" {
		at = now
	}
	doc, err := evidence.FromReport(src, at)
	if errors.Is(err, evidence.ErrUndated) {
		return nil, usage(cli.Hint(fmt.Errorf("the report %s: %w", s.report, err), "say so: --coverage-at TIME; or pipe it in when it is made: --coverage-report -"))
	}
	if err != nil {
		return nil, cli.Exit(cli.ExitRefused, fmt.Errorf("the report %s: %w", displayName(s.report), err))
	}
	return doc, nil
}

// pushedCoverage is what was pushed to a reconciler, each value with the time of its push.
func (a *app) pushedCoverage(ctx context.Context, from string) ([]byte, error) {
	u, err := url.Parse(from)
	if err != nil || u.Host == "" {
		return nil, usage(cli.Hint(fmt.Errorf("--from %q is no address", from), "such as http://127.0.0.1:8080"))
	}
	if strings.Trim(u.Path, "/") == "" {
		u = u.JoinPath("api", "v1", "coverage")
	}
	doing := "asking " + u.Redacted() + " for coverage"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if token := a.env.Getenv("RAMPART_ADMIN_TOKEN"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	defer resp.Body.Close()
	src, err := io.ReadAll(io.LimitReader(resp.Body, evidence.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", doing, resp.Status)
	}
	doc, err := evidence.FromReport(src, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return doc, nil
}

func (a *app) writeEvidence(path string, doc []byte) error {
	if path == "-" {
		_, err := a.env.Stdout.Write(doc)
		return err
	}
	if err := replaceFile(path, doc); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if a.json {
		return cli.JSONLine(a.env.Stdout, "collect/v1", struct {
			File  string `json:"file"`
			Bytes int    `json:"bytes"`
		}{path, len(doc)})
	}
	fmt.Fprintln(a.env.Stdout, path)
	return nil
}
