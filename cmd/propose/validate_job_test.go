package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

// What is untidy in a pull request is told, on its line and in the comment, and fails nothing. A flag
// test that does not hold fails the check.
func TestValidateJobTellsWhatIsUntidy(t *testing.T) {
	flagtest.Need(t, "bash")
	p := newProposer(t)
	p.repo.Write("trust.json", policyOf(t, strings.TrimSuffix(p.key, ".key")+".pub"))
	p.repo.Write("src/a.go", "flags.Enabled(\"reciepts\")\n")
	p.repo.Commit("a policy, and a service")
	p.repo.Push()
	p.repo.Branch("change", "")
	p.must("set", "receipts", "--pct", "35", "--key", p.key)
	p.repo.Commit("raise it")
	summary := filepath.Join(t.TempDir(), "summary")
	env := []string{"VALIDATE_BASE=origin/main", "GITHUB_STEP_SUMMARY=" + summary, "GITHUB_ACTIONS=true", "VALIDATE_SOURCE=src"}

	out, code := script(t, p.repo.Dir, "validate-job", env...)
	for _, want := range []string{
		"::warning file=specs/flags.json,line=", ",title=a flag that should go::receipts: has no owner",
		"::warning file=src/a.go,line=1,title=an unknown flag::the spec has no feature \"reciepts\"",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no annotation %q in\n%s", want, out)
		}
	}
	body := read(t, summary)
	for _, want := range []string{"<summary>Flags that should go, or that nobody answers for</summary>", "receipts: has no owner", "<summary>Flags in the source</summary>", "did you mean \"receipts\"?"} {
		if !strings.Contains(body, want) {
			t.Errorf("the comment has no %q:\n%s", want, body)
		}
	}
	if code != 0 || strings.Contains(body, "✘") {
		t.Errorf("exit %d, and a warning fails the check:\n%s", code, body)
	}

	p.repo.Write("specs/a.test.json", "{\"format\":\"flag-tests/v1\",\n\"cases\":[{\"feature\":\"receipts\",\"users\":{\"count\":1000},\"on\":{\"min\":0,\"max\":1}}]}\n")
	out, code = script(t, p.repo.Dir, "validate-job", env...)
	if code == 0 || !strings.Contains(out, "::error file=specs/a.test.json,line=2,title=case 1::receipts is on for") || !strings.Contains(read(t, summary), "✘ holds its flag tests") {
		t.Errorf("exit %d:\n%s\n%s", code, out, read(t, summary))
	}

	p.repo.Write("specs/flags.json", "{\"version\":\"flags-v1\",\n\"features\":{\"receipts\":{\"pct\":\"90 %\"}}}\n")
	if out, code = script(t, p.repo.Dir, "validate-job", env...); code == 0 || !strings.Contains(out, "::error file=specs/flags.json,line=2,col=") {
		t.Errorf("exit %d, and no annotation for what is not well formed:\n%s", code, out)
	}
}
