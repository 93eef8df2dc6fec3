package evidence

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rampart-flags/rampart/flags"
	"github.com/rampart-flags/rampart/ramp"
)

// Coverage reads a coverage document:
//
//	{"generated_at": "2026-11-22T04:00:00Z",
//	 "tenants": {"__default__": {"pct": 97.2, "samples": 12000}, "acme": 99.1}}
//
// and the older report, tenants at the top: {"default": 97.2, "acme": 99.1}. A nil src is missing
// evidence. It never fails: what cannot be used carries its reason.
func Coverage(src []byte) ramp.Coverage {
	c := ramp.Coverage{Tenants: map[string]ramp.Measure{}}
	if src == nil {
		c.Missing = true
		return c
	}
	top, err := object(src)
	if err != nil {
		c.Problem = err.Error()
		return c
	}
	ledger := string(top["format"]) == ledgerReport
	for _, name := range members(top) {
		switch raw := top[name]; name {
		case "$schema":
		case "format", "overall", "features", "generations":
			if !ledger { // an older report may have a tenant of that name
				addMeasure(&c, name, raw)
			}
		case "generated_at":
			if c.At, err = moment(raw); err != nil {
				c.Problem = "generated_at: " + err.Error()
			}
		case "tenants":
			inner, err := object(raw)
			if err != nil {
				c.Problem = "tenants: " + err.Error()
				continue
			}
			for _, t := range members(inner) {
				addMeasure(&c, t, inner[t])
			}
		default:
			addMeasure(&c, name, raw)
		}
	}
	return c
}

// ledgerReport is the format of what reconcile coverage prints: this document, with more about the ledger in it.
const ledgerReport = `"receipt-coverage/v1"`

func addMeasure(c *ramp.Coverage, name string, raw jsontext.Value) {
	name = tenant(name)
	m := ramp.Measure{Samples: ramp.NoSamples}
	var err error
	if raw.Kind() == '{' {
		err = measure(&m, raw)
	} else {
		m.Pct, err = percent(raw)
	}
	if _, twice := c.Tenants[name]; twice {
		err = errors.New("it is given twice")
	}
	if err != nil {
		m.Problem = err.Error()
	}
	c.Tenants[name] = m
}

func measure(m *ramp.Measure, raw jsontext.Value) error {
	fields, err := object(raw)
	if err != nil {
		return err
	}
	m.Pct = math.NaN()
	for _, name := range members(fields) {
		switch v := fields[name]; name {
		case "pct":
			m.Pct, err = percent(v)
		case "samples":
			m.Samples, err = count(v)
		case "generated_at":
			m.At, err = moment(v)
		case "complete": // of reconcile coverage: pct and samples say the same
		default:
			err = errors.New("unknown field")
		}
		if err != nil {
			return fmt.Errorf("%.40q: %w", name, err)
		}
	}
	if math.IsNaN(m.Pct) {
		return errors.New("pct is missing")
	}
	return nil
}

// CoverageFromEnv makes a coverage document of COVERAGE_<TENANT> and, for tenants that have none,
// COVERAGE_DEFAULT. What stands in the environment counts as measured now. It is nil when neither is
// set: then there is no evidence. A tenant's name is looked up in upper case, everything but letters
// and digits as "_". A value that is no percentage is kept as it is, for [Coverage] to refuse.
func CoverageFromEnv(getenv func(string) string, tenants []string, now time.Time) []byte {
	def := strings.TrimSpace(getenv("COVERAGE_DEFAULT"))
	var body []byte
	for _, t := range tenants {
		text := strings.TrimSpace(getenv("COVERAGE_" + envName(t)))
		if text == "" {
			text = def
		}
		if text == "" {
			continue
		}
		if body != nil {
			body = append(body, ", "...)
		}
		body, _ = jsontext.AppendQuote(body, t)
		body = append(body, ": "...)
		if v, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
			body = strconv.AppendFloat(body, v, 'f', -1, 64)
		} else {
			body, _ = jsontext.AppendQuote(body, printable(text))
		}
	}
	if body == nil {
		return nil
	}
	out := fmt.Appendf(nil, `{"generated_at": %q, "tenants": {`, now.UTC().Format(time.RFC3339))
	return append(append(out, body...), "}}\n"...)
}

func envName(t string) string {
	if t == flags.DefaultTenant {
		return "DEFAULT"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, t)
}

// ReadFile reads an evidence file; one that is not there is nil, which means missing evidence, and one
// that is too long or cannot be read is content that no reader accepts.
func ReadFile(path string) (src []byte, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading evidence: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading evidence: %w", err)
	}
	if info.Size() > MaxBytes {
		return nil, fmt.Errorf("reading evidence: %s is longer than %d MiB", path, MaxBytes>>20)
	}
	return readAll(f)
}
