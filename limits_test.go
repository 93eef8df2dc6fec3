package rampart

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// docs/limits.md says of each limit which constant holds it. The numbers are the same.
func TestLimitsAreThoseOfTheSource(t *testing.T) {
	page, err := os.ReadFile("docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| ([^|]+) \\| ([^|]+) \\| `([a-z/]+)\\.(\\w+)` \\| ([^|]+) \\|$").FindAllStringSubmatch(string(page), -1)
	if len(rows) < 30 {
		t.Fatalf("only %d rows were found", len(rows))
	}
	known := map[string]map[string]ast.Expr{}
	for _, row := range rows {
		what, says, pkg, name := row[1], row[2], row[3], row[4]
		if known[pkg] == nil {
			known[pkg] = constants(t, pkg)
		}
		expr, ok := known[pkg][name]
		if !ok {
			t.Errorf("%s: there is no constant %s.%s", what, pkg, name)
			continue
		}
		is, err := evaluate(expr, known[pkg])
		if err != nil {
			t.Errorf("%s: %s.%s: %v", what, pkg, name, err)
			continue
		}
		want, err := spelled(says)
		if err != nil || want != is {
			t.Errorf("%s: the page says %s, %s.%s is %v (%v)", what, says, pkg, name, is, err)
		}
	}
	// A limit of these packages stands on the page, or is none that a person meets.
	quiet := strings.Fields("maxReasonText maxLines maxSkew maxShareRuns maxHaves maxErrorBody maxNewCommits maxValues maxVersion maxRampN maxFields maxFound maxSpec maxTenants")
	for pkg, all := range known {
		if pkg != "flags" && pkg != "gitrepo" && pkg != "cmd/reconcile" {
			continue
		}
		for name := range all {
			if regexp.MustCompile("^(max|Max)[A-Z]").MatchString(name) && !strings.Contains(string(page), "`"+pkg+"."+name+"`") && !strings.Contains(" "+strings.Join(quiet, " ")+" ", " "+name+" ") {
				t.Errorf("%s.%s bounds something that docs/limits.md does not name", pkg, name)
			}
		}
	}
}

// constants are a package's, by name.
func constants(t *testing.T, pkg string) map[string]ast.Expr {
	t.Helper()
	out := map[string]ast.Expr{}
	files, err := filepath.Glob(filepath.Join(pkg, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no source: %v", pkg, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i, name := range v.Names {
					if i < len(v.Values) {
						out[name.Name] = v.Values[i]
					}
				}
			}
		}
	}
	return out
}

// evaluate computes whole numbers, and times in nanoseconds.
func evaluate(e ast.Expr, known map[string]ast.Expr) (float64, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		f, _ := constant.Float64Val(constant.ToFloat(constant.MakeFromLiteral(e.Value, e.Kind, 0)))
		return f, nil
	case *ast.ParenExpr:
		return evaluate(e.X, known)
	case *ast.Ident:
		if other, ok := known[e.Name]; ok {
			return evaluate(other, known)
		}
	case *ast.SelectorExpr:
		if unit, ok := map[string]float64{"Second": 1e9, "Minute": 60e9, "Hour": 3600e9}[e.Sel.Name]; ok {
			return unit, nil
		}
	case *ast.BinaryExpr:
		x, err := evaluate(e.X, known)
		if err != nil {
			return 0, err
		}
		y, err := evaluate(e.Y, known)
		if err != nil {
			return 0, err
		}
		switch e.Op {
		case token.SHL:
			return x * float64(uint64(1)<<uint(y)), nil
		case token.MUL:
			return x * y, nil
		case token.ADD:
			return x + y, nil
		case token.SUB:
			return x - y, nil
		}
	}
	return 0, fmt.Errorf("%T is too much for this test", e)
}

// spelled reads "32 MiB", "100,000", "1 min".
func spelled(text string) (float64, error) {
	number, unit, _ := strings.Cut(strings.TrimSpace(text), " ")
	n, err := strconv.ParseFloat(strings.ReplaceAll(number, ",", ""), 64)
	factor, ok := map[string]float64{"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "s": 1e9, "min": 60e9}[unit]
	if !ok {
		return 0, fmt.Errorf("what is a %q?", unit)
	}
	return n * factor, err
}
