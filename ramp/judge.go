package ramp

import (
	"math"
	"time"
)

// finding is a verdict with its reason. Its zero value says nothing.
type finding struct {
	verdict  Verdict
	code     Code
	critical bool
	text     text
}

func (f *finding) found() bool { return f.code != "" }

// judge gives the evidence on one entry its verdict. Whatever is usable and red is red, however much
// else is missing; after that, whatever is unusable makes it unknown. buf is room for the reason.
func (ev *Evidence) judge(e *Entry, g *Guard, h *History, now time.Time, buf text) finding {
	why := ev.slo.unusable(g, h, now)
	if why != "" {
		return finding{verdict: Unknown, code: why, text: buf.unusable("SLO evidence", &ev.slo.Source, why, g, h, now)}
	}
	if f := ev.red(e, g, buf); f.found() {
		return f
	}
	if f := ev.incomplete(e, g, buf); f.found() {
		return f
	}
	lowest, f := ev.lowest(e, g, h, now, buf)
	if f.found() {
		return f
	}
	if f := ev.between(e, g, buf); f.found() {
		return f
	}
	if lowest.pct < g.TargetCoverage {
		return finding{verdict: Amber, code: CodeCoverage, text: buf.coverage(e, lowest).add(" < ").num(g.TargetCoverage)}
	}
	buf = buf.coverage(e, lowest).add(" >= ").num(g.TargetCoverage)
	return finding{verdict: Green, code: CodeUp, text: ev.good(e, g, buf)}
}

// unusable says why a whole source cannot be used, "" when it can.
func (s *Source) unusable(g *Guard, h *History, now time.Time) Code {
	switch {
	case s.Missing:
		return CodeMissing
	case s.Problem != "":
		return CodeUnreadable
	case s.At.IsZero():
		return CodeUndated
	case s.At.After(now.Add(clockSkew)):
		return CodeFuture
	case now.Sub(s.At) > g.MaxEvidenceAge:
		return CodeStale
	case s.At.Before(h.SteppedAt), h.Spent:
		return CodeBeforeStep
	}
	return ""
}

// red looks for what is bad: a critical alert, an indicator beyond its red limit, harm to the treated.
func (ev *Evidence) red(e *Entry, g *Guard, buf text) finding {
	if a := ev.critical(e); a != nil {
		return finding{verdict: Red, code: CodeCritical, critical: true, text: buf.alert(a)}
	}
	for sc := range ev.concerning(e) {
		for i := range g.Limits {
			l := &g.Limits[i]
			v, ok := sc.indicator(l, g)
			if !ok || !l.beyond(v) {
				continue
			}
			code := CodeIndicator
			if l.Name == indicatorDivergence {
				code = CodeDivergence
			}
			return finding{verdict: Red, code: code, text: buf.scope(sc).limit(l, v, l.Red, false)}
		}
		if sc.harm > 0 && !sc.mismatch(e) {
			return finding{verdict: Red, code: CodeHarm, text: buf.scope(sc).harm(sc)}
		}
	}
	return finding{}
}

// incomplete looks for what an up needs to know and the SLO evidence does not say.
func (ev *Evidence) incomplete(e *Entry, g *Guard, buf text) finding {
	unknown := func(code Code, t text) finding { return finding{verdict: Unknown, code: code, text: t} }
	for sc := range ev.concerning(e) {
		if len(sc.Broken) > 0 {
			return unknown(CodeUnreadable, buf.add("SLO evidence: ").scope(sc).add(sc.broken, " cannot be used: ", sc.Broken[sc.broken]))
		}
	}
	if ev.slo.NoAlerts {
		return unknown(CodeMissing, buf.add("SLO evidence does not say which alerts fire"))
	}
	for i := range g.Limits {
		l := &g.Limits[i]
		seen := l.Optional
		for sc := range ev.concerning(e) {
			v, ok := sc.Indicators[l.Name]
			switch {
			case !ok:
			case !finite(v):
				return unknown(CodeUnreadable, buf.scope(sc).add(l.Name, " is not a finite number"))
			case sc.few(l, g):
				return unknown(CodeFewSamples, buf.scope(sc).add(l.Name).samples(sc.Samples, l.minSamples(g)))
			default:
				seen = true
			}
		}
		if !seen {
			return unknown(CodeMissing, buf.add("SLO evidence has no ", l.Name))
		}
	}
	for sc := range ev.concerning(e) {
		if sc.mismatch(e) {
			return unknown(CodeRatio, buf.scope(sc).ratio(sc, e))
		}
	}
	return finding{}
}

