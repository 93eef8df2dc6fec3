package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
)

// What a spec says ends up in a comment that people read: it must stay text, in its cell.
func TestMarkdownStaysText(t *testing.T) {
	for in, want := range map[string]struct{ code, text string }{
		"":                   {"", ""},
		"plain":              {"`plain`", "plain"},
		"a|b":                {"`a\\|b`", "a\\|b"},
		"``x`":               {"``` ``x` ```", "\\`\\`x\\`"},
		"two\nlines":         {"`two lines`", "two lines"},
		"@team #1":           {"`@team #1`", "@\u200bteam \\#\u200b1"},
		"<b>[x](http://e.g)": {"`<b>[x](http://e.g)`", "\\<b\\>\\[x\\]\\(http://e.g\\)"},
		"\x1b[31m":           {"`\\x1b[31m`", "\\\\x1b\\[31m"},
	} {
		if got := mdCode(in); got != want.code {
			t.Errorf("mdCode(%q) = %q, want %q", in, got, want.code)
		}
		if got := mdText(in); got != want.text {
			t.Errorf("mdText(%q) = %q, want %q", in, got, want.text)
		}
		for _, got := range []string{mdCode(in), mdText(in)} {
			if strings.Contains(got, "\n") || strings.Contains(strings.ReplaceAll(got, `\|`, ""), "|") {
				t.Errorf("%q leaves its cell: %q", in, got)
			}
		}
	}
}

// A comment has a largest size, however much a pull request changes.
func TestMarkdownIsBounded(t *testing.T) {
	from := mustDecode(t, `{"version": "flags-v1", "features": {"big": {"pct": 1}}}`)
	to := mustDecode(t, string(largeSpec(5000)))
	md := newDifference("a", from, "b", to).markdown()
	shown := strings.Count(md, "\n| ") - 2 // without the two heads
	rest := fmt.Sprintf("… and %d more changes.", len(flags.Diff(from, to))-maxRows)
	if len(md) > 65_000 || shown > 2*maxRows || !strings.Contains(md, rest) || !strings.HasPrefix(md, planMark) {
		t.Errorf("%d bytes, %d rows, want %q:\n%.1000s", len(md), shown, rest, md)
	}
}
