package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/cli"
)

// Every decision is told once, holds too, in bodies that the route takes, whatever there is to tell; a
// reconciler that will not listen does not undo the ramp.
func TestReport(t *testing.T) {
	const features = 60
	dir := bigDir(t, features)
	path := filepath.Join(dir, "flags.json")
	told := map[string]string{}
	status := http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		src, err := io.ReadAll(r.Body)
		if err != nil || len(src) > 64<<10 || r.Header.Get("Authorization") != "Bearer sesame" || r.URL.Path != "/admin/decisions" || r.Method != http.MethodPost {
			t.Errorf("%s %s with %d bytes as %q: %v", r.Method, r.URL, len(src), r.Header.Get("Authorization"), err)
		}
		var body struct {
			Format, Environment string
			At                  string
			Decisions           []struct{ Feature, Tenant, Action, Reason string }
		}
		if err := json.Unmarshal(src, &body); err != nil || body.Format != "ramp-report/v1" || body.At != "2026-11-22T04:07:00Z" || body.Environment != "prod" {
			t.Errorf("the body is %.200s, %v", src, err)
		}
		for _, d := range body.Decisions {
			if told[d.Feature+":"+d.Tenant] != "" || d.Reason == "" {
				t.Errorf("told twice, or without a reason: %+v", d)
			}
			told[d.Feature+":"+d.Tenant] = d.Action
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"ok":true}`)
	}))
	defer srv.Close()
	report := func() error {
		clear(told)
		if err := os.WriteFile(path, bigSpec(features), 0o644); err != nil {
			t.Fatal(err)
		}
		return run(t.Context(), cli.Env{
			Args: []string{
				"ramp", "--path", path, "--slo", filepath.Join(dir, "slo"), "--coverage", filepath.Join(dir, "coverage"), "--now", "2026-11-22T04:07:00Z",
				"--report", srv.URL, "--max-ups", "5",
			},
			Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard,
			Getenv: func(name string) string { return map[string]string{"RAMPART_ADMIN_TOKEN": "sesame"}[name] },
		})
	}
	if err := report(); err != nil {
		t.Fatal(err)
	}
	ups := 0
	for _, action := range told {
		if action == "up" {
			ups++
		}
	}
	if len(told) != features*11 || ups != 5 {
		t.Errorf("%d decisions were told, %d of them up; want %d and 5", len(told), ups, features*11)
	}
	status = http.StatusUnauthorized
	err := report()
	if cli.Code(err) != cli.ExitError || !strings.Contains(strings.Join(cli.Hints(err), "\n"), "RAMPART_ADMIN_TOKEN") {
		t.Errorf("a wrong token: %v %v", err, cli.Hints(err))
	}
	if src, err := os.ReadFile(path); err != nil || !strings.Contains(string(src), "+ramp.1") {
		t.Error("the ramp was not done, though only its report went wrong")
	}
}
