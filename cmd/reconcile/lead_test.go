package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/reconciler"
	"github.com/rampart-flags/rampart/trust"
)

// instance is one reconcile run among several, a process of its own.
type instance struct {
	t       *testing.T
	name    string
	state   string
	address string
	args    []string
	stage   *flagtest.Stage
	cmd     *exec.Cmd
	said    *flagtest.Buffer
}

// launch starts an instance and waits until it serves.
func launch(t *testing.T, s *flagtest.Stage, name string, args ...string) *instance {
	t.Helper()
	i := &instance{t: t, name: name, state: filepath.Join(t.TempDir(), name), args: args, stage: s}
	i.start()
	t.Cleanup(func() {
		i.kill()
		if t.Failed() {
			t.Logf("%s said\n%s", name, i.said)
		}
	})
	return i
}

func (i *instance) start() {
	i.t.Helper()
	note := filepath.Join(i.state, runningName)
	_ = os.Remove(note) // one that was killed left it
	args := append([]string{"run", "--name", i.name, "--listen", "127.0.0.1:0", "--interval", "1s"}, i.args...)
	i.cmd = command(i.t, i.stage, i.state, args...)
	i.cmd.Env = append(i.cmd.Env, "RAMPART_ADMIN_TOKEN=0123456789abcdef")
	i.said = &flagtest.Buffer{}
	i.cmd.Stdout, i.cmd.Stderr = i.said, i.said
	if err := i.cmd.Start(); err != nil {
		i.t.Fatal(err)
	}
	flagtest.Eventually(i.t, i.name+" to serve", func() bool {
		var err error
		i.address, err = runningAddress(i.state)
		return err == nil
	})
}

func (i *instance) signal(s os.Signal) {
	i.t.Helper()
	if err := i.cmd.Process.Signal(s); err != nil {
		i.t.Fatal(err)
	}
}

func (i *instance) kill() {
	_ = i.cmd.Process.Kill()
	_ = i.cmd.Wait()
}

// stop ends it as a person or Kubernetes does.
func (i *instance) stop() {
	i.t.Helper()
	i.signal(syscall.SIGTERM)
	if err := i.cmd.Wait(); err != nil {
		i.t.Errorf("%s ended with %v\n%s", i.name, err, i.said)
	}
}

func (i *instance) status() *reconciler.Status {
	body, err := ask(i.t.Context(), i.address, "/api/v1/status")
	if err != nil {
		return &reconciler.Status{}
	}
	s, err := parseStatus(body)
	if err != nil {
		i.t.Fatal(err)
	}
	return s
}

// until waits until the instance has a role and knows a generation as live.
func (i *instance) until(role string, generation uint64) *reconciler.Status {
	i.t.Helper()
	var s *reconciler.Status
	flagtest.Eventually(i.t, fmt.Sprintf("%s to be %s of generation %d", i.name, role, generation), func() bool {
		s = i.status()
		return s.Role == role && s.Verified != nil && s.Verified.Generation == generation && s.Applied != nil && s.Applied.Generation == generation && s.HeadLive
	})
	return s
}

// post sends a command as whoever has the token does.
func (i *instance) post(route string, body []byte) (int, string) {
	i.t.Helper()
	req, err := http.NewRequestWithContext(i.t.Context(), http.MethodPost, "http://"+i.address+route, bytes.NewReader(body))
	if err != nil {
		i.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer 0123456789abcdef")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		i.t.Fatal(err)
	}
	defer res.Body.Close()
	out, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(out)
}

func small(version string, pct int) string {
	return fmt.Sprintf(`{"version":%q,"features":{"receipts":{"pct":%d}}}`+"\n", version, pct)
}

// lands signs a spec and pushes it.
func lands(s *flagtest.Stage, src string) string {
	s.Repo.Write("specs/flags.json", src)
	s.Sign("alice")
	s.Land("step")
	return src
}

