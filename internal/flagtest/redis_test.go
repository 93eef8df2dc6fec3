package flagtest_test

import (
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
)

func TestRedisForgetsOnRestartAndKeepsItsPort(t *testing.T) {
	r := flagtest.Redis(t)
	addr := r.Addr()
	r.CLI("SET", "k", "v")
	if got := r.CLI("GET", "k"); got != "v" {
		t.Fatalf("GET k = %q", got)
	}
	r.Restart()
	if got := r.CLI("GET", "k"); got != "" {
		t.Errorf("after a restart GET k = %q, want nothing", got)
	}
	if r.Addr() != addr || !strings.HasPrefix(r.URL(), "redis://127.0.0.1:") {
		t.Errorf("address moved from %s to %s (%s)", addr, r.Addr(), r.URL())
	}
	r.ResetStats()
	r.CLI("SET", "a", "1")
	r.CLI("SET", "b", "1")
	if got := r.Commandstats()["set"]; got != 2 {
		t.Errorf("counted %d SETs, want 2", got)
	}
	r.Pause()
	r.Resume()
	r.Flush()
	if got := r.CLI("DBSIZE"); got != "0" {
		t.Errorf("DBSIZE after Flush = %s", got)
	}
}

func TestRedisThatRemembers(t *testing.T) {
	r := flagtest.Redis(t, "--appendonly", "yes", "--appendfsync", "always")
	r.CLI("SET", "k", "v")
	r.Restart()
	if got := r.CLI("GET", "k"); got != "v" {
		t.Errorf("GET k after kill -9 = %q, want v", got)
	}
}

func TestClusterReplacesALostMaster(t *testing.T) {
	c := flagtest.Cluster(t)
	lost := c.MasterOf("k")
	lost.CLI("SET", "k", "v")
	lost.CLI("WAIT", "1", "0")
	lost.Kill()
	c.Await()
	if got := c.MasterOf("k").CLI("GET", "k"); got != "v" {
		t.Errorf("after the failover GET k = %q", got)
	}
	slot := c.Slot("k")
	to := c.MasterOf("other-key-elsewhere")
	if from := c.MasterOf("k"); from != to {
		c.Move(slot, from, to)
	}
	if got := to.CLI("GET", "k"); got != "v" {
		t.Errorf("after moving its slot GET k = %q", got)
	}
}

func TestSentinelPromotesTheReplica(t *testing.T) {
	s := flagtest.Sentinel(t)
	s.Master.CLI("SET", "k", "v")
	s.Master.CLI("WAIT", "1", "0")
	s.Master.Kill()
	s.AwaitFailover()
	if got := s.Replica.CLI("GET", "k"); got != "v" {
		t.Errorf("after the failover GET k = %q", got)
	}
}

func TestRedisTLSRefusesPlainConnections(t *testing.T) {
	r, files := flagtest.RedisTLS(t)
	if got := r.CLI("PING"); got != "PONG" {
		t.Fatalf("PING over the socket = %q", got)
	}
	if !strings.HasPrefix(r.URL(), "rediss://") || files.CA == "" {
		t.Errorf("URL %s, CA %q", r.URL(), files.CA)
	}
}
