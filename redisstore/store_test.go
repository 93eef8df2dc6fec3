package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

func TestMain(m *testing.M) {
	redisstore.RouteDriverLog(slog.New(slog.DiscardHandler)) // tests break connections on purpose
	m.Run()
}

// open is a store at an address that closes when the test ends.
func open(t testing.TB, url, ns string) *redisstore.Store {
	t.Helper()
	return openWith(t, redisstore.Options{URL: url, Namespace: ns})
}

func openWith(t testing.TB, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// everywhere runs a test against redis-server and against the embedded Redis. raw
// is a client of its own, as a person with redis-cli would be.
func everywhere(t *testing.T, test func(t *testing.T, s *redisstore.Store, raw *redis.Client)) {
	t.Helper()
	run := func(t *testing.T, url string) {
		s := open(t, url, "")
		o, err := redis.ParseURL(s.Address())
		if err != nil {
			t.Fatal(err)
		}
		raw := redis.NewClient(o)
		t.Cleanup(func() { raw.Close() })
		test(t, s, raw)
	}
	t.Run("server", func(t *testing.T) { run(t, flagtest.Redis(t).URL()) })
	t.Run("embedded", func(t *testing.T) { run(t, "") })
}

// value is an entry's Redis value with this percentage.
func value(pct int) []byte {
	return flags.Entry{Version: "v1", Enabled: true, Pct: flags.Pct(pct * 1000), Cohorts: []string{"A"}}.AppendJSON(nil)
}

func kv(feature, tenant string, pct int) redisstore.KV {
	return redisstore.KV{Key: flags.Key{Feature: feature, Tenant: tenant}, Value: value(pct)}
}

// many are n entries over a hundred tenants.
func many(n, pct int) []redisstore.KV {
	all := make([]redisstore.KV, n)
	v := value(pct)
	for i := range all {
		all[i] = redisstore.KV{Key: flags.Key{Feature: fmt.Sprintf("f%d", i/100), Tenant: fmt.Sprintf("t%d", i%100)}, Value: v}
	}
	return all
}

func keys(all []redisstore.KV) []flags.Key {
	ks := make([]flags.Key, len(all))
	for i, kv := range all {
		ks[i] = kv.Key
	}
	return ks
}

// meta is what a reconciler would write for a generation.
func meta(generation, epoch uint64) redisstore.Meta {
	return redisstore.Meta{
		Generation: generation, Epoch: epoch, Commit: fmt.Sprintf("c%d", generation), Version: fmt.Sprintf("flags-v1+ramp.%d", generation),
		Digest: fmt.Sprintf("sha256:%064d", generation), Environment: "prod", AppliedAt: "2026-11-22T04:07:00Z", Reconciler: "test",
	}
}

func mustApply(t testing.TB, s *redisstore.Store, f redisstore.Fence, c redisstore.Change) redisstore.Counts {
	t.Helper()
	n, err := s.Apply(t.Context(), f, c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// mustMeta reads meta, which may be missing.
func mustMeta(t testing.TB, s *redisstore.Store) redisstore.Meta {
	t.Helper()
	m, err := s.Meta(t.Context())
	if err != nil && !errors.Is(err, redisstore.ErrNoMeta) {
		t.Fatal(err)
	}
	return m
}

// expectEntries fails unless the namespace holds these entries and no other.
func expectEntries(t testing.TB, s *redisstore.Store, want []redisstore.KV) {
	t.Helper()
	left := make(map[flags.Key]string, len(want))
	for _, kv := range want {
		left[kv.Key] = string(kv.Value)
	}
	wrong := 0
	report := func(format string, args ...any) {
		if wrong++; wrong <= 3 {
			t.Errorf(format, args...)
		}
	}
	seen := map[flags.Key]bool{}
	for kv, err := range s.Entries(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[kv.Key] {
			continue // SCAN may name a key twice
		}
		seen[kv.Key] = true
		if w, ok := left[kv.Key]; !ok {
			report("%s is there and should not be", kv.Key)
		} else if w != string(kv.Value) {
			report("%s is %s, want %s", kv.Key, kv.Value, w)
		}
		delete(left, kv.Key)
	}
	for k := range left {
		report("%s is missing", k)
	}
	if wrong > 3 {
		t.Errorf("and %d more", wrong-3)
	}
}

func TestApplyThenReadBack(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx := t.Context()
		if _, err := s.Meta(ctx); !errors.Is(err, redisstore.ErrNoMeta) {
			t.Fatalf("meta of a new namespace: %v", err)
		}
		spec, bundle := []byte("{\"version\":\"flags-v1\"}\n"), redisstore.JoinBundles([]byte(`{"a":1}`))
		m := meta(1, 3)
		m.Attestation = "signed"
		set := []redisstore.KV{kv("receipts", "__default__", 20), kv("receipts", "acme", 50)}
		n := mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: set, Meta: m, Spec: spec, Bundle: bundle})
		if n.Set != 2 || n.Deleted != 0 || n.Keys != 6 || n.Transactions != 1 || n.Commands != 6 {
			t.Errorf("counts %+v", n)
		}
		live, err := s.Live(ctx)
		if err != nil || string(live.Spec) != string(spec) || string(live.Bundle) != string(bundle) {
			t.Fatalf("live %+v, %v", live, err)
		}
		m.Message = live.Meta.Message
		if live.Meta != m || m.Message == "" {
			t.Errorf("meta %+v, want %+v", live.Meta, m)
		}
		expectEntries(t, s, set)
		if got := raw.Get(ctx, "flags:v1:receipts:acme").Val(); got != `{"version":"v1","enabled":true,"ramp_pct":50,"cohorts":["A"]}` {
			t.Errorf("the entry as an older client sees it: %s", got)
		}
		want := map[string]string{
			"generation": "1", "epoch": "3", "commit": "c1", "version": "flags-v1+ramp.1", "digest": m.Digest, "environment": "prod",
			"applied_at": "2026-11-22T04:07:00Z", "reconciler": "test", "attestation": "signed", "message": m.Message,
		}
		if got := raw.HGetAll(ctx, "flags:v1:meta").Val(); !maps.Equal(got, want) {
			t.Errorf("meta hash %v, want %v", got, want)
		}

		// The next one changes an entry, drops one, and no longer attests.
		mustApply(t, s, live.Meta.Fence(), redisstore.Change{Set: []redisstore.KV{kv("receipts", "__default__", 30)}, Delete: []flags.Key{set[1].Key}, Meta: meta(2, 3)})
		expectEntries(t, s, []redisstore.KV{kv("receipts", "__default__", 30)})
		if _, ok := raw.HGetAll(ctx, "flags:v1:meta").Val()["attestation"]; ok {
			t.Error("the attestation of generation 1 still stands beside generation 2")
		}
	})
}

