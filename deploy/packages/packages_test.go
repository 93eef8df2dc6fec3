// Package packages holds the tests of what a release is made of: .goreleaser.yaml, the Debian package's scripts and
// units, and that two builds of one commit are alike.
package packages

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

type build struct {
	ID, Main, Binary string
	Flags, Ldflags   []string
	Env              []string
	Timestamp        string `yaml:"mod_timestamp"`
}

type content struct {
	Src, Dst, Type string
}

type release struct {
	Builds   []build
	Archives []struct{ Files []content }
	Nfpms    []struct {
		Scripts  map[string]string
		Contents []content
	}
	Checksum struct {
		Name string `yaml:"name_template"`
	}
	Sboms, Signs []map[string]any
}

func config(t *testing.T) (r release) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, ".goreleaser.yaml")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// Every command is built, in the way that makes two builds alike, and knows its version.
func TestReleaseBuildsEveryCommand(t *testing.T) {
	r := config(t)
	var built []string
	for _, b := range r.Builds {
		built = append(built, b.Main)
		if b.Main != "./cmd/"+b.ID || b.Binary != b.ID || !slices.Contains(b.Flags, "-trimpath") || !slices.Contains(b.Env, "CGO_ENABLED=0") || b.Timestamp == "" {
			t.Errorf("build %+v", b)
		}
		for _, name := range []string{"version", "commit"} {
			if !strings.Contains(strings.Join(b.Ldflags, " "), "internal/cli."+name+"=") || !regexp.MustCompile(`(?m)^var .*\b`+name+`\b.* string`).MatchString(read(t, "internal/cli/version.go")) {
				t.Errorf("%s does not learn its %s", b.ID, name)
			}
		}
	}
	commands, err := filepath.Glob(filepath.Join(root, "cmd", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		if !slices.Contains(built, "./cmd/"+filepath.Base(c)) {
			t.Errorf("cmd/%s is in no release", filepath.Base(c))
		}
	}
	if r.Checksum.Name != "SHA256SUMS" || len(r.Signs) != 1 || len(r.Sboms) != 2 {
		t.Errorf("checksums %q, %d signatures, %d lists of contents", r.Checksum.Name, len(r.Signs), len(r.Sboms))
	}
}

// What packages take is there, goes where Debian wants it, and settings survive an upgrade.
func TestReleaseTakesWhatIsThere(t *testing.T) {
	r := config(t)
	var all []content
	for _, a := range r.Archives {
		all = append(all, a.Files...)
	}
	for _, n := range r.Nfpms {
		all = append(all, n.Contents...)
		for when, path := range n.Scripts {
			if info, err := os.Stat(filepath.Join(root, path)); err != nil || info.Mode()&0o111 == 0 {
				t.Errorf("%s: %s cannot be run: %v", when, path, err)
			}
		}
	}
	if len(all) < 10 {
		t.Fatalf("only %d files", len(all))
	}
	for _, c := range all {
		if strings.HasPrefix(c.Src, "bin/package/") { // made by scripts/release files
			continue
		}
		if found, err := filepath.Glob(filepath.Join(root, c.Src)); err != nil || len(found) == 0 {
			t.Errorf("%s: nothing there, %v", c.Src, err)
		}
		if strings.HasPrefix(c.Dst, "/etc/") && c.Type != "config|noreplace" {
			t.Errorf("%s would be overwritten by an upgrade", c.Dst)
		}
	}
}

// The units run the programs as the user that the package makes.
func TestUnitsRunAsTheirUser(t *testing.T) {
	if !strings.HasPrefix(read(t, "deploy/deb/sysusers.conf"), "u rampart ") {
		t.Error("the package makes another user")
	}
	for _, name := range []string{"reconcile", "evaluate"} {
		unit := read(t, "deploy/systemd/rampart-"+name+".service")
		for _, want := range []string{"\nUser=rampart\n", "\nExecStart=/usr/bin/" + name, "\nEnvironmentFile=/etc/rampart/" + name + ".env\n", "\nNoNewPrivileges=yes\n", "\nProtectSystem=strict\n"} {
			if !strings.Contains(unit, want) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		if out, err := exec.Command("sh", "-n", filepath.Join(root, "deploy/deb", script)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
}

// The same commit built in two places is the same, to the byte.
func TestReproducible(t *testing.T) {
	flagtest.Need(t, "git", "bash", "go", "sha256sum")
	cmd := exec.Command("bash", "scripts/release", "reproducible", "notary")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "./notary") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A release is not made of a commit that is not ready, and says why.
func TestReleaseCheck(t *testing.T) {
	flagtest.Need(t, "bash", "git")
	cmd := exec.Command("bash", "scripts/release", "check", "v0.0.1")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), `CHANGELOG.md has no section "## 0.0.1"`) || !strings.Contains(string(out), "Chart.yaml has another version") {
		t.Errorf("%v\n%s", err, out)
	}
	cmd = exec.Command("bash", "scripts/release", "check", "1.2")
	cmd.Dir = root
	if out, err = cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "1.2 is no version") {
		t.Errorf("%v\n%s", err, out)
	}
}

// dockerBuild is the line of the Dockerfile that builds the commands.
var dockerBuild = regexp.MustCompile(`(?m)^    (go build .*) -o /out/ (.*)$`)

// The image's own line builds, from what .dockerignore leaves, programs that need nothing of a system and know their
// version. One command stands for four: the others are built the same way and take minutes.
func TestDockerfileBuilds(t *testing.T) {
	flagtest.Need(t, "git", "bash", "go")
	src := read(t, "deploy/docker/Dockerfile")
	line := dockerBuild.FindStringSubmatch(src)
	if line == nil || !strings.Contains(src, "CGO_ENABLED=0 GOFLAGS=-trimpath") {
		t.Fatal("the Dockerfile builds in another way")
	}
	for _, c := range []string{"propose", "reconcile", "evaluate", "notary"} {
		if !strings.Contains(line[2], "./cmd/"+c) {
			t.Errorf("the image lacks %s", c)
		}
	}
	for _, want := range []string{"\nFROM scratch\n", "\nUSER 65532:65532\n"} {
		if !strings.Contains(src, want) {
			t.Errorf("the Dockerfile lacks %q", want)
		}
	}
	dir, out := filepath.Join(t.TempDir(), "src"), t.TempDir()
	run := func(in string, args ...string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = in
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath", "VERSION=v1.2.3", "COMMIT="+strings.Repeat("ab", 20),
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, text)
		}
	}
	run(root, "git", "clone", "-q", ".", dir)
	for pattern := range strings.Lines(read(t, ".dockerignore")) {
		name := strings.TrimPrefix(strings.TrimSpace(pattern), "**/")
		run(dir, "find", ".", "-depth", "-name", name, "-exec", "rm", "-rf", "{}", "+")
	}
	run(dir, "bash", "-c", line[1]+" -o "+out+"/ ./cmd/notary")
	for _, c := range []string{"notary"} {
		f, err := elf.Open(filepath.Join(out, c))
		if err != nil {
			t.Skipf("not an ELF system: %v", err)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				t.Errorf("%s needs a loader, and the image has none", c)
			}
		}
		f.Close()
		said, err := exec.Command(filepath.Join(out, c), "--version").Output()
		if err != nil || !strings.HasPrefix(string(said), c+" v1.2.3 (commit abababababab, ") {
			t.Errorf("%s --version says %q, %v", c, said, err)
		}
	}
}
