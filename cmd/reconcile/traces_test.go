package main

import (
	"strings"
	"testing"
)

func TestTracesWanted(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"
	for _, c := range []struct {
		env    string
		wanted bool
		why    string // part of it
	}{
		{"", false, ""},
		{"OTEL_SERVICE_NAME=flags OTEL_RESOURCE_ATTRIBUTES=a=b", false, ""},
		{endpoint, true, ""},
		{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:4318/v1/traces", true, ""},
		{"OTEL_TRACES_EXPORTER=otlp", true, ""},
		{"OTEL_TRACES_EXPORTER=none " + endpoint, false, ""},
		{"OTEL_SDK_DISABLED=true " + endpoint, false, ""},
		{"OTEL_SDK_DISABLED=TRUE " + endpoint, false, ""},
		{"OTEL_SDK_DISABLED=yes " + endpoint, true, ""}, // only "true" is true, says the specification
		{"OTEL_TRACES_EXPORTER=zipkin " + endpoint, false, "zipkin"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc " + endpoint, false, "grpc"},
		{"OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf " + endpoint, true, ""},
	} {
		vars := map[string]string{}
		for _, v := range strings.Fields(c.env) {
			name, value, _ := strings.Cut(v, "=")
			vars[name] = value
		}
		wanted, why := tracesWanted(func(name string) string { return vars[name] })
		if wanted != c.wanted || (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
			t.Errorf("%q: %v, %q", c.env, wanted, why)
		}
	}
}
