// Package rampart holds the rules of this repository that are about the repository itself.
package rampart

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rampart-flags/rampart"

// mayImport is the floor plan of docs/architecture.md: for each package, which of ours it may reach,
// directly or through others. A package that is not listed may reach nothing of ours.
var mayImport = map[string][]string{
	"schema":                      {},
	"internal/cli":                {},
	"internal/wholefile":          {},
	"flags":                       {"schema"},
	"config":                      {"schema"},
	"signing":                     {},
	"pii":                         {"flags", "schema"},
	"migrate":                     {"flags", "schema"},
	"signing/keyless":             {"signing"},
	"signing/keyless/keylesstest": {},
	"trust":                       {"flags", "signing", "schema"},
	"ramp":                        {"flags", "schema"},
	"ramp/evidence":               {"ramp", "flags", "schema"},
	"gitrepo":                     {},
	"gitrepo/forge":               {},
	"redisstore":                  {"flags", "schema"},
	"receipt":                     {"signing", "schema", "internal/wholefile"},
	"reconciler":                  {"schema", "flags", "signing", "trust", "gitrepo", "redisstore", "receipt", "pii", "internal/wholefile"},
	"client":                      {"flags", "redisstore", "signing", "trust", "schema"},
	"client/clienttest":           {"client", "flags", "redisstore", "signing", "trust", "schema"},
	"client/openfeature":          {"client", "flags", "redisstore", "signing", "trust", "schema"},
	"ofrep":                       {"flags", "schema"},
	"notify":                      {"reconciler", "receipt", "flags", "schema", "signing", "trust", "gitrepo", "redisstore", "pii", "internal/wholefile"},
	"console":                     {"reconciler", "receipt", "flags", "schema", "signing", "trust", "gitrepo", "redisstore", "pii", "internal/wholefile"},
}

// separatePowers: who proposes cannot write the store, who applies cannot decide, and who only evaluates
// carries neither git nor signing of keyless identities.
var separatePowers = map[string][]string{
	"cmd/propose":   {"redisstore", "reconciler"},
	"cmd/reconcile": {"ramp", "ramp/evidence"},
	"cmd/evaluate":  {"gitrepo", "reconciler", "ramp", "signing/keyless"},
	"client":        {"signing/keyless", "gitrepo", "reconciler"},
}

// heavy modules and the only packages that may link them.
var onlyIn = map[string][]string{
	"github.com/sigstore/sigstore-go":    {"signing/keyless", "signing/keyless/keylesstest", "cmd/propose", "cmd/reconcile"},
	"github.com/go-git/go-git/v5":        {"gitrepo", "gitrepo/forge", "reconciler", "console", "notify", "internal/flagtest", "cmd/propose", "cmd/reconcile"},
	"gonum.org/v1/plot":                  {"cmd/propose"},
	"go.opentelemetry.io/otel/sdk":       {"cmd/reconcile"},
	"go.opentelemetry.io/otel/exporters": {"cmd/reconcile"},
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.Fields(string(out))
}

// deps are the packages that pkg (a folder of this module) links, itself excluded.
func deps(t *testing.T, pkg string) []string {
	t.Helper()
	all := goList(t, "-deps", "./"+pkg)
	return slices.DeleteFunc(all, func(p string) bool { return p == module+"/"+pkg })
}

func ours(t *testing.T) []string {
	t.Helper()
	var pkgs []string
	for _, p := range goList(t, "./...") {
		if rel, ok := strings.CutPrefix(p, module+"/"); ok {
			pkgs = append(pkgs, rel)
		}
	}
	return pkgs
}

func TestPolicyFloors(t *testing.T) {
	for _, pkg := range ours(t) {
		allowed, listed := mayImport[pkg]
		if !listed {
			if !strings.HasPrefix(pkg, "cmd/") && !strings.HasPrefix(pkg, "internal/") && !strings.HasPrefix(pkg, "examples/") && !strings.HasPrefix(pkg, "bench") && !strings.HasPrefix(pkg, "deploy/") {
				t.Errorf("package %s has no floor: add it to mayImport and to docs/architecture.md", pkg)
			}
			continue
		}
		for _, dep := range deps(t, pkg) {
			rel, our := strings.CutPrefix(dep, module+"/")
			if our && !slices.Contains(allowed, rel) {
				t.Errorf("%s reaches %s, which its floor forbids", pkg, rel)
			}
		}
	}
}

func TestPolicyPowersStaySeparate(t *testing.T) {
	pkgs := ours(t)
	for pkg, forbidden := range separatePowers {
		if !slices.Contains(pkgs, pkg) {
			continue
		}
		linked := deps(t, pkg)
		for _, f := range forbidden {
			if slices.Contains(linked, module+"/"+f) {
				t.Errorf("%s links %s: these are separate powers", pkg, f)
			}
		}
	}
}

func TestPolicyHeavyModules(t *testing.T) {
	for _, pkg := range ours(t) {
		if strings.HasPrefix(pkg, "internal/") {
			continue
		}
		for _, dep := range deps(t, pkg) {
			for mod, homes := range onlyIn {
				if homes != nil && (dep == mod || strings.HasPrefix(dep, mod+"/")) && !slices.Contains(homes, pkg) {
					t.Errorf("%s links %s, which belongs to %s only", pkg, dep, strings.Join(homes, ", "))
				}
			}
		}
	}
}

// The decision packages stay pure: no network, no files, no processes, no log.
func TestPolicyPureFloors(t *testing.T) {
	for _, pkg := range []string{"flags", "trust", "ramp"} {
		for _, imp := range goList(t, "-f", `{{join .Imports "\n"}}`, "./"+pkg) {
			switch imp {
			case "net", "net/http", "os", "os/exec", "log", "log/slog":
				t.Errorf("%s imports %s: a pure package takes values", pkg, imp)
			}
		}
	}
}
