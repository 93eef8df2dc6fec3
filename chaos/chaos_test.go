package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

func TestMain(m *testing.M) {
	if setting := os.Getenv(gitServerVariable); setting != "" {
		fmt.Fprintln(os.Stderr, serveGit(setting))
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "rampart-chaos-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var (
	binaries string
	built    bool
)

// short are the settings of a run by a test. The commands are built as they are: with
// clocks that can be moved the whole standard library would have to be built anew.
func short(t *testing.T, seed uint64) settings {
	t.Helper()
	flagtest.Need(t, "git", "redis-server")
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if !built {
		if _, err := build(root, binaries, false, "reconcile", "propose", "evaluate", "notary"); err != nil {
			t.Fatal(err)
		}
		built = true
	}
	out, err := os.MkdirTemp("", "rampart-chaos")
	if err != nil {
		t.Fatal(err)
	}
	if keep := os.Getenv("RAMPART_CHAOS_OUT"); keep != "" {
		os.RemoveAll(out)
		out = filepath.Join(keep, t.Name())
		if err := os.MkdirAll(out, 0o755); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Cleanup(func() {
			if !t.Failed() {
				os.RemoveAll(out)
			}
		})
	}
	return settings{seed: seed, root: root, bin: binaries, out: out, keep: true}
}

// A fixed seed, for about half a minute: what CI runs.
func TestChaos(t *testing.T) {
	s := short(t, 42)
	s.length, s.storm = 20*time.Second, 10*time.Second
	var out bytes.Buffer
	err := s.run(t.Context(), &out)
	if err != nil {
		t.Fatalf("%v; the trace and the logs are in %s\n%s", err, s.out, out.String())
	}
	src, err := os.ReadFile(filepath.Join(s.out, "trace.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var last line
	all := strings.Split(strings.TrimSpace(string(src)), "\n")
	for _, text := range all {
		if err := json.Unmarshal([]byte(text), &last); err != nil || last.Format != traceFormat {
			t.Fatalf("the trace has a line that is none: %v in %s", err, text)
		}
	}
	if last.Kind != "figures" {
		t.Errorf("the trace ends with %q, not with the figures", last.Kind)
	}
}

// What somebody does to a world that nobody excuses must be seen, or the run above
// proves nothing.
func TestCheckerSees(t *testing.T) {
	s := short(t, 1)
	s.alone = true
	tr, err := newTrace(filepath.Join(s.out, "trace.jsonl"), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	w, err := newWorld(s, tr)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	c, err := newChecker(w)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.plant(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	r, err := newReaders(c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if _, ok := c.calm(t.Context(), r); !ok {
		t.Fatalf("the world does not come up: %v", tr.broken)
	}
	if err := w.people.good(7); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.calm(t.Context(), r); !ok || tr.isBroken() {
		t.Fatalf("a good commit is not live: %v", tr.broken)
	}
	w.procs["a"].kill() // from here on nobody puts anything right
	for _, bad := range []struct {
		invariant string
		do        []any
		undo      []any
	}{
		{invWhole, []any{"SET", namespace + "alpha:acme", `{"version":"v1","enabled":true,"ramp_pct":77,"cohorts":[]}`}, nil},
		{invRising, []any{"HSET", namespace + "meta", "generation", "1"}, nil},
		{invVerified, []any{"HSET", namespace + "meta", "digest", "sha256:00"}, nil},
		{invWhole, []any{"DEL", namespace + "meta"}, nil},
		{invOutside, []any{"DEL", "flags:v1x:alpha:acme"}, nil},
		{invOutside, []any{"PERSIST", mortal}, nil},
	} {
		tr.broken = nil
		dump := w.rdb.Dump(t.Context(), fmt.Sprint(bad.do[1])).Val()
		if err := w.rdb.Do(t.Context(), bad.do...).Err(); err != nil {
			t.Fatal(err)
		}
		c.sample(t.Context())
		if len(tr.broken) == 0 || !named(tr.broken, bad.invariant) {
			t.Errorf("after %v nobody says that %q is broken: %v", bad.do, bad.invariant, tr.broken)
		}
		if err := w.rdb.RestoreReplace(t.Context(), fmt.Sprint(bad.do[1]), 0, dump).Err(); err != nil {
			t.Fatal(err)
		}
	}
	missing(t, c)
}

func named(all []line, invariant string) bool {
	for _, l := range all {
		// A forged generation has no attestation either, so it may be named as unverified.
		if l.What == invariant || invariant == invRising && l.What == invVerified {
			return true
		}
	}
	return false
}

// missing takes away what the checks at the end look for.
func missing(t *testing.T, c *checker) {
	t.Helper()
	c.w.trace.broken = nil
	c.mu.Lock()
	c.stoodFor[99] = "sha256:ff" // was live, and no ledger knows of it
	c.mu.Unlock()
	c.receipts()
	if !named(c.w.trace.broken, invReceipts) {
		t.Errorf("nobody misses the receipt of a generation that was live: %v", c.w.trace.broken)
	}
	c.w.trace.broken = nil
	if why := c.apart(context.Background(), &readers{c: c}); !strings.Contains(why, "a is not ready") {
		t.Errorf("nobody misses a reconciler that is gone: %q", why)
	}
}

func TestScheduleFollowsFromSeed(t *testing.T) {
	const length, storm = time.Hour, 25 * time.Second
	one, again, other := schedule(42, length, storm), schedule(42, length, storm), schedule(43, length, storm)
	if !reflect.DeepEqual(one, again) {
		t.Error("the same seed gives two schedules")
	}
	if reflect.DeepEqual(one, other) {
		t.Error("two seeds give the same schedule")
	}
	seen := map[string]bool{}
	for _, r := range one {
		busy := map[string]time.Duration{}
		for _, a := range r.Actions {
			seen[a.Do] = true
			if a.To != "" && a.At < busy[a.To] {
				t.Errorf("%s has two faults at once: %v at %v", a.To, a, a.At)
			}
			busy[a.To] = a.At + a.For
			if byPeople[a.Do] == nil && byFault[a.Do] == nil {
				t.Errorf("nobody can do %q", a.Do)
			}
		}
	}
	for _, d := range deeds {
		if !seen[d.do] {
			t.Errorf("an hour of the schedule has no %q", d.do)
		}
	}
}

func TestMemoryThatGrowsIsSeen(t *testing.T) {
	tr, err := newTrace(filepath.Join(t.TempDir(), "trace.jsonl"), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	u := newUsages(&world{trace: tr, names: []string{"a", "b"}})
	for i := range 300 {
		age := time.Duration(i) * time.Second
		u.by["a/1"] = append(u.by["a/1"], usage{age, 50 << 10, 20})
		u.by["b/1"] = append(u.by["b/1"], usage{age, 50<<10 + i<<8, 20 + i/4})
	}
	u.figures()
	if len(tr.broken) != 2 {
		t.Fatalf("b grew in memory and in descriptors, a did not: %v", tr.broken)
	}
	for _, b := range tr.broken {
		if b.What != invFlat || !strings.Contains(fmt.Sprint(b.Detail), "b/1") {
			t.Errorf("%v", b)
		}
	}
}