// One changed entry among 100,000 touches five keys, whatever the spec's size.
func TestApplyOfOneEntryTouchesFiveKeys(t *testing.T) {
	r := flagtest.Redis(t)
	s := open(t, r.URL(), "")
	mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: many(100_000, 10), Meta: meta(1, 1), Spec: []byte("one"), Bundle: []byte("{}")})
	fence := mustMeta(t, s).Fence()
	r.ResetStats()
	n := mustApply(t, s, fence, redisstore.Change{Set: many(1, 20), Meta: meta(2, 1), Spec: []byte("two"), Bundle: []byte("{}")})
	if n.Keys != 5 || n.Set != 1 || n.Transactions != 1 {
		t.Errorf("counts %+v, want five keys", n)
	}
	got := r.Commandstats()
	for _, name := range []string{"info", "config|resetstat", "command|docs", "hello", "select", "ping"} {
		delete(got, name)
	}
	want := map[string]int{
		"watch": 1, "hgetall": 1, "hget": 1, "type": 1, "multi": 1, "exec": 1, // the fence
		"mset": 1, "set": 2, "hset": 1, "xadd": 1, "publish": 1, // the change
	}
	if !maps.Equal(got, want) {
		t.Errorf("commands %v, want %v", got, want)
	}
}

func TestNothingChangedWritesNothing(t *testing.T) {
	r := flagtest.Redis(t)
	s := open(t, r.URL(), "")
	set := many(1000, 10)
	mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: set, Meta: meta(1, 1), Spec: []byte("one")})
	m := mustMeta(t, s)
	r.ResetStats()
	if n := mustApply(t, s, m.Fence(), redisstore.Change{Meta: meta(1, 1)}); n.Keys != 0 || n.Commands != 0 {
		t.Errorf("counts %+v, want none", n)
	}
	if _, err := s.Read(t.Context(), keys(set)); err != nil {
		t.Fatal(err)
	}
	for name, calls := range r.Commandstats() {
		if slices.Contains([]string{"set", "mset", "hset", "del", "unlink", "xadd", "publish", "hdel"}, name) {
			t.Errorf("%d × %s for nothing", calls, name)
		}
	}
	// A commit that moved on without content is one write, and no message.
	moved := meta(1, 1)
	moved.Commit = "elsewhere"
	if n := mustApply(t, s, m.Fence(), redisstore.Change{Meta: moved}); n.Keys != 1 {
		t.Errorf("counts %+v, want one key", n)
	}
	if got := mustMeta(t, s); got.Commit != "elsewhere" || got.Message != m.Message {
		t.Errorf("meta %+v", got)
	}
}

