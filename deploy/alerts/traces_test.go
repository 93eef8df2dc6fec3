package alerts

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/rampart-flags/rampart/internal/flagtest"
	"github.com/rampart-flags/rampart/internal/worldtest"
)

// receiver takes traces as a collector does: OTLP over HTTP, in protobuf.
type receiver struct {
	*httptest.Server

	mu      sync.Mutex
	wrong   []string
	service map[string]string // attributes of the resource
	spans   []*tracepb.Span
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{service: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := r.take(req); err != nil {
			r.mu.Lock()
			r.wrong = append(r.wrong, err.Error())
			r.mu.Unlock()
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		answer, _ := proto.Marshal(&collector.ExportTraceServiceResponse{})
		_, _ = w.Write(answer)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) take(req *http.Request) error {
	if req.Method != http.MethodPost || req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" {
		return fmt.Errorf("not an export of traces: %s %s, %s", req.Method, req.URL.Path, req.Header.Get("Content-Type"))
	}
	body := io.Reader(req.Body)
	if req.Header.Get("Content-Encoding") == "gzip" {
		zip, err := gzip.NewReader(req.Body)
		if err != nil {
			return err
		}
		body = zip
	}
	src, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var got collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(src, &got); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range got.ResourceSpans {
		for _, a := range rs.Resource.Attributes {
			r.service[a.Key] = valueText(a.Value)
		}
		for _, ss := range rs.ScopeSpans {
			r.spans = append(r.spans, ss.Spans...)
		}
	}
	return nil
}

func valueText(v *common.AnyValue) string {
	switch v := v.Value.(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *common.AnyValue_ArrayValue:
		var all []string
		for _, e := range v.ArrayValue.Values {
			all = append(all, valueText(e))
		}
		return strings.Join(all, ",")
	}
	return fmt.Sprint(v)
}

func attr(s *tracepb.Span, name string) string {
	for _, a := range s.Attributes {
		if a.Key == "rampart."+name {
			return valueText(a.Value)
		}
	}
	return ""
}

// root finds the newest whole trace whose root has these attributes: its last span, the root, has come.
func (r *receiver) root(want map[string]string) *tracepb.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range slices.Backward(r.spans) {
		ok := len(s.ParentSpanId) == 0
		for name, value := range want {
			ok = ok && attr(s, name) == value
		}
		if ok {
			return s
		}
	}
	return nil
}

func (r *receiver) roots() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if len(s.ParentSpanId) == 0 {
			n++
		}
	}
	return n
}

// tree writes what hangs below a span as indented lines: names, and what was said of them. It fails the test where a child does
// not lie within its parent's time and trace.
func (r *receiver) tree(t *testing.T, s *tracepb.Span) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var out strings.Builder
	var walk func(s *tracepb.Span, indent string)
	walk = func(s *tracepb.Span, indent string) {
		line := indent + s.Name
		for _, name := range []string{"kind", "outcome", "code", "verdict", "generation", "environment", "signers", "roles", "phase", "set", "deleted"} {
			if v := attr(s, name); v != "" {
				line += " " + name + "=" + v
			}
		}
		if s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
			line += " error"
		}
		out.WriteString(line + "\n")
		for _, c := range r.spans {
			if string(c.ParentSpanId) != string(s.SpanId) {
				continue
			}
			if string(c.TraceId) != string(s.TraceId) || c.StartTimeUnixNano < s.StartTimeUnixNano || c.EndTimeUnixNano > s.EndTimeUnixNano || c.EndTimeUnixNano < c.StartTimeUnixNano {
				t.Errorf("%s does not lie within %s", c.Name, s.Name)
			}
			walk(c, indent+"  ")
		}
	}
	walk(s, "")
	return out.String()
}

func (r *receiver) await(t *testing.T, what string, want map[string]string) *tracepb.Span {
	t.Helper()
	var s *tracepb.Span
	flagtest.Eventually(t, "the trace of "+what, func() bool { s = r.root(want); return s != nil })
	return s
}

func passes(t *testing.T, w *worldtest.World) uint64 {
	t.Helper()
	return w.Status().Passes
}

