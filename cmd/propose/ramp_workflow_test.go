package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

const projectRoot = "../.."

// projectDir is projectRoot for tests that go elsewhere.
var projectDir, _ = filepath.Abs(projectRoot)

// job is as much of a workflow or an action as is looked at here.
type job struct {
	Permissions any              `yaml:"permissions"`
	Timeout     int              `yaml:"timeout-minutes"`
	Steps       []map[string]any `yaml:"steps"`
}

// What runs with a token is pinned by commit, has no more rights than it names, and takes no text of
// others' into its shell.
func TestWorkflowsArePinnedAndBounded(t *testing.T) {
	pinned := regexp.MustCompile(`^[A-Za-z0-9_-]+/[A-Za-z0-9_.-]+@[0-9a-f]{40}$`)
	check := func(name string, steps []map[string]any) {
		for _, s := range steps {
			if uses, ok := s["uses"].(string); ok && uses != "./" && !pinned.MatchString(uses) {
				t.Errorf("%s uses %s, want a full commit", name, uses)
			}
			if run, ok := s["run"].(string); ok && strings.Contains(run, "${{") {
				t.Errorf("%s puts an expression into its shell: %s", name, run)
			}
		}
	}
	for _, name := range []string{"ramp.yml", "flags-validate.yml", "flags-toggle.yml"} {
		var w struct {
			Permissions any            `yaml:"permissions"`
			Jobs        map[string]job `yaml:"jobs"`
		}
		readYAML(t, filepath.Join(".github", "workflows", name), &w)
		if w.Permissions == nil || len(w.Jobs) == 0 {
			t.Errorf("%s says nothing of permissions, or has no job", name)
		}
		for id, j := range w.Jobs {
			check(name, j.Steps)
			if j.Timeout == 0 {
				t.Errorf("%s: job %s may run for ever", name, id)
			}
		}
	}
	var a struct {
		Runs job `yaml:"runs"`
	}
	readYAML(t, "action.yml", &a)
	check("action.yml", a.Runs.Steps)
}

