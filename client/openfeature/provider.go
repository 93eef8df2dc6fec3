// Package openfeature makes a [client.Client] a provider for the OpenFeature Go
// SDK.
//
//	c, err := client.Open(ctx, client.Options{})
//	openfeature.SetProviderAndWait(rampart.NewProvider(c)) // imported as rampart
//
// The evaluation context's targetingKey is the user, its "tenant" the tenant,
// else the client's default tenant. Features are booleans, with the variants
// "on" and "off"; asking for another type is a TYPE_MISMATCH. A context with
// neither targetingKey nor tenant gets TARGETING_KEY_MISSING, but only from
// features whose answer depends on who asks. The decision's own reason, the
// entry, its version, the generation and the commit stand in the metadata.
package openfeature

import (
	"context"
	"fmt"
	"sync"

	of "github.com/open-feature/go-sdk/openfeature"

	"github.com/rampart-flags/rampart/client"
	"github.com/rampart-flags/rampart/flags"
)

// Provider answers from a client's memory. It tells the SDK when flags are
// ready, stale, ready again or changed. Make one with [NewProvider].
type Provider struct {
	c      *client.Client
	events chan of.Event
	done   chan struct{}
	once   sync.Once
	stop   func()
}

var (
	_ of.FeatureProvider          = (*Provider)(nil)
	_ of.ContextAwareStateHandler = (*Provider)(nil)
	_ of.EventHandler             = (*Provider)(nil)
)

const providerName = "rampart"

// NewProvider makes a provider. The client stays the caller's: Shutdown does not
// close it.
func NewProvider(c *client.Client) *Provider {
	p := &Provider{c: c, events: make(chan of.Event, 16), done: make(chan struct{})}
	p.stop = c.OnChange(p.tell)
	return p
}

// Metadata names the provider.
func (p *Provider) Metadata() of.Metadata { return of.Metadata{Name: providerName} }

// Hooks has none.
func (p *Provider) Hooks() []of.Hook { return nil }

// Init waits until the client has flags.
func (p *Provider) Init(e of.EvaluationContext) error {
	return p.InitWithContext(context.Background(), e)
}

// InitWithContext waits until the client has flags or the context ends.
func (p *Provider) InitWithContext(ctx context.Context, _ of.EvaluationContext) error {
	return p.c.Ready(ctx)
}

// Shutdown ends the events.
func (p *Provider) Shutdown() {
	p.once.Do(func() {
		p.stop()
		close(p.done)
	})
}

// ShutdownWithContext is Shutdown.
func (p *Provider) ShutdownWithContext(context.Context) error {
	p.Shutdown()
	return nil
}

// EventChannel is where the SDK hears of events.
func (p *Provider) EventChannel() <-chan of.Event { return p.events }

func (p *Provider) tell(e client.Event) {
	event := of.Event{ProviderName: providerName, ProviderEventDetails: of.ProviderEventDetails{
		FlagChanges: e.Features,
		EventMetadata: map[string]any{
			"generation": int64(e.Snapshot.Generation), "commit": e.Snapshot.Commit, "version": e.Snapshot.Version, "source": e.Snapshot.Source,
		},
	}}
	switch e.Kind {
	case client.Ready, client.Recovered:
		event.EventType = of.ProviderReady
	case client.Changed:
		event.EventType = of.ProviderConfigChange
	case client.Stale:
		event.EventType = of.ProviderStale
		event.Message = e.Err.Error()
	default:
		return
	}
	select {
	case p.events <- event:
	case <-p.done:
	}
}

// BooleanEvaluation decides about a feature.
func (p *Provider) BooleanEvaluation(_ context.Context, flag string, fallback bool, flat of.FlattenedContext) of.BoolResolutionDetail {
	detail := of.BoolResolutionDetail{Value: fallback}
	tenant, user, err := subject(flat)
	if err != nil {
		detail.ProviderResolutionDetail = failed(of.NewInvalidContextResolutionError(err.Error()))
		return detail
	}
	who := p.c.For(tenant, user)
	d := who.Decide(flag)
	switch {
	case d.Reason == flags.ReasonNoConfig && who.Snapshot().Source == "":
		detail.ProviderResolutionDetail = failed(of.NewProviderNotReadyResolutionError("no flags have been read yet"))
	case d.Reason == flags.ReasonNoConfig:
		detail.ProviderResolutionDetail = failed(of.NewFlagNotFoundResolutionError(fmt.Sprintf("no feature %q", flag)))
	case tenant == "" && user == "" && d.Reason != client.ReasonForced && who.NeedsKey(flag):
		detail.ProviderResolutionDetail = failed(of.NewTargetingKeyMissingResolutionError(fmt.Sprintf("feature %q depends on who asks", flag)))
	default:
		detail.Value = d.On
		detail.ProviderResolutionDetail = resolved(flag, d)
	}
	return detail
}

func resolved(flag string, d client.Decision) of.ProviderResolutionDetail {
	variant := "off"
	if d.On {
		variant = "on"
	}
	return of.ProviderResolutionDetail{
		Reason: of.Reason(d.Reason.OpenFeature()), Variant: variant,
		FlagMetadata: of.FlagMetadata{
			"reason": string(d.Reason), "entry": flag + ":" + d.Tenant, "version": d.Version,
			"generation": int64(d.Generation), "commit": d.Commit,
		},
	}
}

func failed(err of.ResolutionError) of.ProviderResolutionDetail {
	return of.ProviderResolutionDetail{ResolutionError: err, Reason: of.ErrorReason}
}

// subject reads who asks from the context.
func subject(flat of.FlattenedContext) (tenant, user string, err error) {
	for name, to := range map[string]*string{of.TargetingKey: &user, "tenant": &tenant} {
		v, ok := flat[name]
		if !ok || v == nil {
			continue
		}
		if *to, ok = v.(string); !ok {
			return "", "", fmt.Errorf("%s is a %T, want a string", name, v)
		}
	}
	return tenant, user, nil
}

// StringEvaluation is a type mismatch, as features are booleans.
func (p *Provider) StringEvaluation(_ context.Context, flag string, fallback string, _ of.FlattenedContext) of.StringResolutionDetail {
	return mismatch(p, flag, fallback)
}

// FloatEvaluation is a type mismatch, as features are booleans.
func (p *Provider) FloatEvaluation(_ context.Context, flag string, fallback float64, _ of.FlattenedContext) of.FloatResolutionDetail {
	return mismatch(p, flag, fallback)
}

// IntEvaluation is a type mismatch, as features are booleans.
func (p *Provider) IntEvaluation(_ context.Context, flag string, fallback int64, _ of.FlattenedContext) of.IntResolutionDetail {
	return mismatch(p, flag, fallback)
}

// ObjectEvaluation is a type mismatch, as features are booleans.
func (p *Provider) ObjectEvaluation(_ context.Context, flag string, fallback any, _ of.FlattenedContext) of.InterfaceResolutionDetail {
	return mismatch(p, flag, fallback)
}

func mismatch[T any](p *Provider, flag string, fallback T) of.GenericResolutionDetail[T] {
	err := of.NewTypeMismatchResolutionError(fmt.Sprintf("feature %q is a boolean", flag))
	if p.c.Decide(flag, "", "").Reason == flags.ReasonNoConfig {
		err = of.NewFlagNotFoundResolutionError(fmt.Sprintf("no feature %q", flag))
	}
	return of.GenericResolutionDetail[T]{Value: fallback, ProviderResolutionDetail: failed(err)}
}
