package flags_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/flags"
)

const (
	limit = 32 << 20
	all   = 1 << 30
)

func wrap(feature string) []byte {
	return []byte(`{"version":"flags-v1","features":{"receipts":{` + feature + `}}}`)
}

// many repeats item, with commas and a number for each #, up to nearly the
// size limit.
func many(item string, most int) string {
	parts := strings.Split(item, "#")
	var b []byte
	for i := 0; i < most && len(b) < limit-1000; i++ {
		if i > 0 {
			b = append(b, ',')
		}
		for j, part := range parts {
			if j > 0 {
				b = strconv.AppendInt(b, int64(i), 10)
			}
			b = append(b, part...)
		}
	}
	return string(b)
}

// hostile are documents made to cost their reader time or memory.
func hostile() map[string]func() []byte {
	return map[string]func() []byte{
		"33 MiB of spaces":            func() []byte { return bytes.Repeat([]byte{' '}, 33<<20) },
		"32 MiB of spaces":            func() []byte { return bytes.Repeat([]byte{' '}, limit) },
		"33 MiB of spec":              func() []byte { return append(wrap(`"description":"`+strings.Repeat("x", limit)+`"`), '\n') },
		"32 MiB of brackets":          func() []byte { return bytes.Repeat([]byte{'['}, limit) },
		"32 MiB of braces":            func() []byte { return []byte(strings.Repeat(`{"a":`, limit/5)) },
		"32 MiB of quotes":            func() []byte { return bytes.Repeat([]byte{'"'}, limit) },
		"32 MiB of backslashes":       func() []byte { return append([]byte{'"'}, bytes.Repeat([]byte{'\\'}, limit-1)...) },
		"a name of 32 MiB":            func() []byte { return []byte(`{"` + strings.Repeat("a", limit-10) + `":1}`) },
		"a string of 32 MiB":          func() []byte { return wrap(`"description":"` + strings.Repeat("x", limit-100) + `"`) },
		"a cohort of 32 MiB":          func() []byte { return wrap(`"cohorts":["` + strings.Repeat("x", limit-100) + `"]`) },
		"a number of a megabyte":      func() []byte { return wrap(`"pct":` + strings.Repeat("1", 1<<20)) },
		"a fraction of a megabyte":    func() []byte { return wrap(`"pct":1.` + strings.Repeat("0", 1<<20)) },
		"an exponent of a megabyte":   func() []byte { return wrap(`"pct":1e` + strings.Repeat("9", 1<<20)) },
		"a million monstrous numbers": func() []byte { return wrap(`"ramp":{"steps":[` + many("1e999", 1<<20) + `]}`) },
		"a million large numbers":     func() []byte { return wrap(`"ramp":{"steps":[` + many("1e300", 1<<20) + `]}`) },
		"a million small numbers":     func() []byte { return wrap(`"ramp":{"guards":{` + many(`"x#":1e-300`, 1<<20) + `}}`) },
		"a million names":             func() []byte { return wrap(many(`"x#":1`, 1<<20)) },
		"a million names at the top":  func() []byte { return []byte("{" + many(`"x#":1`, 1<<20) + "}") },
		"400,000 unknown fields":      func() []byte { return wrap(many(`"x#":1`, 400_000)) },
	}
}

