package openfeature_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	of "github.com/open-feature/go-sdk/openfeature"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/client/clienttest"
	rampart "github.com/rampart-flags/rampart/client/openfeature"
	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/internal/flagtest"
)

const sample = `{"version":"flags-v1","features":{
  "receipts":{"pct":50,"version":"v1+ramp.3","cohorts":["vip"],"tenants":{"acme":{"pct":100},"globex":{"enabled":false}}},
  "attest":{"pct":0}}}`

func sdk(t *testing.T, c *client.Client) *of.Client {
	t.Helper()
	if err := of.SetNamedProviderAndWait(t.Name(), rampart.NewProvider(c)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(of.Shutdown)
	return of.NewClient(t.Name())
}

func TestThroughTheSDK(t *testing.T) {
	f := clienttest.NewSpec(t, sample)
	api := sdk(t, f.Client)
	for _, tc := range []struct {
		name    string
		flag    string
		ctx     of.EvaluationContext
		value   bool
		reason  of.Reason
		variant string
		code    of.ErrorCode
	}{
		{"cohort", "receipts", of.NewEvaluationContext("vip", nil), true, of.TargetingMatchReason, "on", ""},
		{"full", "receipts", of.NewEvaluationContext("u", map[string]any{"tenant": "acme"}), true, of.StaticReason, "on", ""},
		{"disabled", "receipts", of.NewEvaluationContext("vip", map[string]any{"tenant": "globex"}), false, of.DisabledReason, "off", ""},
		{"bucket in", "receipts", of.NewEvaluationContext("user-2", nil), bucket("user-2") < 50_000, of.SplitReason, "", ""},
		{"bucket out", "receipts", of.NewEvaluationContext("user-3", nil), bucket("user-3") < 50_000, of.SplitReason, "", ""},
		{"tenant alone", "receipts", of.NewTargetlessEvaluationContext(map[string]any{"tenant": "initech"}), bucket("initech") < 50_000, of.SplitReason, "", ""},
		{"nobody, and nobody matters", "attest", of.EvaluationContext{}, false, of.SplitReason, "off", ""},
		{"nobody", "receipts", of.EvaluationContext{}, true, of.ErrorReason, "", of.TargetingKeyMissingCode},
		{"unknown", "nothing", of.NewEvaluationContext("u", nil), true, of.ErrorReason, "", of.FlagNotFoundCode},
		{"odd tenant", "receipts", of.NewEvaluationContext("u", map[string]any{"tenant": 7}), true, of.ErrorReason, "", of.InvalidContextCode},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, err := api.BooleanValueDetails(t.Context(), tc.flag, true, tc.ctx)
			if (err != nil) != (tc.code != "") || d.Value != tc.value || d.Reason != tc.reason || d.ErrorCode != tc.code {
				t.Errorf("got %+v, %v", d, err)
			}
			if tc.variant != "" && d.Variant != tc.variant {
				t.Errorf("variant %q, want %q", d.Variant, tc.variant)
			}
			if tc.code != "" {
				return
			}
			m := d.FlagMetadata
			if reason, err := m.GetString("reason"); err != nil || reason == "" {
				t.Errorf("metadata %v: %v", m, err)
			}
			if n, err := m.GetInt("generation"); err != nil || n != 1 {
				t.Errorf("metadata %v: %v", m, err)
			}
		})
	}
	d, _ := api.BooleanValueDetails(t.Context(), "receipts", false, of.NewEvaluationContext("u", map[string]any{"tenant": "acme"}))
	if entry, _ := d.FlagMetadata.GetString("entry"); entry != "receipts:acme" {
		t.Errorf("metadata %v", d.FlagMetadata)
	}
}

func bucket(key string) flags.Pct { return flags.Bucket("", key, "") }

func TestOtherTypesDoNotMatch(t *testing.T) {
	api := sdk(t, clienttest.NewSpec(t, sample).Client)
	ctx, who := t.Context(), of.NewEvaluationContext("u", nil)
	codes := map[string]of.ErrorCode{}
	s, _ := api.StringValueDetails(ctx, "receipts", "x", who)
	codes["string "+s.Value] = s.ErrorCode
	i, _ := api.IntValueDetails(ctx, "receipts", 1, who)
	codes["int"] = i.ErrorCode
	fl, _ := api.FloatValueDetails(ctx, "receipts", 1, who)
	codes["float"] = fl.ErrorCode
	o, _ := api.ObjectValueDetails(ctx, "receipts", nil, who)
	codes["object"] = o.ErrorCode
	if len(codes) != 4 || codes["string x"] == "" {
		t.Errorf("codes %v", codes)
	}
	for kind, code := range codes {
		if code != of.TypeMismatchCode {
			t.Errorf("%s: %s", kind, code)
		}
	}
	if s, _ := api.StringValueDetails(ctx, "nothing", "x", who); s.ErrorCode != of.FlagNotFoundCode {
		t.Errorf("unknown as a string: %s", s.ErrorCode)
	}
}

func TestEvents(t *testing.T) {
	f := clienttest.NewSpec(t, sample)
	api := sdk(t, f.Client)
	var mu sync.Mutex
	var seen []of.EventType
	for _, kind := range []of.EventType{of.ProviderReady, of.ProviderStale, of.ProviderConfigChange} {
		fn := func(d of.EventDetails) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, kind)
		}
		api.AddHandler(kind, &fn)
	}
	has := func(kind of.EventType) bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Contains(seen, kind)
	}
	f.On("attest")
	flagtest.Eventually(t, "the change", func() bool { return has(of.ProviderConfigChange) })
	f.Fail(errors.New("redis is away"))
	flagtest.Eventually(t, "stale", func() bool { return has(of.ProviderStale) && api.State() == of.StaleState })
	if on, err := api.BooleanValue(t.Context(), "attest", false, of.EvaluationContext{}); err != nil || !on {
		t.Errorf("stale flags do not decide: %v, %v", on, err)
	}
	f.Off("attest")
	flagtest.Eventually(t, "ready again", func() bool { return api.State() == of.ReadyState })
}

func TestReadyWaitsForFlags(t *testing.T) {
	src := client.NewSettable("later")
	c, err := client.Open(t.Context(), client.Options{Sources: []client.Source{src.Source()}, StartEmpty: true, Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := rampart.NewProvider(c)
	defer p.Shutdown()
	if d := p.BooleanEvaluation(t.Context(), "receipts", true, nil); !d.Value || d.ResolutionDetail().ErrorCode != of.ProviderNotReadyCode {
		t.Errorf("before there are flags: %+v", d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.InitWithContext(ctx, of.EvaluationContext{}); !errors.Is(err, client.ErrNotReady) {
		t.Errorf("Init without flags: %v", err)
	}
	if err := src.Set(func(yield func(flags.Key, flags.Entry) bool) {
		yield(flags.Key{Feature: "receipts", Tenant: flags.DefaultTenant}, flags.Entry{Enabled: true})
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.Init(of.EvaluationContext{}); err != nil {
		t.Error(err)
	}
}