// Two instances: whatever becomes of the leader, the other goes on where it stopped.
func TestAnotherTakesOver(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	s := flagtest.NewStage(t, flagtest.Redis(t), everything)
	lands(s, small("flags-v1", 1))
	lease := 2 * time.Second
	a := launch(t, s, "a", "--lease", lease.String())
	a.until(reconciler.RoleLeader, 1)
	b := launch(t, s, "b", "--lease", lease.String())
	if st := b.until(reconciler.RoleFollower, 1); st.Leader == nil || st.Leader.Name != "a" || st.Leader.Address != a.address {
		t.Errorf("b says that %+v leads", st.Leader)
	}
	if body, err := ask(t.Context(), b.address, "/readyz"); err != nil || !strings.Contains(string(body), `"ready":true`) {
		t.Errorf("b is not ready: %s, %v", body, err)
	}
	if body, err := ask(t.Context(), b.address, "/metrics"); err != nil || !strings.Contains(string(body), "\nrampart_leader 0\n") {
		t.Errorf("b's metrics: %v", err)
	}
	onceBesideALeader(t, s)

	// Killed.
	gone := time.Now()
	a.kill()
	b.until(reconciler.RoleLeader, 1)
	t.Logf("after kill -9 another led in %s; the lease is %s", time.Since(gone).Round(time.Millisecond), lease)
	lands(s, small("flags-v2", 2))
	b.until(reconciler.RoleLeader, 2)
	a.start()
	a.until(reconciler.RoleFollower, 2)

	// Stopped, and it goes on later: what it holds for live is over, and it writes nothing.
	gone = time.Now()
	b.signal(syscall.SIGSTOP)
	src := lands(s, small("flags-v3", 3))
	a.until(reconciler.RoleLeader, 3)
	t.Logf("after SIGSTOP another led and a commit was live in %s", time.Since(gone).Round(time.Millisecond))
	b.signal(syscall.SIGCONT)
	b.until(reconciler.RoleFollower, 3)
	wantWhole(t, s, src)
	if e := s.Redis.CLI("HGET", s.NS+"meta", "epoch"); e != fmt.Sprint(a.status().Term) {
		t.Errorf("meta is of term %s, a leads in %d", e, a.status().Term)
	}

	// Redis loses everything, the lease among it.
	s.Redis.Flush()
	oneLeads(t, 3, a, b)
	wantWhole(t, s, src)
	s.Redis.Restart()
	oneLeads(t, 3, a, b)
	wantWhole(t, s, src)
}

// oneLeads waits until one of them leads again, and all know the generation.
func oneLeads(t *testing.T, generation uint64, all ...*instance) {
	t.Helper()
	flagtest.Eventually(t, "one to lead", func() bool {
		leaders := 0
		for _, i := range all {
			st := i.status()
			if st.Role == reconciler.RoleLeader {
				leaders++
			}
			if st.Applied == nil || st.Applied.Generation != generation || !st.HeadLive || st.Leader == nil {
				return false
			}
		}
		return leaders == 1 && all[0].stage.Redis.CLI("HGET", all[0].stage.NS+"meta", "generation") == fmt.Sprint(generation)
	})
}

// onceBesideALeader: once judges for itself, and does not fight.
func onceBesideALeader(t *testing.T, s *flagtest.Stage) {
	t.Helper()
	before := s.Redis.CLI("HGETALL", s.NS+"meta")
	out, err := command(t, s, filepath.Join(t.TempDir(), "once"), "once", "--name", "c").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "leads, and nothing was written: generation 1 is live") {
		t.Errorf("once beside a leader: %v\n%s", err, out)
	}
	if after := s.Redis.CLI("HGETALL", s.NS+"meta"); after != before {
		t.Errorf("once beside a leader wrote meta: %s", after)
	}
}

