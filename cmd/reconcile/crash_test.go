package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

// command is the real command, run as a process of its own.
func command(t *testing.T, s *flagtest.Stage, state string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "reconcile") // TestMain runs the command for this name
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append(args, "--repo", s.Repo.URL(), "--trust", s.Trust, "--redis", s.Redis.URL(), "--state-dir", state)...)
	cmd.Env = append(s.Repo.Env(), "NO_COLOR=1")
	return cmd
}

// wide is a spec of so many entries that it is applied in chunks.
func wide(version string, entries, pct int) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"version\":%q,\"features\":{\"receipts\":{\"pct\":%d,\"tenants\":{", version, pct)
	for i := range entries - 1 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n\"tenant-%05d\":{\"cohorts\":[\"user-%d\"]}", i, (i+pct)%97)
	}
	b.WriteString("}}}}\n")
	return b.String()
}

// wantWhole fails the test unless the namespace holds exactly the spec's entries.
func wantWhole(t *testing.T, s *flagtest.Stage, src string) {
	t.Helper()
	spec, err := flags.Decode("flags.json", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for k, e := range spec.Entries() {
		want[s.NS+k.String()] = string(e.AppendJSON(nil))
	}
	var names []string
	for _, name := range strings.Fields(s.Redis.CLI("--scan", "--pattern", s.NS+"*")) {
		if strings.Count(strings.TrimPrefix(name, s.NS), ":") == 1 {
			names = append(names, name)
		}
	}
	values := strings.Split(s.Redis.CLI(append([]string{"MGET"}, names...)...), "\n")
	wrong := 0
	for i, name := range names {
		if values[i] != want[name] {
			wrong++
		}
		delete(want, name)
	}
	if wrong > 0 || len(want) > 0 {
		t.Errorf("%d entries are wrong and %d are missing, of version %s", wrong, len(want), spec.Version)
	}
	if got := s.Redis.CLI("HGET", s.NS+"meta", "digest"); got != spec.Digest() {
		t.Errorf("meta's digest is %s, want %s", got, spec.Digest())
	}
}

// Whenever the reconciler or Redis is killed, the next pass makes the newest good spec
// live, wholly, under a higher generation, and touches nothing outside the namespace.
func TestKilledAtAnyMoment(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	const entries = 11_000
	s := flagtest.NewStage(t, flagtest.Redis(t), everything)
	state := filepath.Join(t.TempDir(), "state")
	s.Redis.CLI("SET", "outside", "mine")
	s.Redis.CLI("SET", "flags:v2:receipts:__default__", "mine")
	land := func(n int) string {
		src := wide(fmt.Sprintf("flags-v%d", n), entries, n%101)
		s.Repo.Write("specs/flags.json", src)
		s.Sign("alice")
		s.Land("step")
		return src
	}
	once := func(what string) {
		t.Helper()
		if out, err := command(t, s, state, "once").CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%.2000s", what, err, out)
		}
	}
	wantWhole(t, s, func() string { src := land(1); once("the first pass"); return src }())
	land(2)
	started := time.Now()
	once("a pass to measure")
	whole := time.Since(started)
	generation := 2
	for n := 3; n < 13; n++ {
		src := land(n)
		cmd := command(t, s, state, "once")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		moment := time.Duration(rand.Float64() * float64(whole))
		<-time.After(moment)
		victim := "the reconciler"
		if n%3 == 0 {
			victim = "redis"
			s.Redis.Kill()
		} else if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if n%3 == 0 {
			s.Redis.Start() // it kept nothing
			s.Redis.CLI("SET", "outside", "mine")
			s.Redis.CLI("SET", "flags:v2:receipts:__default__", "mine")
		}
		what := fmt.Sprintf("after %s was killed %s into a pass of %s", victim, moment.Round(time.Millisecond), whole.Round(time.Millisecond))
		once(what)
		if wantWhole(t, s, src); t.Failed() {
			t.Fatal(what)
		}
		var now int
		fmt.Sscan(s.Redis.CLI("HGET", s.NS+"meta", "generation"), &now)
		if now != generation+1 {
			t.Errorf("%s: generation %d follows %d", what, now, generation)
		}
		generation = now
	}
	if s.Redis.CLI("GET", "outside") != "mine" || s.Redis.CLI("GET", "flags:v2:receipts:__default__") != "mine" {
		t.Error("a key outside the namespace was touched")
	}
}
