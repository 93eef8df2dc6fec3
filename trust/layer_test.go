package trust_test

import (
	"testing"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/trust"
)

// Statements add up in any order, also where one makes an entry for a tenant that has none of its own.
func TestLayerAddsUp(t *testing.T) {
	s := spec(t, "v1", `{"x":{"pct":50,"tenants":{"own":{"pct":20}}}}`)
	down := override(trust.OverrideItem{Feature: "x", Tenant: "acme", Pct: pct(10_000)})
	lower := override(trust.OverrideItem{Feature: "x", Tenant: flags.DefaultTenant, Pct: pct(5000)})
	off := override(trust.OverrideItem{Feature: "x"})
	for _, in := range [][]*trust.Override{{down, off}, {off, down}} {
		all := trust.Layer(s, in)
		for _, tenant := range []string{flags.DefaultTenant, "own", "acme"} {
			if e, ok := all[flags.Key{Feature: "x", Tenant: tenant}]; !ok || e.Enabled {
				t.Errorf("%s: %+v, %v", tenant, e, ok)
			}
		}
	}
	for _, in := range [][]*trust.Override{{down, lower}, {lower, down}} {
		all := trust.Layer(s, in)
		if got := all[flags.Key{Feature: "x", Tenant: "acme"}].Pct; got != 5000 {
			t.Errorf("acme is at %s, above what everybody has", got)
		}
		if e, ok := all[flags.Key{Feature: "x", Tenant: "own"}]; ok {
			t.Errorf("a tenant with an entry of its own is touched: %+v", e)
		}
	}
}
