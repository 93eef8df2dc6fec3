package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

func costs(t *testing.T) (Costs, Validation) {
	t.Helper()
	c, v, err := readCosts(measuredCosts)
	if err != nil {
		t.Fatal(err)
	}
	return c, v
}

// docs/scale.md is what the model says of the unit costs that are committed.
func TestPage(t *testing.T) {
	text, err := page(measuredCosts)
	if err != nil {
		t.Fatal(err)
	}
	flagtest.Golden(t, "../docs/scale.md", text)
}

// The simulation goes by the real client's pauses.
func TestPausesAreTheClients(t *testing.T) {
	for _, want := range []struct {
		dir, name string
		value     any
	}{
		{"../client", "firstRetry", firstRetry},
		{"../redisstore", "lookEvery", lookEvery},
		{"../ofrep", "crowd", crowd},
		{"../client", "shortestWindow", shortestWindow},
		{"../client", "longestWindow", longestWindow},
		{"../client", "longestRetry", longestRetry},
		{"../client", "askTimeout", askTimeout},
		{"../redisstore", "defaultTimeout", defaultTimeout},
		{"../redisstore", "defaultWhole", defaultWhole},
	} {
		if got := constant(t, want.dir, want.name); got != want.value {
			t.Errorf("%s.%s is %v, and the simulation has %v", want.dir, want.name, got, want.value)
		}
	}
	if poll := defaultAssumptions().Poll; poll != 5*time.Second {
		t.Errorf("the model polls every %v", poll)
	}
	src := functionText(t, "../client", "jitter")
	if !strings.Contains(src, "d/2") || !strings.Contains(src, "rand.N(d)") {
		t.Errorf("client.jitter is no longer d/2 + rand.N(d)")
	}
}

// constant reads a constant of a package that is not exported: an integer, or an integer
// times a unit of time.
func constant(t *testing.T, dir, name string) any {
	t.Helper()
	var found any
	inspect(t, dir, func(n ast.Node) {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return
		}
		for i, id := range spec.Names {
			if id.Name == name && i < len(spec.Values) {
				found = literal(spec.Values[i])
			}
		}
	})
	if found == nil {
		t.Fatalf("no constant %s in %s", name, dir)
	}
	return found
}

func literal(e ast.Expr) any {
	switch e := e.(type) {
	case *ast.BasicLit:
		n := 0
		for _, r := range strings.ReplaceAll(e.Value, "_", "") {
			n = 10*n + int(r-'0')
		}
		return n
	case *ast.BinaryExpr:
		n, ok := literal(e.X).(int)
		unit, isUnit := e.Y.(*ast.SelectorExpr)
		if !ok || !isUnit {
			return nil
		}
		return time.Duration(n) * map[string]time.Duration{"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute}[unit.Sel.Name]
	}
	return nil
}

func functionText(t *testing.T, dir, name string) string {
	t.Helper()
	text := ""
	inspect(t, dir, func(n ast.Node) {
		if f, ok := n.(*ast.FuncDecl); ok && f.Name.Name == name {
			var b strings.Builder
			ast.Inspect(f, func(n ast.Node) bool {
				if e, ok := n.(*ast.BinaryExpr); ok && e.Op == token.ADD {
					b.WriteString("d/2")
				}
				if c, ok := n.(*ast.CallExpr); ok {
					if s, ok := c.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "N" {
						b.WriteString("rand.N(d)")
					}
				}
				return true
			})
			text = b.String()
		}
	})
	return text
}

func inspect(t *testing.T, dir string, visit func(ast.Node)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Go files in %s: %v", dir, err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool { visit(n); return true })
	}
}

