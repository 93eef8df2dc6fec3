package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/redisstore"
	"github.com/rampart-flags/rampart/trust"
)

// A statement posted to a running reconciler, with git away, is live when the answer comes, readers have been told by then, and
// no second post of it is taken.
func TestOverrideWithGitAway(t *testing.T) {
	flagtest.Need(t, "git", "redis-server", "redis-cli")
	s := flagtest.NewStage(t, flagtest.Redis(t), `{"roles":{"maintainer":{"signers":["alice"],"may":["*"]},"brake":{"signers":["bob"],"may":["disable"]}}}`)
	s.Spec("flags-v1", "receipts=50")
	s.Sign("alice")
	s.Land("first")
	state := filepath.Join(t.TempDir(), "state")
	cmd := command(t, s, state, "run", "--listen", "127.0.0.1:0", "--interval", "200ms")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	flagtest.Eventually(t, "the first generation", func() bool { return wantLive(s, "receipts", "50") == nil })
	flagtest.Eventually(t, "the address", func() bool { _, err := runningAddress(state); return err == nil })
	if err := os.Rename(s.Repo.Origin, s.Repo.Origin+".away"); err != nil {
		t.Fatal(err)
	}
	src, err := os.ReadFile(s.Trust)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := trust.Parse("trust.json", src)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	o := &trust.Override{Environment: policy.Environment, ID: trust.NewID(), Issued: now, Expires: now.Add(time.Hour), Reason: "time-outs",
		Set: []trust.OverrideItem{{Feature: "receipts", Tenant: "acme"}}}
	text, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	body, err := trust.Sealed{Statement: text, Bundles: [][]byte{s.Keys["bob"].Bundle(text)}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	store, err := redisstore.Open(t.Context(), redisstore.Options{URL: s.Redis.URL(), Namespace: s.NS})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	before := s.Redis.CLI("XLEN", s.NS+"changes")
	address, _ := runningAddress(state)
	post := func(token string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://"+address+"/admin/override", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var out bytes.Buffer
		_, _ = out.ReadFrom(res.Body)
		return res.StatusCode, out.String()
	}
	if code, _ := post("guess"); code != http.StatusUnauthorized {
		t.Errorf("without the token: %d", code)
	}
	token, err := os.ReadFile(filepath.Join(state, tokenName))
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(token))
	if code, out := post(key); code != http.StatusOK || !strings.Contains(out, `"signers":["bob"]`) {
		t.Fatalf("%d %s", code, out)
	}
	acme := func() string { return s.Redis.CLI("GET", s.NS+"receipts:acme") }
	if !strings.Contains(acme(), `"enabled":false`) {
		t.Errorf("the entry is %q", acme())
	}
	if s.Redis.CLI("XLEN", s.NS+"changes") == before {
		t.Error("readers were not told")
	}
	if all, err := store.Overrides(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("overrides: %v, %v", all, err)
	}
	if code, out := post(key); code != http.StatusUnprocessableEntity || !strings.Contains(out, string(trust.AlreadyUsed)) {
		t.Errorf("a replay: %d %s", code, out)
	}
	s.Redis.CLI("SET", s.NS+"receipts:acme", `{"version":"v1","enabled":true,"ramp_pct":100,"cohorts":[]}`)
	flagtest.Eventually(t, "the repair", func() bool { return strings.Contains(acme(), `"enabled":false`) })
	body, err = ask(t.Context(), address, "/api/v1/flags/receipts")
	var shown struct {
		Flag struct {
			Tenants map[string]struct{ Enabled bool }
		}
	}
	if err != nil || json.Unmarshal(body, &shown) != nil || len(shown.Flag.Tenants) != 1 || shown.Flag.Tenants["acme"].Enabled {
		t.Errorf("the API shows %s, %v", body, err)
	}
	res, err := http.Post("http://"+address+"/ofrep/v1/evaluate/flags/receipts", "application/json", strings.NewReader(`{"context":{"targetingKey":"u1","tenant":"acme"}}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var evaluated struct{ Value any }
	if err := json.NewDecoder(res.Body).Decode(&evaluated); err != nil || evaluated.Value != false {
		t.Errorf("OFREP says %v, %v", evaluated.Value, err)
	}
}