func readYAML(t *testing.T, path string, v any) {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(projectRoot, path))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(src, v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// script runs one of the jobs' scripts, as a job does.
func script(t *testing.T, dir, name string, env ...string) (out string, code int) {
	t.Helper()
	cmd := exec.Command("bash", filepath.Join(projectDir, "scripts", name))
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	b, err := cmd.CombinedOutput()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

// The scheduled job, from a key in a secret to a pull request, without anything of GitHub's.
func TestRampJob(t *testing.T) {
	flagtest.Need(t, "bash")
	p := newProposer(t)
	p.repo.Git("remote", "set-url", "origin", p.forge.address()) // by git's own protocol over http, as a job does
	key, err := os.ReadFile(p.key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	now := time.Date(2026, 11, 25, 4, 7, 0, 0, time.UTC)
	write := func(name, body string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(fmt.Sprintf(`{"generated_at":%q,%s}`, now.Add(-time.Minute).Format(time.RFC3339), body)), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	at := " --now " + now.Format(time.RFC3339)
	env := []string{
		"RAMP_KEY=" + string(key), "RAMPART_FORGE=gitea", "RAMPART_FORGE_TOKEN=" + forgeToken,
		"RAMP_COVERAGE=" + write("coverage.json", goodCoverage), "RAMP_SLO=" + write("slo.json", goodSLO),
		"RAMP_ARGS=--feature receipts --max-ups 1" + at, "GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "summary"),
	}
	out, code := script(t, p.repo.Dir, "ramp-job", env...)
	p.wantOpen(1)
	if code != 0 || !strings.Contains(out, "receipts 10 -> 20") || strings.Contains(out, "PRIVATE KEY") {
		t.Fatalf("exit %d:\n%s", code, out)
	}
	summary, err := os.ReadFile(filepath.Join(dir, "summary"))
	if err != nil || !strings.Contains(string(summary), "receipts 10 -> 20") {
		t.Errorf("the job's summary says %q, %v", summary, err)
	}
	p.onBranch("rampart/ramp-prod", `"receipts": { "pct": 20,`)

	// A collector that cannot be asked leaves nothing to decide by: everything holds, and the job does not fail.
	out, code = script(t, p.repo.Dir, "ramp-job", append(env, "RAMP_PROMETHEUS=http://127.0.0.1:1", "RAMP_QUERIES="+write("q.json", `"x":1`), "RAMP_COVERAGE=", "RAMP_SLO=")...)
	if code != 0 || !strings.Contains(out, "nothing was collected") || !strings.Contains(out, "receipts stays at 10 (unknown)") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	p.wantOpen()

	// A dry run writes nothing; a wrong argument fails the job.
	out, code = script(t, p.repo.Dir, "ramp-job", append(env, "RAMP_REACH=--dry-run")...)
	if code != 0 || !strings.Contains(out, "had this not been a dry run") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	if out, code = script(t, p.repo.Dir, "ramp-job", append(env, "RAMP_ARGS=--feature $(touch pwned)")...); code == 0 {
		t.Errorf("an argument that is none: exit %d\n%s", code, out)
	}
	if _, err := os.Stat(filepath.Join(p.repo.Dir, "pwned")); err == nil {
		t.Error("an argument was run")
	}
}

// A pull request that touches the spec: judged by the policy that it would be merged under, and told.
func TestValidateJob(t *testing.T) {
	flagtest.Need(t, "bash")
	p := newProposer(t)
	p.repo.Write("trust.json", policyOf(t, strings.TrimSuffix(p.key, ".key")+".pub"))
	p.repo.Commit("a policy")
	p.repo.Push()
	gh := filepath.Join(t.TempDir(), "gh")
	if err := os.WriteFile(gh, []byte("#!/bin/sh\necho \"$@\" >> \"$GH_LOG\"\ncase \"$*\" in *--jq*) cat \"$GH_LOG.id\" 2>/dev/null;; esac\nfor a; do case \"$a\" in body=@*) cp \"${a#body=@}\" \"$GH_LOG.body\";; esac; done\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	env := []string{"PATH=" + filepath.Dir(gh) + ":" + os.Getenv("PATH"), "GH_LOG=" + log, "COMMENT_ON=acme/flags#7", "VALIDATE_BASE=origin/main"}

	p.repo.Branch("change", "")
	p.must("set", "receipts", "--pct", "35", "--key", p.key)
	p.repo.Commit("raise it")
	out, code := script(t, p.repo.Dir, "validate-job", env...)
	body := read(t, log+".body")
	if code != 0 || !strings.HasPrefix(body, "<!-- rampart:plan -->") || !strings.Contains(body, "25 % of users turned on") ||
		!strings.Contains(body, "✔ well formed") || !strings.Contains(body, "✔ signed by somebody who may make this change") {
		t.Errorf("exit %d:\n%s\ncomment:\n%s", code, out, body)
	}
	if got := read(t, log); !strings.Contains(got, "repos/acme/flags/issues/7/comments -F body=@") {
		t.Errorf("gh was asked\n%s", got)
	}

	// The next run finds its comment and brings it up to date.
	if err := os.WriteFile(log+".id", []byte("4711\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script(t, p.repo.Dir, "validate-job", env...)
	if got := read(t, log); !strings.Contains(got, "-X PATCH repos/acme/flags/issues/comments/4711 -F body=@") {
		t.Errorf("gh was asked\n%s", got)
	}

	// A signer whom only the pull request's own policy knows may nothing; nor does a spec pass that is wrong.
	stranger := filepath.Join(t.TempDir(), "stranger")
	p.must("keygen", "--out", stranger)
	p.must("set", "receipts", "--pct", "90", "--key", stranger+".key")
	p.repo.Write("trust.json", policyOf(t, stranger+".pub"))
	p.repo.Commit("a stranger, with a policy of his own")
	if out, code = script(t, p.repo.Dir, "validate-job", env...); code == 0 || !strings.Contains(read(t, log+".body"), "✘ signed by somebody") {
		t.Errorf("exit %d:\n%s\n%s", code, out, read(t, log+".body"))
	}
	p.repo.Write("specs/flags.json", `{"version":"flags-v1","features":{"receipts":{"pct":"many"}}}`)
	p.repo.Commit("wrong")
	if out, code = script(t, p.repo.Dir, "validate-job", env...); code == 0 || !strings.Contains(read(t, log+".body"), "✘ well formed") {
		t.Errorf("exit %d:\n%s\n%s", code, out, read(t, log+".body"))
	}
}

// policyOf lets the holder of one key do everything.
func policyOf(t *testing.T, pub string) string {
	t.Helper()
	return fmt.Sprintf(`{"version":1,"environment":"prod","signers":{"alice":{"key":%q}},"roles":{"maintainer":{"signers":["alice"],"may":["*"]}}}`, read(t, pub))
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The older workflow's check, against a real Redis and by the real reconciler.
func TestToggleCheck(t *testing.T) {
	flagtest.Need(t, "bash", "git", "go", "sha256sum")
	redis := flagtest.Redis(t)
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "./cmd/reconcile")
	build.Dir = projectRoot
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building reconcile: %v\n%s", err, out)
	}
	var env []string
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); !strings.HasPrefix(name, "GIT_") {
			env = append(env, kv)
		}
	}
	cmd := exec.Command("bash", "scripts/toggle-check")
	cmd.Dir = projectRoot
	cmd.Env = append(env, "PATH="+bin+":"+os.Getenv("PATH"), "REDIS_URL="+redis.URL())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(slices.DeleteFunc(lines, func(l string) bool { return !strings.HasPrefix(l, "ok ") })) != 15 {
		t.Errorf("it checked\n%s", &out)
	}
}
