package flagtest

import (
	"testing"
	"time"
)

// patience is how long Eventually waits. It is generous because tests share a
// machine; a test that passes never uses it up.
const patience = 60 * time.Second

// Eventually asks cond again and again until it is true, and fails the test when
// it does not become so within a minute. what says what was waited for.
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if cond() {
		return
	}
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	pause := time.Millisecond
	for {
		select {
		case <-deadline.C:
			t.Fatalf("waited %v in vain for %s", patience, what)
		case <-time.After(pause):
		}
		if cond() {
			return
		}
		pause = min(pause*2, 50*time.Millisecond)
	}
}
