package reconciler

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReasonsInDocs holds the table in docs/reconcile.md to [Reasons].
func TestReasonsInDocs(t *testing.T) {
	var table strings.Builder
	table.WriteString("| Code | | Meaning | What to do |\n|---|---|---|---|\n")
	for _, r := range Reasons {
		do := r.Do
		if do == "" {
			do = "–"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", r.Code, r.Class, r.Meaning, do)
	}
	path := filepath.Join("..", "docs", "reconcile.md")
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(src), "run \"make golden\" -->\n")
	_, tail, ok2 := strings.Cut(rest, "<!-- end of reasons -->")
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", path)
	}
	want := head + "run \"make golden\" -->\n" + table.String() + "<!-- end of reasons -->" + tail
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(src) != want {
		t.Errorf("the table in %s is not the code's: run make golden and read the difference", path)
	}
}

// Every condition stands in the docs.
func TestConditionsInDocs(t *testing.T) {
	src, err := os.ReadFile(filepath.Join("..", "docs", "reconcile.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conditionTypes {
		if !strings.Contains(string(src), fmt.Sprintf("| `%s` |", c)) {
			t.Errorf("docs/reconcile.md does not explain %s", c)
		}
	}
}
