package reconciler

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// On a Cluster no transaction holds entries and lease together. A leader that stands
// still before its first write and goes on when another leads writes nothing, with a hash
// tag or without. That it stands still in the midst of a write is a test of redisstore's,
// which can hold a chunk up.
func TestStoppedLeaderOnACluster(t *testing.T) {
	cluster := flagtest.Cluster(t)
	for _, ns := range []string{"flags:v1:", "flags:{v1}:"} {
		t.Run(ns, func(t *testing.T) {
			ctx := context.Background()
			a := newWorld(t, flagtest.Redis(t), maintainer)
			a.cfg.Lease, a.cfg.Name = time.Hour, "a"
			b := a.peer("b")
			for _, w := range []*world{a, b} {
				var err error
				if w.store, err = redisstore.Open(ctx, redisstore.Options{URL: cluster.URL(), Namespace: ns, Timeout: 10 * time.Second}); err != nil {
					t.Fatal(err)
				}
			}
			const entries = 50
			land := func(n int) *flags.Spec {
				src := fmt.Sprintf(`{"version":"flags-v%d","features":{"receipts":{"pct":%d,"tenants":{"t":{"pct":%d}`, n, n, n)
				for i := range entries {
					src += fmt.Sprintf(`,"tenant-%d":{"pct":%d}`, i, n)
				}
				a.Repo.Write("specs/flags.json", src+"}}}}")
				a.Sign("alice")
				a.Land("step")
				spec, err := flags.Decode("flags.json", []byte(src+"}}}}"))
				if err != nil {
					t.Fatal(err)
				}
				return spec
			}
			land(1)
			a.pass()
			b.pass()
			land(2)
			var newest *flags.Spec
			a.r.beforeApply = func() { // it stands still between plan and write
				a.r.beforeApply = nil
				b.pass()
				if err := b.r.seize(ctx); err != nil {
					t.Fatal(err)
				}
				newest = land(3)
				b.pass()
			}
			a.try()
			b.pass() // heals what it may find
			x := &takeovers{t: t, all: []*world{b}}
			x.entries(newest)
			if m := b.meta(); m.Generation != 3 || m.Epoch != 2 || m.Digest != newest.Digest() || m.Pending != "" {
				t.Errorf("meta is %+v", m)
			}
			a.pass()
			a.wantRole(RoleFollower, 3)
		})
	}
}
