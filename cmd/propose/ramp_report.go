package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/rampart-flags/rampart/internal/cli"
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

// maxReported bounds the decisions of one request, so that its body stays well under the route's limit.
const maxReported = 500

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
		all := make([]decided, len(done.out))
		for i := range done.out {
			all[i] = decided{done.out[i].Decision, done.out[i].Resumed}
		}
		for part := range slices.Chunk(all, maxReported) {
			body := report{reportFormat, r.in.now, done.cur.Environment, done.cur.Digest(), done.cur.Version, done.Commit, done.PR, part}
			if err := r.post(ctx, target, body); err != nil {
				return cli.Hint(fmt.Errorf("reporting the decisions to %s: %w", target.Redacted(), err), "the ramp itself is done; run it again to report")
			}
		}
	}
	return nil
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
