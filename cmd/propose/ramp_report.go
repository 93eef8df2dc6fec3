package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/ramp"
)

// reportFormat names the body of POST /admin/decisions, see docs/ramps.md.
const reportFormat = "ramp-report/v1"

// report is what one request tells the reconciler.
type report struct {
	Format      string    `json:"format"`
	At          time.Time `json:"at"`
	Environment string    `json:"environment,omitzero"`
	Spec        string    `json:"spec"`    // digest of the spec that was decided upon
	Version     string    `json:"version"` // and its version
	Commit      string    `json:"commit,omitzero"`
	PullRequest string    `json:"pull_request,omitzero"`
	Decisions   []decided `json:"decisions"`
}

// maxReported bounds the decisions of one request, in bytes: the route takes bodies of 64 KiB.
const maxReported = 48 << 10

// sendReport posts every decision, holds too, so that the console can say what a ramp waits for.
func (r *rampRun) sendReport(ctx context.Context, runs []*rampDone) error {
	if r.s.report == "" || r.s.dryRun {
		return nil
	}
	target, err := url.Parse(r.s.report)
	if err != nil || (target.Scheme != "http" && target.Scheme != "https") || target.Host == "" {
		return usage(cli.Hint(fmt.Errorf("--report %q is no address", r.s.report), "such as http://127.0.0.1:8080"))
	}
	if strings.Trim(target.Path, "/") == "" {
		target = target.JoinPath("admin", "decisions")
	}
	for _, done := range runs {
		for part := range reportParts(done.out) {
			body := report{reportFormat, r.in.now, done.cur.Environment, done.cur.Digest(), done.cur.Version, done.Commit, done.PR, part}
			if err := r.post(ctx, target, body); err != nil {
				return cli.Hint(fmt.Errorf("reporting the decisions to %s: %w", target.Redacted(), err), "the ramp itself is done; run it again to report")
			}
		}
	}
	return nil
}

// reportParts deals decisions out so that each part fits into a request.
func reportParts(out []ramp.Outcome) iter.Seq[[]decided] {
	return func(yield func([]decided) bool) {
		var part []decided
		size := 0
		for i := range out {
			d := decided{out[i].Decision, out[i].Resumed}
			n := 256 + len(d.Feature) + len(d.Tenant) + 2*len(d.Reason) // quotes and escapes
			if size+n > maxReported && len(part) > 0 {
				if !yield(part) {
					return
				}
				part, size = nil, 0
			}
			part, size = append(part, d), size+n
		}
		if len(part) > 0 {
			yield(part)
		}
	}
}

func (r *rampRun) post(ctx context.Context, target *url.URL, body report) error {
	src, err := json.Marshal(&body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(src))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token := r.env.Getenv("RAMPART_ADMIN_TOKEN"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 300))
	err = fmt.Errorf("%s: %s", resp.Status, oneLine(cli.Printable(string(said))))
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		err = cli.Hint(err, "set RAMPART_ADMIN_TOKEN to the reconciler's admin token")
	}
	return err
}
