package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/signing"
	"github.com/rampart-flags/rampart/trust"
)

// signer is a key pair that a policy may name.
type signer struct {
	t   testing.TB
	key *signing.Signer
	pub []byte
}

func newSigner(t testing.TB) signer {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(priv.Public())
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.LoadSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil)
	if err != nil {
		t.Fatal(err)
	}
	return signer{t, key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})}
}

func (s signer) sign(message []byte) []byte {
	s.t.Helper()
	b, err := s.key.Sign(s.t.Context(), message)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s signer) public() signing.PublicKey {
	s.t.Helper()
	k, err := signing.ParsePublicKey(s.pub)
	if err != nil {
		s.t.Fatal(err)
	}
	return k
}

// policy has a maintainer who may do anything, a bot that ramps by 10, and
// somebody on call.
func policy(t testing.TB, maintainer, bot, oncall signer) *trust.Policy {
	t.Helper()
	src, err := json.Marshal(map[string]any{
		"version": 1, "environment": "prod",
		"signers": map[string]any{
			"alice": map[string]any{"key": string(maintainer.pub)}, "bot": map[string]any{"key": string(bot.pub)},
			"oncall": map[string]any{"key": string(oncall.pub)},
		},
		"roles": map[string]any{
			"maintainer": map[string]any{"signers": []string{"alice"}, "may": []string{"*"}},
			"ramp":       map[string]any{"signers": []string{"bot"}, "may": []string{"ramp.up", "ramp.down"}, "max_step": 10},
			"brake":      map[string]any{"signers": []string{"oncall"}, "may": []string{"ramp.down", "disable"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := trust.Parse("trust.json", src)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func unverified(c *client.Client, name string) bool {
	return strings.Contains(c.Status().Errors[name], "not verified")
}

func TestAVerifyingClientNeedNotTrustRedis(t *testing.T) {
	w := newWorld(t)
	alice, bot, oncall := newSigner(t), newSigner(t), newSigner(t)
	v := &client.Verification{Policy: policy(t, alice, bot, oncall)}
	first := spec("flags-v1", `{"pct":10}`)
	w.bundle = redisstore.JoinBundles(alice.sign([]byte(first)))
	w.apply(first)
	cache := filepath.Join(t.TempDir(), "cache")
	c := w.open(client.Options{Verify: v, Poll: 50 * time.Millisecond, Cache: cache})
	if s := c.Snapshot(); len(s.Signers) != 1 || s.Signers[0] != "alice" {
		t.Fatalf("signers = %v", s.Signers)
	}

	refused := func(why, src string, by ...signer) {
		t.Helper()
		w.bundle = nil
		for _, s := range by {
			w.bundle = append(w.bundle, s.sign([]byte(src))...)
		}
		w.apply(src)
		eventually(t, why+" is refused", func() bool {
			return unverified(c, "redis") || strings.Contains(c.Status().Errors["redis"], "environment")
		})
		if n := c.Snapshot().Version; n == w.last.Version {
			t.Errorf("%s is served", why)
		}
	}
	accepted := func(why, src string, by signer) {
		t.Helper()
		w.bundle = by.sign([]byte(src))
		w.apply(src)
		eventually(t, why+" is served", func() bool { return c.Snapshot().Version == w.last.Version })
	}
	refused("an unsigned spec", spec("flags-v2", `{"pct":100}`))
	refused("a stranger's spec", spec("flags-v3", `{"pct":100}`), newSigner(t))
	refused("another spec's signature", spec("flags-v4", `{"pct":11}`), oncall)
	accepted("a ramp by the bot", spec("flags-v1+ramp.1", `{"pct":20}`), bot)
	refused("a leap by the bot", spec("flags-v1+ramp.2", `{"pct":90}`), bot)
	refused("a new feature by the bot", strings.Replace(spec("flags-v1+ramp.3", `{"pct":20}`), `"attest":{"pct":0}`, `"attest":{"pct":0},"evil":{}`, 1), bot)
	accepted("a kill by oncall", spec("flags-v1+ramp.4", `{"pct":20,"enabled":false}`), oncall)
	accepted("anything by the maintainer", spec("flags-v9", `{"pct":100}`), alice)
	refused("another environment", strings.Replace(spec("flags-v10", `{"pct":1}`), "prod", "staging", 1), alice)
	c.Close()

	// Nor need it trust its own disk.
	w.redis.Kill()
	c = w.open(client.Options{Verify: v, Cache: cache})
	if c.Snapshot().Source != "cache" || !c.Enabled("receipts", "acme", "u") {
		t.Errorf("from the cache: %+v", c.Status())
	}
	c.Close()
	w2 := newWorld(t)
	w2.apply(spec("flags-v1", `{"pct":100}`))
	w2.open(client.Options{Cache: cache}).Close() // unsigned entries now
	_, err := client.Open(t.Context(), client.Options{
		Sources: []client.Source{client.Redis(redisstore.Options{URL: nobody(t)})}, Cache: cache, Verify: v,
		Wait: 300 * time.Millisecond, Environ: []string{}, Log: quiet(),
	})
	if err == nil || !strings.Contains(err.Error(), "not verified") {
		t.Errorf("a cache without signatures: %v", err)
	}
}

func TestAttestationRulesOutAReplay(t *testing.T) {
	w := newWorld(t)
	alice, bot, oncall, reconciler := newSigner(t), newSigner(t), newSigner(t), newSigner(t)
	w.attest = func(m redisstore.Meta) string { return string(reconciler.sign(m.Attested())) }
	v := &client.Verification{Policy: policy(t, alice, bot, oncall), Reconciler: []signing.PublicKey{reconciler.public()}}
	apply := func(src string, by signer) redisstore.Meta {
		w.bundle = by.sign([]byte(src))
		return w.apply(src)
	}
	// Attested, a bot's ramp can be the first thing a client sees.
	old := spec("flags-v1+ramp.1", `{"pct":100}`)
	oldMeta := apply(old, bot)
	oldBundle := w.bundle
	cache := filepath.Join(t.TempDir(), "cache")
	c := w.open(client.Options{Verify: v, Poll: 50 * time.Millisecond, Cache: cache})
	apply(spec("flags-v1+ramp.2", `{"pct":0}`), bot)
	eventually(t, "generation 2", func() bool { return c.Snapshot().Generation == 2 })

	put := func(m redisstore.Meta, src string, bundle []byte) {
		w.redis.CLI("SET", "flags:v1:spec", src)
		w.redis.CLI("SET", "flags:v1:bundle", string(bundle))
		w.redis.CLI("HSET", "flags:v1:meta", "generation", jsonNumber(m.Generation), "digest", m.Digest, "version", m.Version,
			"attestation", m.Attestation, "message", "replayed"+jsonNumber(m.Generation))
	}
	served := func(why string) {
		t.Helper()
		eventually(t, why+" is refused", func() bool { return unverified(c, "redis") })
		if c.Enabled("receipts", "acme", "u") {
			t.Errorf("%s is served: %+v", why, c.Snapshot())
		}
	}
	put(oldMeta, old, oldBundle)
	served("a replay of the older generation")
	client.Advance(c, time.Hour)
	forged := oldMeta
	forged.Generation = 3
	put(forged, old, oldBundle)
	served("the older content under a new number")
	forged.Attestation = string(bot.sign(forged.Attested()))
	put(forged, old, oldBundle)
	served("an attestation by another key")
	forged.Attestation = ""
	put(forged, old, oldBundle)
	served("a missing attestation")
	c.Close()

	// The cache remembers the generation over a restart.
	put(oldMeta, old, oldBundle)
	c = w.open(client.Options{Verify: v, Poll: 50 * time.Millisecond, Cache: cache})
	served("a replay after a restart")
	if c.Snapshot().Source != "cache" || c.Snapshot().Generation != 2 {
		t.Errorf("serves %+v", c.Status())
	}
}

func jsonNumber(n uint64) string { b, _ := json.Marshal(n); return string(b) }

func TestASignedFile(t *testing.T) {
	alice, bot, oncall := newSigner(t), newSigner(t), newSigner(t)
	path := filepath.Join(t.TempDir(), "flags.json")
	put := func(src string, by signer) {
		writeFile(t, path+".sigstore.json", string(by.sign([]byte(src))))
		writeFile(t, path, src)
	}
	put(spec("flags-v1", `{"pct":0}`), alice)
	c := open(t, client.Options{Sources: []client.Source{client.File(path)}, Verify: &client.Verification{Policy: policy(t, alice, bot, oncall)}})
	writeFile(t, path, spec("flags-v2", `{"pct":100}`))
	eventually(t, "the unsigned file is refused", func() bool { return unverified(c, "file "+path) })
	if c.Enabled("receipts", "acme", "u") {
		t.Error("an unsigned file is served")
	}
	writeFile(t, path+".bob.sigstore.json", string(alice.sign([]byte(spec("flags-v2", `{"pct":100}`)))))
	eventually(t, "the signature that came later", func() bool { return c.Enabled("receipts", "acme", "u") })
}

// TestOverridesLieOnTop puts signed break-glass statements into Redis, as a
// reconciler keeps them.
// The narrow user of docs/redis.md is enough for a client that verifies.
func TestAVerifyingClientReadsNoEntry(t *testing.T) {
	page, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	user := regexp.MustCompile(`(?m)^user (rampart-evaluator .*)$`).FindSubmatch(page)
	w := newWorld(t)
	w.redis.CLI(append([]string{"ACL", "SETUSER"}, strings.Fields(string(user[1]))...)...)
	alice := newSigner(t)
	live := func(src string) {
		w.bundle = alice.sign([]byte(src))
		w.apply(src)
	}
	live(spec("flags-v1", `{"pct":0}`))
	c := w.open(client.Options{
		Verify:  &client.Verification{Policy: policy(t, alice, newSigner(t), newSigner(t))},
		Sources: []client.Source{client.Redis(redisstore.Options{URL: "redis://rampart-evaluator:change-me@" + w.redis.Addr()})},
	})
	live(spec("flags-v2", `{"pct":100}`))
	eventually(t, "the change", func() bool { return c.Enabled("receipts", "acme", "u") })
	if got := c.Status().Errors; len(got) > 0 {
		t.Error(got)
	}
	if denied := w.redis.CLI("ACL", "LOG"); strings.Contains(denied, "rampart-evaluator") {
		t.Error(denied)
	}
}

func TestOverridesLieOnTop(t *testing.T) {
	alice, bot, oncall := newSigner(t), newSigner(t), newSigner(t)
	for _, verify := range []*client.Verification{nil, {Policy: policy(t, alice, bot, oncall)}} {
		w := newWorld(t)
		src := spec("flags-v1", `{"pct":100,"tenants":{"globex":{"cohorts":["u"]}}}`)
		w.bundle = alice.sign([]byte(src))
		w.apply(src)
		meta, err := w.store.Meta(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		put := func(by signer, expires time.Duration, set ...trust.OverrideItem) {
			t.Helper()
			o := &trust.Override{Environment: "prod", ID: trust.NewID(), Issued: time.Now().Add(-time.Minute), Expires: time.Now().Add(expires), Reason: "test", Set: set}
			raw, err := o.Encode()
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := trust.Sealed{Statement: raw, Bundles: [][]byte{by.sign(raw)}}.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if err := w.store.SetOverrides(t.Context(), meta.Fence(), map[string][]byte{o.ID: sealed}); err != nil {
				t.Fatal(err)
			}
		}
		c := w.open(client.Options{Verify: verify, Poll: 50 * time.Millisecond})
		off := trust.OverrideItem{Feature: "receipts", Tenant: "acme"}
		on := func(tenant string) bool { return c.Enabled("receipts", tenant, "u") }
		put(oncall, time.Hour, off)
		if verify == nil {
			// The entries change too; a client that starts later sees the same.
			c = w.open(client.Options{})
		}
		eventually(t, "the override", func() bool { return !on("acme") })
		if !on("globex") || !on("other") {
			t.Error("more than one tenant is off")
		}
		if verify == nil {
			continue
		}
		put(bot, time.Hour, trust.OverrideItem{Feature: "receipts"})
		eventually(t, "an override by somebody who may not", func() bool { return on("acme") && on("globex") })
		put(oncall, 3*time.Second, trust.OverrideItem{Feature: "receipts"})
		eventually(t, "everybody off", func() bool { return !on("acme") && !on("globex") })
		eventually(t, "the end of the override", func() bool { return on("acme") && on("globex") })
		if d := c.Decide("receipts", "globex", "u"); d.Reason != flags.ReasonCohort {
			t.Errorf("afterwards: %+v", d)
		}
	}
}