func TestApplyRefusesWhatCannotBe(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx := t.Context()
		for name, c := range map[string]redisstore.Change{
			"no generation":     {},
			"falling":           {Meta: meta(1, 1)},
			"a colon":           {Set: []redisstore.KV{kv("a:b", "c", 1)}, Meta: meta(3, 1)},
			"an empty tenant":   {Delete: []flags.Key{{Feature: "a"}}, Meta: meta(3, 1)},
			"a tenant of colon": {Delete: []flags.Key{{Feature: "a", Tenant: ":"}}, Meta: meta(3, 1)},
		} {
			if _, err := s.Apply(ctx, redisstore.Fence{Generation: 2}, c); err == nil || errors.Is(err, redisstore.ErrConflict) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := raw.DBSize(ctx).Val(); n != 0 {
			t.Errorf("%d keys were written", n)
		}
	})
}

func TestRepairKeepsTheGeneration(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx := t.Context()
		set := many(20, 10)
		mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: set, Meta: meta(1, 1)})
		before := mustMeta(t, s)
		raw.Set(ctx, "flags:v1:f0:t3", "by hand", 0)
		raw.Del(ctx, "flags:v1:f0:t4")
		raw.LPush(ctx, "flags:v1:f0:t99", "a list")
		raw.Del(ctx, "flags:v1:f0:t5")
		raw.SAdd(ctx, "flags:v1:f0:t5", "a set where an entry was")

		got, err := s.Read(ctx, keys(set))
		if err != nil {
			t.Fatal(err)
		}
		var wrong []redisstore.KV
		for i, kv := range set {
			if string(got[i]) != string(kv.Value) {
				wrong = append(wrong, kv)
			}
		}
		var foreign []flags.Key
		for scan, more := s.NewScan(), true; more; {
			var found []flags.Key
			if found, more, err = scan.Next(ctx); err != nil {
				t.Fatal(err)
			}
			for _, k := range found {
				if !slices.Contains(keys(set), k) && !slices.Contains(foreign, k) {
					foreign = append(foreign, k)
				}
			}
		}
		if len(wrong) != 3 || len(foreign) != 1 {
			t.Fatalf("found %v wrong and %v foreign", wrong, foreign)
		}
		n, err := s.Repair(ctx, before.Fence(), wrong, foreign)
		if err != nil || n.Set != 3 || n.Deleted != 1 || n.Keys != 6 {
			t.Fatalf("counts %+v, %v", n, err)
		}
		expectEntries(t, s, set)
		after := mustMeta(t, s)
		if after.Message == before.Message {
			t.Error("readers are not told of the repair")
		}
		if after.Message = before.Message; after != before {
			t.Errorf("meta moved from %+v to %+v", before, after)
		}
		if _, err := s.Repair(ctx, redisstore.Fence{Generation: 7}, wrong, nil); !errors.Is(err, redisstore.ErrConflict) {
			t.Errorf("repair under another generation: %v", err)
		}
	})
}