// More of anything never takes less of anything.
func TestMoreTakesMore(t *testing.T) {
	c, _ := costs(t)
	a := defaultAssumptions()
	base := predict(c, a, baseLoad())
	for name, more := range map[string]func(*Load){
		"entries":    func(l *Load) { l.Entries *= 3 },
		"evaluators": func(l *Load) { l.Evaluators *= 3 },
		"changes":    func(l *Load) { l.Changes *= 3 },
		"verify":     func(l *Load) { l.Verify = true },
	} {
		l := baseLoad()
		more(&l)
		got := predict(c, a, l)
		for what, pair := range map[string][2]float64{
			"memory": {base.RedisBytes, got.RedisBytes}, "nodes": {base.RedisNodes, got.RedisNodes}, "change": {base.ChangeBytes, got.ChangeBytes},
			"network": {base.SteadyNetwork * 0.1, got.SteadyNetwork}, // the deep pass takes its time above 10,000 entries
			"told":    {base.TellSeconds, got.TellSeconds}, "ledger": {base.LedgerBytes, got.LedgerBytes},
		} {
			if pair[1] < pair[0] {
				t.Errorf("with more %s, %s falls from %v to %v", name, what, pair[0], pair[1])
			}
		}
	}
	if got := predict(c, a, Load{Entries: 1e6, Environments: 1, Evaluators: 1}); !got.TooLarge {
		t.Error("a spec of a million entries fits")
	}
}

func TestNodesByWhatAsksForTheMost(t *testing.T) {
	c := Costs{EntryBytes: 100, MetaSeconds: 1e-5, FollowerBytes: 1000, FollowerSeconds: 1e-5, ColdPerSecond: 1e5}
	a := defaultAssumptions()
	for _, k := range []struct {
		load Load
		want string
	}{
		{Load{Entries: 1000, Environments: 1, Evaluators: 10}, "one is enough"},
		{Load{Entries: 1e9, Environments: 1e4, Evaluators: 10}, "memory"},
		{Load{Entries: 1000, Environments: 100, Evaluators: 50_000}, "connections"},
	} {
		if got := predict(c, a, k.load); got.NodesFor != k.want {
			t.Errorf("%+v takes %v nodes for %q, want %q", k.load, got.RedisNodes, got.NodesFor, k.want)
		}
	}
}

// What was measured at another size than the unit costs is where the model says, within
// what docs/scale.md admits.
func TestModelBesideTheRealThing(t *testing.T) {
	_, v := costs(t)
	if v.Clients < 200 || v.Entries < 100_000 || len(v.Checks) < 6 {
		t.Fatalf("the model was checked by %d clients and %d entries only, in %d ways", v.Clients, v.Entries, len(v.Checks))
	}
	for _, k := range v.Checks {
		if off := k.Predicted / k.Measured; math.Abs(math.Log2(off)) > 1 {
			t.Errorf("%s: the model says %v, measured %v", k.What, k.Predicted, k.Measured)
		}
	}
}

func TestCommandLine(t *testing.T) {
	say := func(args ...string) (string, error) {
		var out bytes.Buffer
		cmd := command(&out)
		cmd.SetArgs(args)
		cmd.SetErr(&out)
		err := cmd.Execute()
		return out.String(), err
	}
	out, err := say("--entries", "5000", "--environments", "5", "--evaluators", "7", "--json")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines:\n%s", len(lines), out)
	}
	var last struct {
		Format string `json:"format"`
		Load   Load   `json:"load"`
	}
	if err := json.Unmarshal([]byte(lines[2]), &last); err != nil || last.Format != "bench-load/v1" || last.Load.Entries != 500_000 || last.Load.Evaluators != 700 {
		t.Errorf("%v %+v", err, last)
	}
	if out, err := say("--help"); err != nil || !strings.Contains(out, "--node-bytes") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, wrong := range [][]string{{"--entries", "-1"}, {"--no-such"}, {"--environments", "0"}} {
		if _, err := say(wrong...); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", wrong, err)
		}
	}
}

// The real thing, small: what is measured and how.
func TestFeed(t *testing.T) {
	flagtest.Need(t, "redis-server")
	w, err := gather(t.Context(), 200, 10, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	f, err := w.feed(t.Context(), 200)
	if err != nil {
		t.Fatal(err)
	}
	if f.last < f.median || f.spent.out < 10*500 {
		t.Errorf("%+v", f)
	}
	for i, c := range w.clients {
		if c.Snapshot().Generation != 2 {
			t.Errorf("client %d serves generation %d", i, c.Snapshot().Generation)
		}
	}
}
