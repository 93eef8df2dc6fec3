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
