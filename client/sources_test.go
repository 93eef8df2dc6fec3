package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
)

// nobody is an address at which nothing listens.
func nobody(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "redis://" + l.Addr().String()
}

func TestTheEnvironmentNamesTheSources(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flags.json")
	writeFile(t, path, spec("flags-v1", `{"pct":100}`))
	older := `{"receipts:__default__":{"version":"v9","enabled":true,"ramp_pct":0,"cohorts":["u1"]},"receipts:acme":{"version":"v9"}}`
	for _, tc := range []struct {
		name    string
		environ []string
		source  string
		u1, u2  bool
	}{
		{"file", []string{"RAMPART_SPEC=" + path, "FLAGS_JSON=" + older}, "file " + path, true, true},
		{"older map", []string{"FLAGS_JSON=" + older}, "FLAGS_JSON", true, false},
		{"redis away, then the file", []string{"REDIS_URL=" + nobody(t), "RAMPART_SPEC=" + path}, "file " + path, true, true},
		{"redis away, then the older map", []string{"FLAGS_REDIS_URL=" + nobody(t), "FLAGS_JSON=" + older}, "FLAGS_JSON", true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := open(t, client.Options{Environ: tc.environ, Wait: 10 * time.Second})
			if s := c.Snapshot().Source; s != tc.source {
				t.Errorf("source %q, want %q", s, tc.source)
			}
			if c.Enabled("receipts", "", "u1") != tc.u1 || c.Enabled("receipts", "", "u2") != tc.u2 {
				t.Errorf("u1 %+v, u2 %+v", c.Decide("receipts", "", "u1"), c.Decide("receipts", "", "u2"))
			}
			if tc.source == "FLAGS_JSON" && c.Decide("receipts", "acme", "u1").Reason != flags.ReasonDisabled {
				t.Error("an entry without enabled is off, as the older clients have it")
			}
		})
	}
}

func TestRedisTakesOverFromAFallback(t *testing.T) {
	w := newWorld(t)
	w.redis.Kill()
	c := open(t, client.Options{
		Sources: []client.Source{
			client.Redis(redisstore.Options{URL: w.redis.URL()}),
			client.JSON(`{"receipts:__default__":{"enabled":true,"ramp_pct":100,"version":"fallback"}}`),
		},
		Poll: 50 * time.Millisecond,
	})
	if d := c.Decide("receipts", "acme", "u"); d.Version != "fallback" || !d.On {
		t.Fatalf("fallback: %+v", d)
	}
	got := listen(c)
	w.redis.Start()
	w.apply(spec("flags-v1", `{"pct":0,"version":"live"}`))
	eventually(t, "redis serving", func() bool { return c.Snapshot().Source == "redis" })
	if d := c.Decide("receipts", "acme", "u"); d.Version != "live" || d.On {
		t.Errorf("after redis is back: %+v", d)
	}
	w.redis.Kill()
	eventually(t, "stale", func() bool { _, stale := c.Stale(); return stale })
	if d := c.Decide("receipts", "acme", "u"); d.Version != "live" {
		t.Errorf("the fallback came back: %+v", d)
	}
	eventually(t, "events", func() bool { return got.count(client.Changed) == 1 && got.count(client.Stale) == 1 })
}

