package reconciler

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/signing"
)

// Somebody takes the newest commits off the branch just when an instance that does not
// know them yet takes over. What is live bears the attestation of this environment's
// reconcilers, so it was accepted: it is not put back. Found by make chaos.
func TestTakeoverWhileTheBranchLacksWhatIsLive(t *testing.T) {
	key, err := signing.LoadSigner([]byte(flagtest.NewKey(t, "reconciler").PrivatePEM()), nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b := pair(t, maintainer)
	a.cfg.Key, b.cfg.Key = key, key
	a.release("flags-v1", "receipts", 10)
	a.pass()
	b.pass()
	a.release("flags-v2", "receipts", 20)
	whole := a.release("flags-v3", "receipts", 30)
	a.pass()
	a.Repo.Git("reset", "-q", "--hard", "HEAD~1")
	a.Repo.ForcePush()
	a.runOut()
	for range 2 {
		if _, err := b.try(); err == nil || !strings.Contains(err.Error(), "is not on the branch") {
			t.Errorf("b, which is behind a branch that was cut: %v", err)
		}
		b.wantLive(3, "receipts", "30")
	}
	a.Repo.Git("reset", "-q", "--hard", whole)
	a.Repo.ForcePush()
	b.pass()
	b.wantLive(3, "receipts", "30")
	b.wantRole(RoleLeader, 3)
	all, err := Generations(filepath.Join(b.dir, "state"))
	if err != nil || len(all) != 3 {
		t.Errorf("b has the generations %+v, %v", all, err)
	}
}
