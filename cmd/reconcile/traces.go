package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/rampart-flags/rampart/internal/cli"
	"github.com/rampart-flags/rampart/reconciler"
)

// traces sends what the reconciler traces to an OpenTelemetry collector, where the environment's variables ask for it
// (docs/metrics.md). A nil one sends nothing.
type traces struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// tracesWanted says whether the variables ask for traces. What they ask for and cannot be had is returned as a sentence: the
// OpenTelemetry specification wants a warning for it, not an end.
func tracesWanted(getenv func(string) string) (wanted bool, why string) {
	switch exporter := getenv("OTEL_TRACES_EXPORTER"); {
	case strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true"), exporter == "none":
		return false, ""
	case exporter != "" && exporter != "otlp":
		return false, fmt.Sprintf("OTEL_TRACES_EXPORTER is %q: only otlp and none are known here, so no traces are sent", exporter)
	case exporter == "" && getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "":
		return false, ""
	}
	if p := cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), getenv("OTEL_EXPORTER_OTLP_PROTOCOL")); p != "" && p != "http/protobuf" {
		return false, fmt.Sprintf("OTEL_EXPORTER_OTLP_PROTOCOL is %q: only http/protobuf is known here, so no traces are sent", p)
	}
	return true, ""
}

// openTraces prepares the sending of traces. It contacts nobody; where the variables do not ask for traces it returns nil.
func openTraces(ctx context.Context, env cli.Env, log *slog.Logger, name string) (*traces, error) {
	wanted, why := tracesWanted(env.Getenv)
	if why != "" {
		log.Warn(why)
	}
	if !wanted {
		return nil, nil
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("sending traces", "err", err) }))
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("preparing traces: %w", err)
	}
	about := []attribute.KeyValue{attribute.String("service.name", "rampart-reconcile"), attribute.String("service.version", cli.Version())}
	if name != "" {
		about = append(about, attribute.String("service.instance.id", name))
	}
	// What the variables say of the service comes last, so it wins. A detector that finds nothing is no trouble.
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(about...), resource.WithFromEnv())
	if err != nil {
		log.Warn("reading what the environment says of this service, for traces", "err", err)
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res), sdktrace.WithIDGenerator(chainIDs{}))
	return &traces{provider: p, tracer: p.Tracer("github.com/rampart-flags/rampart/reconciler", trace.WithInstrumentationVersion(cli.Version()))}, nil
}

// hand is what the reconciler gives its traces to, nil where none are wanted. What does not fit into the queue is dropped: a
// pass never waits for it.
func (t *traces) hand() func(reconciler.Trace) {
	if t == nil {
		return nil
	}
	return func(tr reconciler.Trace) {
		t.span(context.WithValue(context.Background(), chainKey{}, tr.ID), tr.Root)
	}
}

func (t *traces) span(ctx context.Context, s reconciler.Span) {
	ctx, span := t.tracer.Start(ctx, s.Name, trace.WithTimestamp(s.Start), trace.WithAttributes(attributes(s.Attrs)...))
	for _, child := range s.Children {
		t.span(ctx, child)
	}
	if s.Err != "" {
		span.SetStatus(codes.Error, s.Err)
	}
	span.End(trace.WithTimestamp(s.End))
}

// attributes are in order of their names, each below "rampart.".
func attributes(attrs map[string]any) []attribute.KeyValue {
	var out []attribute.KeyValue
	for name, value := range attrs {
		switch v := value.(type) {
		case string:
			out = append(out, attribute.String("rampart."+name, v))
		case int64:
			out = append(out, attribute.Int64("rampart."+name, v))
		case []string:
			out = append(out, attribute.StringSlice("rampart."+name, v))
		}
	}
	slices.SortFunc(out, func(a, b attribute.KeyValue) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return out
}

// Close sends what waits, for five seconds at most.
func (t *traces) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err)
	}
}

// chainIDs gives a trace the chain id of its change, so that receipts, exemplars and traces name the same thing.
type chainIDs struct{}

type chainKey struct{}

// NewIDs implements sdktrace.IDGenerator.
func (g chainIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	chain, _ := ctx.Value(chainKey{}).(string)
	id, err := trace.TraceIDFromHex(chain)
	if err != nil { // a pass in trouble has no chain
		_, _ = rand.Read(id[:]) // crypto/rand does not fail
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID implements sdktrace.IDGenerator.
func (chainIDs) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		_, _ = rand.Read(id[:])
	}
	return id
}
