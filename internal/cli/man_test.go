package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPackageFiles(t *testing.T) {
	dir := t.TempDir()
	if _, _, stderr, code := runTree(t, nil, "packaging", dir); code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	for name, want := range map[string][]string{
		"man/man1/tool.1":                     {".TH \"TOOL\" 1", ".SH NAME\ntool \\- ", ".SH COMMANDS", ".SH EXIT STATUS"},
		"bash-completion/completions/tool":    {"__start_tool"},
		"zsh/vendor-completions/_tool":        {"#compdef tool"},
		"fish/vendor_completions.d/tool.fish": {"complete -c tool"},
		"powershell/tool.ps1":                 {"Register-ArgumentCompleter"},
	} {
		src, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			t.Error(err)
		}
		for _, w := range want {
			if !strings.Contains(string(src), w) {
				t.Errorf("%s lacks %q:\n%.600s", name, w, src)
			}
		}
	}
	if got := roff(".TH\n'x \\fB-y"); got != "\\&.TH\n\\&'x \\efB\\-y" {
		t.Errorf("roff text %q", got)
	}
}
