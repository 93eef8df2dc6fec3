// Package flagtest builds the world that tests of this project run in: real
// git repositories, a real Redis, keys and a clock. Its functions take a
// testing.TB and fail the test themselves, so that a test reads as the story
// it tells.
package flagtest

import (
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
	t.Skipf("this test needs %s, not found on the PATH", list)
}
