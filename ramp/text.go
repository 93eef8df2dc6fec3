package ramp

import (
	"strconv"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// text is a reason being written. Deciding happens for every entry of a spec, so reasons are appended
// to one buffer instead of formatted.
type text []byte

// maxReason bounds a reason: the spec keeps it, and a spec's reader is no place for a novel.
const maxReason = 1500 // bytes

func (t text) add(parts ...string) text {
	for _, p := range parts {
		t = append(t, p...)
	}
	return t
}

func (t text) num(v float64) text { return strconv.AppendFloat(t, v, 'f', -1, 64) }

func (t text) int(n int64) text { return strconv.AppendInt(t, n, 10) }

func (t text) time(at time.Time) text { return at.UTC().AppendFormat(t, time.RFC3339) }

func (t text) pct(p flags.Pct) text { return t.num(float64(p) / 1000) }

// String is the finished reason: one line, whatever the names in the evidence hold, so that it can
// stand in a commit's trailer.
func (t text) String() string {
	cut := len(t) > maxReason
	if cut {
		t = t[:maxReason]
	}
	for i, c := range t {
		if c < ' ' || c == 0x7f {
			t[i] = ' '
		}
	}
	if cut {
		return strings.ToValidUTF8(string(t), "") + "…"
	}
	return string(t)
}

// span is a duration for people: "24h", not "24h0m0s".
func span(d time.Duration) string {
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func tenantName(t string) string {
	if t == flags.DefaultTenant {
		return "the feature as a whole"
	}
	return t
}

// unusable says why a source cannot be used.
func (t text) unusable(what string, src *Source, why Code, g *Guard, h *History, now time.Time) text {
	switch why {
	case CodeMissing:
		return t.add("there is no ", what)
	case CodeUnreadable:
		return t.add(what, " cannot be used: ", src.Problem)
	case CodeUndated:
		return t.add(what, " does not say when it was measured")
	case CodeFuture:
		return t.add(what, " was measured ", span(src.At.Sub(now)), " from now, in the future")
	case CodeStale:
		return t.add(what, " is ", span(now.Sub(src.At)), " old, more than ", span(g.MaxEvidenceAge))
	default:
		if h.Spent {
			return t.add(what, " was used already, for the last step")
		}
		return t.add(what, " was measured at ").time(src.At).add(", before the last step was live at ").time(h.SteppedAt)
	}
}

func (t text) alert(a *Alert) text {
	t = t.add("critical alert ")
	if a.Name == "" {
		t = t.add("without a name")
	}
	t = t.add(a.Name)
	if a.Tenant != "" {
		t = t.add(" for tenant ", a.Tenant)
	}
	return t
}

// scope says whose numbers follow, where they are not the whole service's.
func (t text) scope(sc *scope) text {
	switch {
	case sc.Tenant != "":
		return t.add(sc.Tenant, ": ")
	case sc.Feature != "":
		return t.add(sc.Feature, ": ")
	}
	return t
}

func (t text) limit(l *Limit, v, limit float64, holds bool) text {
	t = t.add(l.Name, " ").num(v)
	switch {
	case holds && l.Higher:
		t = t.add(" >= ")
	case holds:
		t = t.add(" <= ")
	case l.Higher:
		t = t.add(" < ")
	default:
		t = t.add(" > ")
	}
	return t.num(limit)
}

func (t text) samples(have, want int64) text {
	if have < 0 {
		return t.add(" does not say on how many samples it rests, and ").int(want).add(" are asked for")
	}
	t = t.add(" rests on ").int(have).add(" samples")
	if have < want {
		t = t.add(", fewer than ").int(want)
	}
	return t
}

// coverage says whose coverage a number is where that is not plain.
func (t text) coverage(e *Entry, w worst) text {
	t = t.add("coverage ")
	if len(e.Tenants) > 1 && w.tenant != flags.DefaultTenant {
		t = t.add("of ", w.tenant, " ")
	}
	return t.num(w.pct)
}

func (t text) harm(sc *scope) text {
	t = t.add("treated traffic fails at least ")
	t = strconv.AppendFloat(t, sc.harm*100, 'f', 2, 64)
	return t.add(" points more often than control (").arm(sc.Treated).add(" against ").arm(sc.Control).add(")")
}

func (t text) arm(a *Arm) text { return t.int(a.Errors).add(" of ").int(a.Requests) }

func (t text) ratio(sc *scope, e *Entry) text {
	t = t.add("treated and control traffic (").int(sc.Treated.Requests).add(" against ").int(sc.Control.Requests)
	if sc.Feature == "" {
		return t.add(") are no counts of requests and errors")
	}
	return t.add(") do not stand in the ratio that ").pct(e.Pct).add(" % gives")
}
