package flagtest

import (
	"os"
	"strings"
	"testing"
)

// Golden fails the test unless the file holds exactly got, and names the first line that differs.
// UPDATE_GOLDEN=1 (make golden) rewrites the file first.
func Golden(t testing.TB, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatalf("rewriting %s: %v", path, err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("reading what is wanted: %v", err)
	}
	has := strings.Split(string(want), "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(has) || has[i] != line {
			t.Fatalf("%s:%d should say %q: run make golden and read the difference", path, i+1, line)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s goes on after its wanted end: run make golden and read the difference", path)
	}
}