func TestOpenSaysWhatEachSourceSaid(t *testing.T) {
	_, err := client.Open(t.Context(), client.Options{
		Sources: []client.Source{
			client.Redis(redisstore.Options{URL: nobody(t)}), client.File(filepath.Join(t.TempDir(), "none.json")),
		},
		Wait: 3 * time.Second, Environ: []string{}, Log: quiet(),
	})
	if !errors.Is(err, client.ErrNotReady) || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), "none.json") {
		t.Errorf("err = %v", err)
	}
	for name, o := range map[string]client.Options{
		"no source": {}, "no address": {Sources: []client.Source{client.Redis(redisstore.Options{})}},
		"bad map":  {Sources: []client.Source{client.JSON(`{"receipts":{}}`)}},
		"bad spec": {Sources: []client.Source{client.Static([]byte(`{}`))}},
		"force":    {Sources: []client.Source{client.JSON(`{}`)}, Environ: []string{"RAMPART_FORCE_RECEIPTS=maybe"}},
	} {
		if o.Environ == nil {
			o.Environ = []string{}
		}
		if _, err := client.Open(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestAFallbackDoesNotServeForAMoment opens clients on a store that has much to
// read, and listens for what serves first.
func TestAFallbackDoesNotServeForAMoment(t *testing.T) {
	w := newWorld(t)
	w.apply(manyTenants("flags-v1", 20_000, false))
	for _, empty := range []bool{false, true} {
		c := w.open(client.Options{StartEmpty: empty, Sources: []client.Source{
			client.Redis(redisstore.Options{URL: w.redis.URL()}), client.JSON(`{"receipts:__default__":{"enabled":true}}`),
		}})
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := c.Snapshot().Source; s != "redis" {
			t.Errorf("StartEmpty %v: %q serves first", empty, s)
		}
	}
	// One that cannot be opened is no reason not to start, nor is it silent.
	w.redis.Kill()
	c := w.open(client.Options{StartEmpty: true, Sources: []client.Source{client.Redis(redisstore.Options{URL: w.redis.URL()}), client.JSON(`{`)}})
	eventually(t, "both to fail", func() bool { return len(c.Status().Errors) == 2 })
}

func TestStartEmpty(t *testing.T) {
	w := newWorld(t)
	c := w.open(client.Options{StartEmpty: true, Poll: 50 * time.Millisecond})
	if d := c.Decide("receipts", "acme", "u"); d.On || d.Reason != flags.ReasonNoConfig {
		t.Errorf("before there are flags: %+v", d)
	}
	if _, stale := c.Stale(); !stale {
		t.Error("not stale before there are flags")
	}
	got := listen(c)
	w.apply(spec("flags-v1", `{"pct":100}`))
	if err := c.Ready(t.Context()); err != nil || !c.Enabled("receipts", "acme", "u") {
		t.Errorf("Ready: %v", err)
	}
	eventually(t, "the event", func() bool { return got.count(client.Ready) == 1 })
}

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".tmp", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

func TestAFileIsWatched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flags.json")
	writeFile(t, path, spec("flags-v1", `{"pct":0}`))
	c := open(t, client.Options{Sources: []client.Source{client.File(path)}})
	if c.Enabled("receipts", "acme", "u") {
		t.Fatal("on at 0 percent")
	}
	writeFile(t, path, spec("flags-v2", `{"pct":100}`))
	eventually(t, "the new file", func() bool { return c.Enabled("receipts", "acme", "u") })

	writeFile(t, path, `{"version":`)
	eventually(t, "stale", func() bool { _, stale := c.Stale(); return stale })
	if !c.Enabled("receipts", "acme", "u") {
		t.Error("a broken file changed a decision")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the missing file", func() bool {
		for _, e := range c.Status().Errors {
			return strings.Contains(e, "no such file")
		}
		return false
	})
	if !c.Enabled("receipts", "acme", "u") {
		t.Error("a missing file changed a decision")
	}
	// In place, as an editor may write it, and with the same length as before.
	if err := os.WriteFile(path, []byte(spec("flags-v3", `{"pct":0}`)), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the mended file", func() bool { _, stale := c.Stale(); return !stale && !c.Enabled("receipts", "acme", "u") })
}

func TestForcedFeatures(t *testing.T) {
	var log flagtest.Buffer
	c := open(t, client.Options{
		Sources: []client.Source{client.Static([]byte(`{"version":"v1","features":{"receipts":{"pct":100},"new-checkout.v2":{"pct":0}}}`))},
		Environ: []string{"RAMPART_FORCE_RECEIPTS=off", "RAMPART_FORCE_NEW_CHECKOUT_V2=on", "RAMPART_FORCE_NOT_THERE_YET=ON"},
		Log:     slog.New(slog.NewTextHandler(&log, nil)),
	})
	who := c.For("acme", "u")
	for feature, on := range map[string]bool{"receipts": false, "new-checkout.v2": true, "not-there-yet": true, "other": false} {
		d := c.Decide(feature, "acme", "u")
		if d.On != on || c.Enabled(feature, "acme", "u") != on || who.Enabled(feature) != on || who.Decide(feature) != d {
			t.Errorf("%s: %+v, want %v", feature, d, on)
		}
		if forced := feature != "other"; (d.Reason == client.ReasonForced) != forced {
			t.Errorf("%s: reason %s", feature, d.Reason)
		}
	}
	for feature, d := range c.All("acme", "u") {
		if d.Reason != client.ReasonForced {
			t.Errorf("All: %s: %+v", feature, d)
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 3 || !strings.Contains(log.String(), "FORCED") {
		t.Errorf("the log says %q", log.String())
	}
	if len(c.Status().Forced) != 3 {
		t.Errorf("status: %+v", c.Status().Forced)
	}
}

func TestTheCacheServesWhileRedisIsAway(t *testing.T) {
	w := newWorld(t)
	w.apply(spec("flags-v1", `{"pct":0,"tenants":{"acme":{"pct":100,"cohorts":["ä\"\n"]}}}`))
	cache := filepath.Join(t.TempDir(), "deep", "flags.cache")
	c := w.open(client.Options{Cache: cache})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if d := c.Decide("receipts", "acme", "u"); !d.On {
		t.Errorf("after Close: %+v", d)
	}
	w.redis.Kill()
	sources := []client.Source{
		client.Redis(redisstore.Options{URL: w.redis.URL()}),
		client.JSON(`{"receipts:__default__":{"enabled":true,"ramp_pct":100}}`),
	}
	c = w.open(client.Options{Cache: cache, Sources: sources, Poll: 50 * time.Millisecond})
	d := c.Decide("receipts", "acme", "u")
	if s := c.Snapshot(); s.Source != "cache" || !d.On || d.Generation != 1 || d.Commit == "" || s.Version != "flags-v1" || s.Flags().Len() != w.last.Len() {
		t.Errorf("from the cache: %+v, %+v", c.Status(), d)
	}
	if age, stale := c.Stale(); !stale || age <= 0 {
		t.Errorf("cache: age %s, stale %v", age, stale)
	}
	w.redis.Start()
	w.refill(2)
	eventually(t, "redis", func() bool { _, stale := c.Stale(); return !stale && c.Snapshot().Source == "redis" })
	c.Close()

	w.redis.Kill()
	src, err := os.ReadFile(cache)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"cut short": src[:len(src)-3], "altered": bytes.Replace(src, []byte(`"enabled":true`), []byte(`"enabled":null`), 1),
		"another format": []byte("{}\n"), "empty": nil,
		"another namespace": bytes.Replace(src, []byte(`"flags:v1:"`), []byte(`"flags:v2:"`), 1),
	} {
		if err := os.WriteFile(cache, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		c := w.open(client.Options{Cache: cache, Sources: sources, Wait: 5 * time.Second})
		if s := c.Snapshot().Source; s != "FLAGS_JSON" {
			t.Errorf("%s: source %q, want the fallback", name, s)
		}
		c.Close()
	}
}

// A file of another environment is not believed, neither at first nor when it changes.
func TestAFileOfAnotherEnvironment(t *testing.T) {
	of := func(environment string, pct int) string {
		return fmt.Sprintf(`{"version":"flags-v1","environment":%q,"features":{"receipts":{"pct":%d}}}`, environment, pct)
	}
	path := filepath.Join(t.TempDir(), "flags.json")
	writeFile(t, path, of("prod", 100))
	for _, src := range []client.Source{client.File(path), client.Static([]byte(of("prod", 100)))} {
		_, err := client.Open(t.Context(), client.Options{Sources: []client.Source{src}, Environment: "staging", Environ: []string{}, Log: quiet(), Wait: time.Second})
		if err == nil || !strings.Contains(err.Error(), `another environment: "prod", not "staging"`) {
			t.Errorf("err = %v", err)
		}
	}
	for _, named := range []string{"prod", ""} {
		writeFile(t, path, of("prod", 100))
		c := open(t, client.Options{Sources: []client.Source{client.File(path)}, Environment: named})
		writeFile(t, path, of("staging", 0))
		eventually(t, "stale", func() bool { _, stale := c.Stale(); return stale })
		if !c.Enabled("receipts", "acme", "u") {
			t.Errorf("named %q: another environment's spec changed a decision", named)
		}
	}
}
