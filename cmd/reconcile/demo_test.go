package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// The README's first command tells its whole story, and leaves nothing behind.
func TestDemo(t *testing.T) {
	flagtest.Need(t, "git")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	var out, errs bytes.Buffer
	env := cli.Env{Args: []string{"demo"}, Stdout: &out, Stderr: &errs, Getenv: func(name string) string {
		return map[string]string{"DEMO_EXIT": "1", "HOME": tmp}[name]
	}}
	if err := run(context.Background(), env); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), errs.String())
	}
	for _, want := range []string{"after the push", "refused", "SignatureStale", "put right", "rolled back", "Done."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the story has no %q:\n%s", want, out.String())
		}
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
