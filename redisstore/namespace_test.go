package redisstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// Namespaces that lie inside one another, or would match one another as patterns,
// do not touch each other's keys, whatever is applied, repaired or swept.
func TestNamespacesInsideOneAnother(t *testing.T) {
	r := flagtest.Redis(t)
	c := redis.NewClient(&redis.Options{Addr: r.Addr()})
	defer c.Close()
	ctx := t.Context()
	names := []string{"flags:", "flags:v1:", "flags:v1:x:", "flags:v1*:", "flags:v[12]:", "flags:v?:", `flags:v1\:`, "other:", "{flags}:"}
	stores := map[string]*redisstore.Store{}
	for i, ns := range names {
		s := open(t, r.URL(), ns)
		stores[ns] = s
		if _, err := s.AcquireLease(ctx, redisstore.Claim{Holder: ns, TTL: time.Minute, Again: true}); err != nil {
			t.Fatal(err)
		}
		mustApply(t, s, redisstore.Fence{}, redisstore.Change{
			Set: []redisstore.KV{kv("receipts", "acme", i), kv("f", "t", i)}, Meta: meta(1, 1), Spec: []byte(ns), Bundle: []byte("{}"),
		})
		if err := s.SetOverrides(ctx, mustMeta(t, s).Fence(), map[string][]byte{"1": []byte(ns)}); err != nil {
			t.Fatal(err)
		}
	}
	c.Set(ctx, "flags", "outside", 0)
	c.Set(ctx, "flags:v10:receipts:acme", "outside flags:v1:, two colons inside flags:", 0)
	for i, ns := range names {
		want := []redisstore.KV{kv("receipts", "acme", i), kv("f", "t", i)}
		expectEntries(t, stores[ns], want)
		// A pass that finds nothing to do deletes nothing, so nothing of the others
		// counts as foreign; then one that empties the namespace.
		if n := heal(t, stores[ns], want, meta(2, 1)); n.Set+n.Deleted != 0 {
			t.Errorf("%s: a pass over nothing changed wrote %+v", ns, n)
		}
		if live, err := stores[ns].Live(ctx); err != nil || live.Meta.Generation != 2 {
			t.Errorf("%s: %+v, %v", ns, live, err)
		}
	}
	before := r.CLI("DBSIZE")
	heal(t, stores["flags:"], nil, meta(3, 1))
	expectEntries(t, stores["flags:"], nil)
	for i, ns := range names[1:] {
		expectEntries(t, stores[ns], []redisstore.KV{kv("receipts", "acme", i+1), kv("f", "t", i+1)})
		live, err := stores[ns].Live(ctx)
		if err != nil || live.Meta.Generation != 2 {
			t.Errorf("%s after flags: was emptied: %+v, %v", ns, live, err)
		}
		if o, err := stores[ns].Overrides(ctx); err != nil || string(o["1"]) != ns {
			t.Errorf("%s: overrides %q, %v", ns, o, err)
		}
		if l, err := stores[ns].Lease(ctx); err != nil || l.Holder != ns {
			t.Errorf("%s: lease %+v, %v", ns, l, err)
		}
	}
	if c.Get(ctx, "flags").Val() != "outside" || !strings.HasPrefix(c.Get(ctx, "flags:v10:receipts:acme").Val(), "outside") {
		t.Error("a key outside was touched")
	}
	if after := r.CLI("DBSIZE"); before == after {
		t.Errorf("emptying flags: deleted nothing: %s keys", after)
	}
}

// A tenant whose entry would fall on a system key of an inner namespace.
func TestEntryOnAnInnerNamespacesKeyIsRefused(t *testing.T) {
	r := flagtest.Redis(t)
	inner, outer := open(t, r.URL(), "flags:v1:"), open(t, r.URL(), "flags:")
	mustApply(t, inner, redisstore.Fence{}, redisstore.Change{Meta: meta(1, 1), Spec: []byte("inner")})
	for _, c := range []redisstore.Change{
		{Set: []redisstore.KV{kv("v1", "spec", 1)}, Meta: meta(1, 1)},
		{Delete: []flags.Key{{Feature: "v1", Tenant: "meta"}}, Meta: meta(1, 1)},
	} {
		if _, err := outer.Apply(t.Context(), redisstore.Fence{}, c); err == nil || !strings.Contains(err.Error(), "flags:v1:") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	// The same names are fine where no namespace lies.
	mustApply(t, outer, redisstore.Fence{}, redisstore.Change{Set: []redisstore.KV{kv("v2", "spec", 1)}, Meta: meta(1, 1)})
	expectEntries(t, outer, []redisstore.KV{kv("v2", "spec", 1)})
	if live, err := inner.Live(t.Context()); err != nil || string(live.Spec) != "inner" {
		t.Errorf("inner: %+v, %v", live, err)
	}
}

func TestDatabasesAreApart(t *testing.T) {
	r := flagtest.Redis(t)
	one, two := open(t, r.URL()+"/1", ""), open(t, r.SocketURL()+"?db=2", "")
	mustApply(t, one, redisstore.Fence{}, redisstore.Change{Set: many(3, 1), Meta: meta(1, 1)})
	if _, err := two.Meta(t.Context()); !errors.Is(err, redisstore.ErrNoMeta) {
		t.Errorf("database 2 has the meta of database 1: %v", err)
	}
	if got := r.CLI("-n", "1", "DBSIZE"); got != "5" {
		t.Errorf("database 1 has %s keys", got)
	}
}