// What a pass does with a change is one trace, under the change's own chain; a pass that does nothing leaves none.
func TestTraces(t *testing.T) {
	r := newReceiver(t)
	w := worldtest.New(t)
	w.Env = []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.URL, "OTEL_SERVICE_NAME=flags-of-prod", "OTEL_RESOURCE_ATTRIBUTES=team=ledger", "OTEL_BSP_SCHEDULE_DELAY=50"}
	w.Commit(specOf("flags-v1", "10"), "alice", "Begin")
	w.Start()
	w.AwaitGeneration(1)
	begun := r.await(t, "the first generation", map[string]string{"generation": "1"})

	const chain = "0123456789abcdef0123456789abcdef"
	commit := w.Commit(specOf("flags-v1+ramp.1", "20"), "bot", "Ramp\n\nOp-Id: 01a2\nOp-Chain-Id: "+chain+"\n")
	w.AwaitGeneration(2)
	accepted := r.await(t, "an accepted change", map[string]string{"commit": commit})
	leap := w.Commit(specOf("flags-v1+ramp.2", "90"), "bot", "Leap")
	w.AwaitRefusal(leap)
	turned := r.await(t, "a refused change", map[string]string{"commit": leap})
	for _, c := range []struct {
		what, want string
		root       *tracepb.Span
	}{
		{"the first generation", `pass kind=start outcome=applied generation=1 environment=prod signers=alice
  fetch
  walk
    judge code=Accepted verdict=accepted
      verify signers=alice
      validate
      authorize roles=maintainer
    receipt phase=intent
  plan kind=apply set=2 deleted=0
  apply kind=apply set=2 deleted=0
  receipt phase=outcome
`, begun},
		{"an accepted change", `pass kind=accept outcome=applied generation=2 environment=prod signers=bot
  fetch
  walk
    judge code=Accepted verdict=accepted
      verify signers=bot
      validate
      authorize roles=ramp
    receipt phase=intent
  plan kind=apply set=1 deleted=0
  apply kind=apply set=1 deleted=0
  receipt phase=outcome
`, accepted},
		{"a refused change", `pass kind=refuse outcome=refused code=NotAuthorized environment=prod signers=bot
  fetch
  walk
    judge code=NotAuthorized verdict=refused
      verify signers=bot
      validate
      authorize
  receipt phase=outcome
`, turned},
	} {
		if got := r.tree(t, c.root); got != c.want {
			t.Errorf("the trace of %s:\n%swant\n%s", c.what, got, c.want)
		}
	}
	if got := hex.EncodeToString(accepted.TraceId); got != chain {
		t.Errorf("the trace's id is %s, its change's chain %s", got, chain)
	}
	if _, body := w.Ask("GET", "/api/v1/receipts?chain="+hex.EncodeToString(turned.TraceId), ""); !strings.Contains(body, leap) {
		t.Errorf("the refused change's trace id finds no receipt of it: %s", body)
	}

	// Passes that find all as it was leave nothing, however many they are.
	before, seen := r.roots(), passes(t, w)
	flagtest.Eventually(t, "passes that do nothing", func() bool { return passes(t, w) > seen+4 })

	// What somebody else did to Redis is put right, in a trace of its own; an outage is one, however many passes it lasts.
	w.Redis.CLI("DEL", "flags:v1:receipts:acme")
	mended := r.await(t, "a repair", map[string]string{"kind": "repair"})
	if got, want := r.tree(t, mended), `pass kind=repair outcome=applied generation=2 environment=prod
  fetch
  receipt phase=intent
  apply kind=repair set=1 deleted=0
  receipt phase=outcome
`; got != want {
		t.Errorf("the trace of a repair:\n%swant\n%s", got, want)
	}
	w.Redis.Kill()
	r.await(t, "an outage", map[string]string{"outcome": "trouble"})
	seen = passes(t, w)
	flagtest.Eventually(t, "further passes without Redis", func() bool { return passes(t, w) > seen+1 })
	w.Stop() // it sends what waits
	if got := r.roots(); got != before+2 {
		t.Errorf("%d traces after idle passes, a repair and an outage; before there were %d", got, before)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, wrong := range r.wrong {
		t.Error(wrong)
	}
	for name, want := range map[string]string{"service.name": "flags-of-prod", "team": "ledger", "telemetry.sdk.language": "go"} {
		if r.service[name] != want {
			t.Errorf("%s is %q, want %q", name, r.service[name], want)
		}
	}
}

// Nothing is sent that was not asked for.
func TestTracesAreOff(t *testing.T) {
	r := newReceiver(t)
	for _, env := range [][]string{
		{"OTEL_SERVICE_NAME=flags"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.URL, "OTEL_SDK_DISABLED=true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=" + r.URL, "OTEL_TRACES_EXPORTER=none"},
	} {
		w := worldtest.New(t)
		w.Env = env
		w.Commit(specOf("flags-v1", "10"), "alice", "Begin")
		w.Start()
		w.AwaitGeneration(1)
		w.Stop()
	}
	if n := r.roots(); n > 0 {
		t.Errorf("%d traces came", n)
	}
}
