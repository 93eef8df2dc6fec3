package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// A repository that init --github makes validates, signs, plans and ramps from its first push: real git,
// the real reconciler, a real Redis, and the jobs' own scripts with what the workflows give them.
func TestStarterFromFirstPushToRamp(t *testing.T) {
	flagtest.Need(t, "bash", "go")
	reconcile := filepath.Join(t.TempDir(), "reconcile")
	goTool(t, os.Environ(), "build", "-o", reconcile, "./cmd/reconcile")
	repo := flagtest.Repo(t)
	repo.Setenv()
	t.Setenv("COSIGN_PASSWORD", "sesame")
	p := &proposer{t: t, repo: repo, forge: startGitea(t, repo), key: filepath.Join(t.TempDir(), "alice.key")}
	t.Chdir(repo.Dir)
	p.must("init", "--github", "--repository", "acme/flags", "--action", strings.Repeat("0123456789", 4), "--key", p.key)
	repo.Commit("flags: a repository of flags")
	repo.Push()

	live := newLiveSide(t, repo, reconcile)
	live.once("generation 1")
	p.must("set", "receipts", "--new", "--pct", "10", "--key", p.key)
	repo.Write("specs/flags.json", strings.Replace(repo.Read("specs/flags.json"), `"pct": 10`, `"pct": 10, "ramp": {}`, 1))
	p.must("sign", "--key", p.key)
	repo.Commit("a feature that ramps")
	repo.Push()
	live.once("generation 2")
	live.want("receipts", `"ramp_pct":10`)

	// The nightly job, with the bot's key as the secret holds it, a day and more later.
	key := read(t, filepath.Join(filepath.Dir(p.key), filepath.Base(repo.Dir)+"-ramp.key"))
	repo.Git("remote", "set-url", "origin", p.forge.address())
	now := time.Now().UTC()
	dir := t.TempDir()
	for name, body := range map[string]string{"coverage.json": `"tenants":{"__default__":97.2}`, "slo.json": goodSLO} {
		text := fmt.Sprintf(`{"generated_at":%q,%s}`, now.Format(time.RFC3339), body)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, code := script(t, repo.Dir, "ramp-job", "RAMP_KEY="+key, "RAMPART_FORGE=gitea", "RAMPART_FORGE_TOKEN="+forgeToken,
		"RAMP_COVERAGE="+filepath.Join(dir, "coverage.json"), "RAMP_SLO="+filepath.Join(dir, "slo.json"))
	if code != 0 || !strings.Contains(out, "receipts 10 -> 20") {
		t.Fatalf("the ramp's job: exit %d\n%s", code, out)
	}
	p.wantOpen(1)

	// Its pull request passes the check that the branch asks for, a person merges it, and it goes live.
	repo.Git("fetch", "-q", "origin", "rampart/ramp-prod")
	repo.Git("checkout", "-q", "--detach", "FETCH_HEAD")
	if out, code := script(t, repo.Dir, "validate-job", "VALIDATE_BASE=main"); code != 0 || !strings.Contains(out, "allowed: reconcile will accept this change") {
		t.Fatalf("the check of the pull request: exit %d\n%s", code, out)
	}
	p.forge.mergeWithGit(p.forge.pulls[0])
	live.refuses("TooSoon") // the bot may step once an hour, and the person's step is seconds old
	live.policy(strings.Replace(repo.Read("trust.json"), `"min_interval": "1h"`, `"min_interval": "1ms"`, 1))
	live.once("generation 3")
	live.want("receipts", `"ramp_pct":20`)
}

// liveSide is the reconciler's command, a Redis, and the copy of the policy that it was given.
type liveSide struct {
	t     *testing.T
	redis *flagtest.RedisServer
	args  []string
	cmd   string
	trust string
}

func (l *liveSide) policy(src string) {
	l.t.Helper()
	if err := os.WriteFile(l.trust, []byte(src), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func newLiveSide(t *testing.T, repo *flagtest.GitRepo, cmd string) *liveSide {
	l := &liveSide{t: t, redis: flagtest.Redis(t), cmd: cmd}
	l.trust = filepath.Join(t.TempDir(), "trust.json")
	l.policy(repo.Read("trust.json"))
	l.args = []string{"once", "--repo", repo.URL(), "--trust", l.trust, "--redis", l.redis.URL(), "--state-dir", filepath.Join(t.TempDir(), "state")}
	return l
}

// once makes one pass, which must say this.
func (l *liveSide) once(want string) {
	l.t.Helper()
	out, err := exec.Command(l.cmd, l.args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		l.t.Fatalf("reconcile once: %v, want %s\n%s", err, want, out)
	}
}

// refuses makes one pass, which must not take the newest commit.
func (l *liveSide) refuses(code string) {
	l.t.Helper()
	out, err := exec.Command(l.cmd, l.args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), code) {
		l.t.Fatalf("reconcile once: %v, want %s\n%s", err, code, out)
	}
}

func (l *liveSide) want(feature, want string) {
	l.t.Helper()
	if got := l.redis.CLI("GET", "flags:v1:"+feature+":__default__"); !strings.Contains(got, want) {
		l.t.Fatalf("live: %s, want %s", got, want)
	}
}

// What is written runs at GitHub as it stands: actionlint finds nothing, everything is pinned by commit, the
// required checks are jobs that there are and that run on every pull request.
func TestStarterWorkflows(t *testing.T) {
	mine := os.Environ()
	repo := flagtest.Repo(t)
	repo.Setenv()
	t.Setenv("COSIGN_PASSWORD", "sesame")
	p := &proposer{t: t, repo: repo}
	t.Chdir(repo.Dir)
	p.must("init", "--github", "--repository", "acme/flags", "--action", strings.Repeat("0123456789", 4), "--key", filepath.Join(t.TempDir(), "alice.key"))

	files, err := filepath.Glob(filepath.Join(repo.Dir, ".github", "workflows", "*.yml"))
	if err != nil || len(files) != 3 {
		t.Fatalf("workflows %v, %v", files, err)
	}
	goTool(t, mine, append([]string{"tool", "-modfile=" + filepath.Join(projectDir, "tools", "go.mod"), "actionlint"}, files...)...)
	pinned := regexp.MustCompile(`^[A-Za-z0-9_-]+/[A-Za-z0-9_.-]+@[0-9a-f]{40}$`)
	jobs := map[string]bool{}
	for _, file := range files {
		var w struct {
			On   any            `yaml:"on"`
			Jobs map[string]job `yaml:"jobs"`
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &w); err != nil {
			t.Fatal(err)
		}
		for id, j := range w.Jobs {
			if on, ok := w.On.(map[string]any); ok {
				filter, asked := on["pull_request"]
				jobs[id] = asked && filter == nil
			}
			for _, s := range j.Steps {
				if uses, ok := s["uses"].(string); ok && !pinned.MatchString(uses) {
					t.Errorf("%s uses %s", filepath.Base(file), uses)
				}
			}
		}
	}
	var rules struct {
		Rules []struct {
			Type       string
			Parameters struct {
				Checks []struct{ Context string } `json:"required_status_checks"`
			}
		}
	}
	if err := json.Unmarshal([]byte(repo.Read(".github/rulesets/main.json")), &rules); err != nil {
		t.Fatal(err)
	}
	required := 0
	for _, r := range rules.Rules {
		for _, c := range r.Parameters.Checks {
			required++
			if !jobs[c.Context] {
				t.Errorf("the check %q is required, and no job of that name runs on every pull request", c.Context)
			}
		}
	}
	if required != 2 {
		t.Errorf("%d checks are required", required)
	}
}

// goTool runs the go command in this project, with the caches that environ names.
func goTool(t *testing.T, environ []string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = projectDir, environ
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