// A leader that is told to end gives the lease back: here nobody could wait for its end.
func TestRollingRestart(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	s := flagtest.NewStage(t, flagtest.Redis(t), everything)
	lands(s, small("flags-v1", 1))
	a := launch(t, s, "a", "--lease", "1h")
	a.until(reconciler.RoleLeader, 1)
	b := launch(t, s, "b", "--lease", "1h")
	b.until(reconciler.RoleFollower, 1)
	generation, leader, other := uint64(1), a, b
	for range 2 {
		leader.signal(syscall.SIGTERM)
		generation++
		lands(s, small(fmt.Sprintf("flags-v%d", generation), int(generation))) // while it ends
		_ = leader.cmd.Wait()
		other.until(reconciler.RoleLeader, generation)
		leader.start()
		leader.until(reconciler.RoleFollower, generation)
		leader, other = other, leader
	}
	for _, i := range []*instance{a, b} {
		all, err := reconciler.Generations(i.state)
		if err != nil || uint64(len(all)) != generation || all[len(all)-1].Number != generation {
			t.Errorf("%s has the generations %+v, %v", i.name, all, err)
		}
	}
	// The leader stands still, and its lease goes on: once says so, and does not wait.
	leader.signal(syscall.SIGSTOP)
	generation++
	lands(s, small(fmt.Sprintf("flags-v%d", generation), int(generation)))
	once := command(t, s, filepath.Join(t.TempDir(), "once"), "once", "--name", "c")
	out, err := once.CombinedOutput()
	if once.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "makes live what is authorized, and has not yet") || !strings.Contains(string(out), "hint: try again") {
		t.Errorf("once beside a leader that stands still: %v\n%s", err, out)
	}
	leader.signal(syscall.SIGCONT)
	leader.until(reconciler.RoleLeader, generation)
	other.until(reconciler.RoleFollower, generation)
	suspendedAndBraked(t, s, leader, other)
}

// suspendedAndBraked: whichever instance a load balancer picks carries a command out.
func suspendedAndBraked(t *testing.T, s *flagtest.Stage, leader, other *instance) {
	t.Helper()
	at := s.Keys["alice"]
	now := time.Now().UTC().Truncate(time.Second)
	o := &trust.Override{ID: trust.NewID(), Issued: now, Expires: now.Add(time.Hour), Reason: "test", Set: []trust.OverrideItem{{Feature: "receipts"}}}
	text, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := trust.Sealed{Statement: text, Bundles: [][]byte{at.Bundle(text)}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if code, body := other.post("/admin/override", sealed); code != http.StatusOK {
		t.Fatalf("the override at a follower: %d %s", code, body)
	}
	if e := s.Redis.CLI("GET", s.NS+"receipts:"+flags.DefaultTenant); !strings.Contains(e, `"enabled":false`) {
		t.Errorf("the entry is %s", e)
	}
	flagtest.Eventually(t, "the old leader to follow", func() bool {
		st := leader.status()
		return st.Role == reconciler.RoleFollower && len(st.Overrides) == 1
	})
	if code, body := leader.post("/admin/suspend", []byte(`{"reason":"test"}`)); code != http.StatusOK {
		t.Fatalf("suspending at a follower: %d %s", code, body)
	}
	flagtest.Eventually(t, "the other to know", func() bool {
		st := other.status()
		return st.Role == reconciler.RoleFollower && st.Suspended != nil && st.Suspended.Reason == "test"
	})
}

// A leader that is told to end in the midst of a large apply finishes or abandons it;
// the next one finds nothing half done.
func TestShutdownInMidApply(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	const entries = 25_000
	s := flagtest.NewStage(t, flagtest.Redis(t), everything)
	lands(s, wide("flags-v1", entries, 1))
	a := launch(t, s, "a", "--lease", "10s")
	a.until(reconciler.RoleLeader, 1)
	src := lands(s, wide("flags-v2", entries, 2))
	a.post("/admin/reconcile", nil)
	flagtest.Eventually(t, "the apply to begin", func() bool {
		return s.Redis.CLI("HGET", s.NS+"meta", "pending") != "" || s.Redis.CLI("HGET", s.NS+"meta", "generation") == "2"
	})
	a.stop()
	if p := s.Redis.CLI("HGET", s.NS+"meta", "pending"); p != "" {
		t.Errorf("it left %q", p)
	}
	wantWhole(t, s, src)
	b := launch(t, s, "b", "--lease", "10s")
	b.until(reconciler.RoleLeader, 2)
	wantWhole(t, s, src)
	if strings.Contains(b.said.String(), "repair") {
		t.Errorf("b found something to repair:\n%s", b.said)
	}
}