// worst is the lowest coverage of the tenants that an entry speaks for.
type worst struct {
	pct    float64
	tenant string
}

// lowest finds it; the finding says why there is none.
func (ev *Evidence) lowest(e *Entry, g *Guard, h *History, now time.Time, buf text) (worst, finding) {
	src := ev.coverage.Source
	unknown := func(code Code, t text) (worst, finding) {
		return worst{}, finding{verdict: Unknown, code: code, text: t}
	}
	if src.Missing || src.Problem != "" {
		why := src.unusable(g, h, now)
		return unknown(why, buf.unusable("coverage", &src, why, g, h, now))
	}
	if len(e.Tenants) == 0 {
		return unknown(CodeMissing, buf.add("no tenant is listed whose coverage would count"))
	}
	lowest := worst{pct: math.Inf(1)}
	for _, t := range e.Tenants {
		m, ok := ev.coverage.Tenants[t]
		if !ok {
			return unknown(CodeMissing, buf.add("there is no coverage for ", tenantName(t)))
		}
		from := src
		if !m.At.IsZero() {
			from.At = m.At
		}
		if m.Problem == "" && !(m.Pct >= 0 && m.Pct <= 100) {
			m.Problem = "not between 0 and 100"
		}
		if why := from.unusable(g, h, now); why != "" {
			return unknown(why, buf.unusable("coverage", &from, why, g, h, now))
		}
		switch {
		case m.Problem != "":
			return unknown(CodeUnreadable, buf.add("coverage of ", tenantName(t), " cannot be used: ", m.Problem))
		case tooFew(m.Samples, g.MinSamples):
			return unknown(CodeFewSamples, buf.add("coverage of ", tenantName(t)).samples(m.Samples, g.MinSamples))
		case m.Pct < lowest.pct:
			lowest = worst{m.Pct, t}
		}
	}
	return lowest, finding{}
}

// between looks for an indicator that is neither good nor bad.
func (ev *Evidence) between(e *Entry, g *Guard, buf text) finding {
	for sc := range ev.concerning(e) {
		for i := range g.Limits {
			l := &g.Limits[i]
			if v, ok := sc.Indicators[l.Name]; ok && !l.good(v) {
				return finding{verdict: Amber, code: CodeBetween, text: buf.scope(sc).limit(l, v, l.Green, false)}
			}
		}
	}
	return finding{}
}

// good adds the indicators of a green verdict: "; anchor_p95_ms 21 <= 30".
func (ev *Evidence) good(e *Entry, g *Guard, buf text) text {
	for sc := range ev.concerning(e) {
		for i := range g.Limits {
			l := &g.Limits[i]
			v, ok := sc.Indicators[l.Name]
			if !ok || (l.Name == indicatorDivergence && v == 0) || len(buf) > maxReason/2 {
				continue
			}
			buf = buf.add("; ").scope(sc).limit(l, v, l.Green, true)
		}
	}
	return buf
}

// indicator is a usable value.
func (sc *scope) indicator(l *Limit, g *Guard) (float64, bool) {
	v, ok := sc.Indicators[l.Name]
	return v, ok && finite(v) && !sc.few(l, g)
}

// few reports whether an indicator rests on too little. Divergence is an event, not an estimate: it
// counts however small the sample, as alerts do.
func (sc *scope) few(l *Limit, g *Guard) bool {
	return l.Name != indicatorDivergence && tooFew(sc.Samples, l.minSamples(g))
}

// tooFew: none at all never count; where a number is asked for, a source that tells none has too few.
func tooFew(have, want int64) bool { return have == 0 || want > 0 && have < want }

func (l *Limit) minSamples(g *Guard) int64 {
	if l.MinSamples > 0 {
		return l.MinSamples
	}
	return g.MinSamples
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func (l *Limit) beyond(v float64) bool {
	if l.Higher {
		return v < l.Red
	}
	return v > l.Red
}

func (l *Limit) good(v float64) bool {
	if l.Higher {
		return v >= l.Green
	}
	return v <= l.Green
}

// mismatch reports whether the scope counts traffic that cannot be what the entry's percentage gives.
// Counts of the whole service mix features and have no share of their own.
func (sc *scope) mismatch(e *Entry) bool {
	if sc.Treated == nil || sc.Control == nil {
		return false
	}
	if sc.Feature == "" {
		return !sc.Treated.valid() || !sc.Control.valid()
	}
	return mismatch(*sc.Treated, *sc.Control, float64(e.Pct)/1000)
}
