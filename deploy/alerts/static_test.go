package alerts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/internal/worldtest"
)

// What promtool says of the rules, and of each rule firing and staying quiet.
func TestRules(t *testing.T) {
	flagtest.Need(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "rampart.yaml"}, {"test", "rules", "testdata/rules_test.yaml"}} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

type rule struct {
	Alert       string
	Expr        string
	Labels      map[string]string
	Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	src, err := os.ReadFile("rampart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(src, &doc); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range doc.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// Every alert has a runbook and every runbook an alert; every alert is tried both ways.
func TestRunbooks(t *testing.T) {
	const folder = "../../docs/runbooks/"
	tried, err := os.ReadFile("testdata/rules_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	induced, err := os.ReadFile("fires_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range rules(t) {
		names = append(names, r.Alert+".md")
		page, err := os.ReadFile(folder + r.Alert + ".md")
		if err != nil {
			t.Errorf("%s has no runbook: %v", r.Alert, err)
		}
		for _, part := range []string{"# " + r.Alert + "\n", "## What it does to users", "## What to do", "## It clears when"} {
			if !strings.Contains(string(page), part) {
				t.Errorf("the runbook of %s has no %q", r.Alert, part)
			}
		}
		if !strings.HasSuffix(r.Annotations["runbook_url"], "/docs/runbooks/"+r.Alert+".md") || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s lacks a summary, a description or the address of its runbook", r.Alert)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s has severity %q", r.Alert, r.Labels["severity"])
		}
		if !bytes.Contains(tried, []byte(r.Alert)) {
			t.Errorf("no rule test names %s", r.Alert)
		}
		if !bytes.Contains(induced, []byte(`"`+r.Alert+`"`)) {
			t.Errorf("no test induces the fault of %s, and sees it fire", r.Alert)
		}
	}
	pages, err := filepath.Glob(folder + "Rampart*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		if !slices.Contains(names, filepath.Base(p)) {
			t.Errorf("%s is about no alert", p)
		}
	}
}

type family struct{ name, kind, help, labels string }

var sample = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? `)
var labelName = regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`)

// families are the metrics of a scrape, in its order, with the names of their labels.
func families(text string) []family {
	var all []family
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, help, _ := strings.Cut(rest, " ")
			all = append(all, family{name: name, help: help})
			continue
		}
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			_, all[len(all)-1].kind, _ = strings.Cut(rest, " ")
			continue
		}
		if m := sample.FindStringSubmatch(line); m != nil {
			var labels []string
			for _, l := range labelName.FindAllStringSubmatch(m[2], -1) {
				if l[1] != "le" && l[1] != "quantile" {
					labels = append(labels, l[1])
				}
			}
			all[len(all)-1].labels = strings.Join(labels, ", ")
		}
	}
	return all
}

func TestWatched(t *testing.T) {
	w := busy(t)
	var text string
	flagtest.Eventually(t, "the first look at the ledger", func() bool {
		text = scrape(t, w)
		return strings.Contains(text, "\nrampart_receipt_coverage_pct{")
	})
	text += manyEnvironments(t, w, text)
	t.Run("promtool", func(t *testing.T) {
		flagtest.Need(t, "promtool")
		cmd := exec.Command("promtool", "check", "metrics")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	})
	t.Run("exemplar", func(t *testing.T) { exemplar(t, w) })
	t.Run("docs", func(t *testing.T) { documented(t, text) })
	t.Run("boards", func(t *testing.T) { boards(t, text+evaluated(t, w)) })
	t.Run("openapi", func(t *testing.T) { openAPI(t, w) })
}

// exemplar: the time from commit to live leads to the chain of receipts that it belongs to.
func exemplar(t *testing.T, w *worldtest.World) {
	req := httptest.NewRequest("GET", w.URL+"/metrics", nil)
	req.RequestURI = ""
	req.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`rampart_commit_to_live_seconds_bucket\{.*\} \d+ # \{chain_id="([0-9a-f]{32})"\}`).FindStringSubmatch(body.String())
	if m == nil {
		t.Fatal("no bucket carries an exemplar")
	}
	if _, page := w.Ask("GET", "/receipts?chain="+m[1], ""); !strings.Contains(page, "generation") || strings.Contains(page, "No receipt belongs to that") {
		t.Errorf("the exemplar's chain %s leads nowhere", m[1])
	}
}

// documented holds docs/metrics.md equal to what is scraped.
func documented(t *testing.T, text string) {
	const path = "../../docs/metrics.md"
	var table strings.Builder
	table.WriteString("| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n")
	all := families(text)
	slices.SortFunc(all, func(a, b family) int { return strings.Compare(a.name, b.name) })
	for _, f := range all {
		if !strings.HasPrefix(f.name, "go_") && !strings.HasPrefix(f.name, "process_") {
			fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", f.name, f.kind, f.labels, f.help)
		}
	}
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- metrics: begin -->\n", "<!-- metrics: end -->"
	before, rest, ok := strings.Cut(string(src), begin)
	have, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no table between %q and %q", path, begin, end)
	}
	if have == table.String() {
		return
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is not what is scraped (UPDATE_GOLDEN=1 rewrites it); want\n%s", path, table.String())
}

var metricName = regexp.MustCompile(`\b(?:rampart|attest|ramp|process|go)_[a-z_]+\b`)

// boards: each query parses, each metric is there, and each panel says what it shows and in which unit.
func boards(t *testing.T, text string) {
	flagtest.Need(t, "promtool")
	known := map[string]bool{}
	for _, f := range families(text) {
		known[f.name] = true
		if f.kind == "histogram" {
			known[f.name+"_bucket"], known[f.name+"_sum"], known[f.name+"_count"] = true, true, true
		}
	}
	for _, r := range rules(t) {
		for _, name := range metricName.FindAllString(r.Expr, -1) {
			if !known[name] {
				t.Errorf("the alert %s asks for %s, which the running system does not have", r.Alert, name)
			}
		}
	}
	files, err := filepath.Glob("../dashboards/*.json")
	if err != nil || len(files) < 4 {
		t.Fatalf("boards: %q, %v", files, err)
	}
	var queries strings.Builder
	queries.WriteString("groups: [{name: boards, rules: [\n")
	uids := map[string]string{}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var b struct {
			UID, Title, Description string
			Panels                  []struct {
				Title, Description, Type string
				FieldConfig              struct{ Defaults struct{ Unit string } }
				Targets                  []struct{ Expr, LegendFormat string }
			}
		}
		if err := json.Unmarshal(src, &b); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if b.UID == "" || uids[b.UID] != "" || b.Title == "" || b.Description == "" {
			t.Errorf("%s: a board needs a uid of its own, a title and a description", file)
		}
		uids[b.UID] = file
		for _, p := range b.Panels {
			if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
				t.Errorf("%s: panel %q lacks a title, a description, a unit or a query", file, p.Title)
			}
			for _, q := range p.Targets {
				expr := strings.ReplaceAll(q.Expr, "$instance", ".*")
				quoted, err := json.Marshal(expr)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&queries, "{record: \"b:%d\", expr: %s},\n", queries.Len(), quoted)
				for _, name := range metricName.FindAllString(expr, -1) {
					if !known[name] {
						t.Errorf("%s: panel %q asks for %s, which the running system does not have", file, p.Title, name)
					}
				}
			}
		}
	}
	queries.WriteString("]}]\n")
	tmp := filepath.Join(t.TempDir(), "boards.yaml")
	if err := os.WriteFile(tmp, []byte(queries.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("promtool", "check", "rules", tmp).CombinedOutput(); err != nil {
		t.Errorf("a board's query does not parse: %s", out)
	}
}
