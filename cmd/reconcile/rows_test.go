package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/cli"
)

// Colour takes no room, and what comes from a commit cannot bring its own.
func TestRowsAlign(t *testing.T) {
	paint := cli.Env{StdoutTTY: true, Getenv: func(string) string { return "" }}.OutPalette()
	if paint.Red("x") == "x" {
		t.Fatal("the palette paints nothing")
	}
	var out bytes.Buffer
	printRows(&out, [][]string{
		row("%s\t%s\t%s", "Ready", painted(paint.Green("True")), "Live"),
		row("%s\t%s\t%s", "SourceVerified", painted(paint.Red("False")), "evil \x1b[2J"),
		{},
		row("%s\t%s", "a", "b"),
	})
	want := "Ready           True   Live\nSourceVerified  False  evil \\x1b[2J\n\na  b\n"
	if got := colour.ReplaceAllString(out.String(), ""); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if n := strings.Count(out.String(), "\x1b[3"); n != 2 {
		t.Errorf("%d cells are painted, want 2", n)
	}
}