// hostileSpecs look like specs.
func hostileSpecs() map[string]func() []byte {
	return map[string]func() []byte{
		"a million features": func() []byte { return []byte(`{"version":"v","features":{` + many(`"f#":{}`, 1<<20) + `}}`) },
		"490,000 features": func() []byte {
			return []byte(`{"version":"v","features":{` + many(`"f#":{}`, 490_000) + `}}`)
		},
		"400,000 bad features": func() []byte {
			return []byte(`{"version":"v","features":{` + many(`"f#":{"pct":-1}`, 400_000) + `}}`)
		},
		"400,000 bad names": func() []byte {
			return []byte(`{"version":"v","features":{` + many(`"F#":{"pct":1}`, 400_000) + `}}`)
		},
		"490,000 tenants":          func() []byte { return wrap(`"tenants":{` + many(`"t#":{"pct":5}`, 490_000) + `}`) },
		"400,000 bad tenants":      func() []byte { return wrap(`"tenants":{` + many(`"t#":{"pct":"#"}`, 400_000) + `}`) },
		"a million tenants":        func() []byte { return wrap(`"tenants":{` + many(`"t#":{}`, 1<<20) + `}`) },
		"a million members":        func() []byte { return wrap(`"cohorts":[` + many(`"u#"`, 1<<20) + `]`) },
		"16 million bad members":   func() []byte { return wrap(`"cohorts":[` + many("1", all) + `]`) },
		"10 million empty members": func() []byte { return wrap(`"cohorts":[` + many(`""`, all) + `]`) },
		"16 million bad steps":     func() []byte { return wrap(`"ramp":{"steps":[` + many("-1", all) + `]}`) },
		"lists of lists":           func() []byte { return wrap(`"ramp":{"waves":[` + many(`[[[[[[[[1]]]]]]]]`, all) + `]}`) },
		"a million empty objects":  func() []byte { return wrap(`"ramp":{"freeze":[` + many(`{}`, all) + `]}`) },
		"16 million at the top":    func() []byte { return []byte(`[` + many("1", all) + `]`) },
		"features of 16 million":   func() []byte { return []byte(`{"version":"v","features":[` + many("1", all) + `]}`) },
		"segments multiplied": func() []byte {
			return []byte(`{"version":"v","segments":{"big":[` + many(`"u#"`, 99_000) + `]},"features":{` +
				many(`"f#":{"cohorts":["@big","#"]}`, 100_000) + `}}`)
		},
		"segments repeated": func() []byte {
			return []byte(`{"version":"v","segments":{"big":[` + many(`"u#"`, 99_000) + `]},"features":{"f":{"cohorts":[` +
				many(`"@big"`, all) + `]}}}`)
		},
		"a segment inherited": func() []byte {
			return []byte(`{"version":"v","segments":{"big":[` + many(`"u#"`, 99_000) + `]},"features":{"f":{"cohorts":["@big"],"tenants":{` +
				many(`"t#":{"pct":1}`, 400_000) + `}}}}`)
		},
		"a million unknown segments": func() []byte { return wrap(`"cohorts":[` + many(`"@s#"`, 99_000) + `]`) },
		"a million segments": func() []byte {
			return []byte(`{"version":"v","segments":{` + many(`"s#":[]`, 1<<20) + `},"features":{}}`)
		},
		"a million bad segments": func() []byte {
			return []byte(`{"version":"v","segments":{` + many(`"s#":1`, 400_000) + `},"features":{}}`)
		},
		"escapes":                 func() []byte { return wrap(`"description":"` + strings.Repeat(`\u0041`, (limit-100)/6) + `"`) },
		"a version of a megabyte": func() []byte { return []byte(`{"version":"v` + strings.Repeat("+ramp", 1<<18) + `","features":{}}`) },
	}
}

// Whatever is in a file, the process that reads it stays within 300 MB: each
// document is read by a process of its own, whose largest size the system
// tells. The time follows from it, since nothing is read twice; it is logged,
// not asserted, because a busy machine has its own idea of a second.
func TestHostileDocumentsStayWithinBounds(t *testing.T) {
	const most = 300 << 20
	dir := t.TempDir()
	documents := hostile()
	maps.Copy(documents, hostileSpecs())
	for name, text := range documents {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, "hostile.json")
			if err := os.WriteFile(file, text(), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestReadHostile$")
			cmd.Env = append(os.Environ(), hostileFile+"="+file)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("reading it: %v\n%.2000s", err, out)
			}
			answer, _, _ := strings.Cut(string(out), "\nVmHWM:")
			if accepted := strings.HasPrefix(answer, "accepted"); accepted != strings.HasPrefix(name, "490,000 tenants") {
				t.Errorf("%.300s", answer)
			}
			if len(answer) > 64<<10 {
				t.Errorf("an error of %d bytes: %.300s", len(answer), answer)
			}
			_, size, ok := strings.Cut(string(out), "\nVmHWM:")
			var kilobytes int
			if _, err := fmt.Sscan(size, &kilobytes); err != nil || !ok {
				t.Skip("this system does not tell how large a process was")
			}
			used := kilobytes << 10
			t.Logf("%d MB, %v: %.150s", used>>20, cmd.ProcessState.UserTime(), answer)
			if used > most && !raceDetector { // the race detector takes several times as much
				t.Errorf("the process grew to %d MB", used>>20)
			}
		})
	}
}

const hostileFile = "RAMPART_TEST_HOSTILE_FILE"

// TestReadHostile is the process that reads one of them.
func TestReadHostile(t *testing.T) {
	file := os.Getenv(hostileFile)
	if file == "" {
		t.Skip("runs as a part of TestHostileDocumentsStayWithinBounds")
	}
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := flags.Decode("hostile.json", src)
	if err != nil {
		fmt.Println(err)
	} else {
		fmt.Println("accepted", spec.Len())
	}
	status, _ := os.ReadFile("/proc/self/status") // Linux only
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM:") {
			fmt.Print(line)
		}
	}
}
