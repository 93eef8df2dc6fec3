package ramp

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rampart-flags/rampart/flags"
)

// Source says when a source was measured and whether it can be used at all.
type Source struct {
	At      time.Time // zero: nobody said
	Missing bool      // there is none
	Problem string    // why none of it can be used; "" when it can
}

// Coverage says for each tenant which share of its operations was covered.
type Coverage struct {
	Source
	Tenants map[string]Measure
}

// Measure is one tenant's coverage.
type Measure struct {
	Pct     float64   // percent
	Samples int64     // how many operations it rests on, or [NoSamples]
	At      time.Time // when it was measured, where that is not the source's time
	Problem string    // why this value cannot be used; "" when it can
}

// NoSamples says that a source does not tell how many samples it has.
const NoSamples int64 = -1

// SLO is the state of the service: alerts and named indicators.
type SLO struct {
	Source
	Scopes   []Scope
	Alerts   []Alert
	NoAlerts bool // the source does not say which alerts fire
}

// Scope holds the numbers of the whole service, of one feature, or of one tenant of one feature. All
// that concern an entry are judged, and the worst of them counts.
type Scope struct {
	Feature    string // "": the whole service
	Tenant     string // "": all that follow the feature
	Indicators map[string]float64
	Samples    int64             // behind the indicators, or [NoSamples]
	Broken     map[string]string // field -> why it cannot be used; the other fields still count
	// Treated and Control count the traffic that has the feature and that has it not, since the
	// last step. Nil: not counted.
	Treated, Control *Arm
}

// Alert is one firing alert. Without a feature it concerns every feature, without a tenant every tenant.
type Alert struct {
	Severity string
	Name     string
	Feature  string
	Tenant   string
}

// Arm counts one side of a comparison.
type Arm struct {
	Requests, Errors int64
}

// Evidence is what was measured, ready to be judged again and again. Make one with [NewEvidence].
type Evidence struct {
	coverage Coverage
	slo      SLO
	alerts   map[string][]Alert // critical ones, by feature; "" for every feature
	scopes   map[string][]scope // by feature; "" for the whole service
}

// scope is a Scope with what is computed once.
type scope struct {
	*Scope
	harm   float64 // how much more often, at least, treated requests fail; 0: may be chance
	broken string  // the name of the first broken field, where there is one
}

// clockSkew is how far ahead a source's clock may run before its evidence counts as coming from the
// future.
const clockSkew = 5 * time.Second

// NewEvidence makes evidence of what was read. It keeps its arguments' maps and slices.
func NewEvidence(c Coverage, s SLO) *Evidence {
	ev := &Evidence{coverage: c, slo: s, alerts: map[string][]Alert{}, scopes: map[string][]scope{}}
	for _, a := range s.Alerts {
		if strings.EqualFold(a.Severity, "critical") {
			ev.alerts[a.Feature] = append(ev.alerts[a.Feature], a)
		}
	}
	samples := NoSamples
	for i := range s.Scopes {
		if s.Scopes[i].Feature == "" {
			samples = s.Scopes[i].Samples
		}
	}
	for i := range s.Scopes {
		sc := scope{Scope: &s.Scopes[i]}
		if sc.Samples == NoSamples && sc.Feature != "" {
			own := s.Scopes[i] // the caller's slice stays as it is
			own.Samples = samples
			sc.Scope = &own
		}
		if sc.Treated != nil && sc.Control != nil {
			sc.harm = harm(*sc.Treated, *sc.Control)
		}
		if len(sc.Broken) > 0 {
			sc.broken = slices.Min(slices.Collect(maps.Keys(sc.Broken)))
		}
		ev.scopes[sc.Feature] = append(ev.scopes[sc.Feature], sc)
	}
	return ev
}

// critical finds a critical alert that concerns the entry.
func (ev *Evidence) critical(e *Entry) *Alert {
	for _, list := range [2][]Alert{ev.alerts[""], ev.alerts[e.Key.Feature]} {
		for i := range list {
			if e.concernedBy(list[i].Tenant) {
				return &list[i]
			}
		}
	}
	return nil
}

// concerning yields the scopes that concern the entry, the widest first.
func (ev *Evidence) concerning(e *Entry) func(func(*scope) bool) {
	return func(yield func(*scope) bool) {
		for _, list := range [2][]scope{ev.scopes[""], ev.scopes[e.Key.Feature]} {
			for i := range list {
				if e.concernedBy(list[i].Tenant) && !yield(&list[i]) {
					return
				}
			}
		}
	}
}

// concernedBy reports whether news of this tenant is news of the entry: a feature's own entry speaks
// for every tenant that has no percentage of its own.
func (e *Entry) concernedBy(tenant string) bool {
	if tenant == "" || tenant == e.Key.Tenant {
		return true
	}
	if e.Key.Tenant != flags.DefaultTenant {
		return false
	}
	_, own := slices.BinarySearch(e.Own, tenant)
	return !own
}
