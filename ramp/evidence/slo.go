package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/ramp"
)

// SLO reads a document about the state of the service:
//
//	{"generated_at": "2026-11-22T04:00:00Z", "anchor_p95_ms": 21, "divergence": 0, "samples": 12000,
//	 "alerts": [{"severity": "critical", "name": "AnchorLate", "feature": "receipts", "tenant": "acme"}],
//	 "treated": {"requests": 1200, "errors": 3}, "control": {"requests": 10800, "errors": 20},
//	 "features": {"receipts": {"error_rate": 0.01, "tenants": {"acme": {"error_rate": 0.02}}}}}
//
// Every further number is an indicator. A nil src is missing evidence. It never fails: what cannot be
// used carries its reason.
func SLO(src []byte) ramp.SLO {
	var s ramp.SLO
	if src == nil {
		s.Missing = true
		return s
	}
	top, err := object(src)
	if err != nil {
		s.Problem = err.Error()
		return s
	}
	whole := newScope("", "")
	s.NoAlerts = true
	for _, name := range members(top) {
		switch raw := top[name]; name {
		case "$schema":
		case "generated_at":
			if s.At, err = moment(raw); err != nil {
				s.Problem = "generated_at: " + err.Error()
			}
		case "alerts":
			s.NoAlerts = false
			var err error
			if s.Alerts, err = alerts(raw); err != nil {
				broken(&whole, name, err)
			}
		case "features":
			features, err := object(raw)
			if err != nil {
				broken(&whole, name, err)
				continue
			}
			for _, f := range members(features) {
				s.Scopes = append(s.Scopes, scopes(f, "", features[f])...)
			}
		default:
			field(&whole, name, raw)
		}
	}
	s.Scopes = append([]ramp.Scope{whole}, s.Scopes...)
	return s
}

func newScope(feature, tenant string) ramp.Scope {
	return ramp.Scope{Feature: feature, Tenant: tenant, Samples: ramp.NoSamples, Indicators: map[string]float64{}}
}

func broken(sc *ramp.Scope, name string, err error) {
	if sc.Broken == nil {
		sc.Broken = map[string]string{}
	}
	sc.Broken[cmp.Or(printable(fmt.Sprintf("%.60s", name)), "a field without a name")] = err.Error()
}

// field takes one member of a scope.
func field(sc *ramp.Scope, name string, raw jsontext.Value) {
	var err error
	switch name {
	case "samples":
		if sc.Samples, err = count(raw); err != nil {
			sc.Samples = ramp.NoSamples
		}
	case "treated":
		sc.Treated, err = arm(raw)
	case "control":
		sc.Control, err = arm(raw)
	default:
		var v float64
		if v, err = number(raw); err == nil && v < 0 && name == "anchor_p95_ms" {
			err = errors.New("less than nothing")
		}
		if err == nil {
			sc.Indicators[name] = v
		}
	}
	if err != nil {
		broken(sc, name, err)
	}
}

// scopes reads one feature's numbers and, under "tenants", those of its tenants.
func scopes(feature, of string, raw jsontext.Value) []ramp.Scope {
	sc := newScope(feature, of)
	fields, err := object(raw)
	if err != nil {
		broken(&sc, "features."+feature, err)
		return []ramp.Scope{sc}
	}
	var more []ramp.Scope
	for _, name := range members(fields) {
		if name != "tenants" || of != "" {
			field(&sc, name, fields[name])
			continue
		}
		tenants, err := object(fields[name])
		if err != nil {
			broken(&sc, name, err)
			continue
		}
		for _, t := range members(tenants) {
			more = append(more, scopes(feature, tenant(t), tenants[t])...)
		}
	}
	return append([]ramp.Scope{sc}, more...)
}

func arm(raw jsontext.Value) (*ramp.Arm, error) {
	fields, err := object(raw)
	if err != nil {
		return nil, err
	}
	var a ramp.Arm
	for _, name := range []string{"requests", "errors"} {
		v, ok := fields[name]
		if !ok {
			return nil, fmt.Errorf("%s is missing", name)
		}
		n, err := count(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if name == "requests" {
			a.Requests = n
		} else {
			a.Errors = n
		}
	}
	if len(fields) > 2 {
		return nil, errors.New("want requests and errors, and nothing else")
	}
	if a.Errors > a.Requests {
		return nil, errors.New("more errors than requests")
	}
	return &a, nil
}

// alerts reads the list. One that cannot be read does not hide the others.
func alerts(raw jsontext.Value) (all []ramp.Alert, err error) {
	if raw.Kind() != '[' {
		return nil, fmt.Errorf("%s where a list belongs", kindName(raw))
	}
	dec := jsontext.NewDecoder(strings.NewReader(string(raw)))
	if _, err := dec.ReadToken(); err != nil {
		return nil, tidy(err)
	}
	for i := 0; dec.PeekKind() != ']'; i++ {
		v, rerr := dec.ReadValue()
		if rerr != nil {
			return all, tidy(rerr)
		}
		a, aerr := alert(v)
		if aerr != nil {
			err = fmt.Errorf("number %d: %w", i+1, aerr)
			if a.Severity == "" {
				continue
			}
		}
		all = append(all, a)
	}
	return all, err
}

func alert(raw jsontext.Value) (a ramp.Alert, err error) {
	fields, err := object(raw)
	if err != nil {
		return a, err
	}
	for _, f := range []struct {
		name string
		dst  *string
	}{{"severity", &a.Severity}, {"name", &a.Name}, {"feature", &a.Feature}, {"tenant", &a.Tenant}} {
		v, ok := fields[f.name]
		if !ok || v.Kind() == 'n' {
			continue
		}
		if v.Kind() != '"' {
			// Whom it concerns is not known, so it concerns everybody.
			err = fmt.Errorf("%s: %s where a string belongs", f.name, kindName(v))
			continue
		}
		text, uerr := jsontext.AppendUnquote(nil, v)
		if uerr != nil {
			err = fmt.Errorf("%s: %w", f.name, tidy(uerr))
			continue
		}
		*f.dst = fmt.Sprintf("%.200s", printable(string(text)))
	}
	if a.Severity == "" && err == nil {
		err = errors.New("severity is missing")
	}
	if a.Tenant != "" {
		a.Tenant = tenant(a.Tenant)
	}
	return a, err
}

func readAll(r io.Reader) ([]byte, error) {
	src, err := io.ReadAll(io.LimitReader(r, MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading evidence: %w", err)
	}
	if src == nil {
		src = []byte{}
	}
	return src, nil
}
