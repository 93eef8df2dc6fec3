// Package composetest loads deploy/compose.yaml with Compose's own code, which holds it to the Compose specification's
// schema. It is a module of its own, so that nobody else downloads Compose.
package composetest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func load(t *testing.T, profiles []string, env ...string) (*types.Project, error) {
	t.Helper()
	opt, err := cli.NewProjectOptions([]string{filepath.Join("..", "compose.yaml")}, cli.WithEnv(env), cli.WithProfiles(profiles))
	if err != nil {
		t.Fatal(err)
	}
	return opt.LoadProject(t.Context())
}

const repo = "FLAGS_REPO=https://git.example/flags"

func TestComposeHoldsTheSpecification(t *testing.T) {
	p, err := load(t, []string{"*"}, repo)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"evaluate", "grafana", "notary", "prometheus", "reconcile", "redis"}; !slices.Equal(p.ServiceNames(), want) {
		t.Errorf("services %v, want %v", p.ServiceNames(), want)
	}
	for name, s := range p.Services {
		if strings.HasSuffix(s.Image, ":latest") && !strings.HasPrefix(s.Image, "rampart") {
			t.Errorf("%s takes whatever %s is today", name, s.Image)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s opens %s to everybody", name, port.Published)
			}
		}
		for _, v := range s.Volumes {
			if v.Type == "bind" && !strings.HasSuffix(v.Source, "trust.json") {
				if _, err := os.Stat(v.Source); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if strings.HasPrefix(s.Image, "rampart") && (!s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true")) {
			t.Errorf("%s has more rights than it needs", name)
		}
	}
	if got := p.Services["redis"].Command; !slices.Contains(got, "noeviction") {
		t.Errorf("Redis may delete flags: %v", got)
	}
}

// What is not asked for does not run, and what is missing is said.
func TestComposeProfiles(t *testing.T) {
	p, err := load(t, nil, repo)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"evaluate", "reconcile", "redis"}; !slices.Equal(p.ServiceNames(), want) {
		t.Errorf("services %v, want %v", p.ServiceNames(), want)
	}
	if _, err := load(t, nil); err == nil || !strings.Contains(err.Error(), "FLAGS_REPO") {
		t.Errorf("without a repository: %v", err)
	}
}
