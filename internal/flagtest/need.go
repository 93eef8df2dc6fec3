// Package flagtest builds the world that tests of this project run in: real
// git repositories, a real Redis, keys and a clock. Its functions take a
// testing.TB and fail the test themselves, so that a test reads as the story
// it tells.
package flagtest

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Need skips the test, with a sentence, when one of the programs is not on the
// PATH. Under CI=true a missing program fails the test instead, so that
// nothing is skipped unseen where it counts.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	var missing []string
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing = append(missing, p)
		}
	}
	if len(missing) == 0 {
		return
	}
	list := strings.Join(missing, ", ")
	if os.Getenv("CI") == "true" {
		t.Fatalf("this test needs %s, and CI=true allows no skips", list)
	}
	noteSkip(t, "no "+list+" on the PATH")
	t.Skipf("this test needs %s, not found on the PATH", list)
}

// noteSkip adds a line to the file that RAMPART_TEST_SKIPS names, which
// "make test" shows at its end: a skip that nobody sees is a hole.
func noteSkip(t testing.TB, why string) {
	path := os.Getenv("RAMPART_TEST_SKIPS")
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Logf("noting the skip: %v", err)
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%s: %s\n", t.Name(), why)
}
