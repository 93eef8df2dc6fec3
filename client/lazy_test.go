package client_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
)

// manyTenants is a spec in which tenant n has receipts on when n is even.
func manyTenants(version string, n int, flip bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"version":%q,"environment":"prod","features":{"attest":{"pct":0},"receipts":{"pct":0,"tenants":{`, version)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"t%d":{"enabled":%t,"pct":100}`, i, (i%2 == 0) != flip)
	}
	b.WriteString(`}}}}`)
	return b.String()
}

func TestTenantsAreLoadedWhenAskedAbout(t *testing.T) {
	w := newWorld(t)
	const tenants, most = 300, 20
	w.apply(manyTenants("flags-v1", tenants, false))
	c := w.open(client.Options{Tenants: most, Poll: 100 * time.Millisecond})
	if n := c.Snapshot().Flags().Len(); n != 2 {
		t.Errorf("%d entries at the start, want the features' own", n)
	}
	name := func(i int) string { return fmt.Sprintf("t%d", i) }
	for i := range tenants {
		if on := c.Enabled("receipts", name(i), "u"); on != (i%2 == 0) {
			t.Fatalf("%s: %v, %+v", name(i), on, c.Decide("receipts", name(i), "u"))
		}
		if n := c.Snapshot().Flags().Len(); n > 2+most {
			t.Fatalf("%d entries after %d tenants, want at most %d", n, i+1, 2+most)
		}
	}
	if d := c.Decide("receipts", "nobody", "u"); d.Reason != flags.ReasonHash || d.Tenant != flags.DefaultTenant {
		t.Errorf("a tenant without entries: %+v", d)
	}
	got := listen(c)
	for i := range most / 2 {
		c.Enabled("receipts", name(i), "u")
	}
	w.apply(manyTenants("flags-v1+ramp.1", tenants, true)) // less than 500 entries: by their names
	eventually(t, "the change", func() bool { return c.Snapshot().Generation == 2 })
	for i := range tenants {
		if on := c.Enabled("receipts", name(i), "u"); on != (i%2 == 1) {
			t.Fatalf("%s after the change: %v", name(i), on)
		}
	}
	eventually(t, "one event for one change", func() bool { return got.count(client.Changed) == 1 })

	w.redis.Kill()
	eventually(t, "stale", func() bool { _, stale := c.Stale(); return stale })
	if !c.Enabled("receipts", name(tenants-1), "u") {
		t.Error("a tenant in memory changed while Redis is away")
	}
	if d := c.Decide("receipts", name(1), "u"); d.On || d.Reason != flags.ReasonNoConfig {
		t.Errorf("a tenant that cannot be read must not get the feature's own entry: %+v", d)
	}
	if err := c.Load(t.Context(), name(1)); err == nil {
		t.Error("Load of a tenant that cannot be read: no error")
	}
}

func TestTenantsComeAndGoWhileDecisionsGoOn(t *testing.T) {
	w := newWorld(t)
	const tenants = 60
	w.apply(manyTenants("flags-v1", tenants, false))
	c := w.open(client.Options{Tenants: 10, Poll: time.Hour})
	var wrong atomic.Int64
	var deciding sync.WaitGroup
	for g := range 8 {
		deciding.Go(func() {
			for i := range 200 {
				n := (i*7 + g*13) % tenants
				who := c.For(fmt.Sprintf("t%d", n), "u")
				if d := who.Decide("receipts"); d.On != (n%2 == 0) || d.Tenant == flags.DefaultTenant {
					wrong.Add(1)
				}
			}
		})
	}
	deciding.Wait()
	if wrong.Load() > 0 {
		t.Errorf("%d decisions were taken without the tenant", wrong.Load())
	}
}
