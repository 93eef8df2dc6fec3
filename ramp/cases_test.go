package ramp_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
	"github.com/rampart-flags/rampart/ramp/evidence"
)

// TestCases runs testdata/decide/*.txt. A case is a title, lines that say how it differs from a healthy
// feature at 20 % at noon of 22 November 2026, and the decision:
//
//	# a step bakes
//	guard {"bake": "24h"}
//	stepped -2h
//	-> hold 20 green bake: 20 bakes for 24h0m0s, until 2026-11-23T10:00:00Z
//
// slo and coverage lines are laid over good evidence, null taking a field away; "slo none" and "slo raw …"
// replace it. UPDATE_GOLDEN=1 rewrites the decisions.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/decide/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d case files: %v", len(files), err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		c := newCase()
		for n, line := range strings.Split(strings.TrimRight(string(src), "\n"), "\n") {
			switch want, ok := strings.CutPrefix(line, "-> "); {
			case ok:
				got := c.decide(t)
				if got != want {
					t.Errorf("%s:%d: %s\n got  %s\n want %s", file, n+1, c.title, got, want)
				}
				fmt.Fprintln(&out, "-> "+got)
				c = newCase()
				continue
			default:
				if err := c.line(line); err != nil {
					t.Fatalf("%s:%d: %q: %v", file, n+1, line, err)
				}
			}
			fmt.Fprintln(&out, line)
		}
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

type decideCase struct {
	title         string
	entry         ramp.Entry
	guard         string
	settings      ramp.Settings
	slo, coverage string
	history       ramp.History
	now           time.Time
}

func newCase() *decideCase {
	return &decideCase{
		entry:    ramp.Entry{Key: flags.Key{Feature: "receipts", Tenant: flags.DefaultTenant}, Pct: 20_000, Enabled: true, Tenants: []string{flags.DefaultTenant}},
		settings: ramp.DefaultSettings(),
		slo:      `{"generated_at":"2026-11-22T11:50:00Z","anchor_p95_ms":21,"divergence":0,"samples":12000,"alerts":[]}`,
		coverage: `{"generated_at":"2026-11-22T11:50:00Z","tenants":{"__default__":{"pct":97.2,"samples":12000},"acme":99.1}}`,
		now:      noon,
	}
}

func (c *decideCase) line(line string) (err error) {
	name, rest, _ := strings.Cut(line, " ")
	moment := func() time.Time {
		var d time.Duration
		if d, err = time.ParseDuration(rest); err == nil {
			return c.now.Add(d)
		}
		var at time.Time
		at, err = time.Parse(time.RFC3339, rest)
		return at
	}
	number := func() (n int) { n, err = strconv.Atoi(rest); return n }
	switch name {
	case "", "//":
	case "#":
		c.title = rest
	case "now":
		c.now = moment()
	case "pct":
		c.entry.Pct, err = flags.ParsePct(rest)
	case "tenant":
		c.entry.Key.Tenant, c.entry.Tenants = rest, []string{rest}
	case "followers":
		c.entry.Tenants = append(c.entry.Tenants, strings.Fields(rest)...)
	case "own":
		c.entry.Own = strings.Fields(rest)
	case "off":
		c.entry.Enabled = false
	case "salted":
		c.entry.Salted = true
	case "guard":
		c.guard = rest
	case "env":
		key, value, _ := strings.Cut(rest, "=")
		c.settings, err = ramp.SettingsFromEnv(func(name string) string {
			if name == key {
				return value
			}
			return ""
		})
	case "slo":
		c.slo, err = overlay(c.slo, rest)
	case "coverage":
		c.coverage, err = overlay(c.coverage, rest)
	case "stepped":
		c.history.SteppedAt = moment()
	case "pending":
		c.history.PendingAt = moment()
	case "down":
		c.history.DownAt = moment()
	case "downs":
		c.history.Downs = number()
	case "aborts":
		c.history.Aborts = number()
	case "greens":
		c.history.Greens = number()
	case "reverted":
		c.history.Reverted = rest
	case "behind":
		c.history.Behind = &ramp.Behind{}
		err = json.Unmarshal([]byte(rest), c.history.Behind)
	default:
		err = fmt.Errorf("unknown word %q", name)
	}
	return err
}

// overlay lays an object's members over another's.
func overlay(base, over string) (string, error) {
	if over == "none" {
		return "", nil
	}
	if raw, ok := strings.CutPrefix(over, "raw "); ok {
		return raw, nil
	}
	var m, o map[string]jsontext.Value
	if err := json.Unmarshal([]byte(base), &m); err != nil {
		return "", err
	}
	if err := json.Unmarshal([]byte(over), &o); err != nil {
		return "", err
	}
	for k, v := range o {
		if m[k] = v; v.Kind() == 'n' {
			delete(m, k)
		}
	}
	out, err := json.Marshal(m)
	return string(out), err
}

func source(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

func (c *decideCase) decide(t *testing.T) string {
	t.Helper()
	g, err := ramp.ParseGuard(jsontext.Value(c.guard), c.settings)
	if err != nil {
		return err.Error()
	}
	ev := ramp.NewEvidence(evidence.Coverage(source(c.coverage)), evidence.SLO(source(c.slo)))
	d := ramp.Decide(&c.entry, g, ev, &c.history, c.now)
	line := fmt.Sprintf("%s %s %s %s: %s", d.Action, d.To, d.Verdict, d.Code, d.Reason)
	if d.Approval {
		line += " [approval]"
	}
	return line
}