// Somebody put values of other types where the system keys are.
func TestApplyOverDamagedSystemKeys(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx := t.Context()
		for _, name := range []string{"meta", "changes", "lease", "spec", "bundle", "overrides"} {
			raw.RPush(ctx, "flags:v1:"+name, "junk")
		}
		if _, err := s.Meta(ctx); !errors.Is(err, redisstore.ErrNoMeta) || !strings.Contains(err.Error(), "not a hash") {
			t.Errorf("meta: %v", err)
		}
		if live, err := s.Live(ctx); !errors.Is(err, redisstore.ErrNoMeta) || live.Spec != nil {
			t.Errorf("live: %+v, %v", live, err)
		}
		if o, err := s.Overrides(ctx); err != nil || len(o) != 0 {
			t.Errorf("overrides: %v, %v", o, err)
		}
		mustApply(t, s, redisstore.Fence{}, redisstore.Change{Set: many(3, 1), Meta: meta(4, 2), Spec: []byte("s"), Bundle: []byte("b")})
		live, err := s.Live(ctx)
		if err != nil || live.Meta.Generation != 4 || string(live.Spec) != "s" || string(live.Bundle) != "b" {
			t.Errorf("live %+v, %v", live, err)
		}
		if n := raw.XLen(ctx, "flags:v1:changes").Val(); n != 1 {
			t.Errorf("%d messages in the stream", n)
		}
		if _, err := s.AcquireLease(ctx, redisstore.Claim{Holder: "me", TTL: time.Minute, Again: true}); err != nil {
			t.Error(err)
		}
		if err := s.SetOverrides(ctx, live.Meta.Fence(), map[string][]byte{"1": []byte("{}")}); err != nil {
			t.Error(err)
		}

		raw.HSet(ctx, "flags:v1:meta", "generation", "many")
		m, err := s.Meta(ctx)
		if !errors.Is(err, redisstore.ErrNoMeta) || !strings.Contains(err.Error(), `generation "many"`) {
			t.Errorf("damaged meta: %v", err)
		}
		mustApply(t, s, m.Fence(), redisstore.Change{Meta: meta(5, 2)})
	})
}

func TestOverridesAreReplacedTogether(t *testing.T) {
	everywhere(t, func(t *testing.T, s *redisstore.Store, raw *redis.Client) {
		ctx := t.Context()
		mustApply(t, s, redisstore.Fence{}, redisstore.Change{Meta: meta(1, 1)})
		f := mustMeta(t, s).Fence()
		for _, want := range []map[string][]byte{
			{"a": []byte(`{"off":true}`), "b": []byte("\x00raw")}, {"c": []byte("3")}, {},
		} {
			if err := s.SetOverrides(ctx, f, want); err != nil {
				t.Fatal(err)
			}
			got, err := s.Overrides(ctx)
			if err != nil || !maps.EqualFunc(got, want, func(a, b []byte) bool { return string(a) == string(b) }) {
				t.Errorf("overrides %q, %v; want %q", got, err, want)
			}
		}
		err := s.SetOverrides(ctx, redisstore.Fence{Generation: 9, Epoch: 9}, nil)
		if !errors.Is(err, redisstore.ErrConflict) {
			t.Errorf("under another generation: %v", err)
		}
		if n := raw.XLen(ctx, "flags:v1:changes").Val(); n != 4 {
			t.Errorf("%d messages, want one for the generation and three for the overrides", n)
		}
	})
}

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func TestEmbeddedSaysSoAndCanBeReached(t *testing.T) {
	var log strings.Builder
	s := openWith(t, redisstore.Options{Log: textLog(&log)})
	if !s.Embedded() || !strings.Contains(log.String(), "forgets everything") || !strings.Contains(log.String(), s.Address()[:len(s.Address())-2]) {
		t.Errorf("at %s the log says %q", s.Address(), log.String())
	}
	o, err := redis.ParseURL(s.Address())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	defer c.Close()
	if err := c.Ping(context.Background()).Err(); err != nil {
		t.Error(err)
	}
}

func TestBundlesComeApart(t *testing.T) {
	one, two := "{\n  \"mediaType\": \"a\"\n}", `{"mediaType":"b"}`
	joined := redisstore.JoinBundles([]byte(one+"\n"), []byte(two))
	got, err := redisstore.SplitBundles(joined)
	if err != nil || len(got) != 2 || string(got[0]) != one || string(got[1]) != two {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := redisstore.SplitBundles(nil); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %q, %v", got, err)
	}
	if _, err := redisstore.SplitBundles([]byte(two + "\n{")); err == nil || !strings.Contains(err.Error(), "bundle 2") {
		t.Errorf("of half a bundle: %v", err)
	}
}
